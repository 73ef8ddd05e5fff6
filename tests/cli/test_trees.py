"""Folders from the command line, byte for byte: `ls-tree write-tree checkout`, and what others say of trees."""

from __future__ import annotations

import os
import subprocess

import pytest
from blake3 import blake3

from scalable_cas import DirType, Store, cacheable
from tests.support.stores import forget_open_stores

EMPTY = "56bd3e9161f8c9105fb1750c5072ab9d42ec31c9f82069b3a83d1a2098e5883a"  # fixtures/trees-v1.json


@pytest.fixture
def folder(path, workdir):
    """A folder, and an empty store beside it."""
    Store.init(path).close()
    root = workdir / "results"
    (root / "sub/none").mkdir(parents=True)
    (root / "sub/b").write_bytes(b"b")
    (root / "run").write_bytes(b"run")
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("sub/b")
    os.mkdir(os.fsencode(root) + b"/\xff")
    (root / "two\nlines").write_bytes(b"")
    return root


@pytest.fixture
def oid(cas, folder):
    done = cas("write-tree", "results")
    assert (done.code, done.err, len(done.lines)) == (0, "", 1)
    return done.lines[0]


def name(content: bytes) -> str:
    return blake3(content).hexdigest()


def test_ls_tree_prints_mode_type_oid_tab_name(cas, oid):
    lines = cas("ls-tree", oid).lines
    sub = lines[2].split()[2]
    assert lines == [
        f"120000 blob {name(b'sub/b')}\tlink",
        f"100755 blob {name(b'run')}\trun",
        f"040000 tree {sub}\tsub",
        f"100644 blob {name(b'')}\ttwo\\nlines",
        f"040000 tree {EMPTY}\t\\udcff",
    ]
    assert cas("ls-tree", sub[:8]).lines == [f"100644 blob {name(b'b')}\tb", f"040000 tree {EMPTY}\tnone"]
    assert cas("cat-file", "-p", oid).lines == lines
    assert cas("cat-file", "-t", oid).out == "tree\n"
    assert cas("ls-objects").lines.count(f"{EMPTY} tree 8") == 1


def test_ls_tree_r_lists_files_by_their_paths_and_folders_that_are_empty(cas, oid):
    assert [line.split("\t")[1] for line in cas("ls-tree", "-r", oid).lines] == [
        *("link", "run", "sub/b", "sub/none", "two\\nlines", "\\udcff")
    ]


def test_ls_tree_json(cas, oid):
    rows = cas("ls-tree", "-r", "--json", oid).json
    assert rows[2] == {"mode": "100644", "type": "blob", "oid": name(b"b"), "size": 1, "name": "sub/b"}
    assert os.fsencode(rows[-1]["name"]) == b"\xff"


@pytest.mark.parametrize("command", ["ls-tree", "checkout"])
def test_what_is_no_tree_or_not_there_is_said(cas, oid, command):
    more = ("out",) if command == "checkout" else ()
    assert cas(command, "0" * 64, *more).code == 1
    assert cas(command, "xyz", *more).code == 2
    done = cas("ls-tree", name(b"b"))
    assert (done.code, done.out) == (1, "")
    assert "is a blob, not a tree" in done.err


def test_checkout_puts_back_what_write_tree_took(cas, oid, workdir):
    assert cas("checkout", oid[:6], "out").raw == b""
    done = subprocess.run(["diff", "-r", "--no-dereference", "results", "out"], check=False)
    assert done.returncode == 0
    assert os.access("out/run", os.X_OK)
    assert cas("write-tree", "out").lines == [oid]
    assert cas("-v", "checkout", oid, "out").err.endswith("0 files written\n")
    assert cas("checkout", name(b"run"), "one/file").code == 0
    assert (workdir / "one/file").read_bytes() == b"run"


def test_checkout_ends_with_one_line_where_it_cannot_write(cas, oid, workdir):
    (workdir / "file").write_text("mine")
    done = cas("checkout", oid, "file")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("error: file: is no folder")
    assert cas("checkout", oid, ".scalable/x").code == 1
    assert (workdir / "file").read_text() == "mine"


def test_write_tree_refuses_what_has_no_content_and_links_that_leave(cas, folder):
    os.mkfifo(folder / "fifo")
    done = cas("write-tree", "results")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "results/fifo" in done.err
    os.unlink(folder / "fifo")
    for target in ("/etc/passwd", "../..", "sub/../../x"):
        (folder / "bad").symlink_to(target)
        done = cas("write-tree", "results")
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert "results/bad" in done.err and target in done.err
        os.unlink(folder / "bad")


def test_write_tree_wants_a_folder_and_a_store(cas, workdir):
    (workdir / "folder").mkdir()
    (workdir / "file").write_text("x")
    assert cas("write-tree", "folder").code == 1
    for name, said in (("file", "Not a directory"), ("absent", "No such file or directory")):
        done = cas("write-tree", name)
        assert (done.code, done.out, done.err) == (1, "", f"error: {name}: {said}\n")


def test_a_tree_that_is_not_pinned_goes_with_gc_and_a_pinned_one_stays_whole(cas, oid):
    assert cas("pin", oid).code == 0
    assert cas("gc").code == 0
    assert cas("verify").code == 0
    assert len(cas("ls-tree", "-r", oid).lines) == 6
    assert cas("unpin", oid).code == 0
    assert cas("gc").code == 0
    assert cas("ls-objects").lines == []


def test_others_know_what_a_tree_holds(cas, path, folder, monkeypatch):
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(path))

    @cacheable(return_type=DirType)
    def draw(x):
        (folder / "large").write_bytes(os.urandom(300_000))
        return "results"

    draw(1)
    forget_open_stores()
    (entry,) = cas("ls", "--json").json
    assert entry["codec"] == "dir" and entry["size"] > 300_000
    shown = cas("show", entry["key"], "--json").json["objects"]
    assert sorted(item["kind"] for item in shown) == ["blob"] * 5 + ["tree"] * 3 + ["value"]
    assert "tree" in cas("show", entry["key"]).out
    (usage,) = cas("du", "--json").json
    assert usage["stored"] > 300_000
    assert cas("cat-file", "-p", entry["object"]).lines[0] == "codec dir"
    assert cas("reindex").code == cas("gc").code == cas("repack").code == cas("verify").code == 0
    assert len(cas("show", entry["key"], "--json").json["objects"]) == 9
    os.unlink(next(file for file in path.glob("objects/??/*") if file.stat().st_size > 300_000))
    done = cas("verify")
    assert done.code == 1 and "missing" in done.out and "draw" in done.out
    assert cas("verify", "--repair").code == 1
    assert cas("verify").code == 0
    assert cas("ls", "--json").json == []
