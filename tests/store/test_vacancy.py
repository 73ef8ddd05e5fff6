"""A store moves in with nobody: where one is made, and that gc removes only what we made."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from scalable_cas import Store, cacheable
from scalable_cas.errors import ConfigError
from scalable_cas.remotes.base import open_remote
from scalable_cas.storage.drafts import is_set_aside, is_temporary, temporary_name
from tests.support.stores import recorded

LONG_AGO = 10**9


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name",
    [
        "tmp/results.csv",
        "tmp/sub/x",
        "index/data.mdb",
        "journal/notes.txt",
        "quarantine/q",
        "objects/cube.obj",
        "config.json",
    ],
)
def test_no_store_is_made_in_a_folder_of_others(tmp_path, monkeypatch, name):
    folder = tmp_path / "scratch"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"precious")
    before = files_of(folder)
    with pytest.raises(ConfigError, match="scratch"):
        Store.init(folder)
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(folder))
    with recorded() as texts:
        assert cacheable(lambda x: x + 1)(1) == 2
        assert cacheable(lambda x: x + 2)(1) == 3
    assert len(texts) == 1 and "scratch" in texts[0] and "\n" not in texts[0]
    assert files_of(folder) == before


def test_the_refusal_says_what_to_do(tmp_path):
    for name in ("scratch", ".scalable"):
        (tmp_path / name / "tmp").mkdir(parents=True)
        (tmp_path / name / "tmp" / "a").touch()
    with pytest.raises(ConfigError, match=r"scratch: it is no store, and 'tmp' .*/scratch/\.scalable"):
        Store.init(tmp_path / "scratch")
    with pytest.raises(ConfigError, match=r"'tmp' in it is not ours; move that away"):
        Store.init(tmp_path / ".scalable")


def test_a_store_may_lie_beside_other_things_and_leaves_them_alone(tmp_path):
    folder = tmp_path / "scratch"
    for name in ("thesis.csv", "README", ".git/HEAD", "data/a.nc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"precious")
    before = files_of(folder)
    with Store.init(folder) as store:
        store.put_bytes(b"x" * 1000)
        store.gc()
        assert store.verify().findings == []
    after = files_of(folder)
    assert {name: after[name] for name in before} == before
    assert ".gitignore" not in after  # it would hide all of it


@pytest.mark.parametrize("name", ["", ".gitkeep", ".gitignore", ".nfs0001", "lost+found/"])
def test_a_folder_that_was_prepared_is_taken(tmp_path, name):
    folder = tmp_path / "prepared"
    (folder / name).mkdir(parents=True) if name.endswith("/") else folder.mkdir()
    if name and not name.endswith("/"):
        (folder / name).touch()
    with Store.init(folder) as store:
        assert store.verify().findings == []


@pytest.mark.parametrize(
    "gone", [["format"], ["format", "README", "CACHEDIR.TAG", "tmp"], ["format", "index"]]
)
def test_a_store_that_was_half_removed_is_made_anew(tmp_path, gone):
    with Store.init(tmp_path / "s") as store:
        store.put_bytes(b"x" * 1000)
    for name in gone:
        path = tmp_path / "s" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with recorded(), Store(tmp_path / "s", create=True, heal=True) as store:  # as a decorated call does
        store.put_bytes(b"y")


def test_gc_removes_only_what_we_made(tmp_path):
    with Store.init(tmp_path / "s") as store:
        root = tmp_path / "s"
        ours = [f"tmp/{1 << 22}.1.7", f"quarantine/{'ab' * 32}", f"quarantine/{'cd' * 32}.pack.1.2.3"]
        theirs = [
            "tmp/results.csv",
            "tmp/run/out.nc",
            "tmp/1.2.4/mine",
            "quarantine/old",
            "quarantine/v1.2.3",
        ]
        for name in [*ours, *theirs]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")
            os.utime(root / name, (LONG_AGO, LONG_AGO))
        half = root / "tmp" / f"{1 << 22}.1.8"
        half.mkdir()
        (half / "data.mdb").touch()
        store.gc()
        assert [name for name in theirs if not (root / name).exists()] == []
        assert [name for name in ours if (root / name).exists()] == []
        assert not half.exists()


def test_a_remote_sweeps_only_what_we_made(tmp_path):
    (tmp_path / "r" / "tmp").mkdir(parents=True)
    for name in ("mine.csv", "ab" * 16):
        (tmp_path / "r" / "tmp" / name).touch()
        os.utime(tmp_path / "r" / "tmp" / name, (LONG_AGO, LONG_AGO))
    remote = open_remote(f"file://{tmp_path}/r")
    remote.put("a", b"1")
    assert os.listdir(tmp_path / "r" / "tmp") == ["mine.csv"]


def test_names_that_are_ours():
    assert is_temporary(temporary_name())
    for name in ("1.2", "1.2.x", "a.2.3", "1.2.3.4", "", "1..3", "\u0661.2.3"):
        assert not is_temporary(name)
    assert is_set_aside("ab" * 16 + ".seg") and is_set_aside("ab" * 32 + f".{temporary_name()}")
    for name in ("ab", "pack", "x" * 64, "ab" * 32 + ".csv", "1.2.3"):
        assert not is_set_aside(name)


# --- what is no folder -------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "/sub"])
def test_a_store_behind_a_link_is_made_again_after_it_was_removed(tmp_path, monkeypatch, inside):
    (tmp_path / "link").symlink_to("disk/cache")
    monkeypatch.setenv("SCALABLE_CACHE_DIR", f"{tmp_path}/link{inside}")
    ran = []

    @cacheable
    def function(x):
        ran.append(x)
        return [x]

    with recorded() as texts:
        function(1), function(1)
        shutil.rmtree(tmp_path / "disk")
        time.sleep(0.01)
        function(1), function(1)
    assert (ran, texts) == ([1, 1], [])
    assert (tmp_path / "link").is_symlink()
    assert oct(os.stat(f"{tmp_path}/disk/cache{inside}").st_mode) == "0o40700"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_of_somebody_else_to_nothing_has_no_folder_made(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to("wherever")
    os.lchown(tmp_path / "link", 12345, 12345)
    with pytest.raises(
        ConfigError, match=r"link: it is a link of user 12345 to wherever, which is not there"
    ):
        Store.init(tmp_path / "link")
    monkeypatch.setenv("SCALABLE_CACHE_DIR", f"{tmp_path}/link/sub")
    with recorded() as texts:
        assert cacheable(lambda x: x + 1)(1) == 2
    assert len(texts) == 1 and "/link is a link of user 12345" in texts[0]
    assert not (tmp_path / "wherever").exists()


@pytest.mark.parametrize("inside", ["", "/sub"])
def test_a_file_in_the_place_of_a_store_is_named(tmp_path, inside):
    (tmp_path / "file").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"file is no folder|file: it is no folder; move it away"):
        Store.init(f"{tmp_path}/file{inside}")
    assert files_of(tmp_path) == {"file": b"precious"}


URLS = ["s3://bucket/x", "gs://b", "file:///lustre/x", Path("s3://bucket/x")]


@pytest.mark.parametrize("place", ["", *URLS])
def test_what_names_no_folder_is_refused(workdir, place):
    for use in (Store.init, Store.open, lambda place: cacheable(_store=place)(len)):
        with pytest.raises(ConfigError, match="URL.*SCALABLE_CACHE_REMOTE" if place else "empty"):
            use(place)
    assert os.listdir(workdir) == []


@pytest.mark.parametrize("variable", ["SCALABLE_CACHE_DIR", "SCALABLE_INDEX_DIR"])
def test_a_url_in_a_variable_costs_one_warning(workdir, monkeypatch, variable):
    monkeypatch.setenv(variable, "s3://bucket/x")
    with recorded() as texts:
        assert cacheable(lambda x: x + 1)(1) == 2
        assert cacheable(lambda x: x + 2)(1) == 3
    assert len(texts) == 1 and f"{variable}: 's3://bucket/x' is a URL" in texts[0]
    assert not (workdir / "s3:").exists()


def test_an_empty_variable_is_an_unset_one(workdir, monkeypatch):
    monkeypatch.setenv("SCALABLE_CACHE_DIR", "")
    with Store.init(".scalable") as store, Store.discover() as found:
        assert found.root == store.root


def test_a_folder_with_a_colon_is_a_folder(workdir):
    for name in ("run:1", "a/b:/c", "./s3:/x"):
        Store.init(name).close()
    assert sorted(os.listdir(workdir)) == ["a", "run:1", "s3:"]
