"""Single moments of a collection, forced: what tests/model says in general, shown on the real code."""

from __future__ import annotations

import threading

import pytest

from scalable_cas import Store, cacheable
from scalable_cas.errors import IndexDamaged
from scalable_cas.format.kinds import VALUE
from scalable_cas.ops.closure import children
from scalable_cas.ops.gc import Policy, execute, plan_gc
from tests.support.scenarios import Pair
from tests.support.stores import assert_whole, object_files


def decorated(store):
    @cacheable(_store=store)
    def shared(n):
        return {"text": "the same content for every n" * 100}

    return shared


def meanwhile(work):
    """Run `work` in a thread; return the thread and the list its exception goes to."""
    errors = []

    def guarded():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    return thread, errors


@pytest.fixture
def two(store_path):
    """Two handles of one store: the collector's and the writer's."""
    with Store.init(store_path) as collector, Store.open(store_path) as writer:
        yield collector, writer


def hook(monkeypatch, target, name, before=None, after=None):
    """Have something happen around a method of one object."""
    original = getattr(target, name)

    def hooked(*args, **kwargs):
        if before is not None:
            before()
        found = original(*args, **kwargs)
        if after is not None:
            after()
        return found

    monkeypatch.setattr(target, name, hooked, raising=True)


class Killed(Exception):
    """What stands for the death of a collector: it does nothing any more, and its lock is free."""


@pytest.mark.parametrize("killed", [False, True])
def test_content_that_is_found_again_while_its_file_is_being_removed(two, store_path, monkeypatch, killed):
    """The rows are gone and committed, the file is not: a writer that looks now finds the file, and must not rely
    on it; also where the collector does not live to count the epoch once more.
    """
    collector, writer = two
    shared = decorated(writer)
    shared(1)
    writer.flush()
    assert shared.cache_forget(1)
    put = threading.Event()
    threads = []

    def publish():
        if not threads:
            hook(monkeypatch, writer.objects, "put_all", after=put.set)
            threads.append(meanwhile(lambda: shared(2, _cache_bypass=True)))
            assert put.wait(20)

    class Objects(type(collector.objects.loose)):
        def delete(self, oid):
            publish()
            found = super().delete(oid)
            if killed:
                raise Killed
            return found

    original = type(collector.objects.loose)
    collector.objects.loose.__class__ = Objects
    if killed:
        with pytest.raises(Killed):
            collector.gc()
    else:
        assert collector.gc().objects == 1
    collector.objects.loose.__class__ = original
    thread, errors = threads[0]
    thread.join(20)
    assert not errors
    assert shared.is_cached(2)
    assert len(object_files(store_path)) == 1
    assert collector.verify().findings == []


def test_content_that_is_named_after_the_snapshot_stays(two, store_path):
    collector, writer = two
    shared = decorated(writer)
    shared(1)
    shared.cache_forget(1)
    plan = plan_gc(collector, Policy())
    assert plan.objects == 1
    seen = []

    def progress(stage, done, total):
        if stage == "mark" and not seen:
            seen.append(stage)
            shared(3, _cache_bypass=True)

    decorated(collector)(
        9
    )  # something to mark, so that progress is told; the same content, named before the snapshot
    shared.cache_forget(9)

    @cacheable(_store=writer)
    def other(n):
        return n

    other(1)
    writer.flush()
    execute(collector, plan, progress)
    assert seen
    assert shared.is_cached(3)
    assert collector.verify().findings == []


def test_an_index_that_is_being_filled_collects_nothing(two, store_path):
    """What is not in it yet would be taken for garbage; that was every entry of a large store for a minute."""
    collector, writer = two
    shared = decorated(writer)
    shared(1)
    writer.flush()

    def empty(changes):
        changes.set_number("filled", 0)
        changes.clear("refs", "records", "objects", "functions")

    writer.index.write(empty)
    with pytest.raises(IndexDamaged, match="rebuilt"):
        collector.gc()
    assert len(object_files(store_path)) == 1
    collector.close()
    writer.close()
    with Store.open(store_path) as store:  # a process that finds it so fills it
        assert [entry.function for entry in store.entries()] == [
            shared.__module__ + "." + shared.__qualname__
        ]
    assert_whole(store_path)


