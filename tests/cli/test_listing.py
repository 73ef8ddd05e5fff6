"""`init`, `status`, `ls`, `log`, `show`, `du`: looking, which changes nothing."""

from __future__ import annotations

import os
import re

import pytest

from scalable_cas import Store

from .filling import put


def tree(path):
    return {
        str(file.relative_to(path)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.parent.name != "index"  # lock tables and the stamp of the last close
    }


def test_init_makes_a_store_once(cas, path):
    first = cas("init")
    assert (first.code, first.out) == (0, f"Made an empty store in {path}\n")
    before = (path / "format").read_bytes()
    second = cas("init")
    assert (second.code, second.out) == (0, f"There is already a store in {path}\n")
    assert (path / "format").read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("ls",),
        ("log",),
        ("du",),
        ("show-ref",),
        ("ls-objects",),
        ("count-objects", "-v"),
        ("verify",),
        ("gc", "--dry-run"),
        ("doctor",),
    ],
)
def test_looking_changes_nothing(cas, path, filled, arguments):
    before = tree(path)
    assert cas(*arguments).code == 0
    assert tree(path) == before


@pytest.fixture
def read_only(filled, path, monkeypatch):
    """The store as a user sees it who may not write there; tests may run as root, who may write anywhere."""
    access = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda place, mode: not (mode == os.W_OK and str(place) == str(path)) and access(place, mode),
    )


@pytest.mark.parametrize(
    "arguments", [("status",), ("ls",), ("verify",), ("du",), ("doctor",), ("gc", "--dry-run")]
)
def test_a_read_only_store_can_be_looked_into(cas, read_only, arguments):
    done = cas(*arguments)
    assert done.code == 0, done.err


def test_a_read_only_store_is_not_changed(cas, read_only):
    done = cas("clear", "draw")
    assert done.code == 1
    assert "read-only" in done.err


def test_status(cas, path, filled):
    found = cas("status", "--json").json
    assert found["path"] == str(path)
    assert (found["entries"], found["functions"], found["objects"], found["pins"]) == (4, 3, 4, 0)
    assert found["bytes"] > 0
    assert found["sync"] == "relaxed"
    text = cas("status").out
    assert f"store:       {path}\n" in text
    assert "entries:     4\n" in text


def test_ls_json_has_a_row_for_each_entry(cas, filled):
    rows = {row["key"]: row for row in cas("ls", "--json").json}
    assert set(rows) == set(filled.values())
    row = rows[filled["text"]]
    assert (row["function"], row["size"], row["seconds"]) == ("model.run", 10, 60.0)
    assert (row["codec"], row["origin"]) == ("str", "local")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["created"])
    assert "pickle" in rows[filled["pickled"]]["codec"]


def test_ls_is_a_table_with_one_line_an_entry(cas, filled):
    done = cas("ls")
    assert done.lines[0].split() == ["KEY", "FUNCTION", "SIZE", "AGE", "TOOK", "CODEC"]
    assert [line.split()[1] for line in done.lines[1:]] == [
        "model.Grid.run",
        "model.run",
        "model.run",
        "report.draw",
    ]
    text = next(line for line in done.lines if filled["text"][:12] in line)
    assert re.search(r" 10 B +2(\.\d+)? s +60 s +str$", text)


def test_ls_of_one_function_by_an_ending_of_its_name(cas, filled):
    assert [row["key"] for row in cas("ls", "draw", "--json").json] == [filled["large"]]
    assert {row["key"] for row in cas("ls", "model.run", "--json").json} == {filled["small"], filled["text"]}
    assert [row["key"] for row in cas("ls", "Grid.run", "--json").json] == [filled["pickled"]]


def test_an_ambiguous_function_is_an_error_that_lists_them(cas, filled):
    done = cas("ls", "run")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: run could be model.Grid.run, model.run; give more of the name\n"


def test_a_function_of_which_nothing_is_stored_is_1(cas, filled):
    done = cas("ls", "aw")  # an ending, but not on a dot
    assert (done.code, done.out) == (1, "")
    assert "nothing is stored of a function aw" in done.err


def test_ls_of_an_empty_store(cas):
    cas("init")
    assert (cas("ls").code, cas("ls").out) == (0, "")
    assert cas("ls", "--json").json == []


@pytest.mark.parametrize(
    "order, last", [("size", "large"), ("seconds", "text"), ("created", "pickled"), ("function", "large")]
)
def test_ls_sorts(cas, filled, order, last):
    assert cas("ls", "--sort", order, "--json").json[-1]["key"] == filled[last]


def test_log_is_newest_first(cas, filled):
    newest = [filled[name] for name in ("pickled", "large", "text", "small")]
    assert [row["key"] for row in cas("log", "--json").json] == newest
    assert [line.split()[1] for line in cas("log", "-n", 2).lines] == [key[:12] for key in newest[:2]]
    assert [line.split()[1] for line in cas("log", "model.run").lines] == [key[:12] for key in newest[2:]]
    assert cas("log", "-n", 0).out == ""


def test_show(cas, filled, objects):
    found = cas("show", filled["small"][:4], "--json").json
    assert (found["key"], found["function"], found["seconds"]) == (filled["small"], "model.run", 2.0)
    assert [a["name"] for a in found["arguments"]] == ["x"]
    assert [o["oid"] for o in found["objects"]] == [objects["small"]]
    assert found["pinned"] is False
    text = cas("show", filled["small"][:7].upper()).out
    assert f"key:      {filled['small']}\n" in text
    assert objects["small"] in text


def test_show_names_an_object_that_is_missing(cas, path, filled, objects):
    oid = objects["small"]
    (path / "objects" / oid[:2] / oid[2:]).unlink()
    done = cas("show", filled["small"])
    assert done.code == 0
    assert f"no object {oid}" in done.out


@pytest.mark.parametrize("key, code", [("abc", 2), ("wxyz", 2), ("0" * 65, 2), ("0" * 64, 1)])
def test_show_of_what_is_no_key(cas, filled, key, code):
    done = cas("show", key)
    assert (done.code, done.out) == (code, "")


def test_show_of_an_ambiguous_key(cas, path):
    with Store.init(path) as store:
        put(store, "a.f", "1", key=b"\xab\xcd\x10" + b"\0" * 29)
        put(store, "b.g", "1", key=b"\xab\xcd\x1f" + b"\0" * 29)
    done = cas("show", "abcd1")
    assert done.code == 1
    assert "ambiguous" in done.err
    assert cas("show", "abcd1f").code == 0


def test_du(cas, filled):
    rows = {row["function"]: row for row in cas("du", "--json").json}
    assert rows["model.run"]["entries"] == 2
    assert rows["report.draw"]["raw"] == 5000
    assert rows["report.draw"]["stored"] > 0
    assert [row["function"] for row in cas("du", "draw", "--json").json] == ["report.draw"]
    assert cas("du").lines[0].split() == ["DISK", "SHARED", "VALUES", "RATIO", "ENTRIES", "FUNCTION"]
    assert cas("du", "nothing").code == 1
