"""Large blobs: stored in chunks, shared, read back whole; damaged, collected, rebuilt, moved like any other object."""

from __future__ import annotations

import gc
import io
import os
import random
import struct
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from scalable_cas import Store, cacheable
from scalable_cas.caching.session import current
from scalable_cas.errors import (
    CollectedMeanwhile,
    CorruptObject,
    ObjectNotFound,
    ObjectUnreadable,
    StoreVersionError,
)
from scalable_cas.format import chunking, header, layout, rows
from scalable_cas.format.kinds import BLOB, object_id
from scalable_cas.ops import checking
from scalable_cas.ops.verify import repair
from scalable_cas.storage import cutting, memory, parallel, reading
from scalable_cas.storage.objects import Objects
from scalable_cas.store.folding import execute_repack, plan_repack
from scalable_cas.store.rebuild import fill_index
from tests.support.processes import run
from tests.support.stores import (
    assert_whole,
    flip,
    forget_open_stores,
    leftovers,
    object_files,
    overwrite,
    pack_files,
    quiet,
)

SIZE = 2_000_000
runs: list[object] = []


def noise(seed, size=SIZE):
    return random.Random(seed).randbytes(size)


def name_of(content) -> str:
    return blake3(content).hexdigest()


@cacheable
def big(seed):
    runs.append(seed)
    return noise(seed)


@cacheable
def edited(version):
    """Versions of one content, each with some bytes put in at another place."""
    runs.append(version)
    at = version * 100_000
    return noise("base")[:at] + b"some bytes of version %d" % version + noise("base")[at:]


@cacheable
def pair(seed):
    """Two buffers and a head; one of the buffers is the same in all."""
    runs.append(seed)
    return [bytearray(noise("same")), bytearray(noise(seed)), seed]


@pytest.fixture
def store_path(tmp_path, monkeypatch):
    """The store that decorated calls use; closed afterwards."""
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(tmp_path / "store"))
    runs.clear()
    yield tmp_path / "store"
    forget_open_stores()


@pytest.fixture
def store(store_path):
    with Store.init(store_path) as store:
        yield store


def listed(store, content) -> chunking.ChunkList:
    """The chunks that a content is stored in."""
    head, found = store.objects.stored(object_id(BLOB, content))
    assert head.coding == header.CHUNKED
    return found


def place_in_pack(store, oid):
    """The pack that holds an object, where it starts there, and its length."""
    row = store.objects.known((oid,))[oid]
    return store.objects.packs.path(row.pack), row.offset, row.stored


# --- storing and reading -----------------------------------------------------------------------------------


def test_a_large_blob_is_named_by_its_whole_and_comes_back(store):
    content = noise(1)
    oid = store.put_bytes(content)
    assert oid == name_of(content)
    assert 40 < len(listed(store, content).chunks) < 80
    assert store.get_bytes(oid) == content
    assert (store.stat(oid).kind, store.stat(oid).size) == ("blob", SIZE)
    assert SIZE < store.stat(oid).stored < 1.01 * SIZE
    assert store.verify().findings == []
    assert store.verify(quick=True).findings == []
    assert object_files(store.root) == []  # all in one pack
    assert len(pack_files(store.root)) == 1


@pytest.mark.parametrize("size", [chunking.SMALLEST - 1, chunking.SMALLEST, chunking.SMALLEST + 1])
def test_chunks_begin_at_a_megabyte(store, size):
    content = noise(2, size)
    store.put_bytes(content)
    assert (store.objects.head(object_id(BLOB, content)).coding == header.CHUNKED) == (
        size >= chunking.SMALLEST
    )
    assert store.get_bytes(name_of(content)) == content
    assert_same_as_stream(store, content)


def assert_same_as_stream(store, content):
    assert store.put_stream(io.BytesIO(content)) == object_id(BLOB, content)
    out = io.BytesIO()
    assert store.read_stream(object_id(BLOB, content), out) == len(content)
    assert out.getvalue() == content


