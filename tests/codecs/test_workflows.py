"""Three workflows as scientists write them: at least 95 % of what their functions return is stored without
pickle, and every hit gives back what the function gave.
"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

from scalable_cas import Store, cacheable
from tests.codecs.same_values import identical

pd = pytest.importorskip("pandas")


class Cache:
    """Decorates the steps of one workflow, and keeps what each call gave."""

    def __init__(self, store):
        self.store = store
        self.results = []

    def step(self, function):
        cached = cacheable(function, _store=self.store)

        def call(*args):
            before = cached.cache_info()
            first = cached(*args)
            again = cached(*args)
            self.results.append((function.__name__, first, again, cached.cache_info().hits - before.hits))
            return first

        return call


@pytest.fixture
def cache(tmp_path):
    with Store.init(str(tmp_path / "store")) as store:
        yield Cache(store)
        store.flush()
        codecs = [entry.codec for entry in store.entries()]
    pickled = [codec for codec in codecs if "pickle" in codec]
    assert len(codecs) >= 20
    assert len(pickled) <= 0.05 * len(codecs), codecs


def check(cache, least):
    """Every second call was a hit and gave an equal object, not the same one."""
    assert len(cache.results) >= least
    for name, first, again, hits in cache.results:
        assert hits >= 1, name
        assert first is not again or first is None, name
        assert identical(first, again), name


def test_cleaning_of_a_survey_with_pandas(cache):
    rng = np.random.default_rng(0)
    raw = pd.DataFrame(
        {
            "person": [f"p{at % 50:03}" for at in range(400)],
            "when": pd.date_range("2024-01-01", periods=400, freq="7h").astype(str),
            "city": rng.choice(["Paris", " paris", "Lyon", None], 400),
            "age": rng.choice([20, 30, 40, -1], 400),
            "income": np.where(rng.random(400) < 0.1, np.nan, rng.normal(30_000, 5_000, 400)),
        }
    )

    @cache.step
    def load(part):
        return raw.iloc[part * 100 : part * 100 + 100].reset_index(drop=True)

    @cache.step
    def typed(frame):
        return frame.assign(
            when=pd.to_datetime(frame.when).dt.tz_localize("Europe/Paris"),
            city=frame.city.str.strip().str.title().astype("category"),
            age=frame.age.where(frame.age >= 0).astype("Int64"),
        )

    @cache.step
    def problems(frame):
        return {
            "rows": len(frame),
            "missing": frame.isna().sum().to_dict(),
            "duplicates": frame.index[frame.duplicated("person")].tolist(),
        }

    @cache.step
    def by_city(frame):
        return frame.groupby("city", observed=True).income.agg(["mean", "std", "count"])

    @cache.step
    def weekly(frame):
        return frame.set_index("when").income.resample("W").mean()

    @cache.step
    def bins(frame):
        return pd.cut(frame.income, [0, 25_000, 35_000, 100_000]).value_counts()

    @cache.step
    def split(frame):
        cut = len(frame) // 2
        return frame.iloc[:cut], frame.iloc[cut:]

    @cache.step
    def pivot(frame):
        return frame.assign(hour=frame.when.dt.hour).pivot_table(
            index="city", columns="hour", values="income", observed=True
        )

    for part in range(4):
        frame = typed(load(part))
        for step in (problems, by_city, weekly, bins, split, pivot):
            step(frame)
    check(cache, 32)


Fit = namedtuple("Fit", "coefficients covariance residual")


@dataclass
class Run:
    size: int
    energy: np.ndarray
    spectrum: np.ndarray
    converged: bool
    settings: dict


def test_sweep_of_a_simulation_with_numpy_and_scipy(cache):
    sparse = pytest.importorskip("scipy.sparse")
    linalg = pytest.importorskip("scipy.sparse.linalg")

    @cache.step
    def hamiltonian(size, coupling):
        side = np.full(size - 1, -coupling)
        return sparse.diags([side, np.linspace(0, 1, size), side], [-1, 0, 1], format="csr")

    @cache.step
    def ground_state(matrix):
        values, vectors = linalg.eigsh(matrix, k=2, which="SA", v0=np.ones(matrix.shape[0]))
        return values[0], vectors[:, 0]

    @cache.step
    def evolve(size, seed):
        rng = np.random.default_rng(seed)
        path = rng.normal(size=(size, 64)).cumsum(axis=1)
        return Run(
            size,
            path.mean(axis=0),
            np.fft.rfft(path, axis=1),
            bool(path.std() < 9),
            {"seed": seed, "dt": np.float32(0.1)},
        )

    @cache.step
    def fit(energy):
        coefficients, covariance = np.polyfit(np.arange(len(energy)), energy, 1, cov=True)
        return Fit(coefficients, covariance, np.float64(np.square(energy).sum()))

    @cache.step
    def histogram(run):
        counts, edges = np.histogram(np.abs(run.spectrum), 16)
        return {"counts": counts, "edges": edges, "peak": counts.argmax()}

    @cache.step
    def field(size):
        y, x = np.mgrid[:size, :size]
        return np.ma.masked_less(np.asfortranarray(np.hypot(x, y)), size / 4)

    for size in (40, 60):
        for coupling in (0.1, 0.5):
            ground_state(hamiltonian(size, coupling))
        for seed in (0, 1, 2):
            run = evolve(size, seed)
            fit(run.energy)
            histogram(run)
        field(size)
    check(cache, 28)


def test_reduction_of_a_climate_run_with_xarray(cache):
    xr = pytest.importorskip("xarray")
    time = pd.date_range("2000-01-01", periods=730, freq="D")

    @cache.step
    def read(member):
        rng = np.random.default_rng(member)
        season = 10 * np.sin(np.arange(730) / 365 * 2 * np.pi)
        data = (rng.normal(280, 3, (730, 4, 6)) + season[:, None, None]).astype("f4")
        return xr.Dataset(
            {"tas": (("time", "lat", "lon"), data, {"units": "K", "cell_methods": "time: mean"})},
            {"time": time, "lat": np.linspace(-60, 60, 4), "lon": np.arange(0, 360, 60)},
            {"member": member, "title": "a run"},
        )

    @cache.step
    def climatology(data):
        return data.tas.groupby("time.month").mean()

    @cache.step
    def anomaly(data):
        return data.tas.groupby("time.month") - data.tas.groupby("time.month").mean()

    @cache.step
    def zonal(data):
        return data.mean("lon")

    @cache.step
    def global_mean(data):
        return float(data.tas.weighted(np.cos(np.deg2rad(data.lat))).mean())

    @cache.step
    def yearly(data):
        return data.tas.resample(time="YS").max().to_series()

    @cache.step
    def places(data):
        return data.tas.stack(place=("lat", "lon")).isel(time=slice(0, 3))

    @cache.step
    def trend(data):
        days = np.arange(730) / 365
        return {
            "slope": np.polyfit(days, data.tas.values.reshape(730, -1), 1)[0],
            "first": data.time.values[0],
        }

    for member in range(4):
        data = read(member)
        for step in (climatology, anomaly, zonal, global_mean, yearly, places, trend):
            step(data)
    check(cache, 32)
