"""`clear`, `pin`, `unpin`, `gc`, `config`, `reindex`: what changes a store, and what it leaves alone."""

from __future__ import annotations

import io
import json
import shutil
import sys

import pytest

from scalable_cas import Store, clock

from .filling import HOUR, put


def keys(cas):
    return {row["key"] for row in cas("ls", "--json").json}


def test_clear_forgets_one_function(cas, filled):
    done = cas("clear", "model.run")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("forgot 2 entries that took 62 s to compute;")
    assert keys(cas) == {filled["large"], filled["pickled"]}
    assert cas("clear", "model.run").code == 1


def test_clear_all(cas, filled):
    assert cas("clear", "--all").err.startswith("forgot 4 entries")
    assert keys(cas) == set()
    assert cas("clear", "--all").code == 0


def test_clear_does_not_guess(cas, filled):
    assert cas("clear").code == 2
    assert cas("clear", "draw", "--all").code == 2
    assert cas("clear", "run").code == 1
    assert len(keys(cas)) == 4


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("answer, left", [("y\n", 0), ("n\n", 4), ("", 4)])
def test_clear_all_asks_on_a_terminal(filled, path, monkeypatch, capfd, answer, left):
    from scalable_cas.cli.main import main

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    code = main(["clear", "--all"])
    assert "Forget 4 entries" in "".join(capfd.readouterr())
    assert code == (1 if left else 0)  # no answer is no interrupt
    with Store.open(path) as store:
        assert len(list(store.entries())) == left


def test_clear_all_with_yes_does_not_ask(filled, monkeypatch, cas, path):
    from scalable_cas.cli.main import main

    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert main(["clear", "--all", "--yes"]) == 0
    assert keys(cas) == set()


def test_pinned_entries_and_objects_survive_gc(cas, path, filled, workdir):
    (workdir / "file").write_bytes(b"by hand")
    oid = cas("hash-object", "-w", "file").out.strip()
    done = cas("pin", filled["large"][:8], oid)
    assert (done.code, done.out) == (0, "")
    assert {row["id"]: row["kind"] for row in cas("pin", "--json").json} == {
        filled["large"]: "entry",
        oid: "object",
    }
    assert f"{filled['large']} entry report.draw" in cas("pin").lines
    assert cas("gc", "--older-than", "0").code == 0
    assert keys(cas) == {filled["large"]}
    assert cas("cat-file", "-p", oid).raw == b"by hand"
    assert cas("unpin", oid, filled["large"]).code == 0
    assert cas("gc", "--older-than", "0").code == 0
    assert keys(cas) == set()
    assert cas("ls-objects").out == ""


def test_pin_of_what_is_not_there(cas, filled):
    assert cas("pin", "0" * 64).code == 1
    assert cas("pin", filled["large"], "0" * 64).code == 1
    assert cas("pin", "--json").json == []  # all or none
    assert cas("unpin", filled["large"]).code == 1
    assert cas("pin", filled["large"], "--json").code == 2


def test_a_pin_of_a_forgotten_entry_can_be_undone(cas, filled):
    cas("pin", filled["large"])
    cas("clear", "draw")
    assert cas("unpin", filled["large"][:6]).code == 0
    assert cas("pin", "--json").json == []


def test_gc_dry_run_says_what_would_go_and_leaves_it(cas, filled):
    done = cas("gc", "--older-than", "0s", "--function", "model.run", "--dry-run")
    assert done.code == 0
    assert done.lines[1].split() == ["model.run", "old", "2", "62", "s"]
    assert len(keys(cas)) == 4
    plan = cas("gc", "--older-than", "0", "--dry-run", "--json").json
    assert plan["dry_run"] is True
    assert {e["key"] for e in plan["plan"]["entries"]} == set(filled.values())
    assert plan["plan"]["seconds"] == pytest.approx(62.251)
    assert "done" not in plan


def test_gc_policies(cas, path):
    with Store.init(path) as store:
        old = put(store, "m.f", "old", "x" * 100, age=50 * HOUR)
        new = put(store, "m.f", "new", "y" * 100, age=HOUR)
        other = put(store, "m.g", "other", "z" * 100, age=40 * HOUR)
    assert (
        cas("gc", "--keep-last", 1, "--older-than", "45h", "--dry-run", "--json").json["plan"]["entries"][0][
            "key"
        ]
        == old
    )
    assert cas("gc", "--older-than", "45h").err.startswith("dropped 1 entry and 1 object")
    assert keys(cas) == {new, other}
    assert cas("gc", "--unused-for", "1d").code == 0
    assert keys(cas) == {new}
    assert cas("gc", "--max-size", "1kB").code == 0
    assert keys(cas) == {new}
    done = cas("gc", "--max-size", "0", "--json").json
    assert (done["done"]["entries"], done["done"]["objects"]) == (1, 1)
    assert keys(cas) == set()