class Dribble(io.RawIOBase):
    """A pipe: it gives what it likes, and cannot be seeked in."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, room):
        return self._file.readinto(memoryview(room)[:77_777])


MADE = {"noise": noise(3, 3 << 20), "zeros": bytes(3 << 20), "text": b"a line of text\n" * (1 << 18)}


@given(
    parts=st.lists(
        st.tuples(st.sampled_from(["noise", "zeros", "text"]), st.integers(0, 3 << 20)), max_size=6
    )
)
@settings(max_examples=25)
def test_any_stream_comes_back(tmp_path_factory, parts):
    content = b"".join(MADE[kind][:size] for kind, size in parts)
    with Store.init(tmp_path_factory.mktemp("store")) as store:
        assert store.put_stream(Dribble(content)) == object_id(BLOB, content)
        out = io.BytesIO()
        store.read_stream(object_id(BLOB, content), out)
        assert out.getvalue() == content
        assert store.get_bytes(name_of(content)) == content
        assert store.verify().findings == []


@pytest.mark.parametrize("size", [8 << 20, 16 << 20, (16 << 20) + 1])
def test_a_stream_of_zeros_that_ends_where_a_chunk_does(store, size):
    assert_same_as_stream(store, bytes(size))
    assert store.verify().findings == []


def test_a_stream_is_cut_as_the_same_bytes_in_memory_are(store):
    content = noise(4, 20 << 20)
    store.put_stream(Dribble(content))
    packs = pack_files(store.root)
    store.put_bytes(b"x" + content)  # all but the first chunk are there
    (new,) = set(pack_files(store.root)) - set(packs)
    assert new.stat().st_size < 300_000


def test_progress_is_told(store):
    told, content = [], noise(5, 20 << 20)
    store.put_stream(io.BytesIO(content), progress=told.append)
    assert len(told) > 2
    assert told == sorted(told)
    assert told[-1] == len(content)
    told.clear()
    store.read_stream(object_id(BLOB, content), io.BytesIO(), progress=told.append)
    assert told[-1] == len(content)


def test_equal_parts_are_stored_once(store_path):
    for version in range(5):
        edited(version)
    forget_open_stores()
    assert sum(file.stat().st_size for file in pack_files(store_path)) < 1.3 * SIZE
    runs.clear()
    assert [edited(version) == edited.__wrapped__(version) for version in range(5)] == [True] * 5
    assert len(runs) == 5  # those of the comparison
    assert_whole(store_path)


def test_the_same_content_again_writes_nothing(store):
    content = noise(6)
    store.put_bytes(content)
    before = pack_files(store.root)
    store.put_bytes(content)
    store.put_stream(io.BytesIO(content))
    assert pack_files(store.root) == before


def test_what_is_read_is_writable_and_nobody_elses(store):
    store.put_bytes(noise(7))
    _, first = store.get_object(object_id(BLOB, noise(7)))
    _, second = store.get_object(object_id(BLOB, noise(7)))
    first[:5] = b"12345"
    assert bytes(second) == noise(7)
    assert bytes(store.get_object(object_id(BLOB, noise(7)))[1]) == noise(7)


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_memory_is_taken_without_numpy_too(monkeypatch, size):
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    taken = memory.Writable(size)
    taken.view[:] = bytes(size)
    assert bytes(taken.finish()) == bytes(size)
    frozen = memory.Bytes(size)
    frozen.view[:] = noise(8, size)
    assert frozen.finish() == noise(8, size)


def test_memory_that_is_dropped_while_it_is_lent_says_nothing(monkeypatch):
    """As with the traceback of a fault, which the collector finds; Python 3.13 printed an error."""
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    taken = memory.Bytes(5_000_000)
    held = [taken, taken.view[:10]]
    held.append(held)
    del taken, held
    gc.collect()
    assert not said


def test_memory_of_a_result_is_not_shared_with_a_forked_child(monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    view = memory.Writable(5_000_000).finish()
    view[:3] = b"old"
    pid = os.fork()
    if not pid:
        view[:3] = b"new"
        os._exit(0)
    os.waitpid(pid, 0)
    assert bytes(view[:3]) == b"old"


def test_a_size_beyond_what_was_promised_is_refused_before_memory_is_taken(store, monkeypatch):
    store.put_bytes(noise(9))
    monkeypatch.setattr(memory, "_taken", None)
    with pytest.raises(CorruptObject, match="at most"):
        store.objects.get(object_id(BLOB, noise(9)), largest=SIZE - 1)


def test_a_blob_for_which_there_is_no_memory_cannot_be_read(store, monkeypatch):
    def none(size):
        raise MemoryError

    store.put_bytes(noise(9))
    monkeypatch.setattr(memory, "_taken", none)
    with pytest.raises(ObjectUnreadable, match="no memory"):
        store.objects.get(object_id(BLOB, noise(9)))


def test_workers_that_were_forked_and_daemons_store_and_read_large_values(store_path):
    said = run(
        """
        import multiprocessing, random
        from scalable_cas import cacheable
        @cacheable
        def f(n):
            return random.Random(n).randbytes(3_000_000)
        if __name__ == "__main__":
            f(0), f(0)  # threads were at work before the fork
            with multiprocessing.get_context("fork").Pool(3) as pool:
                found = pool.map(f, [0, 1, 2, 3, 1, 2])
            print([one == f.__wrapped__(n) for n, one in zip([0, 1, 2, 3, 1, 2], found)], f(3) == found[3])
        """,
        store=store_path,
    )
    assert said == f"{[True] * 6} True\n"
    assert_whole(store_path)


def test_work_on_parts_raises_what_a_part_raised_and_does_each_once():
    done = []
    parallel.each(done.append, range(1000), 4)
    assert sorted(done) == list(range(1000))

    def fails(item):
        if item == 50:
            raise ValueError("the fiftieth")

    with pytest.raises(ValueError, match="fiftieth"):
        parallel.each(fails, range(1000), 4)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_what_follows_from_steps_is_done_in_their_order_when_all_of_a_step_is_done(threads):
    done, after = [], []

    def step(number):
        def job(part):
            time.sleep(random.Random(number * 7 + part).random() / 1000)  # so that later steps are done first
            done.append((number, part))

        return number, [partial(job, part) for part in range(number % 4)]

    def then(number):
        assert {(number, part) for part in range(number % 4)} <= {*done} or number >= 60
        after.append(number)

    parallel.in_order(map(step, range(60)), then, threads)
    assert after == [*range(60)]
    parallel.in_order(((number, ()) for number in range(60, 70)), then, threads)  # nothing to do before
    assert after == [*range(70)]
    assert len(done) == len({*done}) == sum(number % 4 for number in range(60))
    before = threading.active_count()
    parallel.in_order(iter(()), then, threads)
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("place", ["job", "steps", "then"])
def test_steps_stop_where_one_fails(threads, place):
    begun, after = [], []

    def fails(here, number):
        if place == here and number == 50:
            raise ValueError("the fiftieth")

    def steps():
        for number in range(1000):
            fails("steps", number)
            begun.append(number)
            yield number, [partial(fails, "job", number)] * 2

    def then(number):
        fails("then", number)
        after.append(number)

    before = threading.active_count()
    with pytest.raises(ValueError, match="fiftieth"):
        parallel.in_order(steps(), then, threads)
    assert threading.active_count() == before
    assert after == [*range(len(after))]
    assert len(after) <= 50


def test_steps_without_a_thread_to_be_had(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    after = []
    parallel.in_order([(number, [bool]) for number in range(9)], after.append, 4)
    assert after == [*range(9)]


# --- numbers -----------------------------------------------------------------------------------------------


@pytest.fixture
def numpy():
    return pytest.importorskip("numpy")


def put_numbers(store, array):
    """Store an array's memory as a codec hands it over."""
    oid = object_id(BLOB, memoryview(array).cast("B"))
    objects = [(BLOB, oid, memoryview(array).cast("B"), array.itemsize)]
    return oid, store.objects.put_all(objects, sync=False, least=2)