def test_an_entry_that_was_stored_anew_is_not_the_one_that_was_planned(two, store_path):
    collector, writer = two
    shared = decorated(writer)
    shared(1)
    writer.flush()
    plan = plan_gc(collector, Policy(older_than=0))
    assert len(plan.entries) == 1
    shared(1, _cache_bypass=True)
    assert execute(collector, plan).entries == 0
    assert shared.is_cached(1)


def test_stored_anew_in_the_last_moment(two, store_path, monkeypatch):
    """Between the collector's look at the entry and its write."""
    collector, writer = two
    shared = decorated(writer)
    shared(1)
    writer.flush()
    plan = plan_gc(collector, Policy(older_than=0))
    done = []

    def anew():
        if not done:
            done.append(1)
            shared(1, _cache_bypass=True)

    hook(monkeypatch, collector, "forget", before=anew)
    execute(collector, plan)
    assert done
    assert shared.is_cached(1)
    assert collector.verify().findings == []


def test_a_pin_in_the_last_moment(two, store_path, monkeypatch):
    collector, writer = two
    shared = decorated(writer)
    shared(1)
    writer.flush()
    ((rowkey, _),) = writer.index.scan("refs")
    plan = plan_gc(collector, Policy(older_than=0))
    hook(monkeypatch, collector, "forget", before=lambda: writer.pin([rowkey]))
    execute(collector, plan)
    assert shared.is_cached(1)


def test_a_collector_stopped_half_way_leaves_whole_objects(two, store_path):
    """Parents go before their children, so a value that is still in the index is complete."""
    collector, writer = two

    @cacheable(_store=writer)
    def buffers(n):
        return Pair(*(bytearray([n, i]) * 40_000 for i in range(3)))

    for n in range(5):
        buffers(n)
    buffers.cache_clear()

    class Objects(type(collector.objects.loose)):
        left = 4

        def delete(self, oid):
            Objects.left -= 1
            if not Objects.left:
                raise Killed
            return super().delete(oid)

    original = type(collector.objects.loose)
    collector.objects.loose.__class__ = Objects
    with pytest.raises(Killed):
        collector.gc()
    collector.objects.loose.__class__ = original
    for (
        oid
    ) in collector.objects.names():  # what is left of a value is all of it, or nothing that needs the rest
        if collector.objects.head(oid).kind == VALUE:
            assert all(collector.objects.place(child) for _, child in children(collector.objects, VALUE, oid))
    assert collector.verify().findings == []
    assert len(object_files(store_path)) == 5 * 4 - 3
    assert buffers(1) == buffers.__wrapped__(1)
    assert buffers.is_cached(1)
    collector.gc()
    assert collector.verify().findings == []
    assert buffers.is_cached(1)


def test_verify_does_not_miss_what_is_collected_while_it_reads(two):
    """It reads the entries, then lists the objects; in between an entry is forgotten and its object freed."""
    collector, reader = two
    shared = decorated(collector)
    shared(1)
    collector.flush()

    class Objects(type(reader.objects)):
        def names(self, *args):
            if shared.cache_forget(1):
                assert collector.gc().objects == 1
            return super().names(*args)

    original = type(reader.objects)
    reader.objects.__class__ = Objects
    assert reader.verify().findings == []
    assert not shared.is_cached(1)
    reader.objects.__class__ = original


def test_verify_does_not_mix_two_versions_of_an_entry(two, monkeypatch):
    """It reads a row, then the record; in between the entry is stored anew with another value."""
    collector, reader = two

    @cacheable(_store=collector, _ignore="salt")
    def changing(n, salt):
        return {"salt": salt}

    changing(1, "old")
    collector.flush()
    scan = reader.index.scan

    def scanned(database, *args):
        rows_ = list(scan(database, *args))
        if database == "refs":
            changing(1, "new", _cache_bypass=True)
        return iter(rows_)

    monkeypatch.setattr(reader.index, "scan", scanned)
    assert reader.verify().findings == []
