"""Large values, how each store takes them, and what that costs: what `test_value_figures` measures."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

from scalable_cas import Store, clock
from scalable_cas.codecs.base import encode
from scalable_cas.format.record import Record
from scalable_cas.store.telemetry import Counters

US = "scalable-cas"


class Ours:
    """A store of ours, by the code that a decorated call runs: encoded, hashed, in the files when `put` returns."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.store = Store.init(folder)
        self.count = 0

    def put(self, value):
        self.count += 1
        record = Record(
            self.count.to_bytes(32, "big"), b"figures0", "figures", created=clock.now_ns(), seconds=1.0
        )
        self.store.save(record, encode(value))
        return record.rowkey

    def get(self, key):
        return self.store.read(key, Counters(), None)

    def close(self):
        self.store.close()


class Files:
    """joblib's way to write and read a value, or pickle's, without the rest of a cache: the least that a peer takes."""

    def __init__(self, folder, dump, load):
        self.folder = Path(folder)
        self.folder.mkdir()
        self._dump, self._load = dump, load
        self.count = 0

    def put(self, value):
        self.count += 1
        path = self.folder / str(self.count)
        self._dump(value, path)
        return path

    def get(self, path):
        return self._load(path)

    def close(self):
        pass


def pickled(value, path):
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=5)


def unpickled(path):
    with path.open("rb") as file:
        return pickle.load(file)


class DiskCache:
    def __init__(self, folder):
        from diskcache import Cache

        self.folder = Path(folder)
        self._cache = Cache(folder)
        self.count = 0

    def put(self, value):
        self.count += 1
        self._cache[self.count] = value
        return self.count

    def get(self, key):
        return self._cache[key]

    def close(self):
        self._cache.close()


def peers(folder):
    """Name -> an empty store."""
    import joblib

    return {
        US: Ours(folder / "ours"),
        "joblib": Files(folder / "joblib", joblib.dump, joblib.load),
        "joblib compressed": Files(
            folder / "zjoblib", lambda value, path: joblib.dump(value, path, compress=True), joblib.load
        ),
        "diskcache": DiskCache(folder / "diskcache"),
        "a pickle file": Files(folder / "pickle", pickled, unpickled),
    }


def on_disk(folder) -> int:
    """Bytes that a folder takes on the disk."""
    return sum(
        os.lstat(os.path.join(place, name)).st_blocks * 512
        for place, _, names in os.walk(folder)
        for name in names
    )


def timed(work, *args):
    """Seconds, and what came of it."""
    since = time.perf_counter()
    found = work(*args)
    return time.perf_counter() - since, found


def touched(value):
    """Read a value as its user will: every page of it."""
    for array in value if isinstance(value, list | tuple) else (value,):
        array.sum()
    return value


def touched_frame(frame):
    """The same for a frame, column by column."""
    for name in frame:
        frame[name].to_numpy().sum()
    return frame


def arrays():
    """Name -> 100 MB of doubles."""
    import numpy as np

    rng = np.random.default_rng(0)
    count = 100_000_000 // 8
    smooth = np.sin(np.linspace(0, 1000, count)) + 1e-3 * rng.standard_normal(count)
    return {"random": rng.random(count), "smooth": smooth}


def versions(change, count=20, rows=50_000_000 // 64):
    """Yield versions of eight columns of numbers, 50 MB; each differs from the one before by a ``change``."""
    import numpy as np

    rng = np.random.default_rng(0)
    draws = [rng.standard_normal] * 4 + [rng.random] * 2 + [lambda n: rng.integers(0, 1 << 60, n)] * 2
    columns = [draw(rows) for draw in draws]
    for _ in range(count):
        yield columns
        if change == "block":
            size = rows // 100
            at = int(rng.integers(0, rows - size))
            columns = [column.copy() for column in columns]
            for column, draw in zip(columns, draws, strict=True):
                column[at : at + size] = draw(size)
        else:
            columns = [
                np.insert(column, len(column) // 2, draw(100))
                for column, draw in zip(columns, draws, strict=True)
            ]