def test_blobs_that_are_stored_together_are_cut_as_by_themselves(store, numpy, tmp_path):
    rng = numpy.random.default_rng(5)
    arrays = [rng.random(400_000), numpy.zeros(300_000), numpy.arange(2_300_000), rng.random(1_200_000)]
    arrays += [
        numpy.append(arrays[0], 1.5),
        arrays[0].copy()[::-1].copy(),
    ]  # what is there by then, for the most part
    views = [memoryview(array).cast("B") for array in arrays]
    assert max(map(len, views)) > cutting.ALONE
    objects = [(BLOB, object_id(BLOB, view), view, 8) for view in views]
    together = store.objects.put_all(objects, sync=False, least=2)
    with Store.init(tmp_path / "alone") as other:
        alone = {}
        for one in objects:
            alone |= other.objects.put_all([one], sync=False, least=2)
    assert together.keys() == alone.keys()
    for name, place in together.items():
        assert (place.coding, place.size, place.stored) == (
            alone[name].coding,
            alone[name].size,
            alone[name].stored,
        )
    store.index.write(
        lambda changes: changes.put_sorted("objects", {n: p.row(0) for n, p in together.items()})
    )
    for _, oid, view, _ in objects:
        assert bytes(store.objects.get(oid, threads=2)[1]) == view


@pytest.mark.parametrize("part", ["header", "content", "tail"])
def test_a_damaged_chunk_is_not_relied_on_when_its_content_comes_again(store, numpy, part):
    array = numpy.random.default_rng(6).random(300_000)
    oid, placed = put_numbers(store, array)
    store.index.write(lambda changes: changes.put_sorted("objects", {n: p.row(0) for n, p in placed.items()}))
    name, place = next((name, place) for name, place in placed.items() if name != oid)
    (pack,) = pack_files(store.root)
    flip(pack, place.offset + {"header": 20, "content": 64, "tail": place.stored - 1}[part])
    _, again = put_numbers(store, numpy.append(array, 1.5))
    assert again[name].pack != place.pack
    known = [one for one in placed.keys() & again.keys() if again[one].pack == place.pack]
    assert len(known) > 50  # the others


