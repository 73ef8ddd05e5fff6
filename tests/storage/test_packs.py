"""Packs: their bytes, and that a reader cannot tell a packed object from a loose one, whole, damaged or on the move."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas import Store, cacheable, clock
from scalable_cas.caching.session import current
from scalable_cas.errors import CorruptObject, ObjectNotFound
from scalable_cas.format import header, pack, rows
from scalable_cas.format.kinds import BLOB, VALUE, object_id
from scalable_cas.ops.gc import Policy, execute, plan_gc
from scalable_cas.ops.verify import repair, verify
from scalable_cas.storage.objects import Objects
from scalable_cas.storage.reading import checked
from scalable_cas.store import folding, moving, writer
from scalable_cas.store.folding import execute_repack, plan_repack
from scalable_cas.store.telemetry import Counters
from tests.conftest import ROOT
from tests.support.stores import (
    findings,
    flip,
    forget_open_stores,
    leftovers,
    object_files,
    overwrite,
    pack_files,
    quiet,
    recorded,
)

runs: list[object] = []


@cacheable
def small(n):
    """Decoded from the copy in its row."""
    runs.append(n)
    return {"n": n}


@cacheable
def middle(n):
    """Too large for a copy in the row, small enough for a pack."""
    runs.append(n)
    return of_middle(n)


def of_middle(n):
    return {"n": n, "text": f"{n} " * 1000}


def encoded(kind, content):
    oid = object_id(kind, content)
    head, payload = header.encode(kind, oid, content)
    return oid, head.pack() + bytes(payload)


def burst(function, numbers):
    """Store results in one commit, however long it takes."""
    store = current().store
    store.flush()
    store.writer._committed = clock.monotonic()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "INTERVAL", 1000.0)
        patched.setattr(writer, "THREAD_INTERVAL", 1000.0)
        found = {n: function(n) for n in numbers}
    store.flush()
    return found


@pytest.fixture
def store_path(tmp_path, monkeypatch):
    path = tmp_path / "store"
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(path))
    runs.clear()
    yield path
    with quiet():
        forget_open_stores()


@pytest.fixture
def filled(store_path):
    """A store with a pack of 40 small results, one of 40 larger ones, and two results as files."""
    small(0), middle(0)
    burst(small, range(1, 41))
    burst(middle, range(1, 41))
    forget_open_stores()
    runs.clear()
    assert len(pack_files(store_path)) == 2
    return store_path


def all_right():
    """Every result is right."""
    for n in range(41):
        assert small(n) == {"n": n}
        assert middle(n) == of_middle(n)


def all_hits():
    runs.clear()
    all_right()
    assert runs == []


# --- bytes ------------------------------------------------------------------------------------------------

VECTORS = json.loads((ROOT / "fixtures/packs-v1.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"][:8] for vector in VECTORS])
def test_vectors(vector):
    data = bytes.fromhex(vector["pack"])
    assert blake3(data).hexdigest() == vector["name"]
    table = pack.read_table(data)
    assert table.reason == ""
    for item in vector["objects"]:
        member = table.find(bytes.fromhex(item["oid"]))
        head, content = checked(member.oid, data[member.offset : member.offset + member.length])
        assert (head.kind, bytes(content).hex()) == (item["kind"], item["content"])
    assert len(table) == len(vector["objects"])
    objects = [encoded(item["kind"], bytes.fromhex(item["content"])) for item in vector["objects"]]
    if all(header.unpack(piece).coding == header.RAW for _, piece in objects):  # else zstd's bytes may differ
        assert pack.assemble(objects)[0] == data


contents = st.lists(st.tuples(st.sampled_from([BLOB, VALUE]), st.binary(max_size=300)), max_size=20)


@given(contents)
def test_every_object_is_found_and_nothing_else(found):
    objects = dict(encoded(kind, content) for kind, content in found)
    data, places = pack.assemble(list(objects.items()))
    table = pack.read_table(data)
    assert table.reason == ""
    assert [member.oid for member in table] == sorted(objects)
    for oid, piece in objects.items():
        member = table.find(oid)
        assert (member.offset, member.length) == places[oid]
        assert data[member.offset : member.offset + member.length] == piece
    assert table.find(b"\0" * 32) is None
    assert table.find(b"\xff" * 32) is None
    scanned = pack.scan(data, "asked for")
    assert scanned.raw == table.raw
    low, high = b"\x40" + b"\0" * 31, b"\xc0" + b"\0" * 31
    assert list(table.names(low, high)) == [oid for oid in sorted(objects) if low <= oid <= high]


def few():
    return dict(encoded(BLOB, f"object {n} ".encode() * (n + 1)) for n in range(4))


def whole(data, objects):
    """The objects that are read from damaged bytes, each of them right; the rest is refused."""
    found = set()
    for member in pack.read_table(data):
        try:
            checked(member.oid, data[member.offset : member.offset + member.length])
        except CorruptObject:
            continue
        assert member.oid in objects
        found.add(member.oid)
    return found


def test_a_flipped_byte_anywhere_costs_one_object_at_most():
    objects = few()
    data, _ = pack.assemble(list(objects.items()))
    for at in range(len(data)):
        for bit in (0, 5):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            assert len(whole(bytes(damaged), objects)) >= len(objects) - 1, at


def test_cut_short_anywhere_what_lies_before_is_found():
    objects = few()
    data, places = pack.assemble(list(objects.items()))
    for length in range(len(data)):
        expected = {oid for oid, (offset, size) in places.items() if offset + size <= length}
        assert whole(data[:length], objects) == expected, length


@given(st.binary(max_size=400))
def test_any_bytes_are_no_table_or_a_sound_one(data):
    for member in pack.read_table(data):
        assert member.offset + member.length <= len(data)


# --- writing ----------------------------------------------------------------------------------------------


def test_a_burst_is_one_file_and_a_handful_stays_loose(filled):
    assert len(object_files(filled)) == 2  # the two that came first, and alone
    all_hits()
    assert findings(filled) == []
    for file in pack_files(filled):
        assert blake3(file.read_bytes()).hexdigest() == file.stem
        assert file.stat().st_mode & 0o777 == 0o444
    assert leftovers(filled) == []


def test_a_loop_of_quick_results_is_packed(store_path):
    for n in range(400):
        small(n)
    forget_open_stores()
    assert len(object_files(store_path)) < 100
    assert len(pack_files(store_path)) >= 1
    runs.clear()
    assert [small(n)["n"] for n in range(400)] == list(range(400))
    assert runs == []


def test_what_is_there_is_not_stored_again(filled):
    @cacheable
    def other(n):
        return {"n": n}

    before = pack_files(filled)
    other(0)
    burst(other, range(1, 41))
    forget_open_stores()
    assert pack_files(filled) == before
    assert findings(filled) == []


@pytest.mark.parametrize("how", ["gone", "empty", "flipped"])
def test_a_row_that_lies_does_not_keep_an_object_from_being_stored(filled, how):
    @cacheable
    def other(n):
        return {"n": n}

    small_pack = min(pack_files(filled), key=lambda file: file.stat().st_size)
    if how == "gone":
        small_pack.unlink()
    elif how == "empty":
        overwrite(small_pack, b"")
    else:
        for at in range(64, small_pack.stat().st_size, 50):
            flip(small_pack, at)
    with quiet():
        for n in range(41):
            other(n)
        forget_open_stores()
        for n in range(41):
            assert other.is_cached(n)
            assert other(n) == {"n": n}
        all_right()
        forget_open_stores()
    all_hits()
    if how == "flipped":
        assert findings(filled) == []


def test_the_path_of_a_pack_is_found_again_where_its_inode_is_anothers(filled):
    """As after a collection by another process: the inode of the old pack is used for the new one."""
    store = Store.open(filled)
    with store:
        packs = store.objects.packs
        file = min(pack_files(filled), key=lambda file: file.stat().st_size)
        inode = file.stat().st_ino
        assert packs.path_of(inode) == str(file)
        packs._paths[inode] = str(filled / "objects/pack/gone")
        rowkey = next(key for key, row in store.index.scan("refs") if rows.REF.unpack_from(row)[9] == inode)
        assert store.read(rowkey, Counters(), None) == store.read(rowkey, Counters(), None)
        assert packs.path_of(inode) == str(file)


def test_large_objects_stay_loose(store_path):
    @cacheable
    def mixed(n):
        return {"n": n, "text": os.urandom(60_000).hex() if n % 10 == 0 else ""}

    mixed(0)
    expected = burst(mixed, range(1, 60))
    forget_open_stores()
    assert len(object_files(store_path)) == 6
    assert {n: mixed(n) for n in expected} == expected


def test_a_writer_puts_its_pack_again_when_a_collector_took_it(store_path, monkeypatch):
    """Between the pack and the rows of a batch: a collection that finds a pack that no row names."""
    small(0)
    store = current().store
    store.flush()
    put_all, times = Objects.put_all, []

    def and_collect(self, objects, **options):
        placed = put_all(self, objects, **options)
        if not times:
            times.append(1)
            with Store.open(store_path) as other:
                other.gc()
            assert pack_files(store_path) == []
        return placed

    monkeypatch.setattr(Objects, "put_all", and_collect)
    burst(small, range(1, 41))
    forget_open_stores()
    assert times
    assert findings(store_path) == []
    runs.clear()
    assert [small(n) for n in range(41)] == [{"n": n} for n in range(41)]
    assert runs == []


# --- damage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.deep)])
def test_every_byte_of_a_pack(store_path, step):
    """A flipped bit in any part: `verify` names one thing, values are right, one result at most runs again, and all is well then."""
    small(0)
    burst(small, range(1, 34))
    forget_open_stores()
    (file,) = pack_files(store_path)
    data = file.read_bytes()
    template = store_path.with_name("template")
    shutil.copytree(store_path, template)
    parts = [*range(64), *range(64, 64 + 170), *range(len(data) - 34 * 52 - 64, len(data) - 33 * 52)]
    parts += [*range(64 + 170, len(data), 97), *range(len(data) - 64, len(data))]
    for at in parts[::step]:
        shutil.rmtree(store_path)
        shutil.copytree(template, store_path)
        flip(file, at, at % 8)
        if at % 10 == 0:
            wrong = findings(store_path)
            assert len(wrong) == 1, (at, wrong)
        runs.clear()
        with quiet():
            assert [small(n)["n"] for n in range(34)] == list(range(34)), at
            forget_open_stores()
        assert len(runs) <= 1, at
        if runs:
            assert findings(store_path) == [], at


def test_damage_names_the_object_and_what_it_affects(filled):
    file = max(pack_files(filled), key=lambda file: file.stat().st_size)
    flip(file, 64 + 64 + 9)
    with Store.open(filled) as store:
        (finding,) = store.verify().findings
    member = next(m for m in pack.read_table(file.read_bytes()) if m.offset == 64)
    assert (finding.kind, finding.subject) == ("corrupt", member.oid.hex())
    assert len(finding.affects) == 1
    assert "middle" in finding.affects[0]


@pytest.mark.parametrize("how", ["trailing bytes", "bad table", "bad end", "bad head", "bad name", "cut end"])
def test_damage_of_the_pack_itself_is_found_and_repaired_and_costs_nothing(filled, how):
    file = pack_files(filled)[0]
    data = file.read_bytes()
    match how:
        case "trailing bytes":
            overwrite(file, data + b"x")
        case "bad table":
            flip(file, len(data) - 64 - 3)
        case "bad end":
            flip(file, len(data) - 20)
        case "bad head":
            flip(file, 3)
        case "cut end":
            overwrite(file, data[:-64])
        case "bad name":
            file.rename(file.with_name("0" * 64 + ".pack"))
    runs.clear()
    all_right()
    assert runs == []
    forget_open_stores()
    with Store.open(filled) as store:
        wrong = verify(store)
        assert {finding.kind for finding in wrong.findings} == {"pack"}
        assert not any(finding.affects for finding in wrong.findings)
        if how != "bad name":  # contents are not read
            assert [f.kind for f in verify(store, quick=True).findings] == ["pack"]
        assert repair(store, wrong)
        assert blake3(file.read_bytes()).hexdigest() == file.stem, "whole again, under its name"
        assert verify(store).findings == []
    all_hits()


def test_repair_saves_what_is_whole(filled):
    file = max(pack_files(filled), key=lambda file: file.stat().st_size)
    table = sorted(pack.read_table(file.read_bytes()), key=lambda member: member.offset)
    for member in table[3:5]:
        flip(file, member.offset + 70)
    with Store.open(filled) as store:
        found = verify(store)
        assert sorted(finding.subject for finding in found.findings) == sorted(
            member.oid.hex() for member in table[3:5]
        )
        repair(store, found)
        assert verify(store).findings == []
        assert store.index.count("refs") == 80
    assert (filled / "quarantine" / file.name).exists()
    runs.clear()
    all_right()
    assert len(runs) == 2


def test_repair_restores_small_values_from_their_rows(filled):
    file = min(pack_files(filled), key=lambda file: file.stat().st_size)
    flip(file, 64 + 66)
    with Store.open(filled) as store:
        done = repair(store, verify(store))
        assert any("restored" in line for line in done)
        assert verify(store).findings == []
    all_hits()


def test_a_pack_that_is_gone_is_missed_once(filled):
    file = min(pack_files(filled), key=lambda file: file.stat().st_size)
    all_hits()  # rows are known to this process
    file.unlink()
    assert len(findings(filled)) == 40
    with recorded() as said:
        all_right()
        assert sorted(runs) == list(range(1, 41))
        forget_open_stores()
    assert len(said) == 1
    assert findings(filled) == []
    all_hits()


@pytest.mark.parametrize("strange", ["a folder", "a FIFO", "a link", "an empty file"])
def test_something_else_in_the_place_of_a_pack(filled, strange):
    file = pack_files(filled)[0]
    file.unlink()
    match strange:
        case "a folder":
            file.mkdir()
        case "a FIFO":
            os.mkfifo(file)
        case "a link":
            file.symlink_to("/dev/zero")
        case "an empty file":
            file.touch()
    with quiet():
        all_right()
        forget_open_stores()
        all_hits()


def test_a_file_in_the_place_of_the_folder_of_packs(filled):
    shutil.rmtree(filled / "objects/pack")
    (filled / "objects/pack").write_bytes(b"no folder")
    with quiet():
        all_right()
        burst(small, range(100, 140))
        forget_open_stores()
    assert pack_files(filled)
    all_hits()
    assert findings(filled) == []


def test_a_copied_store_is_read_as_it_is(filled, tmp_path, monkeypatch):
    """Every file has another inode and another time."""
    shutil.copytree(filled, tmp_path / "copy")
    for file in pack_files(tmp_path / "copy"):
        os.utime(file, (1, 1))
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(tmp_path / "copy"))
    forget_open_stores()
    all_hits()
    forget_open_stores()
    with Store.open(tmp_path / "copy") as store:
        flags = [rows.REF.unpack_from(row)[1] for _, row in store.index.scan("refs")]
        inodes = {rows.REF.unpack_from(row)[9] for _, row in store.index.scan("refs")}
    assert flags.count(rows.HAS_INLINE | rows.PACKED) == 40
    assert inodes & {file.stat().st_ino for file in pack_files(tmp_path / "copy")}, "rows know the new files"
    all_hits()


def test_the_index_is_rebuilt_from_packs(filled):
    shutil.rmtree(filled / "index")
    all_hits()
    assert findings(filled) == []


def test_the_index_is_rebuilt_from_packs_with_damaged_tables(filled):
    for file in pack_files(filled):
        overwrite(file, file.read_bytes()[:-100])
    shutil.rmtree(filled / "index")
    all_hits()


# --- gc ---------------------------------------------------------------------------------------------------


def test_what_was_cleared_is_freed_at_once(filled):
    taken = sum(file.stat().st_size for file in pack_files(filled))
    for n in range(1, 21):
        small.cache_forget(n)
    middle.cache_clear()
    with Store.open(filled) as store:
        plan = plan_gc(store, Policy())
        assert (plan.objects, len(pack_files(filled))) == (61, 2)
        loose = sum(file.stat().st_size for file in object_files(filled))
        done = execute(store, plan)
        assert (done.objects, done.bytes) == (plan.objects, plan.bytes)
        left = sum(file.stat().st_size for file in pack_files(filled))
        assert done.bytes == taken + loose - left - sum(file.stat().st_size for file in object_files(filled))
        assert plan_gc(store, Policy()).objects == 0
        assert verify(store).findings == []
    assert len(pack_files(filled)) == 1
    runs.clear()
    for n in range(21, 41):
        small(n)
    assert runs == []


def test_a_pinned_object_in_a_pack_stays(filled):
    file = max(pack_files(filled), key=lambda file: file.stat().st_size)
    oid = next(iter(pack.read_table(file.read_bytes()))).oid
    with Store.open(filled) as store:
        store.pin([oid])
        middle.cache_clear()
        store.gc()
        assert store.get_object(oid)
        (left,) = [f for f in pack_files(filled) if f.stat().st_size < 3000 and f != file] or [None]
    assert findings(filled) == []
    assert left is None or len(pack.read_table(left.read_bytes())) in (1, 40)


def test_an_object_named_again_before_the_sweep_stays(filled, monkeypatch):
    """The collector has condemned a packed object; a writer finds it there and names it."""
    from scalable_cas.ops import gc

    small.cache_clear()
    sweep, times = gc._sweep, []

    def after_a_writer(store, *args):
        if not times:
            times.append(1)
            small(7)
            current().store.flush()
        return sweep(store, *args)

    monkeypatch.setattr(gc, "_sweep", after_a_writer)
    with Store.open(filled) as store:
        store.gc()
    forget_open_stores()
    assert findings(filled) == []
    runs.clear()
    assert small(7) == {"n": 7}
    assert runs == []


# --- repack -----------------------------------------------------------------------------------------------


def fold(path):
    with Store.open(path) as store:
        plan = plan_repack(store)
        return plan, execute_repack(store, plan)


def test_repack_makes_one_pack_of_all(filled):
    before = set(Store.open(filled).objects.names())
    forget_open_stores()
    with Store.open(filled) as store:
        plan = plan_repack(store)
        assert (plan.packs, plan.loose, len(plan.groups)) == (2, 2, 1)
        assert len(pack_files(filled)) == 2
        done = execute_repack(store, plan)
        assert (done.packs, done.loose) == (2, 2)
        assert set(store.objects.names()) == before
        assert plan_repack(store).groups == ()
    assert (len(pack_files(filled)), object_files(filled)) == (1, [])
    assert leftovers(filled) == []
    assert findings(filled) == []
    all_hits()
    forget_open_stores()
    all_hits()  # by rows that were written anew
    shutil.rmtree(filled / "index")
    forget_open_stores()
    all_hits()


def test_rows_are_changed_in_pieces(filled, monkeypatch):
    monkeypatch.setattr(moving, "ROWS", 7)
    monkeypatch.setattr(moving, "BATCH", 1)
    fold(filled)
    assert (len(pack_files(filled)), object_files(filled)) == (1, [])
    with Store.open(filled) as store:
        (name,) = store.objects.packs.names()
        assert all(row.pack == name for row in store.objects.known(list(store.objects.names())).values())
    assert findings(filled) == []
    all_hits()


def test_the_target_is_kept(filled, monkeypatch):
    monkeypatch.setattr(folding, "TARGET", 6000)
    before = sum(file.stat().st_size for file in pack_files(filled))
    fold(filled)
    assert sum(file.stat().st_size for file in pack_files(filled)) <= before + 1000
    assert findings(filled) == []
    all_hits()


def test_repack_drops_nothing_and_gc_does(filled):
    small.cache_clear()
    fold(filled)
    with Store.open(filled) as store:
        assert len(list(store.objects.names())) == 82
        store.gc()
        assert len(list(store.objects.names())) == 41
    assert findings(filled) == []


def test_repack_leaves_a_damaged_record_to_quarantine_and_saves_the_rest(filled):
    file = max(pack_files(filled), key=lambda file: file.stat().st_size)
    flip(file, 64 + 70)
    fold(filled)
    assert (filled / "quarantine" / file.name).exists()
    with quiet():
        runs.clear()
        all_right()
        assert len(runs) == 1
        forget_open_stores()
    assert findings(filled) == []


def test_a_reader_that_knew_the_old_place_finds_the_new_one(filled):
    with Store.open(filled) as reader:
        known = {oid: reader.objects.known([oid])[oid] for oid in reader.objects.names()}
        fold(filled)
        now = reader.objects.known

        def behind(oids):
            """The index as it was, when it is asked first."""
            found = {oid: known.pop(oid) for oid in oids if oid in known}
            return found or now(oids)

        reader.objects.known = behind
        for oid in list(known):
            assert reader.objects.get(oid)[0].oid == oid
        reader.objects.known = lambda oids: {}
        for oid in list(reader.objects.names()):  # an index that knows nothing: the tables do
            assert reader.objects.get(oid)[0].oid == oid
        with pytest.raises(ObjectNotFound):
            reader.objects.get(b"\1" * 32)


def test_what_a_kill_leaves_twice_is_no_fault_and_goes(filled, monkeypatch):
    """The new pack is there, and the rows still name the old ones."""

    class Killed(BaseException):
        pass

    def killed(*args):
        raise Killed

    with Store.open(filled) as store:
        with monkeypatch.context() as patched:
            patched.setattr(moving, "_switch", killed)
            with pytest.raises(Killed):
                execute_repack(store, plan_repack(store))
        assert len(pack_files(filled)) == 3
        assert verify(store).findings == []
        assert store.gc().objects == 0
        assert len(pack_files(filled)) == 2
        assert verify(store).findings == []
    all_hits()


def test_a_loose_copy_of_a_packed_object_goes(filled):
    with Store.open(filled) as store:
        for oid in list(store.objects.names())[:30]:
            head, content = store.objects.get(oid)
            store.objects.loose.put(head.kind, oid, content)
        count = len(object_files(filled))
        assert count > 25
        assert verify(store).findings == []
        assert store.gc().objects == 0
        assert len(object_files(filled)) == 2
        assert verify(store).findings == []
    all_hits()


def test_gc_folds_when_there_are_many(filled, monkeypatch):
    monkeypatch.setattr(folding, "MOST_PACKS", 1)
    with Store.open(filled) as store:
        store.gc()
    assert (len(pack_files(filled)), len(object_files(filled))) == (1, 0)
    all_hits()


def test_a_process_that_wrote_packs_folds_at_its_end(store_path, monkeypatch):
    monkeypatch.setattr(folding, "MOST_AT_CLOSE", 3)
    monkeypatch.setattr(writer, "PACK_LEAST", 1)
    for n in range(5):
        small(n)
        current().store.flush()
    assert len(pack_files(store_path)) == 5
    forget_open_stores()
    assert len(pack_files(store_path)) == 1
    runs.clear()
    assert [small(n)["n"] for n in range(5)] == list(range(5))
    assert runs == []
    assert findings(store_path) == []


def test_a_full_disk_stops_repack_and_loses_nothing(filled, monkeypatch):
    from scalable_cas.errors import StoreReadOnly
    from scalable_cas.storage import fs

    def full(*args, **options):
        raise StoreReadOnly("there", "no space")

    with Store.open(filled) as store, monkeypatch.context() as patched:
        patched.setattr(fs, "write_new", full)
        with pytest.raises(StoreReadOnly):
            execute_repack(store, plan_repack(store))
    assert findings(filled) == []
    all_hits()


def test_a_read_only_store_with_packs(filled):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    for folder in [filled, *filled.rglob("*")]:
        if folder.is_dir():
            folder.chmod(0o500)
    try:
        all_hits()
    finally:
        for folder in [filled, *filled.rglob("*")]:
            if folder.is_dir():
                folder.chmod(0o700)


def test_removing_the_store_under_a_running_process(filled):
    all_hits()
    shutil.rmtree(filled)
    all_right()
    assert len(runs) == 82
    current().store.flush()
    assert Path(filled, "format").exists()


def test_a_pack_that_was_cut_down_to_nothing(filled):
    """Found by the packed machine: verify went by a table that it had read before, and gc left the file."""
    file = max(pack_files(filled), key=lambda file: file.stat().st_size)  # of results without a copy in a row
    with Store.open(filled) as store:
        assert verify(store).findings == []
        overwrite(file, b"")
        kinds = [finding.kind for finding in verify(store).findings]
        assert (kinds.count("pack"), kinds.count("missing")) == (1, 40)
        repair(store, verify(store))
        assert verify(store).findings == []
    all_right()
    file = max(pack_files(filled), key=lambda file: file.stat().st_size)
    with Store.open(filled) as store:
        store.forget([rowkey for rowkey, _ in store.index.scan("refs")])
        overwrite(file, b"")
        store.gc()
        assert pack_files(filled) == []


def test_an_object_of_which_a_cut_left_the_header_is_missing(filled):
    """Found by the packed machine: its header could be read, so verify took it for whole."""
    file = max(pack_files(filled), key=lambda file: file.stat().st_size)
    first = min(pack.read_table(file.read_bytes()), key=lambda member: member.offset)
    overwrite(file, file.read_bytes()[: first.offset + header.HEADER_BYTES + 3])
    with Store.open(filled) as store:
        missing = {finding.subject for finding in verify(store).findings if finding.kind == "missing"}
        assert first.oid.hex() in missing
        assert len(missing) == 40
        repair(store, verify(store))
        assert verify(store).findings == []
    all_right()
