"""`remote`, `push`, `pull`, `verify --remote` and `verify --repair --from`, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from scalable_cas import Store
from tests.cli.conftest import cas, path  # noqa: F401 - fixtures
from tests.support.processes import environment
from tests.support.stores import flip, object_files

from .people import Place, fill, keys, noise, read


@pytest.fixture
def place(workdir):
    return Place(workdir / "remote")


@pytest.fixture
def added(cas, place, path):  # noqa: F811
    assert cas("remote", "add", "origin", place.url).code == 0
    with Store.open(path) as store:
        fill(store, "m.f", 1, 2, 3)
        fill(store, "m.g", "x", value=noise(100_000))
    return place


def test_remote_add_makes_the_store_tries_the_place_and_says_what_it_can(cas, place, path):  # noqa: F811
    done = cas("remote", "add", "origin", place.url)
    assert done.code == 0
    assert done.out.startswith(f"origin is {place.url}: can list, read, write, ranges, conditional, delete")
    assert (path / "format").exists()
    assert place.names() == []
    assert json.loads((path / "config.json").read_text())["remotes"] == {"origin": place.url}
    assert cas("remote", "add", "origin", place.url).code == 1
    assert cas("remote", "list", "--json").json == [{"name": "origin", "url": place.url}]
    assert cas("remote", "list").lines[0].split() == ["NAME", "URL"]
    assert cas("remote", "remove", "origin").code == 0
    assert cas("remote", "list", "--json").json == []
    assert "there are none" in cas("remote", "remove", "origin").err


@pytest.mark.parametrize(
    "name, url",
    [
        ("origin", "s3://key:secret@bucket/x"),
        ("origin", "/just/a/folder"),
        ("origin", "nothing://x/y"),
        ("../x", "file:///tmp/x"),
        ("", "file:///tmp/x"),
    ],
)
def test_what_cannot_be_a_remote_is_wrong_usage(cas, name, url):  # noqa: F811
    done = cas("remote", "add", name, url)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert "secret" not in done.err


@pytest.mark.parametrize(
    "command",
    [
        ("push",),
        ("pull",),
        ("gc", "--remote"),
        ("verify", "--remote"),
        ("verify", "--repair", "--from"),
        ("remote", "show"),
        ("remote", "remove"),
    ],
)
def test_a_url_that_can_be_no_remote_is_wrong_usage_wherever_it_stands(cas, added, command):  # noqa: F811
    for place in ("nothing://x/y", "s3://key:secret@bucket/x", "file://relative", ""):
        done = cas(*command, place)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert "secret" not in done.err
    done = cas(*command, "nobody")  # which might be one
    assert (done.code, done.err.count("\n")) == (1, 1), done.err


@pytest.mark.parametrize(
    "command", [("push",), ("pull",), ("remote", "show", "origin"), ("gc", "--remote", "origin")]
)
def test_a_remote_whose_format_file_is_damaged_says_what_to_do(cas, added, command):  # noqa: F811
    assert cas("push").code == 0
    (file,) = added.folder.rglob("format.json")
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-20])
    done = cas(*command)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "or it is damaged; put a copy of it back" in done.err


def test_pull_from_no_remote_makes_no_store(cas, path):  # noqa: F811
    for arguments in ((), ("somewhere",), ("--dry-run",)):
        done = cas("pull", *arguments)
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert "no remote is called so, there are none" in done.err
    assert not path.exists()


def test_settings_are_kept_beside_remotes(cas, added):  # noqa: F811
    assert cas("config", "set", "sync", "strict").code == 0
    assert cas("config", "get", "sync").out == "strict\n"
    assert len(cas("remote", "list", "--json").json) == 1
    assert cas("config", "get", "remotes").code == 2


def test_push_and_pull_say_what_they_did_in_one_line(cas, added, workdir):  # noqa: F811
    done = cas("push")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("4 new entries, 0 already there, ")
    assert "request" in done.err
    assert len(done.err.splitlines()) == 1
    assert cas("push").err.startswith("0 new entries, 4 already there")
    done = cas("--store", workdir / "other", "pull", added.url)
    assert done.code == 0
    assert done.err.startswith("4 new entries, 0 already here")
    assert cas("--store", workdir / "other", "pull", added.url, "-q").code == 2
    assert cas("-q", "--store", workdir / "other", "pull", added.url).err == ""


def test_a_dry_run_prints_the_plan_and_sends_nothing(cas, added, workdir):  # noqa: F811
    cas("push", "--function", "g")
    before = added.names()
    done = cas("push", "--dry-run")
    assert "entries to send: 3 (1 are there already)" in done.out
    assert "nothing was sent" in done.err
    assert added.names() == before
    assert cas("push", "--dry-run", "--json").json["plan"]["entries"] == 3
    done = cas("--store", workdir / "other", "pull", added.url, "--dry-run")
    assert "entries to fetch: 1 (0 are here already)" in done.out
    assert (
        cas("--store", workdir / "other", "pull", added.url, "--dry-run", "--json").json["plan"]["bytes"]
        > 100_000
    )
    assert cas("--store", workdir / "other", "ls", "--json").json == []


def test_a_dry_run_to_an_empty_place_says_that_all_would_go_and_leaves_it_empty(cas, added, path):  # noqa: F811
    done = cas("push", "--dry-run")
    assert done.code == 0
    assert "entries to send: 4 (0 are there already)" in done.out
    assert added.names() == []
    assert cas("push", "--dry-run", "--json").json["plan"]["entries"] == 4
    with Store.open(path) as store:
        assert store.push(dry_run=True).entries == 4
    assert added.names() == []
    assert cas("pull", "--dry-run").code == 1
    assert cas("push").err.startswith("4 new entries, 0 already there")


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_the_seconds_are_those_of_the_whole_transfer_with_nothing_new_too(cas, added, direction):  # noqa: F811
    cas("push")
    assert cas(direction, "--json").json["done"]["entries"] == 0
    since = time.monotonic()
    done = cas(direction, "--json").json["done"]
    assert 0.0005 < done["seconds"] <= time.monotonic() - since  # three files are read, at least


def test_json_has_the_figures(cas, added, workdir):  # noqa: F811
    done = cas("push", "--json", "--jobs", "2").json["done"]
    assert (done["entries"], done["present"]) == (4, 0)
    assert done["requests"] > 0
    assert done["bytes"] > 100_000
    done = cas("--store", workdir / "other", "pull", added.url, "--json").json["done"]
    assert (done["entries"], done["lost"], done["faults"]) == (4, [], [])
    rows = cas("--store", workdir / "other", "ls", "--json").json
    assert all(row["origin"].startswith("ed25519:") for row in rows)
    assert {row["origin"] for row in cas("ls", "--json").json} == {"local"}


def test_remote_show_tells_what_is_there(cas, added):  # noqa: F811
    done = cas("remote", "show", "origin")
    assert (done.code, done.err) == (0, "")
    assert "nothing was pushed there" in done.out
    shown = cas("remote", "show", "origin", "--json").json
    assert (shown["id"], shown["entries"], shown["functions"]) == (None, 0, [])
    assert added.names() == []
    cas("push")
    shown = cas("remote", "show", "origin", "--json").json
    assert (shown["entries"], shown["functions"]) == (4, ["m.f", "m.g"])
    assert "function: m.g" in cas("remote", "show", "origin").lines


def test_a_function_that_is_not_there_ends_with_1(cas, added):  # noqa: F811
    assert cas("push", "--function", "nothing").code == 1
    cas("push")
    done = cas("pull", "--function", "nothing")
    assert done.code == 1
    assert "remote origin has nothing of a function nothing; `scalable-cas remote show origin`" in done.err
    assert cas("push", "nowhere").code == 1
    assert cas("pull", "origin", "more").code == 2
    assert cas("push", "--jobs", "0").code == 2


def test_verify_remote_names_what_is_wrong_and_the_next_push_mends_it(cas, added, path):  # noqa: F811
    cas("push")
    assert cas("verify", "--remote", "origin").code == 0
    with Store.open(path) as store:
        (entry,) = store.entries("m.g")
    pack = max(added.files("*.pack"), key=lambda file: file.stat().st_size)
    content = pack.read_bytes()
    flip(pack, 1000)
    done = cas("verify", "--remote", "origin")
    assert done.code == 1
    assert done.lines[0].startswith(f"corrupt {entry.record.oid.hex()}: ")
    assert f"affects m.g {entry.key}" in done.lines[0]
    assert cas("verify", "--remote", "origin", "--json").json["findings"][0]["kind"] == "corrupt"
    assert cas("push").code == 0
    assert pack.read_bytes() == content
    assert cas("verify", "--remote", "origin").code == 0
    assert cas("verify", "--remote", "origin", "--quick").code == 2


def test_verify_remote_repair_sets_a_damaged_segment_aside(cas, added, path):  # noqa: F811
    cas("push")
    (segment,) = added.segments()
    flip(segment, 100)
    content = segment.read_bytes()
    shutil.rmtree(path / "index")  # the copy was there
    done = cas("verify", "--remote", "origin")
    assert done.code == 1
    assert "set aside with --repair" in done.err
    assert segment.read_bytes() == content
    assert "--repair" in cas("gc", "--remote", "origin").err
    done = cas("verify", "--remote", "origin", "--repair")
    assert done.code == 1
    assert done.lines[1].startswith("repaired: segments/")
    assert done.lines[1].endswith("is set aside; push again what it held")
    assert cas("verify", "--remote", "origin", "--repair", "--json").json["repaired"] == []
    assert cas("push").code == 0
    assert cas("verify", "--remote", "origin").code == 0
    assert cas("gc", "--remote", "origin").code == 0
    assert cas("verify", "--remote", "origin", "--repair", "--from", "origin").code == 2


def test_repair_fetches_what_is_lost_here(cas, added, path):  # noqa: F811
    cas("push")
    with Store.open(path) as store:
        before = keys(store)
    large, *small = sorted(object_files(path), key=lambda file: -file.stat().st_size)
    flip(large, 500)
    small[0].unlink()
    assert cas("verify").code == 1
    assert cas("verify", "--from", "origin").code == 2
    done = cas("verify", "--repair", "--from", "origin")
    assert done.code == 1
    assert sum("fetched" in line for line in done.lines) == 2
    assert cas("verify").code == 0
    with Store.open(path) as store:
        assert keys(store) == before
        assert read(store, "m.g", "x") == noise(100_000)


@pytest.mark.parametrize("damaged", [False, True])
def test_repair_from_a_remote_that_is_none_is_an_error(cas, added, path, tmp_path, damaged):  # noqa: F811
    if damaged:
        object_files(path)[0].unlink()
    for name in ("nosuch", "nosuch://x", (tmp_path / "nothing").as_uri()):
        done = cas("verify", "--repair", "--from", name)
        assert done.code == (2 if name == "nosuch://x" else 1)
        assert len(done.err.splitlines()) == 1
        assert done.lines == []
    assert cas("verify").code == damaged


def test_a_place_that_is_not_there_ends_in_one_line_within_30_seconds(cas, added, monkeypatch):  # noqa: F811
    with socket.socket() as silent:  # accepts, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        since = time.monotonic()
        done = cas("push", "s3://bucket/x")
        assert done.code == 1
        assert time.monotonic() - since < 30
        assert len(done.err.splitlines()) == 1
        assert "s3://bucket/x" in done.err


SLOW = """
import sys, time
from scalable_cas.ops.transfer import packing
from scalable_cas.remotes.files import FileRemote
from scalable_cas.cli.main import main
packing.TARGET = 150_000
put, count = FileRemote.put, 0
def slowly(self, name, data, **how):
    global count
    count += name.startswith("packs/")
    if count == 3:
        print("third", flush=True)
        time.sleep(1)
    return put(self, name, data, **how)
