"""Bundles: what comes back, what is noticed, and who vouches for what."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas import Store, clock
from scalable_cas.codecs.base import encode
from scalable_cas.errors import MalformedObject
from scalable_cas.format import bundle, segment
from scalable_cas.format.record import Record, origin_of, unpack
from scalable_cas.ops.bundle_check import check_bundle
from scalable_cas.ops.bundling import plan_bundle, write_bundle
from scalable_cas.ops.unbundling import BadBundle, BundleFile
from scalable_cas.store.entry import MISS
from scalable_cas.store.telemetry import Counters
from scalable_cas.store.trust import trust_list
from tests.cli.conftest import cas as cas  # noqa: PLC0414 - a fixture
from tests.conftest import ROOT
from tests.support.stores import assert_whole, leftovers, quiet

from .conftest import FUNCTION, KEY, read, save, sent, take
from .make_bundle import GOLDEN, VALUES
from .segments import ALICE
from .test_reading import attack

LARGE = np.random.default_rng(1).integers(0, 255, 9 << 20, dtype=np.uint8).tobytes()


@pytest.fixture
def filled(alice):
    """A store with plain data, a large blob, a pickle with buffers, of two functions."""
    with alice.open() as store:
        for number in range(50):
            save(store, {"n": number}, (number + 1).to_bytes(32, "big"))
        save(store, LARGE, b"L" * 32)
        save(store, {"array": np.arange(50_000.0), "f": len}, b"P" * 32)
        other = Record(b"o" * 32, b"otherfun", "other.function", created=10**18, seconds=0.1)
        store.save(other, encode("other"))
    return alice


@pytest.fixture
def file(filled, cas, tmp_path):
    filled.be()
    path = tmp_path / "results.bundle"
    done = cas("--store", filled.path, "bundle", "create", path)
    assert done.code == 0, done.err
    return path


def test_everything_comes_back(filled, bob, file, cas):
    bob.be()
    done = cas("--store", bob.path, "bundle", "unbundle", file)
    assert done.code == 0, done.err
    assert "took 53 entries" in done.err
    assert f"trust add {filled.origin}" in done.err
    with bob.open() as store:
        assert read(store, (7).to_bytes(32, "big")) == {"n": 6}
        assert read(store, b"L" * 32) == LARGE
        with quiet():
            assert read(store, b"P" * 32) is MISS
            store.say()
        trust_list().add(filled.key.public, "alice")
        found = read(store, b"P" * 32)
        assert np.array_equal(found["array"], np.arange(50_000.0))
        assert found["f"] is len
    assert_whole(bob.path)
    assert leftovers(bob.path) == []


def test_again_changes_nothing(filled, bob, file, cas):
    bob.be()
    first = cas("--store", bob.path, "bundle", "unbundle", file, "--json").json
    before = sorted(str(path) for path in Path(bob.path, "objects").rglob("*"))
    second = cas("--store", bob.path, "bundle", "unbundle", file, "--json").json
    assert (first["entries"], first["known"]) == (53, 0)
    assert (second["entries"], second["known"], second["objects"], second["bytes"]) == (0, 53, 0, 0)
    assert sorted(str(path) for path in Path(bob.path, "objects").rglob("*")) == before


def test_a_dry_run_makes_no_store_and_tells_what_would_be_taken(filled, bob, file, cas):
    bob.be()
    done = cas("--store", bob.path, "bundle", "unbundle", file, "--dry-run", "--json")
    assert done.code == 0
    assert (done.json["dry_run"], done.json["entries"], done.json["known"]) == (True, 53, 0)
    assert not bob.path.exists()
    cas("--store", bob.path, "bundle", "unbundle", file)
    assert cas("--store", bob.path, "bundle", "unbundle", file, "-n", "--json").json["entries"] == 0


def test_what_is_here_stays(filled, bob, file, cas):
    with bob.open() as store:
        save(store, "mine", (7).to_bytes(32, "big"), created=1)
    done = cas("--store", bob.path, "bundle", "unbundle", file, "--json")
    assert (done.json["entries"], done.json["known"]) == (52, 1)
    with bob.open() as store:
        assert read(store, (7).to_bytes(32, "big")) == "mine"


def test_only_chosen_functions(filled, bob, cas, tmp_path):
    filled.be()
    path = tmp_path / "some"
    create = ("--store", filled.path, "bundle", "create", path)
    assert cas(*create, "--function", "other.function").code == 0
    assert cas("bundle", "verify", path, "--json").json["entries"] == 1
    assert cas(*create, "--function", "nobody").code == 1
    assert cas(*create, "--force", "--function", "other.function", "--function", "module.function").code == 0
    assert cas("bundle", "verify", path, "--json").json["entries"] == 53


def test_a_file_that_is_there_is_kept_unless_forced(filled, cas, tmp_path):
    filled.be()
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    done = cas("--store", filled.path, "bundle", "create", path)
    assert (done.code, path.read_text()) == (1, "mine")
    assert "--force" in done.err
    assert cas("--store", filled.path, "bundle", "create", path, "--force").code == 0
    os.mkfifo(tmp_path / "pipe")
    done = cas("--store", filled.path, "bundle", "create", tmp_path / "pipe", "--force")
    assert done.code == 1 and "pipe is no plain file" in done.err
    assert stat.S_ISFIFO(os.lstat(tmp_path / "pipe").st_mode)
    assert cas("bundle", "verify", path).code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith(".notes")] == []


def test_a_bundle_goes_through_a_pipe(filled, tmp_path):
    filled.be()
    command = [sys.executable, "-m", "scalable_cas", "--store", str(filled.path), "bundle", "create", "-"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "piped").write_bytes(done.stdout)
    assert check_bundle(str(tmp_path / "piped")).findings == []


def test_nothing_to_bundle_is_1_and_leaves_no_file(bob, cas, tmp_path):
    bob.open().close()
    done = cas("--store", bob.path, "bundle", "create", tmp_path / "none")
    assert done.code == 1
    assert not (tmp_path / "none").exists()


def test_create_needs_a_store_and_makes_none(bob, cas, tmp_path):
    assert cas("--store", bob.path, "bundle", "create", tmp_path / "none").code == 1
    assert not bob.path.exists()


def test_create_makes_no_folders(filled, cas, tmp_path):
    done = cas("--store", filled.path, "bundle", "create", tmp_path / "nowhere" / "file")
    assert done.code == 1
    assert "there is no folder" in done.err
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_object_makes_no_bundle(filled, cas, tmp_path):
    with filled.open() as store:
        record = save(store, LARGE[:300_000], b"M" * 32)  # a file of its own
        path = store.objects.loose.path(record.oid)
    os.chmod(path, 0o600)
    with open(path, "r+b") as loose:
        loose.seek(-5, os.SEEK_END)
        loose.write(b"?")
    done = cas("--store", filled.path, "bundle", "create", tmp_path / "bad")
    assert done.code == 1
    assert "verify --repair" in done.err
    assert sorted(item.name for item in tmp_path.iterdir() if "bad" in item.name) == []


def test_an_entry_whose_object_is_missing_is_left_out_and_told(filled, cas, tmp_path):
    with filled.open() as store:
        record = save(store, LARGE[:300_000], b"M" * 32)
        os.unlink(store.objects.loose.path(record.oid))
    done = cas("--store", filled.path, "bundle", "create", tmp_path / "rest", "--json")
    assert done.code == 0
    assert done.json["left_out"] == [(b"M" * 32).hex()]
    assert cas("bundle", "verify", tmp_path / "rest").code == 0


def test_verify_needs_no_store_and_says_who_signed(filled, file, bob, cas, workdir):
    filled.be()
    done = cas("bundle", "verify", file)
    assert done.code == 0
    assert f"53 entries signed by {filled.origin} (trusted)" in done.err
    bob.be()
    assert "(not trusted here)" in cas("bundle", "verify", file).err
    assert os.listdir(workdir) == []


# --- who vouches --------------------------------------------------------------------------------------------


def test_what_others_made_goes_on_without_a_signature(alice, bob, cas, tmp_path):
    """Bob trusts nobody. Were Alice's pickle under Bob's signature, whoever trusts Bob would run it."""
    mark = tmp_path / "ran"
    with alice.open() as store:
        cargo = attack(store, mark)
        save(store, {"plain": 1}, b"2" * 32)
        cargo = sent(store)
    with bob.open() as store:
        take(store, cargo, alice.origin)
        save(store, "mine", b"3" * 32)
    path = tmp_path / "mixed"
    assert cas("--store", bob.path, "bundle", "create", path, "--json").json["unsigned"] == 2
    found = check_bundle(str(path))
    assert found.findings == []
    assert found.origins == {bob.origin: 1, "unsigned": 2}
    alice.be()
    trust_list().add(bob.key.public, "bob")
    third = alice.home / "third"
    assert cas("--store", third, "bundle", "unbundle", path).code == 0
    with quiet(), Store(third) as store:
        assert read(store, b"3" * 32) == "mine"
        assert read(store, b"2" * 32) == {"plain": 1}
        assert read(store) is MISS
        assert not mark.exists()


# --- damage -------------------------------------------------------------------------------------------------


@pytest.fixture
def small(alice, tmp_path):
    """A small bundle: 40 entries in a pack, one object of its own, two segments."""
    import scalable_cas.ops.bundling as module

    with alice.open() as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BIG", 70_000)
        patch.setattr(module, "RECORDS", 30)
        for number in range(40):
            save(store, {"n": number}, (number + 1).to_bytes(32, "big"))
        save(store, LARGE[:80_000], b"L" * 32)
        out = io.BytesIO()
        write_bundle(store, plan_bundle(store), out.write, alice.key)
    path = tmp_path / "small.bundle"
    path.write_bytes(out.getvalue())
    with BundleFile(str(path)) as file:
        assert [part.type for part in file.parts] == [2, 1, 3, 3] or [part.type for part in file.parts] == [
            1,
            2,
            3,
            3,
        ]
    assert check_bundle(str(path)).findings == []
    return path


def test_a_flipped_bit_anywhere_is_noticed(small):
    good = small.read_bytes()
    places = [*range(0, len(good), 997), *range(64), *range(len(good) - 400, len(good))]
    for at in places:
        bad = bytearray(good)
        bad[at] ^= 1 << (at % 8)
        small.write_bytes(bad)
        assert check_bundle(str(small)).findings, at


def test_every_cut_and_anything_that_follows_is_noticed(small, bob, cas):
    good = small.read_bytes()
    for length in [*range(0, len(good), 1999), len(good) - 1, len(good) - 64, 63, 64, 65]:
        small.write_bytes(good[:length])
        assert check_bundle(str(small)).findings
    for more in (b"\0", b"\n", good):
        small.write_bytes(good + more)
        done = cas("bundle", "verify", small)
        assert (done.code, done.out.count("\n")) == (1, 1)
        bob.be()
        assert cas("--store", bob.path, "bundle", "unbundle", small).code == 1


def test_what_is_damaged_is_not_taken(small, bob, cas, alice):
    """The digest of the whole made right again, as an enemy would."""
    good = small.read_bytes()
    for at in range(64, len(good) - 400, 4001):
        bad = bytearray(good)
        bad[at] ^= 0x10
        small.write_bytes(sealed(bad))
        bob.be()
        shutil.rmtree(bob.path, ignore_errors=True)
        done = cas("--store", bob.path, "bundle", "unbundle", small)
        assert done.code == 1, at
        assert done.err.count("\n") == 1
        assert cas("bundle", "verify", small).code == 1
        if bob.path.exists():
            with bob.open() as store:
                assert store.index.count("refs") == 0


def sealed(data) -> bytes:
    """A bundle whose end fits its bytes again."""
    count, start, _ = bundle.unpack_end(bytes(data[-64:]), len(data))
    running = bundle.hasher()
    running.update(bytes(data[:-64]))
    return bytes(data[:-64]) + bundle.pack_end(count, start, running.digest())


def assembled(parts) -> bytes:
    """A bundle of (type, name, bytes): sound around parts that need not be."""
    out, table = io.BytesIO(bundle.HEAD), []
    out.seek(0, os.SEEK_END)
    for type_, name, data in parts:
        table.append(bundle.Part(type_, out.tell(), len(data), name))
        out.write(data)
    start = out.tell()
    out.write(bundle.pack_table(table))
    body = out.getvalue()
    running = bundle.hasher()
    running.update(body)
    return body + bundle.pack_end(len(table), start, running.digest())


@pytest.fixture
def parts(small):
    with BundleFile(str(small)) as file:
        data = small.read_bytes()
        return [(part.type, part.name, data[part.offset : part.offset + part.length]) for part in file.parts]


def segments_of(parts, signer, **changes):
    """The segments anew, with something changed."""
    made = []
    for type_, name, data in parts:
        if type_ == bundle.SEGMENT:
            found = segment.unpack(data, remote_id=None, verify=None)
            found = found._replace(signer=signer.public if signer else b"", **changes)
            data = segment.pack(found, signer.sign if signer else None)  # noqa: PLW2901
            name = blake3(data).digest()  # noqa: PLW2901
        made.append((type_, name, data))
    return made


def test_a_segment_of_a_remote_is_refused_in_a_bundle(small, parts, bob, alice, cas):
    small.write_bytes(assembled(segments_of(parts, alice.key, remote_id=b"a remote's id 16")))
    bob.be()
    done = cas("--store", bob.path, "bundle", "unbundle", small)
    assert done.code == 1
    assert "another place" in done.err
    assert check_bundle(str(small)).findings


def test_the_name_of_a_signer_who_did_not_sign_is_refused(small, parts, bob, alice, cas):
    bob.be()
    forged = []
    for type_, name, data in segments_of(parts, bob.key):
        if type_ == bundle.SEGMENT:
            body = data[:96] + alice.key.public + data[128:-96]
            digest = blake3(body, derive_key_context=segment.CONTEXT).digest()
            data = body + digest + data[-64:]  # noqa: PLW2901
            name = blake3(data).digest()  # noqa: PLW2901
        forged.append((type_, name, data))
    small.write_bytes(assembled(forged))
    done = cas("--store", bob.path, "bundle", "unbundle", small)
    assert done.code == 1
    assert "signature" in done.err
    assert check_bundle(str(small)).findings


def test_missing_objects_are_noticed_and_their_entries_left_out(small, parts, bob, cas):
    small.write_bytes(assembled([part for part in parts if part[0] != bundle.OBJECT]))
    found = check_bundle(str(small)).findings
    assert any("missing" in line for line in found)
    bob.be()
    done = cas("--store", bob.path, "bundle", "unbundle", small, "--json")
    assert (done.json["entries"], done.json["incomplete"]) == (40, 1)
    assert_whole(bob.path)


def test_parts_out_of_order_unknown_or_too_large_are_refused(small, parts):
    for bad in (
        list(reversed(parts)),
        [(9, *parts[0][1:]), *parts[1:]],
    ):
        small.write_bytes(assembled(bad))
        with pytest.raises(BadBundle):
            BundleFile(str(small))


def test_a_part_that_claims_to_be_huge_is_refused_before_it_is_read(small):
    small.write_bytes(b"")
    with open(small, "r+b") as file:
        file.write(bundle.HEAD)
        size = bundle.LARGEST_PACK + 1
        file.seek(64 + size)  # a hole
        table = bundle.pack_table([bundle.Part(bundle.PACK, 64, size, bytes(32))])
        file.write(table + bundle.pack_end(1, 64 + size, bytes(32)))
    with pytest.raises(BadBundle, match="too large"):
        BundleFile(str(small))


@given(at=st.integers(0, 63), value=st.integers(0, 255), more=st.binary(max_size=200))
def test_no_end_or_table_breaks_the_reader(at, value, more):
    end = bytearray(bundle.pack_end(1, 64, bytes(32)))
    end[at] = value
    for data in (bytes(end), bundle._sealed(bytes(end[:60]))):
        try:
            bundle.unpack_end(data, 64 + 56 + 64)
        except MalformedObject:
            pass
    with pytest.raises(MalformedObject):
        bundle.check_head(more)
    rows = more[: len(more) // bundle.ROW_BYTES * bundle.ROW_BYTES]
    try:
        assert bundle.unpack_table(rows, 64) == []
    except MalformedObject:
        pass


def test_a_record_of_nonsense_is_refused(small, parts, bob, cas):
    for records in ([b"\xc1"], [b"\x91" * 3000], [unpack(_some()).pack()[:-1]], [b"\x81\x90\x00"]):
        small.write_bytes(assembled(segments_of(parts, None, records=tuple(records))))
        bob.be()
        done = cas("--store", bob.path, "bundle", "unbundle", small)
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert check_bundle(str(small)).findings


def _some():
    return Record(KEY, FUNCTION, "f", codec="plain", kind=4, oid=KEY, created=1).pack()


@pytest.mark.parametrize("what", ["missing", "folder", "empty", "text", "device", "pipe"])
def test_what_is_no_bundle_is_one_clear_line(tmp_path, cas, what, bob):
    path = tmp_path / "x"
    if what == "folder":
        path.mkdir()
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "text":
        path.write_text("hello" * 1000)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/null")
    bob.be()
    for command in (("verify", path), ("unbundle", path)):
        done = cas("--store", bob.path, "bundle", *command)
        assert done.code == 1
        assert (done.err + done.out).count("\n") == 1
        # what is wrong with a bundle is what `verify` looks for; a file that cannot be read is an error
        assert bool(done.out) == (command[0] == "verify" and what in ("empty", "text"))
        assert done.out or done.err.startswith("error: ")
    assert not bob.path.exists()


def test_a_kill_while_a_bundle_is_taken_leaves_a_store_that_takes_it_again(file, bob, cas):
    bob.be()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "scalable_cas",
        "--store",
        str(bob.path),
        "bundle",
        "unbundle",
        str(file),
    ]
    for delay in (0.15, 0.3, 0.45, 0.6):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        clock.sleep(delay)
        process.kill()
        process.wait()
        if (bob.path / "format").exists():
            assert_whole(bob.path)
    assert cas("--store", bob.path, "bundle", "unbundle", file).code == 0
    assert_whole(bob.path)
    assert len(json.loads(cas("--store", bob.path, "ls", "--json").out)) == 53


# --- the golden bundle ----------------------------------------------------------------------------------------


def test_the_golden_bundle_is_whole_and_comes_in(bob, cas):
    found = check_bundle(str(GOLDEN))
    assert (found.findings, found.entries, found.objects) == ([], 5, 6)
    assert found.origins == {origin_of(ALICE.public): 5}
    with BundleFile(str(GOLDEN)) as file:
        assert [part.type for part in file.parts] == [1, 2, 3] or [p.type for p in file.parts] == [2, 1, 3]
    bob.be()
    assert cas("--store", bob.path, "bundle", "unbundle", GOLDEN).code == 0
    with bob.open() as store:
        for number, value in enumerate(VALUES.values()):
            assert store.read(b"golden00" + bytes([number + 1]) * 32, Counters(), None) == value
        trust_list().add(ALICE.public, "")
        assert store.contains(b"golden00" + b"\x77" * 32)
    assert_whole(bob.path)
