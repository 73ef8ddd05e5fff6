"""Why a call is not stored: which argument differs from the nearest stored call, and which part of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import pathlib

import numpy as np
import pytest

from scalable_cas import Store, cacheable
from scalable_cas.caching import DirType, FileType
from scalable_cas.keys.outline import MOST_CHILDREN, SHORT


@pytest.fixture(autouse=True)
def _fresh(workdir, monkeypatch):
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))


@dataclasses.dataclass
class Settings:
    rate: float
    depth: int


@cacheable
def run(config, x=0):
    return x


def told(call, *args, **kwargs):
    found = call.explain(*args, **kwargs)
    assert found.hit is False
    return found.differs, str(found)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (1, 2, "config was 1 and is 2"),
        (1, 1.0, "config was 1 and is 1.0"),
        (1, True, "config was 1 and is True"),
        (1, "1", "config was 1 and is '1'"),
        (None, 0, "config was None and is 0"),
        (0.0, -0.0, "config was 0.0 and is -0.0"),
        ([1], (1,), "config was list of 1 and is tuple of 1"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, 'config["b"] was 2 and is 3'),
        ({"a": 1}, {"a": True}, 'config["a"] was 1 and is True'),
        ({"a": 1}, {"a": 1, "b": 3}, 'config["b"] is new (3)'),
        ({"a": 1, "b": 2}, {"a": 1}, 'config["b"] is gone (it was 2)'),
        ({1: "x"}, {1: "y"}, "config[1] was 'x' and is 'y'"),
        ([1, 2, 3], [1, 5, 3], "config[1] was 2 and is 5"),
        (Settings(0.5, 3), Settings(0.5, 4), "config.depth was 3 and is 4"),
        ({"a": [1, 2]}, {"a": [1, 3]}, 'config["a"] differs in content (list)'),
        ({"a": {"b": 1}}, {"a": 2}, 'config["a"] was dict and is 2'),
        ([*range(MOST_CHILDREN + 1)], [*range(1, MOST_CHILDREN + 2)], "config differs in content (list of 65)"),
        ("x" * (SHORT + 1), "y" * (SHORT + 1), "config differs in content (str 65 characters)"),
        ("\ud800", "\udfff", "config differs in content (str 1 characters)"),
        (2**63, 2**64, "config differs in content (int)"),
        (b"abc", b"abd", "config differs in content (bytes 3 bytes)"),
        (dt.date(2026, 1, 1), dt.date(2026, 1, 2), "config was date 2026-01-01 and is date 2026-01-02"),
        (pathlib.Path("a"), pathlib.Path("b"), "config was PosixPath a and is PosixPath b"),
        ([0] * 9, [*range(9)], "5 more parts of config differ"),
    ],
)  # fmt: skip
def test_what_differs(before, after, text):
    run(before)
    differs, found = told(run, after)
    assert differs == ["config"]
    assert text in found


def test_arrays_say_what_kind_they_are():
    pytest.importorskip("numpy")
    try:
        run({"grid": np.zeros(3)})
    except TypeError:
        pytest.skip("arrays have no key yet")
    assert (
        'config["grid"] was ndarray float64 (3,) and is ndarray float64 (4,)'
        in told(run, {"grid": np.zeros(4)})[1]
    )
    assert 'config["grid"] differs in content (ndarray float64 (3,))' in told(run, {"grid": np.ones(3)})[1]


def test_the_nearest_call_is_the_one_with_the_fewest_changes():
    run({"a": 1, "b": 1, "c": 1}, 1)
    run({"a": 2, "b": 2, "c": 2}, 1)
    run({"a": 1, "b": 1, "c": 1}, 2)
    differs, text = told(run, {"a": 2, "b": 2, "c": 3}, 1)
    assert differs == ["config"]
    assert 'config["c"] was 2 and is 3' in text
    assert 'config["a"]' not in text


def test_version_and_seed(monkeypatch):
    cacheable(_version=1)(run.__wrapped__)(5)
    assert "_version was 1 and is '1'" in told(cacheable(_version="1")(run.__wrapped__), 5)[1]
    monkeypatch.setenv("SCALABLE_SEED", "pepper")
    text = told(cacheable(_version=1)(run.__wrapped__), 5)[1]
    assert "SCALABLE_SEED is another" in text
    assert "pepper" not in text


def test_ignored_arguments_are_not_kept(workdir):
    @cacheable(_ignore=("password",))
    def login(user, password):
        return user

    login("ada", "sesame-open")
    with Store.open(workdir / "cache") as store:
        assert [outline for entry in store.entries() for outline in entry.record.outlines] == [[0, "ada"]]


def test_files_are_shown_by_their_path(workdir):
    @cacheable(table=FileType, folder=DirType)
    def read(table, folder):
        return 1

    (workdir / "a.csv").write_text("1")
    (workdir / "b.csv").write_text("2")
    (workdir / "d").mkdir()
    read("a.csv", "d")
    differs, text = told(read, "b.csv", "d")
    assert differs == ["table"]
    assert "table was FileType a.csv and is FileType b.csv" in text


def test_varargs_keywords_and_captured_variables():
    def make(k):
        @cacheable
        def inner(*args, **kwargs):
            return k

        return inner

    make(1)(1, 2, z=3)
    assert "args[1] was 2 and is 9" in told(make(1), 1, 9, z=3)[1]
    assert "z was 3 and is 4" in told(make(1), 1, 2, z=4)[1]
    assert "y is new (1)" in told(make(1), 1, 2, z=3, y=1)[1]
    assert "captured k was 1 and is 2" in told(make(2), 1, 2, z=3)[1]


def test_arguments_are_kept_as_they_were_before_the_run():
    @cacheable
    def grow(items):
        items.append(1)
        return len(items)

    grow([7])
    assert "items[0] was 7 and is 8" in told(grow, [8])[1]
    assert "[1]" not in told(grow, [8])[1]


RATE = 3


def rate():
    return RATE


def test_which_code_differs(monkeypatch):
    @cacheable(_code="deps")
    def cost(n):
        return n * rate()

    cost(2)
    monkeypatch.setattr(f"{__name__}.RATE", 4)
    differs, text = told(cost, 2)
    assert differs == []
    assert f"{__name__}.RATE changed" in text
    assert "rate," not in text