FileRemote.put = slowly
sys.exit(main(["push", sys.argv[1], "--jobs", "1"]))
"""


def test_ctrl_c_ends_with_130_and_the_next_push_sends_only_the_rest(cas, place, path, workdir):  # noqa: F811
    with Store.init(path) as store:
        for n in range(6):
            fill(store, "m.f", n, value=noise(100_000, n))
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, place.url],
        cwd=workdir,
        env=environment(path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "third\n"
    os.kill(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130, (out, err)
    assert "Traceback" not in err
    done = cas("push", place.url, "--json").json["done"]
    assert done["entries"] == 6
    assert 0 < done["bytes"] < 450_000


def test_the_remote_that_calls_use_is_listed_as_origin_and_removed_where_it_is_named(
    cas,  # noqa: F811
    place,
    path,  # noqa: F811
    monkeypatch,
):
    cas("init")
    monkeypatch.setenv("SCALABLE_CACHE_REMOTE", place.url)
    assert cas("remote", "list", "--json").json == [{"name": "origin", "url": place.url}]
    done = cas("remote", "remove", "origin")
    assert (done.code, "SCALABLE_CACHE_REMOTE names" in done.err) == (1, True)
    assert cas("remote", "add", "origin", f"{place.url}2").code == 0
    assert cas("remote", "list", "--json").json == [{"name": "origin", "url": f"{place.url}2"}]


def test_a_remote_is_shown_by_its_url_too(cas, added):  # noqa: F811
    cas("push")
    assert cas("remote", "show", added.url, "--json").json["entries"] == 4


def test_what_is_neither_a_name_nor_a_url_is_told_how_to_be_one(cas, added):  # noqa: F811
    done = cas("push", "./remote")
    assert (done.code, f"for a folder write {added.url}" in done.err) == (1, True)


def test_the_folder_of_a_store_is_no_remote(cas, place, path):  # noqa: F811
    cas("init")
    before = sorted(path.iterdir())
    for folder in (path, path / "objects", path / "tmp" / "remote"):
        assert cas("remote", "add", "x", f"file://{folder}").code == 2
        done = cas("push", f"file://{folder}")
        assert (done.code, "is a store, or a part of one" in done.err) == (1, True)
    assert sorted(path.iterdir()) == before
    assert cas("remote", "add", "x", f"file://{path}/remote").code == 0  # a folder of its own