@pytest.mark.parametrize(
    "option",
    [
        ("--older-than", "soon"),
        ("--older-than", "-1d"),
        ("--older-than", "1y"),
        ("--max-size", "big"),
        ("--max-size", "1.2.3GB"),
        ("--max-size", "1 MiBB"),
        ("--keep-last", "-1"),
        ("--keep-last", "1.5"),
    ],
)
def test_gc_refuses_what_is_no_amount(cas, filled, option):
    assert cas("gc", *option).code == 2
    assert len(keys(cas)) == 4


def test_units():
    from scalable_cas.cli.context import DURATION, SIZE

    durations = {
        "90": 90,
        "30s": 30,
        "15m": 900,
        "12h": 43_200,
        "30d": 2_592_000,
        "2w": 1_209_600,
        "1.5 h": 5400,
    }
    assert {text: DURATION.convert(text, None, None) for text in durations} == durations
    sizes = {
        "500": 500,
        "10k": 10_000,
        "10MB": 10**7,
        "1.5GiB": 1.5 * 2**30,
        "2 tb": 2e12,
        "1KiB": 1024,
        "7b": 7,
    }
    assert {text: SIZE.convert(text, None, None) for text in sizes} == sizes


def test_gc_of_an_unknown_function(cas, filled):
    assert cas("gc", "--function", "nothing", "--older-than", "0").code == 1
    assert len(keys(cas)) == 4


def test_config(cas, path):
    cas("init")
    assert cas("config", "get", "sync").out == "relaxed\n"
    assert cas("config", "set", "sync", "STRICT").code == 0
    assert cas("config", "get", "sync").out == "strict\n"
    assert json.loads((path / "config.json").read_text()) == {"sync": "strict"}
    with Store.open(path) as store:
        assert store.strict
    (row,) = [row for row in cas("config", "list", "--json").json if row["name"] == "sync"]
    assert (row["value"], row["default"], row["possible"]) == ("strict", "relaxed", ["relaxed", "strict"])
    assert cas("config", "list").out.startswith("sync = strict [relaxed|strict]  ")


@pytest.mark.parametrize("arguments", [("get", "nothing"), ("set", "nothing", "1"), ("set", "sync", "often")])
def test_config_refuses_what_there_is_not(cas, path, arguments):
    cas("init")
    done = cas("config", *arguments)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert not (path / "config.json").exists()


def test_config_needs_a_store(cas, path):
    for arguments in (("get", "sync"), ("set", "sync", "strict"), ("list",)):
        assert cas("config", *arguments).code == 1
    assert not path.exists()


@pytest.mark.parametrize("damage", ["gone", "garbage", "empty"])
def test_reindex_brings_every_entry_back(cas, path, filled, damage):
    data = path / "index" / "data.mdb"
    if damage == "gone":
        shutil.rmtree(path / "index")
    else:
        data.write_bytes(b"" if damage == "empty" else b"\xff" * 40_000)
        assert cas("ls").code == 1
    done = cas("reindex")
    assert done.code == 0
    assert "indexed 4 entries and 4 objects\n" in done.err
    assert keys(cas) == set(filled.values())
    assert cas("verify").code == 0


def test_reindex_marks_what_another_user_wrote_until_it_is_adopted(cas, path, filled, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = cas("reindex")
    assert done.code == 0
    assert "4 entries are foreign; --adopt" in done.err
    assert {row["origin"] for row in cas("ls", "--json").json} == {"foreign"}
    assert "(foreign)" in cas("ls").out
    assert cas("reindex", "--adopt").code == 0
    assert {row["origin"] for row in cas("ls", "--json").json} == {"local"}
    assert cas("reindex").code == 0
    assert {row["origin"] for row in cas("ls", "--json").json} == {"local"}


def test_reindex_leaves_out_entries_whose_object_is_missing(cas, path, filled, objects):
    oid = objects["large"]
    (path / "objects" / oid[:2] / oid[2:]).unlink()
    done = cas("reindex")
    assert "1 entry left out, because the object is missing" in done.err
    assert keys(cas) == set(filled.values()) - {filled["large"]}


def test_ages_do_not_depend_on_the_time_zone():
    assert clock.iso(0) == "1970-01-01T00:00:00Z"


def test_require_signed_is_a_setting(cas, path, filled):
    assert cas("config", "get", "require_signed").out == "false\n"
    assert cas("config", "set", "require_signed", "true").code == 0
    assert cas("config", "get", "require_signed").out == "true\n"
    assert json.loads((path / "config.json").read_text())["require_signed"] is True
    assert "require_signed = true [false|true]" in cas("config", "list").out
    for wrong in ("1", "yes", "", "True or so"):
        done = cas("config", "set", "require_signed", wrong)
        assert done.code == 2
        assert "it can be false, true" in done.err
    assert cas("config", "set", "require_signed", "FALSE").code == 0
    assert cas("config", "get", "require_signed").out == "false\n"
