"""Plumbing, byte for byte: `hash-object cat-file rev-parse show-ref ls-objects count-objects`."""

from __future__ import annotations

import os
import random

import pytest
from blake3 import blake3

from scalable_cas import Store
from scalable_cas.cli import cat_file
from scalable_cas.cli.hash_object import _PIECE
from scalable_cas.codecs.base import encode
from tests.support.stores import flip, pack_files

from .filling import put, record


def name(content: bytes) -> str:
    return blake3(content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, _PIECE - 1, _PIECE, 2 * _PIECE + 1])
def test_hash_object_is_blake3_and_needs_no_store(cas, path, workdir, size):
    content = os.urandom(size)
    (workdir / "a file").write_bytes(content)
    assert cas("hash-object", "a file").raw == f"{name(content)}\n".encode()
    assert cas("hash-object", "--stdin", stdin=content).raw == f"{name(content)}\n".encode()
    assert not path.exists()


def test_hash_object_takes_stdin_first_and_then_paths_in_order(cas, workdir):
    (workdir / "one").write_bytes(b"1")
    (workdir / "-two").write_bytes(b"2")
    done = cas("hash-object", "--stdin", "one", "--", "-two", stdin=b"0")
    assert done.lines == [name(b"0"), name(b"1"), name(b"2")]


def test_hash_object_says_what_it_cannot_read(cas, workdir):
    (workdir / "one").write_bytes(b"1")
    done = cas("hash-object", "one", "absent", "one")
    assert (done.code, done.lines) == (1, [name(b"1")])
    assert cas("hash-object", ".").code == 1
    assert cas("hash-object").code == 2


@pytest.mark.parametrize("content", [b"", b"text\r\n\0\xff", b"abc" * 100_000, bytes(range(256)) * 9000])
def test_what_hash_object_writes_cat_file_prints(cas, content):
    cas("init")
    oid = cas("hash-object", "-w", "--stdin", stdin=content).out.strip()
    assert oid == name(content)
    assert cas("cat-file", "-p", oid).raw == content
    assert cas("cat-file", "-s", oid[:9]).raw == f"{len(content)}\n".encode()
    assert cas("cat-file", "-t", oid).raw == b"blob\n"
    assert cas("cat-file", "-e", oid)[:2] == (0, b"")


def test_hash_object_w_needs_a_store(cas, path):
    assert cas("hash-object", "-w", "--stdin", stdin=b"x").code == 1
    assert not path.exists()


def test_hash_object_w_of_stored_content_adds_nothing(cas, filled, objects):
    before = cas("ls-objects").out
    assert cas("hash-object", "-w", "--stdin", stdin=b"Dear Ada,\n").out.strip() == objects["text"]
    assert cas("ls-objects").out == before


def test_cat_file_of_a_plain_value(cas, filled, objects):
    assert cas("cat-file", "-t", objects["small"]).out == "value\n"
    assert cas("cat-file", "-p", objects["small"]).out == "codec plain\nhead 4\n\n{'a': 1}\n"


def test_cat_file_does_not_unpickle(cas, filled, objects):
    done = cas("cat-file", "-p", objects["pickled"])
    assert done.code == 0
    assert done.lines[0].startswith("codec ")
    assert "pickle" in done.lines[0]
    assert len(done.lines) == 2


def test_cat_file_names_the_buffers_of_a_value(cas, path):
    large = os.urandom(200_000)
    with Store.init(path) as store:
        put(store, "m.f", "x", [1, large])
        (entry,) = store.entries()
    done = cas("cat-file", "-p", entry.record.oid.hex())
    assert f"buffer blob {name(large)} 200000" in done.lines
    assert cas("cat-file", "-p", name(large)).raw == large


@pytest.mark.parametrize("flags", [(), ("-t", "-s"), ("-p", "-e")])
def test_cat_file_wants_one_question(cas, filled, objects, flags):
    assert cas("cat-file", *flags, objects["text"]).code == 2


@pytest.mark.parametrize("flag", ["-t", "-s", "-p"])
def test_cat_file_of_a_missing_object(cas, filled, flag):
    done = cas("cat-file", flag, "0" * 64)
    assert (done.code, done.raw) == (1, b"")
    assert done.err == f"error: no object {'0' * 64} in this store\n"


def test_cat_file_e_is_silent(cas, filled):
    assert cas("cat-file", "-e", "0" * 64) == (1, b"", "")


def test_cat_file_does_not_show_what_is_damaged(cas, path, filled, objects):
    oid = objects["text"]
    file = path / "objects" / oid[:2] / oid[2:]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    done = cas("cat-file", "-p", oid)
    assert (done.code, done.raw) == (1, b"")
    assert oid in done.err


def test_rev_parse(cas, filled, objects):
    wanted = [filled["small"], objects["large"]]
    assert cas("rev-parse", wanted[0][:6], wanted[1][:5].upper()).lines == wanted
    assert cas("rev-parse", wanted[0]).lines == wanted[:1]
    assert cas("rev-parse", "0" * 64).code == 1
    assert cas("rev-parse", "0" * 9).code == 1
    assert cas("rev-parse", "abc").code == 2
    assert cas("rev-parse").code == 2


def test_rev_parse_of_what_is_a_key_and_an_object(cas, path):
    with Store.init(path) as store:
        oid = store.put_bytes(b"some bytes")
        made = record("m.f", "x", key=bytes.fromhex(oid[:8]) + b"\0" * 28)
        store.save(made, encode(1))
    done = cas("rev-parse", oid[:8])
    assert done.code == 1
    assert "ambiguous" in done.err
    assert cas("rev-parse", oid[:20]).lines == [oid]


