"""What is special about a folder: links, drafts, rights, and file systems that cannot do all."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from scalable_cas.errors import RemoteDenied, RemoteError, RemoteFileMissing, StoreReadOnly
from scalable_cas.remotes import files, fs
from scalable_cas.remotes.base import open_remote
from tests.support import processes


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "remote"


@pytest.fixture
def remote(folder):
    return open_remote(f"file://{folder}")


def test_files_lie_there_under_their_names_and_follow_the_umask(remote, folder):
    before = os.umask(0o007)
    try:
        remote.put("a/b/c", b"x")
    finally:
        os.umask(before)
    assert (folder / "a/b/c").read_bytes() == b"x"
    assert stat.S_IMODE((folder / "a/b/c").stat().st_mode) == 0o440
    assert stat.S_IMODE((folder / "a/b").stat().st_mode) == 0o770
    assert list((folder / "tmp").iterdir()) == []


def test_a_killed_writer_leaves_a_draft_that_nobody_sees_and_a_later_one_removes(remote, folder):
    processes.run(
        f"""
        import os, signal
        from scalable_cas.remotes import fs
        from scalable_cas.remotes.base import open_remote
        fs.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        open_remote("file://{folder}").put("a", b"x" * 1000)
        """,
        status=-9,
    )
    (draft,) = (folder / "tmp").iterdir()
    assert list(remote.list("")) == []
    assert remote.put("b", b"y") is True
    assert draft.exists()  # perhaps somebody still writes it
    os.utime(draft, (1, 1))
    assert open_remote(remote.url).put("c", b"y") is True
    assert not draft.exists()


def test_what_lies_behind_a_link_is_not_taken_for_a_draft(remote, folder, tmp_path):
    (tmp_path / "mine").mkdir()
    mine = tmp_path / "mine" / ("0" * 32)  # as many name files: by a digest
    mine.write_bytes(b"x")
    os.utime(mine, (1, 1))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tmp").symlink_to(tmp_path / "mine")
    assert remote.put("a", b"y") is True
    assert mine.exists()


def test_no_file_is_named_like_a_draft(remote):
    with pytest.raises(ValueError, match="unfinished"):
        remote.put("tmp/a", b"")


def test_a_link_whose_answer_was_lost_is_known_as_our_own(remote, folder, monkeypatch):
    """NFS: the server made the link, the answer was lost, the kernel asked again."""
    link = os.link

    def twice(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, "exists", target)

    monkeypatch.setattr(os, "link", twice)
    assert remote.put("a", b"mine") is True
    monkeypatch.setattr(os, "link", link)
    assert remote.put("a", b"other") is False
    assert remote.get("a", largest=10) == b"mine"


def test_without_hard_links_files_are_still_whole_and_not_replaced(remote, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "link", refuse)
    assert remote.put("d/a", b"first") is True
    assert remote.put("d/a", b"second") is False
    assert remote.get("d/a", largest=10) == b"first"
    found = remote.probe()
    assert found.conditional is False and found.write is True


def test_a_stale_handle_is_asked_again(remote, monkeypatch):
    remote.put("a", b"x")
    stale = [OSError(errno.ESTALE, "Stale file handle")] * 2
    real = files.os.pread

    def pread(*args):
        if stale:
            raise stale.pop()
        return real(*args)

    monkeypatch.setattr(files.os, "pread", pread)
    assert remote.get("a", largest=1) == b"x"
    assert remote.traffic.retries == 2
    stale.extend([OSError(errno.ESTALE, "Stale file handle")] * 3)
    with pytest.raises(RemoteError, match="Stale") as caught:
        remote.get("a", largest=1)
    assert caught.value.retryable


@pytest.mark.parametrize(
    "number, kind, said",
    [
        (errno.EACCES, RemoteDenied, "right"),
        (errno.EROFS, RemoteDenied, "not pushed"),
        (errno.ENOSPC, RemoteError, "free some"),
    ],
)
def test_what_is_wrong_with_the_folder_says_what_to_do(remote, folder, monkeypatch, number, kind, said):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fs, "write_all", fail)
    with pytest.raises(kind, match=said):
        remote.put("a", b"x")
    assert list((folder / "tmp").iterdir()) == []
    assert remote.size("a") is None


def test_a_full_local_disk_is_not_the_remotes_fault(remote, tmp_path, monkeypatch):
    remote.put("a", b"x" * 1000)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fs.os, "posix_fallocate", full)
    with pytest.raises(StoreReadOnly, match="No space"):
        remote.get_file("a", str(tmp_path / "target"), largest=1000)
    assert not (tmp_path / "target").exists()


def test_a_folder_that_cannot_be_written_is_found_by_the_probe(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    remote = open_remote(f"file://{tmp_path}/r")
    monkeypatch.setattr(fs.os, "makedirs", fail)
    found = remote.probe()
    assert (found.list, found.write, found.read) == (True, False, None)
    assert "not pushed" in found.notes[0]


def test_links_and_strange_names_in_the_folder_are_not_files_of_it(remote, folder, tmp_path):
    (tmp_path / "outside").write_text("x")
    remote.put("d/a", b"x")
    (folder / "d/link").symlink_to(tmp_path / "outside")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "d/a\nb").write_text("x")
    (folder / os.fsdecode(b"d/\xff")).write_text("x")
    os.mkfifo(folder / "d/pipe")
    assert [file.name for file in remote.list("")] == ["d/a"]
    for name in ("d/link", "d/pipe", "d"):
        assert remote.size(name) is None
        with pytest.raises(RemoteFileMissing):
            remote.get(name, largest=100)
        with pytest.raises(RemoteFileMissing):
            remote.get_file(name, str(tmp_path / "target"), largest=100)
    assert not (tmp_path / "target").exists()


def test_empty_folders_are_tidied_but_never_the_remote_itself(remote, folder):
    remote.put("a/b/c", b"x")
    remote.put("a/d", b"x")
    remote.delete(["a/b/c"])
    assert not (folder / "a/b").exists() and (folder / "a").exists()
    remote.delete(["a/d"])
    assert folder.exists() and not (folder / "a").exists()


def test_a_folder_is_no_file(remote):
    remote.put("a/b", b"x")
    assert remote.size("a") is None
    assert remote.size("a/b/c") is None
    remote.delete(["a/b/c"])