def test_smooth_numbers_are_shuffled_in_chunks_and_the_store_says_so(store, numpy):
    array = numpy.sin(numpy.arange(500_000) / 1000)
    oid, placed = put_numbers(store, array)
    assert {store.objects.head(name).filter for name in placed if name != oid} == {8}
    assert store.format.uses("chunked")
    assert store.format.uses("shuffle")
    assert sum(place.stored for place in placed.values()) < 0.8 * array.nbytes
    assert bytes(store.objects.get(oid)[1]) == array.tobytes()
    assert store.verify().findings == []


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("item", [4, 8])
def test_numbers_that_come_as_bytes_are_found_out(store, monkeypatch, item, start):
    """As in a binary file, behind a header of any length; read with and without numpy."""
    source = random.Random(item)
    numbers = b"".join(source.randrange(100_000).to_bytes(item, "little") for _ in range(SIZE // item))
    content = bytes(start) + numbers
    oid = store.put_bytes(content)
    chunks = store.objects.stored(bytes.fromhex(oid))[1].chunks
    assert {store.objects.head(name).filter for name, _ in chunks} <= {4, 8}  # two of 4 are one of 8
    assert store.get_bytes(oid) == content
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    assert store.get_bytes(oid) == content
    assert store.verify().findings == []


NUMPY = """
    import sys
    from scalable_cas import Store
    from scalable_cas.ops import verify
    verify.MUCH = int(sys.argv[2])
    with Store.open(sys.argv[1]) as store:
        assert store.verify(quick=sys.argv[3] == "quick").findings == []
    print("numpy" in sys.modules)
"""


@pytest.mark.usefixtures("numpy")
@pytest.mark.parametrize(
    ("numbers", "much", "how", "loaded"),
    [
        (True, 0, "whole", True),
        (True, 256 << 20, "whole", False),
        (True, 0, "quick", False),
        (False, 0, "whole", False),
    ],
)
def test_verify_loads_numpy_only_where_there_is_much_to_unshuffle(store, numbers, much, how, loaded):
    store.put_bytes(
        b"".join((n * n).to_bytes(8, "little") for n in range(SIZE // 8)) if numbers else noise(1)
    )
    store.close()
    assert run(NUMPY, store.root, much, how) == f"{loaded}\n"


def test_verify_says_which_pack_there_is_no_memory_for(store, monkeypatch):
    store.put_bytes(noise(1))
    (pack,) = pack_files(store.root)

    def none(room, size):
        raise MemoryError

    monkeypatch.setattr(checking.Room, "__call__", none)
    (finding,) = [found for found in store.verify().findings if found.kind == "unreadable"]
    assert finding.subject == str(pack)
    assert "no memory" in finding.detail


@pytest.mark.parametrize("kind", ["text", "random", "bytes", "rounded"])
def test_other_content_is_not_taken_for_numbers(store, kind):
    source = random.Random(1)
    words = ["größe", "naïve", "field", "value"]
    make = {
        "text": lambda: " ".join(source.choice(words) for _ in range(SIZE // 5)).encode(),
        "random": lambda: source.randbytes(SIZE),
        "bytes": lambda: bytes(source.choice((0, 1, 200)) for _ in range(SIZE)),
        # what repeats as a whole packs best as it is
        "rounded": lambda: b"".join(
            struct.pack("<d", round(source.gauss(0, 1), 2)) for _ in range(SIZE // 8)
        ),
    }
    oid = store.put_bytes(make[kind]())
    chunks = store.objects.stored(bytes.fromhex(oid))[1].chunks
    assert {store.objects.head(name).filter for name, _ in chunks} == {0}


def test_a_very_large_raw_array_stays_in_one_piece_that_is_aligned(store, numpy):
    array = numpy.random.default_rng(1).random(cutting.ARRAY_BYTES // 8 + 1)
    oid, placed = put_numbers(store, array)
    assert list(placed) == [oid]
    assert store.objects.head(oid).coding == header.RAW
    assert store.objects.loose.stat(oid).st_size == 64 + array.nbytes
    assert bytes(store.objects.get(oid, threads=2)[1]) == array.tobytes()


def test_a_very_large_array_that_shrinks_is_cut_at_fixed_places(store, numpy):
    array = numpy.arange(cutting.ARRAY_BYTES // 8 + 1)
    oid, _ = put_numbers(store, array)
    lengths = [length for _, length in store.objects.stored(oid)[1].chunks]
    assert set(lengths[:-1]) == {chunking.ARRAY_CHUNK}
    assert bytes(store.objects.get(oid, threads=2)[1]) == array.tobytes()


# --- damage ------------------------------------------------------------------------------------------------


def damage(store_path, content, which):
    """Damage the store where `content` is; returns the name of what is at fault."""
    with Store.open(store_path) as store:
        oid = object_id(BLOB, content)
        chunk = listed(store, content).chunks[7][0]
        victim = chunk if "chunk" in which else oid
        path, offset, length = place_in_pack(store, victim)
    if which in ("chunk", "list"):
        flip(path, offset + length // 2)
    elif which in ("header of a chunk", "header of the list"):
        flip(path, offset + 20)
    elif which == "pack":
        os.unlink(path)
    elif which == "end of the pack":
        overwrite(path, Path(path).read_bytes()[: offset - 100])
    return victim.hex()


PARTS = ["chunk", "header of a chunk", "list", "header of the list", "pack", "end of the pack"]


@pytest.mark.parametrize("which", PARTS)
def test_damage_is_found_named_and_healed(store_path, which):
    big(1)
    edited(0)
    forget_open_stores()
    victim = damage(store_path, noise(1), which)
    with Store.open(store_path) as store:
        found = {item.subject: item for item in store.verify().findings}
        assert victim in found
        assert len(found[victim].affects) == 1
        assert "big" in found[victim].affects[0]
        if which == "chunk":
            assert list(found) == [victim]
    if which == "header of a chunk":  # the content is right: no reader notices, nor need it
        with Store.open(store_path) as store:
            assert repair(store, store.verify())
    with quiet():
        assert big(1) == noise(1)
        forget_open_stores()
    runs.clear()
    assert big(1) == noise(1)
    assert edited(0) == edited.__wrapped__(0)
    assert runs == [0], "healed by the first call"
    forget_open_stores()
    assert_whole(store_path)


def test_reading_names_the_damaged_chunk(store):
    content = noise(1)
    oid = bytes.fromhex(store.put_bytes(content))
    chunk = listed(store, content).chunks[3][0]
    path, offset, _ = place_in_pack(store, chunk)
    flip(path, offset + 1000)
    with pytest.raises(CorruptObject) as caught:
        store.get_bytes(oid.hex())
    assert caught.value.oid == chunk.hex()
    with pytest.raises(CorruptObject) as caught:
        store.read_stream(oid, io.BytesIO())
    assert caught.value.oid == chunk.hex()


def test_a_list_of_whole_chunks_that_are_another_content_is_found_and_healed(store_path):
    """Not damage of the disk: a faulty or hostile writer. Its checksum holds."""
    with Store.init(store_path) as store:
        store.put_bytes(noise(2))
        right = listed(store, noise(2))
        forged = chunking.ChunkList(1, SIZE, [*right.chunks[1:], right.chunks[0]]).pack()
        oid = object_id(BLOB, noise(1))
        head = header.Header(BLOB, header.CHUNKED, 0, SIZE, len(forged), oid)
        place = store.objects.loose.put_encoded(head, forged)
        store.index.write(lambda changes: changes.put_object(oid, place.row(0)))
        with pytest.raises(CorruptObject, match="another"):
            store.get_bytes(oid.hex())
        assert [item.subject for item in store.verify().findings] == [oid.hex()]
    with quiet():
        assert big(1) == noise(1)
        current().store.discard_damaged(oid)
        assert big(1, _cache_bypass=True) == noise(1)
    forget_open_stores()
    runs.clear()
    assert big(1) == noise(1)
    assert runs == []
    assert_whole(store_path)


def put_list(store, name, parts, places):
    """Store chunks and, under `name`, a list of them in the order of `places`, all in one pack."""
    with cutting.ChunkWriter(store.objects, sync=False) as writer:
        pieces = {object_id(BLOB, part): memoryview(part) for part in parts}
        writer.store(pieces, 1)
        chunks = [(object_id(BLOB, parts[place]), len(parts[place])) for place in places]
        writer.list_chunks(name, chunking.ChunkList(0, sum(length for _, length in chunks), chunks))
        writer.finish()
    rows = {oid: place.row(0) for oid, place in writer.placed.items()}
    store.index.write(lambda changes: changes.put_sorted("objects", rows))


@pytest.mark.parametrize("places", [[0, 1, 2], [2, 0, 1], [0, 1, 0], [0, 0, 1, 2, 2], [1]])
@pytest.mark.parametrize("right", [True, False])
def test_verify_hashes_the_whole_in_whatever_order_the_chunks_lie(store, places, right):
    parts = [noise(n, 5000 + n) for n in range(3)]
    name = object_id(BLOB, b"".join(parts[place] for place in places) if right else b"another content")
    put_list(store, name, parts, places)
    assert [item.subject for item in store.verify().findings] == ([] if right else [name.hex()])


def test_verify_finds_a_list_whose_lengths_are_of_other_chunks(store):
    """Their sum is right, and so is the digest of the chunks one after the other; no reader takes it."""
    parts = [noise(1, 5000), noise(2, 6000)]
    names = [object_id(BLOB, part) for part in parts]
    whole = object_id(BLOB, b"".join(parts))
    with cutting.ChunkWriter(store.objects, sync=False) as writer:
        writer.store({name: memoryview(part) for name, part in zip(names, parts, strict=True)}, 1)
        writer.list_chunks(whole, chunking.ChunkList(0, 11_000, [(names[0], 6000), (names[1], 5000)]))
        writer.finish()
    rows = {oid: place.row(0) for oid, place in writer.placed.items()}
    store.index.write(lambda changes: changes.put_sorted("objects", rows))
    assert [item.subject for item in store.verify().findings] == [whole.hex()]


def test_an_object_for_which_there_is_no_memory_is_unreadable_and_not_damaged(store, monkeypatch):
    oid = store.put_bytes(b"0" * 10_000)
    store.put_bytes(noise(1))

    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(header, "decode", refuse)
    assert {item.kind for item in store.verify().findings} == {"unreadable"}
    with pytest.raises(ObjectUnreadable, match="no memory"):
        store.get_bytes(oid)


def test_columns_that_are_cut_by_several_threads_leave_the_warnings_as_they_were(tmp_path):
    """Found by a reviewer: two threads in `catch_warnings` left a filter behind that silenced everything."""
    run(
        "import threading, warnings\n"
        "from scalable_cas.format import chunking\n"
        "before = list(warnings.filters)\n"
        "threads = [threading.Thread(target=chunking.cutter, args=(4096,)) for _ in range(8)]\n"
        "[thread.start() for thread in threads], [thread.join() for thread in threads]\n"
        "new = [item for item in warnings.filters if item not in before]\n"
        "assert all(item[1] is not None for item in new), new\n",
        cwd=tmp_path,
    )


def test_verify_unpacks_each_chunk_once(store, monkeypatch):
    store.put_bytes(noise(1))
    monkeypatch.setattr(
        "scalable_cas.storage.chunks.check", lambda *_: pytest.fail("the blob was read again")
    )
    assert store.verify().findings == []
    assert store.verify().bytes < 1.1 * SIZE


def test_a_chunk_that_is_a_list_is_refused_and_not_followed_for_ever(store):
    oid = blake3(b"round").digest()
    packed = chunking.ChunkList(0, 5, [(oid, 5)]).pack()
    head = header.Header(BLOB, header.CHUNKED, 0, 5, len(packed), oid)
    store.objects.loose.put_encoded(head, packed)
    with pytest.raises(CorruptObject, match="cannot be a list"):
        store.objects.get(oid)
    assert [item.subject for item in store.verify().findings] == [oid.hex()]


@pytest.mark.parametrize("rebuilt", [False, True])
def test_content_that_is_a_blob_in_chunks_and_a_chunk_of_another(store, rebuilt):
    """Chunks far behind are larger than what is stored in chunks by itself."""
    content, rest = noise(1, 1_500_000), noise(2, 5000)
    oid = bytes.fromhex(store.put_bytes(content))
    store.pin([oid])
    other = object_id(BLOB, content + rest)
    with cutting.ChunkWriter(store.objects, sync=False) as writer:
        pieces = {object_id(BLOB, part): memoryview(part) for part in (content, rest)}
        writer.store(pieces, 1)
        chunks = [(name, len(part)) for name, part in pieces.items()]
        writer.list_chunks(other, chunking.ChunkList(0, len(content + rest), chunks))
        writer.finish()
    rows = {name: place.row(0) for name, place in writer.placed.items()}
    store.index.write(lambda changes: changes.put_sorted("objects", rows))
    store.pin([other])
    if rebuilt:
        fill_index(store.index, store.journal, store.objects)
    for _ in range(2):
        assert store.get_bytes(other.hex()) == content + rest
        assert store.get_bytes(oid.hex()) == content
        assert store.verify().findings == []
        store.gc()


def test_an_index_that_lies_about_a_chunk_costs_time_and_no_truth(store):
    content = noise(3)
    store.put_bytes(content)
    names = [name for name, _ in listed(store, content).chunks]
    known = store.objects.known(names)

    def lie(changes):
        one, other = known[names[2]], known[names[9]]
        changes.put_object(
            names[2], rows.pack_object(BLOB, 0, one.size, one.stored, 0, other.pack, other.offset)
        )
        changes.drop_object(names[4])
        changes.put_object(names[6], rows.pack_object(BLOB, 0, known[names[6]].size, 1, 0, b"\1" * 32, 5))

    store.index.write(lie)
    assert store.get_bytes(name_of(content)) == content


def test_a_blob_that_is_all_in_one_place_needs_no_look_up_of_its_chunks(store, monkeypatch):
    content = noise(3)
    oid = bytes.fromhex(store.put_bytes(content))
    asked = []
    look_up = type(store.index).object_data
    monkeypatch.setattr(
        type(store.index), "object_data", lambda self, oids: asked.extend(oids) or look_up(self, oids)
    )
    assert bytes(store.objects.get(oid, threads=2)[1]) == content
    assert asked == []
    changed = b"something new" + content  # its first chunk is new, the others are where they were
    other = bytes.fromhex(store.put_bytes(changed))
    asked.clear()
    assert bytes(store.objects.get(other, threads=2)[1]) == changed
    assert len(asked) > 40


def test_a_blob_that_repeats_itself_is_not_taken_for_one_in_one_place(store):
    content = noise(3, 1_500_000)
    for whole in (content + content, bytes(300_000) + content + bytes(300_000) + content):
        assert store.get_bytes(store.put_bytes(whole)) == whole


def test_an_unreadable_list_stops_the_collector(store_path):
    big(1)
    forget_open_stores()
    damage(store_path, noise(1), "list")
    with Store.open(store_path) as store:
        with pytest.raises(CorruptObject):
            store.gc()
        repair(store, store.verify())
        store.gc()
        assert store.verify().findings == []


# --- gc, reindex, repack -----------------------------------------------------------------------------------


def test_chunks_live_as_long_as_somebody_needs_them(store_path):
    for version in range(3):
        edited(version)
    pair("a")
    forget_open_stores()
    with Store.open(store_path) as store:
        assert store.gc().objects == 0
    edited.cache_forget(1)
    pair.cache_forget("a")
    forget_open_stores()
    with Store.open(store_path) as store:
        plan = store.gc(dry_run=True)
        before = sum(file.stat().st_size for file in [*pack_files(store_path), *object_files(store_path)])
        done = store.gc()
        after = sum(file.stat().st_size for file in [*pack_files(store_path), *object_files(store_path)])
        assert done.objects == plan.objects > 80
        assert before - after == done.bytes
        assert abs(done.bytes - plan.bytes) < 1000
        assert store.verify().findings == []
    runs.clear()
    assert edited(0) == edited.__wrapped__(0)
    assert edited(2) == edited.__wrapped__(2)
    assert runs == [0, 2]
    forget_open_stores()
    edited.cache_clear()
    forget_open_stores()
    with Store.open(store_path) as store:
        store.gc()
        assert list(store.objects.names()) == []
        assert pack_files(store_path) == []


def test_a_pinned_blob_keeps_its_chunks(store):
    oid = store.put_bytes(noise(1))
    store.pin([bytes.fromhex(oid)])
    assert store.gc().objects == 0
    assert store.get_bytes(oid) == noise(1)
    store.pin([bytes.fromhex(oid)], pinned=False)
    assert store.gc().objects > 40


def test_a_deleted_index_comes_back_with_its_chunks(store_path):
    import shutil

    big(1), pair("a")
    forget_open_stores()
    with Store.open(store_path) as store:
        before = {oid: row[:24] for oid, row in store.index.scan("objects")}  # all but the epoch
    shutil.rmtree(store_path / "index")
    runs.clear()
    assert big(1) == noise(1)
    assert pair("a")[2] == "a"
    assert runs == []
    forget_open_stores()
    with Store.open(store_path) as store:
        assert {oid: row[:24] for oid, row in store.index.scan("objects")} == before
        assert store.gc().objects == 0
        assert store.verify().findings == []


def test_repack_moves_chunks_and_lists(store_path):
    for version in range(4):
        edited(version)
    forget_open_stores()
    with Store.open(store_path) as store:
        assert len(pack_files(store_path)) == 4
        execute_repack(store, plan_repack(store))
        assert len(pack_files(store_path)) == 1
        assert store.verify().findings == []
    runs.clear()
    for version in range(4):
        assert edited(version) == edited.__wrapped__(version)
    assert len(runs) == 4


@pytest.mark.parametrize("how", ["put_bytes", "put_stream"])
def test_a_collector_between_the_chunks_and_their_rows_is_noticed(store, monkeypatch, how):
    content = noise(1)
    write, collected = store.index.write, []

    def collect_first(change, *args):
        if not collected:
            collected.append(1)
            with Store.open(store.root) as other:
                other.gc()
            assert pack_files(store.root) == []
        return write(change, *args)

    monkeypatch.setattr(store.index, "write", collect_first)
    put = {"put_bytes": store.put_bytes, "put_stream": lambda data: store.put_stream(io.BytesIO(data))}[how]
    put(content)
    assert collected
    assert store.get_bytes(name_of(content)) == content
    assert store.verify().findings == []


def test_a_stream_that_cannot_be_read_again_is_refused_when_a_collector_came_between(store, monkeypatch):
    write, collected = store.index.write, []

    def collect_first(change, *args):
        if not collected:
            collected.append(1)
            with Store.open(store.root) as other:
                other.gc()
        return write(change, *args)

    monkeypatch.setattr(store.index, "write", collect_first)
    with pytest.raises(CollectedMeanwhile, match="again"):
        store.put_stream(Dribble(noise(1)))
    store.put_stream(Dribble(noise(1)))


def test_while_a_blob_is_on_its_way_a_collector_sees_nothing_of_it(store):
    content = noise(1, 20 << 20)

    class Collecting(Dribble):
        def readinto(self, room):
            if self._file.tell() > 10 << 20:
                with Store.open(store.root) as other:
                    other.gc()
                    assert pack_files(store.root) == []
            return self._file.readinto(memoryview(room)[: 4 << 20])

    store.put_stream(Collecting(content))
    assert store.get_bytes(name_of(content)) == content


def test_a_row_that_says_raw_does_not_cost_a_blob_its_chunks(store):
    """A flipped bit in the index: the collector must not take the chunks for garbage."""
    content = noise(1)
    oid = bytes.fromhex(store.put_bytes(content))
    store.pin([oid])
    row = store.objects.known((oid,))[oid]
    changed = rows.pack_object(BLOB, header.RAW, row.size, row.stored, row.epoch, row.pack, row.offset)
    store.index.write(lambda changes: changes.put_object(oid, changed))
    assert store.gc().objects == 0
    assert store.get_bytes(oid.hex()) == content


# --- faults ------------------------------------------------------------------------------------------------


def test_a_stream_that_breaks_off_leaves_nothing(store):
    class Broken(Dribble):
        def readinto(self, room):
            if self._file.tell() > 9 << 20:
                raise OSError(5, "the disk is gone")
            return super().readinto(room)

    with pytest.raises(OSError, match="gone"):
        store.put_stream(Broken(noise(1, 20 << 20)))
    assert list(store.objects.names()) == []
    assert leftovers(store.root) == []


def test_a_list_that_this_program_cannot_read_is_refused_by_name(store, monkeypatch):
    store.put_bytes(noise(1))
    old = dict.fromkeys(layout.KNOWN_FEATURES, frozenset())
    monkeypatch.setattr(layout, "KNOWN_FEATURES", old)
    with pytest.raises(StoreVersionError, match="chunked"):
        Store.open(store.root)


def test_a_store_of_small_things_stays_readable_for_older_programs(store):
    store.put_bytes(b"small")
    assert not store.format.uses("chunked")
    assert store.format.features == layout.StoreFormat(bytes(16)).features


def test_the_encoded_form_of_each_part_can_be_had(store):
    """What a transfer moves."""
    content = noise(1)
    oid = bytes.fromhex(store.put_bytes(content))
    data = store.objects.encoded(oid)
    head = header.unpack(data)
    assert (head.coding, head.raw_size, head.stored_size) == (header.CHUNKED, SIZE, len(data) - 64)
    found = b""
    for name, _ in chunking.unpack(data[64:], SIZE).chunks:
        _, piece = reading.checked(name, store.objects.encoded(name))
        found += piece
    assert found == content
    with pytest.raises(ObjectNotFound):
        store.objects.encoded(bytes(32))


def test_a_second_copy_serves_where_a_chunk_is_damaged(store):
    content = noise(1)
    oid = bytes.fromhex(store.put_bytes(content))
    path, offset, _ = place_in_pack(store, listed(store, content).chunks[3][0])
    flip(path, offset + 1000)
    store.objects.loose.put(BLOB, oid, content)
    assert store.get_bytes(oid.hex()) == content


def test_the_place_of_a_blob_is_told_with_its_chunks(store):
    content = noise(1)
    oid = object_id(BLOB, content)
    placed = store.objects.put_all([(BLOB, oid, content, 1)], sync=False, least=2)
    assert {name for name, _ in listed(store, content).chunks} == set(placed) - {oid}
    again = Objects(store.root).put_all([(BLOB, oid, content, 1)], sync=False, least=2)
    assert set(again) == set(placed)  # without an index: written once more, to the same names


# --- size --------------------------------------------------------------------------------------------------

SPARSE = """
import io, os, sys
from scalable_cas import Store
class Sparse(io.RawIOBase):
    \"\"\"Zeros, with a megabyte of something else now and then.\"\"\"
    def __init__(self, size, every):
        self.size, self.every, self.at = size, every, 0
        self.some = os.urandom(1 << 20)
    def readable(self):
        return True
    def readinto(self, room):
        count = min(len(room), self.size - self.at, (1 << 20) - self.at % (1 << 20))
        zero = (self.at >> 20) % self.every
        start = self.at % (1 << 20)
        room[:count] = bytes(count) if zero else self.some[start : start + count]
        self.at += count
        return count
size, every = int(sys.argv[1]), int(sys.argv[2])
with Store.init(os.environ["SCALABLE_CACHE_DIR"]) as store:
    oid = store.put_stream(Sparse(size, every))
    with open(sys.argv[3], "wb") as file:
        assert store.read_stream(oid, file) == size
    stored = store.stat(oid.hex()).stored
blocks = os.stat(sys.argv[3]).st_blocks * 512
assert os.stat(sys.argv[3]).st_size == size
# not ru_maxrss: that of the process that started us counts in
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024, stored, blocks)
"""


def sparse(tmp_path, size, every, seconds):
    """Store a sparse stream and write it out again: peak memory, what it takes in the store, and in the file."""
    said = run(SPARSE, size, every, tmp_path / "out", store=tmp_path / "store", seconds=seconds)
    return map(int, said.split())


def test_a_sparse_stream_takes_little_memory_and_little_space(tmp_path):
    peak, stored, blocks = sparse(tmp_path, 600 << 20, 100, 120)
    assert peak < 120 << 20
    assert stored < 10 << 20
    assert blocks < 16 << 20


@pytest.mark.deep
def test_a_sparse_stream_of_20_gb_takes_as_little(tmp_path):
    """Its last part has the chunks of a stream of 64 GB; more would only take longer (100 GB: docs/decisions/0010)."""
    peak, stored, blocks = sparse(tmp_path, 20 << 30, 2_000, 170)
    assert peak < 150 << 20
    assert stored < 50 << 20
    assert blocks < 100 << 20
