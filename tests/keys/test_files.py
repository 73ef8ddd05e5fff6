"""Files and directories as inputs: content and nothing else, and never the content of a moment that did not
exist.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import threading

import pytest
from blake3 import blake3

from scalable_cas import clock
from scalable_cas.errors import InputChanged, MissingInput
from scalable_cas.keys import files
from scalable_cas.keys.call import CallKeyer
from scalable_cas.keys.encode import encode
from scalable_cas.keys.files import directory_digest, file_digest, inputs_unchanged
from scalable_cas.keys.wrappers import DirType, FileType


def function(p, q=None):
    return p


FILE = CallKeyer(function, arg_types={"p": FileType})
FOLDER = CallKeyer(function, arg_types={"p": DirType})


def key(made, *args):
    return made.bind(args, {}, None)[0]


def write(path, content=b"content"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, 65535, 65536, 65537, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000]
)
def test_a_digest_is_what_b3sum_prints(tmp_path, size):
    data = os.urandom(16) * (size // 16) + b"x" * (size % 16)
    assert file_digest(write(tmp_path / "f", data)) == (blake3(data).digest(), size)


def test_content_identifies_never_path_name_time_or_mode(tmp_path):
    one = write(tmp_path / "one.csv")
    copy = write(tmp_path / "else" / "copy.txt")
    os.utime(copy, (1, 1))
    copy.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(one)
    keys = {key(FILE, name) for name in (one, str(one), copy, link, FileType(str(one)), FileType(copy))}
    assert len(keys) == 1
    assert keys == {key(CallKeyer(function, arg_types={}), FileType(one))}
    renamed = one.rename(tmp_path / "renamed")
    assert {key(FILE, renamed)} == keys
    write(renamed, b"Content")
    assert {key(FILE, renamed)} != keys


def test_a_relative_path_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    write(tmp_path / "a" / "f", b"1")
    write(tmp_path / "b" / "f", b"2")
    monkeypatch.chdir(tmp_path / "a")
    before = key(FILE, "f")
    token = FILE.bind(("f",), {}, None)[3]
    monkeypatch.chdir(tmp_path / "b")
    assert key(FILE, "f") != before
    assert inputs_unchanged(token) is None


def test_a_file_is_not_its_path_nor_its_bytes(tmp_path):
    path = write(tmp_path / "f")
    plain = CallKeyer(function, arg_types={})
    assert len({key(FILE, path), key(plain, path), key(plain, str(path)), key(plain, b"content")}) == 4


def test_what_is_not_declared_is_never_looked_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = CallKeyer(function, arg_types={"q": str})
    before = key(plain, "north", "south"), key(plain, tmp_path / "north")
    for name in ("north", "south"):
        write(tmp_path / name)
    assert (key(plain, "north", "south"), key(plain, tmp_path / "north")) == before
    assert key(plain, ".") == key(plain, ".")


def test_boundaries_of_names_and_contents(tmp_path):
    two = CallKeyer(function, arg_types={"p": FileType, "q": FileType})
    a, ab = write(tmp_path / "1", b"a"), write(tmp_path / "2", b"ab")
    bc, c = write(tmp_path / "3", b"bc"), write(tmp_path / "4", b"c")
    assert key(two, a, bc) != key(two, ab, c)


def test_containers_of_files(tmp_path):
    one, two = write(tmp_path / "one", b"1"), write(tmp_path / "two", b"2")
    copy = write(tmp_path / "x" / "one", b"1")
    many = CallKeyer(function, arg_types={"p": list[FileType]})
    assert key(many, [one, two]) == key(many, [str(copy), str(two)]) != key(many, [two, one])
    assert len(many.bind(([one, two],), {}, None)[3]) == 2
    named = CallKeyer(function, arg_types={"p": dict[str, FileType]})
    assert (
        key(named, {"a": one, "b": two})
        == key(named, {"b": two, "a": copy})
        != key(named, {"a": two, "b": one})
    )
    assert encode({"deep": [FileType(one)]}) == encode({"deep": [FileType(copy)]})


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "sock"))
        (tmp_path / "dangling").symlink_to("nowhere")
        for name in ("missing", "fifo", "sock", "dangling", "missing/below", "."):
            for raised in (FileNotFoundError, ValueError, MissingInput):
                with pytest.raises(raised):
                    key(FILE, tmp_path / name)
    with pytest.raises(MissingInput, match="DirType"):
        key(FILE, tmp_path)
    with pytest.raises(MissingInput):
        key(FILE, "/dev/null")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = write(tmp_path / "f")
    path.chmod(0)
    with pytest.raises(PermissionError):
        key(FILE, path)


# --- directories -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "folder"
    write(root / "a", b"1")
    write(root / "sub" / "b", b"2")
    (root / "empty").mkdir()
    write(root / "run.sh", b"#!").chmod(0o755)
    (root / "link").symlink_to("a")
    return root


def test_a_copy_of_a_folder_has_its_key(folder, tmp_path):
    before = key(FOLDER, folder)
    assert before == key(FOLDER, f"{folder}/") == key(FOLDER, DirType(folder))
    for follow in (True, False):  # links kept, links replaced by what they point to
        copy = tmp_path / f"copy{follow}"
        shutil.copytree(folder, copy, symlinks=follow)
        os.utime(copy / "a", (1, 1))
        assert key(FOLDER, copy) == before
    (tmp_path / "way").symlink_to(folder)
    assert key(FOLDER, tmp_path / "way") == before


CHANGES = {
    "content": lambda root: write(root / "sub" / "b", b"3"),
    "a file more": lambda root: write(root / "sub" / "c"),
    "a file less": lambda root: (root / "sub" / "b").unlink(),
    "a name": lambda root: (root / "a").rename(root / "A"),
    "an empty folder more": lambda root: (root / "empty2").mkdir(),
    "an empty folder less": lambda root: (root / "empty").rmdir(),
    "an exec bit": lambda root: (root / "run.sh").chmod(0o644),
    "a link's target": lambda root: ((root / "link").unlink(), (root / "link").symlink_to("sub/b")),
    "a dangling link": lambda root: (root / "dangling").symlink_to("nowhere"),
    "an empty file for an empty folder": lambda root: ((root / "empty").rmdir(), write(root / "empty", b"")),
    "moved into a folder": lambda root: (root / "a").rename(root / "sub" / "a"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_a_folder(folder, change):
    before = key(FOLDER, folder)
    token = FOLDER.bind((folder,), {}, None)[3]
    assert inputs_unchanged(token) is None
    change(folder)
    assert key(FOLDER, folder) != before
    assert inputs_unchanged(token) == str(folder)


def test_names_and_contents_do_not_run_into_each_other(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write(one / "a", b"1")
    write(one / "b", b"2")
    write(two / "a", b"1b2")
    assert directory_digest(one) != directory_digest(two)
    three, four = tmp_path / "three", tmp_path / "four"
    write(three / "a", b"bc")
    write(four / "ab", b"c")
    assert directory_digest(three) != directory_digest(four)


def test_dangling_links_are_told_apart(tmp_path):
    digests = set()
    for name, target in (("one", "nowhere"), ("two", "elsewhere"), ("three", None), ("four", "link")):
        root = tmp_path / name
        root.mkdir()
        if target is None:
            write(root / "link", b"")
        else:
            (root / "link").symlink_to(target)  # "link" is a link to itself
        digests.add(directory_digest(root))
    assert len(digests) == 4


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_loop_of_links_is_an_error(folder, target):
    (folder / "sub" / "loop").symlink_to(target)
    (folder / "sub" / "loop2").symlink_to(target)
    if target == "../..":  # out of the folder and back in through its name
        (folder / "sub" / "loop").unlink()
        (folder / "sub" / "loop").symlink_to(f"../../{folder.name}")
        (folder / "sub" / "loop2").unlink()
    with pytest.raises(MissingInput, match="link to a folder that it lies in"):
        key(FOLDER, folder)


def test_special_files_are_an_error(folder):
    os.mkfifo(folder / "sub" / "fifo")
    with pytest.raises(MissingInput, match="fifo"):
        key(FOLDER, folder)


def test_what_is_no_folder(folder):
    with pytest.raises(MissingInput, match="declare FileType"):
        key(FOLDER, folder / "a")
    for raised in (FileNotFoundError, ValueError):
        with pytest.raises(raised):
            key(FOLDER, folder / "missing")


def test_names_that_are_not_utf8(tmp_path):
    root = tmp_path / "folder"
    root.mkdir()
    try:
        with open(os.path.join(os.fsencode(root), b"\xff"), "wb"):
            pass
    except OSError as error:
        if error.errno != errno.EILSEQ:
            raise
        pytest.skip("this file system takes only UTF-8")
    one = directory_digest(root)
    os.rename(os.path.join(os.fsencode(root), b"\xff"), os.path.join(os.fsencode(root), b"\xfe"))
    assert directory_digest(root) != one


def test_a_very_deep_folder(tmp_path):
    depth = 1200
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=place)
        place, above = os.open("d", os.O_RDONLY, dir_fd=place), place
        os.close(above)
    os.close(place)
    assert directory_digest(tmp_path) == directory_digest(tmp_path)
    for level in range(depth, 0, -1):  # too deep for shutil, which pytest tidies up with
        os.rmdir(str(tmp_path) + "/d" * level)


def test_an_empty_folder_has_a_digest_by_hand(tmp_path):
    assert directory_digest(tmp_path) == blake3(bytes(8)).digest()
    write(tmp_path / "f", b"x")
    entry = b"f-" + (1).to_bytes(8, "little") + b"f" + blake3(b"x").digest()
    assert directory_digest(tmp_path) == blake3((1).to_bytes(8, "little") + entry).digest()


# --- change ------------------------------------------------------------------------------------------------


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    path = write(tmp_path / "f", b"x" * 200_000)
    real, left = os.fstat, [1]

    def fstat(descriptor):
        found = real(descriptor)
        if left[0]:
            left[0] -= 1
            with path.open("ab") as file:
                file.write(b"y")
        return found

    monkeypatch.setattr(files.os, "fstat", fstat)
    assert file_digest(path) == (blake3(b"x" * 200_000 + b"y").digest(), 200_001)
    left[0] = 1000
    with pytest.raises(InputChanged) as changed:
        file_digest(path)
    assert changed.value.path == str(path)


def test_a_folder_that_changes_while_it_is_read_is_read_again(folder, monkeypatch):
    real, left = files._listed, [1]

    def read(path, found):
        if left[0]:
            left[0] -= 1
            write(folder / f"new{left[0]}")
        return real(path, found)

    monkeypatch.setattr(files, "_listed", read)
    digest = directory_digest(folder)
    assert digest == directory_digest(folder)
    left[0] = 1000
    with pytest.raises(InputChanged):
        directory_digest(folder)


def test_a_file_that_vanishes_from_a_folder_while_it_is_read(folder):
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            write(folder / "come-and-go")
            (folder / "come-and-go").unlink(missing_ok=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            try:
                assert len(directory_digest(folder)) == 32
            except InputChanged:
                continue
    finally:
        stop.set()
        thread.join()


def test_after_the_run(tmp_path):
    path = write(tmp_path / "f")
    tokens = FILE.bind((path,), {}, None)[3]
    assert inputs_unchanged(tokens) is None
    os.utime(path, (1, 1))  # touched, not changed
    assert inputs_unchanged(tokens) is None
    write(tmp_path / "g").replace(path)  # another file, the same content
    assert inputs_unchanged(tokens) is None
    write(path, b"Content")
    assert inputs_unchanged(tokens) == str(path)
    path.unlink()
    assert inputs_unchanged(tokens) == str(path)
    assert inputs_unchanged(()) is None


def test_an_untouched_input_is_not_read_again_unless_it_was_young(tmp_path, monkeypatch):
    """One clock tick may have seen two contents, and they have one stat."""
    read = []
    for name in ("_read_file", "_read_tree"):
        real = getattr(files, name)
        monkeypatch.setattr(files, name, lambda path, real=real: (read.append(path), real(path))[1])
    path = write(tmp_path / "folder" / "f")
    young = FILE.bind((path,), {}, None)[3] + FOLDER.bind((path.parent,), {}, None)[3]
    now = clock.now_ns()
    monkeypatch.setattr(clock, "now_ns", lambda: now + 3 * 10**9)
    old = FILE.bind((path,), {}, None)[3] + FOLDER.bind((path.parent,), {}, None)[3]
    read.clear()
    assert inputs_unchanged(old) is None
    assert read == []
    assert inputs_unchanged(young) is None
    assert read == [str(path), str(path.parent)]


def test_tokens_of_inline_wrappers(tmp_path):
    path = write(tmp_path / "f")
    _, _, _, inputs = CallKeyer(function, arg_types={}).bind(({"deep": [FileType(path)]},), {}, None)
    assert [token[1] for token in inputs] == [str(path)]


# --- the wrapper itself ------------------------------------------------------------------------------------


def test_a_wrapper_is_a_path(tmp_path):
    path = write(tmp_path / "f")
    wrapper = FileType(path)
    assert os.fspath(wrapper) == str(wrapper) == str(path)
    with open(wrapper, "rb") as file:
        assert file.read() == b"content"
    assert repr(FileType("a.csv")) == "FileType('a.csv')"


def test_wrappers_are_equal_by_content(tmp_path):
    one, two, three = write(tmp_path / "1"), write(tmp_path / "2"), write(tmp_path / "3", b"x")
    assert FileType(one) == FileType(two) != FileType(three)
    assert hash(FileType(one)) == hash(FileType(two)) != hash(FileType(three))
    assert len({FileType(one), FileType(two), FileType(three)}) == 2
    assert FileType(one) != str(one)
    with pytest.raises(MissingInput):
        hash(FileType(tmp_path / "missing"))
    with pytest.raises(TypeError):
        FileType(3)
