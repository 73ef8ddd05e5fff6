"""`why`, what `show` keeps of arguments, and the arguments that `doctor` finds to make every key unique."""

from __future__ import annotations

import json
import uuid

import pytest

from scalable_cas import Store, cacheable
from scalable_cas.ops.unique import ID, PATH, TIME, kind_of, unique_arguments


@pytest.fixture(autouse=True)
def _fresh(workdir, monkeypatch):
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))


@cacheable
def run(config, x=0):
    return x


def test_why_of_a_key_and_of_a_function(cas, workdir):
    run({"rate": 0.25}, 1)
    run({"rate": 0.5}, 1)
    key = run.cache_key({"rate": 0.5}, 1)
    for name in (key, key[:12], "run", f"{__name__}.run"):
        done = cas("--store", workdir / "cache", "why", name)
        assert done.code == 0
        assert 'config["rate"] was 0.25 and is 0.5' in done.out
        assert len(done.lines) == 1
    found = cas("--store", workdir / "cache", "why", "run", "--json").json
    assert (found["key"], found["differs"]) == (key, ["config"])
    first = cas("--store", workdir / "cache", "why", run.cache_key({"rate": 0.25}, 1))
    assert "no other call of this function was stored before it" in first.out


def test_why_of_nothing(cas, workdir):
    run(1)
    done = cas("--store", workdir / "cache", "why", "walk")
    assert (done.code, done.out) == (1, "")
    assert cas("--store", workdir / "cache", "why", "0000").code == 1


def test_a_rebuilt_index_explains_as_before(cas, workdir):
    run({"a": 1})
    run({"a": 2})
    before = cas("--store", workdir / "cache", "why", "run").out
    assert cas("--store", workdir / "cache", "reindex").code == 0
    assert cas("--store", workdir / "cache", "why", "run").out == before


def test_show_has_the_arguments(cas, workdir):
    run({"a": 1}, "x")
    key = run.cache_key({"a": 1}, "x")
    shown = json.loads(cas("--store", workdir / "cache", "show", key, "--json").out)
    assert {row["name"]: row["value"] for row in shown["arguments"]} == {"config": "dict of 1", "x": "'x'"}
    assert shown["packages"]["python"].count(".") == 2


def test_doctor_names_what_makes_every_key_unique(cas, workdir):
    @cacheable
    def stamped(config, n):
        return n

    @cacheable
    def numbered(n, label):
        return n

    for n in range(6):
        stamped({"run_id": str(uuid.uuid4()), "rate": 0.5}, 1)
        numbered(n, f"label {n}")
    with Store.open(workdir / "cache") as store:
        found = [*unique_arguments(store)]
    assert [(label, calls, kind) for _, label, calls, kind in found] == [('config["run_id"]', 6, ID)]
    rows = [
        row for row in cas("--store", workdir / "cache", "doctor", "--json").json if row["check"] == "keys"
    ]
    assert len(rows) == 1
    assert "stamped" in rows[0]["detail"]
    assert "_ignore" in rows[0]["remedy"]


def test_doctor_of_a_healthy_function(cas, workdir):
    for n in range(6):
        run({"a": n})
    rows = [
        row for row in cas("--store", workdir / "cache", "doctor", "--json").json if row["check"] == "keys"
    ]
    assert [row["state"] for row in rows] == ["ok"]


NOW = 1_764_000_000


@pytest.mark.parametrize(
    ("outline", "kind"),
    [
        ([0, NOW + 5.5], TIME),
        ([0, NOW * 1000], TIME),
        ([0, NOW * 10**9], TIME),
        ([0, NOW + 90_000], None),
        ([0, 12], None),
        ([0, True], None),
        ([0, "2025-11-24T16:00:00"], TIME),
        ([0, "run-20251124-160000"], TIME),
        ([0, "2025-11-24"], None),
        ([0, str(uuid.UUID(int=5))], ID),
        ([0, "9f86d081884c7d65"], ID),
        ([0, "123456789012345"], None),
        ([0, "deadbeefcafe"], None),
        ([0, "/home/ada/run/5.csv"], PATH),
        ([0, "a/b.csv"], None),
        ([0, "/"], None),
        ([1, "datetime", "2025-11-24 16:00:01", b""], TIME),
        ([1, "datetime", "2025-11-24 00:00:00", b""], None),
        ([1, "UUID", str(uuid.UUID(int=5)), b""], ID),
        ([1, "PosixPath", "/a/b", b""], PATH),
        ([1, "ndarray", "float64 (3,)", b""], None),
        ([2, "dict", 1, []], None),
        ("junk", None),
    ],
)
def test_what_a_value_looks_like(outline, kind):
    assert kind_of(outline, NOW * 10**9) == kind
