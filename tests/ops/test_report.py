"""Counters, added up and put into words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas import Store
from scalable_cas.errors import NothingFound
from scalable_cas.ops.page import page
from scalable_cas.ops.report import Report, make_report, percent, spoken
from tests.cli.filling import count


@pytest.fixture
def store(tmp_path):
    with Store.init(tmp_path / "store") as store:
        yield store


def test_workers_belong_to_their_run(store):
    count(store, "run", "1", 100, f=(1, 2, 3.0, 4.0))
    count(store, "run", "2", 90, f=(10, 20, 30.0, 40.0), g=(1, 0, 1.0, 0.0))
    report = make_report(store)
    assert (report.runs, report.total.hits, report.total.misses) == (1, 12, 22)
    assert (report.total.saved, report.total.spent) == (34.0, 44.0)
    assert (report.functions["f"].hits, report.functions["g"].hits) == (11, 1)
    assert (report.started, report.ended) == (80, 100)


def test_the_last_run_is_the_one_that_ended_last(store):
    count(store, "early", "1", 100, f=(1, 0, 0.0, 0.0))
    count(store, "late", "1", 50, f=(2, 0, 0.0, 0.0))
    count(store, "late", "2", 101, f=(4, 0, 0.0, 0.0))
    assert make_report(store, last=True).total.hits == 6
    assert make_report(store).total.hits == 7


def test_a_run_without_lookups_is_none(store):
    with pytest.raises(NothingFound):
        make_report(store)
    count(store, "idle", "1", 200)
    with pytest.raises(NothingFound):
        make_report(store, last=True)
    count(store, "busy", "1", 100, f=(1, 0, 0.0, 0.0))
    assert make_report(store, last=True).total.hits == 1


@pytest.mark.parametrize("row", [b"", b"\xc1", b"\x01", b"\x80", b"\x81\xa9functions\x01"])
def test_a_row_that_cannot_be_read_does_not_end_the_report(store, row):
    count(store, "run", "1", 100, f=(1, 0, 0.0, 0.0))
    runs = store.index.environment.db["runs"]
    store.index.environment.write(lambda transaction: transaction.put(b"bad/1", row, db=runs))
    assert make_report(store).total.hits == 1


def test_counters_of_this_process_are_included(store):
    counters = store.notes.telemetry.counters("m.f")
    counters.hits, counters.saved = 3, 1.5
    report = make_report(store)
    assert (report.functions["m.f"].hits, report.functions["m.f"].saved) == (3, 1.5)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_percents_add_to_100(hits, misses):
    report = Report()
    report.total.add(hits, misses, 0.0, 0.0)
    lines = report.text().splitlines()
    shares = [int(line.split("(")[1].rstrip("%)")) for line in lines[2:4]]
    assert sum(shares) == 100
    if hits + misses:
        assert abs(shares[0] - 100 * hits / (hits + misses)) <= 0.5


def test_percent_of_nothing():
    assert percent(0, 0) == 0
    assert percent(1, 8) == 13  # half up, not to even


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0 seconds"),
        (0.0004, "0 seconds"),
        (0.001, "1 millisecond"),
        (0.05, "50 milliseconds"),
        (0.3, "0.3 seconds"),
        (1, "1 second"),
        (1.04, "1 second"),
        (1.5, "1.5 seconds"),
        (42.4, "42 seconds"),
        (89.9, "90 seconds"),
        (90, "1.5 minutes"),
        (900, "15 minutes"),
        (5399, "90 minutes"),
        (11_520, "3.2 hours"),
        (172_799, "48 hours"),
        (200_000, "2.3 days"),
        (1e9, "11,574 days"),
    ],
)
def test_time_in_words(seconds, words):
    assert spoken(seconds) == words


def test_the_page_escapes_what_comes_from_elsewhere():
    report = Report()
    report.runs = 1
    for name in ("<script>alert(1)</script>", "a&b", "{x}", "%s"):
        report.functions[name] = report.total
    text = page(report, "/tmp/<b>")
    assert "<script>" not in text
    assert "<b>" not in text
    for shown in ("&lt;script&gt;", "a&amp;b", "{x}", "%s"):
        assert shown in text