def test_show_ref(cas, filled, objects):
    rows = [
        f"{objects['pickled']} {filled['pickled']} model.Grid.run",
        *sorted(
            (f"{objects[call]} {filled[call]} model.run" for call in ("small", "text")),
            key=lambda row: row[65:],
        ),
        f"{objects['large']} {filled['large']} report.draw",
    ]
    assert cas("show-ref").lines == rows
    assert cas("show-ref", "draw").lines == rows[-1:]
    assert cas("show-ref", "draw", "--json").json == [
        {"object": objects["large"], "key": filled["large"], "function": "report.draw"}
    ]


def test_show_ref_of_an_empty_store_is_1(cas):
    cas("init")
    assert cas("show-ref")[:2] == (1, b"")


def test_ls_objects(cas, filled, objects):
    rows = cas("ls-objects").lines
    assert rows == sorted(rows)
    assert {row.split()[0] for row in rows} == set(objects.values())
    assert f"{objects['text']} blob 10" in rows
    assert f"{objects['small']} value 15" in rows
    assert {"oid": objects["text"], "kind": "blob", "size": 10} in cas("ls-objects", "--json").json


def test_ls_objects_lists_what_the_index_does_not_know(cas, path, filled):
    with Store.open(path) as store:
        oid = blake3(b"new").digest()
        store.objects.put(1, oid, b"new")
    assert f"{oid.hex()} blob 3" in cas("ls-objects").lines


def test_ls_objects_names_a_header_that_cannot_be_read(cas, path, filled):
    bad = path / "objects" / "ab" / ("cd" * 31)
    bad.parent.mkdir(exist_ok=True)
    bad.write_bytes(b"not an object")
    done = cas("ls-objects")
    assert done.code == 1
    assert len(done.lines) == 4
    assert "ab" + "cd" * 31 in done.err


def test_repack_says_it_where_a_pack_is_longer_than_the_files_were(cas, filled):
    # 128 bytes of each pack, and 52 for each object
    assert (
        cas("repack").err == "folded 4 loose objects and 0 packs into 1 pack, 336 B longer than they were\n"
    )


def test_repack(cas, path, filled):
    before = cas("count-objects", "--json").json
    listed = cas("ls-objects").out
    done = cas("repack", "--dry-run")
    assert done.lines[0] == f"loose objects to fold: {before['count']}"
    assert cas("count-objects", "--json").json == before
    done = cas("repack", "--json").json
    assert (done["dry_run"], done["plan"]["new_packs"], done["done"]["loose"]) == (False, 1, before["count"])
    after = cas("count-objects", "--json").json
    assert (after["count"], after["in-pack"], after["packs"]) == (0, before["count"], 1)
    assert after["size-pack"] > 0
    assert cas("ls-objects").out == listed
    assert cas("verify").code == 0
    assert "0 loose objects and 0 packs" in cas("repack").err
    assert cas("count-objects").out == "0 objects, 0 kilobytes\n"


def test_count_objects(cas, path, filled):
    done = cas("count-objects")
    kib = cas("count-objects", "--json").json["size"]
    assert done.out == f"4 objects, {kib} kilobytes\n"
    (path / "objects" / "stray").write_bytes(b"x")
    (path / "tmp" / "1.2.3").write_bytes(b"x")
    rows = dict(line.split(": ") for line in cas("count-objects", "-v").lines)
    assert list(rows) == [
        "count",
        "size",
        "in-pack",
        "packs",
        "size-pack",
        "garbage",
        "size-garbage",
        "quarantined",
    ]
    assert (rows["count"], rows["in-pack"], rows["garbage"], rows["quarantined"]) == ("4", "0", "2", "0")


def test_a_large_file_is_stored_in_chunks_and_printed_whole(cas, workdir, monkeypatch):
    content = random.Random(1).randbytes(3_000_000)
    (workdir / "large").write_bytes(content)
    oid = blake3(content).hexdigest()
    cas("init")
    assert cas("hash-object", "-w", "large").lines == [oid]
    assert cas("hash-object", "-w", "--stdin", stdin=content).lines == [oid]
    assert cas("cat-file", "-p", oid).raw == content
    assert cas("cat-file", "-s", oid).lines == ["3000000"]
    assert cas("cat-file", "-t", oid).lines == ["blob"]
    monkeypatch.setattr(cat_file, "_CHECKED", 1000)  # as for one that is too large to be held
    assert cas("cat-file", "-p", oid).raw == content
    rows = {row["oid"]: row for row in cas("ls-objects", "--json").json}
    assert rows[oid] == {"oid": oid, "kind": "blob", "size": 3_000_000}
    assert len(rows) > 50
    assert cas("verify").code == 0


def test_damage_of_a_large_file_is_told_while_it_is_printed(cas, workdir, monkeypatch):
    content = random.Random(1).randbytes(3_000_000)
    (workdir / "large").write_bytes(content)
    cas("init")
    (oid,) = cas("hash-object", "-w", "large").lines
    (pack,) = pack_files(workdir / ".scalable")
    flip(pack, 1_000_000)
    for most in (1 << 26, 1000):
        monkeypatch.setattr(cat_file, "_CHECKED", most)
        done = cas("cat-file", "-p", oid)
        assert done.code == 1
        assert "damaged" in done.err
