"""What is flushed to the disk, when, and by whom: docs/explanation/crash-safety.md."""

from __future__ import annotations

import json
import os
import threading

import pytest

from scalable_cas import CacheWarning, Store, clock
from scalable_cas.codecs.base import encode
from scalable_cas.errors import NotStorable, StoreReadOnly
from scalable_cas.format.record import LONGEST, Record
from scalable_cas.storage import fs
from scalable_cas.store import writer


@pytest.fixture
def store_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def flushed(monkeypatch):
    """(what, in which thread) of each flush; `hold` lets those of other threads wait."""
    seen, real = [], {name: getattr(os, name) for name in ("fsync", "fdatasync")}
    hold = threading.Event()
    hold.set()

    def flush(name):
        def call(fd):
            if threading.current_thread() is not threading.main_thread():
                hold.wait(30)
            seen.append((os.readlink(f"/proc/self/fd/{fd}"), threading.current_thread()))
            real[name](fd)

        return call

    for name in real:
        monkeypatch.setattr(os, name, flush(name))
    seen_by = type("Seen", (), {"all": seen, "hold": hold})
    yield seen_by
    hold.set()


def save(store, number, value=b"result"):
    record = Record(number.to_bytes(32, "big"), b"flushed0", "flushed", created=clock.now_ns(), seconds=1.0)
    store.save(record, encode(value))


def of_journal(flushed):
    return [thread for path, thread in flushed.all if "/journal/" in path]


def until(condition):
    for _ in range(3000):
        if condition():
            return
        clock.sleep(0.01)
    raise AssertionError("it did not happen")


def test_a_result_does_not_wait_for_the_journal_to_be_flushed(store_path, flushed):
    with Store.init(store_path) as store:
        flushed.hold.clear()
        for number in range(3):
            save(store, number)
        assert of_journal(flushed) == []
        assert len(list(store.entries())) == 3
        flushed.hold.set()
        until(lambda: of_journal(flushed))
        assert threading.main_thread() not in of_journal(flushed)


def test_results_that_come_while_it_is_flushed_are_flushed_too(store_path, flushed):
    with Store.init(store_path) as store:
        flushed.hold.clear()
        save(store, 1)
        until(lambda: not store.writer._due)  # the thread has begun
        save(store, 2)
        assert store.writer._due
        flushed.hold.set()
        until(lambda: not store.writer._flushing)
        assert len(of_journal(flushed)) >= 2
        assert not store.writer._due


def test_at_the_end_everything_is_flushed_whatever_the_thread_does(store_path, flushed):
    with Store.init(store_path) as store:
        flushed.hold.clear()
        save(store, 1)
        until(lambda: not store.writer._due)
    assert threading.main_thread() in of_journal(flushed)
    flushed.hold.set()


def test_a_strict_store_flushes_before_it_returns(store_path, flushed):
    Store.init(store_path).close()
    (store_path / "config.json").write_text(json.dumps({"sync": "strict"}))
    flushed.all.clear()
    with Store.open(store_path) as store:
        flushed.hold.clear()
        save(store, 1)
        assert threading.main_thread() in of_journal(flushed)
        assert not store.writer._flushing


def test_without_a_thread_the_caller_flushes(store_path, flushed, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    with Store.init(store_path) as store:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        save(store, 1)
        assert threading.main_thread() in of_journal(flushed)


def test_a_disk_that_does_not_flush_is_told_once_and_fails_nothing(store_path, monkeypatch):
    failed = threading.Event()

    def refuse(paths):
        failed.set()
        raise StoreReadOnly(paths[0], "input/output error")

    with Store.init(store_path) as store:
        with monkeypatch.context() as patched:
            patched.setattr(fs, "sync_paths", refuse)
            save(store, 1)
            assert failed.wait(30)
            until(lambda: not store.writer._flushing)
        with pytest.warns(CacheWarning, match="input/output error"):
            store.say()
        assert len(list(store.entries())) == 1


def test_the_segment_that_was_written_to_is_flushed_though_another_thread_began_the_next(
    store_path, flushed, monkeypatch
):
    with Store.init(store_path) as store:
        save(store, 1)
        until(lambda: not store.writer._flushing)
        written, mend = store.journal.path, store.writer._mend
        flushed.all.clear()

        def meanwhile():
            mend()
            store.journal.close()
            store.pin([b"1" * 32])

        monkeypatch.setattr(store.writer, "_mend", meanwhile)
        save(store, 2)
        assert store.journal.path != written
        until(lambda: any(path == written for path, _ in flushed.all))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_nobody_foresaw_does_not_end_flushing(store_path, flushed, monkeypatch):
    with Store.init(store_path) as store:
        with monkeypatch.context() as patched:
            patched.setattr(fs, "sync_paths", None)
            save(store, 1)
            until(lambda: not store.writer._flushing)
        flushed.all.clear()
        save(store, 2)
        until(lambda: of_journal(flushed))


def test_a_record_that_cannot_be_packed_takes_no_other_with_it(store_path):
    with Store.init(store_path) as store:
        save(store, 1)
        for number, version in ((2, 1 << 64), (3, "v" * LONGEST)):
            record = Record(number.to_bytes(32, "big"), b"flushed0", "flushed", version=version)
            with pytest.raises(NotStorable):
                store.save(record, encode(b"result"))
        save(store, 4)
        assert len(list(store.entries())) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_that_nobody_foresaw_ends_the_thread_but_not_the_writing(store_path, monkeypatch):
    with Store.init(store_path) as store:
        monkeypatch.setattr(writer, "INTERVAL", float("inf"))  # so all is left to the thread

        def quick(number):
            record = Record(number.to_bytes(32, "big"), b"flushed0", "flushed", created=clock.now_ns())
            assert store.flights.try_enter(record.rowkey, "me")
            store.save(record, encode(b"result"))
            return record.rowkey

        def fail(batch):
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr(store.writer, "_commit", fail)
            lost = quick(1)
            until(lambda: store.writer._thread is None)
        assert store.flights.owner(lost) is None
        queued = quick(2)
        until(lambda: store.flights.owner(queued) is None)
