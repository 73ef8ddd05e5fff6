"""Files and directories as inputs: content and nothing else, and never the content of a moment that did not
exist.
"""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import socket
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Optional

import pytest
from blake3 import blake3

from scalable_cas import clock
from scalable_cas.errors import InputChanged, MissingInput
from scalable_cas.keys import files, hashing
from scalable_cas.keys.call import CallKeyer
from scalable_cas.keys.encode import encode
from scalable_cas.keys.files import directory_digest, file_digest, inputs_unchanged
from scalable_cas.keys.nodes import Walk
from scalable_cas.keys.stats import memory
from scalable_cas.keys.wrappers import DirType, FileType, ValueType


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
    _, _, _, inputs, _ = CallKeyer(function, arg_types={}).bind(({"deep": [FileType(path)]},), {}, None)
    assert [token[1] for token in inputs] == [str(path)]


# --- declared in every way ---------------------------------------------------------------------------------


def rest(*p):
    return p


def named(**p):
    return p


def with_default(p="one"):
    return p


@pytest.fixture
def three(tmp_path, monkeypatch):
    """Two files of one content and one of another, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("one", b"1"), ("copy", b"1"), ("two", b"2")):
        write(tmp_path / name, text)
    return tmp_path


FILES = {
    "one": (FileType, lambda name: name),
    "or None": (FileType | None, lambda name: name),
    "Optional": (Optional[FileType], lambda name: name),  # noqa: UP045 - what older code has
    "list": (list[FileType], lambda name: ["two", name]),
    "list or None": (list[FileType] | None, lambda name: ["two", name]),
    "list of some": (list[FileType | None], lambda name: [None, name]),
    "tuple": (tuple[FileType, ...], lambda name: ("two", name)),
    "dict": (dict[str, FileType], lambda name: {"b": "two", "a": name}),
    "dict of lists": (dict[str, list[FileType]], lambda name: {"a": ["two", name]}),
    "folders": (list[DirType], lambda name: [f"in-{name}"]),
    "plain": (ValueType, lambda name: [{"deep": (FileType(name),)}]),
}


@pytest.mark.parametrize(("declared", "make"), FILES.values(), ids=FILES.keys())
def test_every_way_to_declare_files(three, declared, make):
    for name in ("one", "copy", "two"):
        (three / f"in-{name}").mkdir()
        shutil.copy(three / name, three / f"in-{name}" / "file")
    for called, call in ((function, lambda v: (v,)), (rest, lambda v: (v, v))):
        made = CallKeyer(called, arg_types={"p": declared})
        one, copy, two = (made.bind(call(make(name)), {}, None) for name in ("one", "copy", "two"))
        assert one[0] == copy[0] != two[0]
        assert one[1] == call(make("one"))  # what the function gets is what was given
        changed = three / "in-one" / "file" if declared == list[DirType] else three / "one"
        assert inputs_unchanged(one[3]) is None
        write(changed, b"3")
        assert inputs_unchanged(one[3]) in (str(changed), str(changed.parent))
        write(changed, b"1")
        changed.unlink()
        assert inputs_unchanged(one[3]) is not None
        with pytest.raises((MissingInput, InputChanged)) if changed.parent == three else nullcontext():
            made.bind(call(make("one")), {}, None)
        write(changed, b"1")
        assert made.bind(call(make("one")), {}, None)[0] == one[0]


def test_keywords_and_defaults_that_are_files(three):
    made = CallKeyer(named, arg_types={"p": FileType})
    one, copy, two = (made.bind((), {"any": name}, None)[0] for name in ("one", "copy", "two"))
    assert one == copy != two
    own = CallKeyer(named, arg_types={"x": FileType})
    assert own.bind((), {"x": "one"}, None)[0] == own.bind((), {"x": "copy"}, None)[0]
    assert own.bind((), {"y": "one"}, None)[0] != own.bind((), {"y": "copy"}, None)[0]
    default = CallKeyer(with_default, arg_types={"p": FileType})
    key, args, kwargs, tokens, _ = default.bind((), {}, None)
    assert (key, args, kwargs) == (default.bind((three / "copy",), {}, None)[0], (), {})
    assert [token[1] for token in tokens] == [str(three / "one")]


@pytest.mark.parametrize(
    ("declared", "value", "said"),
    [
        (FileType, "nowhere", "function: argument 'p': FileType input 'nowhere' does not exist"),
        (FileType, "", "FileType input '' does not exist"),
        (FileType, "a\0b", "is no possible path"),
        (DirType, "a\0b", "is no possible path"),
        (FileType, ".", "is a directory; declare DirType"),
        (DirType, "one", "is a file; declare FileType"),
        (list[FileType], ["one", "nowhere"], "argument 'p': FileType input 'nowhere'"),
        (dict[str, FileType], {"a": "nowhere"}, "argument 'p': FileType input 'nowhere'"),
        (list[DirType], ["nowhere"], "argument 'p': DirType input 'nowhere'"),
    ],
)
def test_a_missing_input_is_named(three, declared, value, said):
    made = CallKeyer(function, arg_types={"p": declared})
    for raised in (FileNotFoundError, ValueError, MissingInput):
        with pytest.raises(raised) as error:
            made.bind((value,), {}, None)
        assert said in str(error.value)
    again = pickle.loads(pickle.dumps(error.value))  # as a worker's pool does
    assert (type(again), str(again), vars(again)) == (MissingInput, str(error.value), vars(error.value))


def test_a_missing_input_of_a_captured_variable_is_named(three):
    table = FileType("nowhere")

    def inner():
        return table

    with pytest.raises(MissingInput, match="argument 'captured table': FileType"):
        CallKeyer(inner, arg_types={}).bind((), {}, None)


@pytest.mark.parametrize(
    ("declared", "value", "said"),
    [
        (FileType, 3, "declared FileType, got int"),
        (list[FileType], "one", r"declared list\[FileType\], got str"),
        (list[FileType], ["one", 3], "got list that holds int"),
        (dict[str, list[FileType]], {"a": [b"one"]}, "got dict that holds list that holds bytes"),
    ],
)
def test_what_is_no_path_is_named(three, declared, value, said):
    with pytest.raises(TypeError, match=said):
        CallKeyer(function, arg_types={"p": declared}).bind((value,), {}, None)


def test_the_parts_of_a_call_read_no_file_again(three, monkeypatch):
    made = CallKeyer(function, arg_types={"p": list[FileType], "q": DirType})
    (three / "folder").mkdir()
    args = (["one", "two"], "folder")
    *_, tokens, found = made.bind(args, {}, None)
    expected = made.account(args, {})
    for name in ("_read_file", "_read_tree"):
        monkeypatch.setattr(files, name, pytest.fail)
    assert made.account(args, {}, None, tokens) == expected
    assert made.account(args, {}, found, tokens) == expected


def test_the_parts_of_a_part_read_no_file_again(three, monkeypatch):
    def takes(p):
        return p

    made = CallKeyer(takes, arg_types={})
    args = ({"pair": [FileType("one"), FileType("two")]},)
    *_, tokens, found = made.bind(args, {}, None)
    expected = made.account(args, {})
    monkeypatch.setattr(files, "_read_file", pytest.fail)
    assert made.account(args, {}, found, tokens) == expected


# --- the quick way -----------------------------------------------------------------------------------------


class Shelf:
    """Rows in a dict, on a file system whose every stat is trusted at once."""

    def __init__(self):
        self.rows = {}

    def get(self, path):
        return self.rows.get(path)

    def put(self, path, known):
        self.rows[path] = known

    def trust(self, path):
        return (0, 0, False)


@pytest.fixture
def shelf():
    rows = Shelf()
    memory.attach(rows)
    yield rows
    memory.attach(None)


def pair(p, q=None, *, r=0):
    return p


def test_the_quick_way_and_the_careful_way_agree(three, shelf, monkeypatch):
    captured = "captured"

    def closure(p):
        return captured

    class Other:
        def __init__(self, path):
            self.path = path

        def __fspath__(self):
            return self.path

    class Own(FileType):
        pass

    (three / "below").mkdir()
    write(three / "below" / "one", b"other")
    values = [make(name) for name in ("one", str(three / "one"), "../" + three.name + "/copy", "two")
              for make in (str, Path, FileType, Other, Own, lambda name: FileType(Path(name)))]  # fmt: skip
    for called, types in (
        (function, {"p": FileType}),
        (with_default, {"p": Optional[FileType]}),  # noqa: UP045
        (closure, {"p": FileType}),
        (pair, {"p": FileType | None, "r": int}),
        (pair, {"q": FileType}),
    ):
        made = CallKeyer(called, arg_types=types)
        assert made.bind != made._careful
        for folder in (three, three / "below", three):
            monkeypatch.chdir(folder)
            for value in [*values, None]:
                calls = [((value,), {}), ((), {"p": value})]
                if called is pair:
                    calls += [((1,), {"q": value}), ((value, value), {"r": 7}), (("one", value), {"r": [1]})]
                for args, kwargs in calls:
                    for seed in (None, "seed"):
                        try:
                            careful = made._careful(args, kwargs, seed)
                        except (MissingInput, TypeError) as error:
                            with pytest.raises(type(error)):
                                made.bind(args, kwargs, seed)
                            continue
                        for _ in range(2):
                            key, *rest, tokens, found = made.bind(args, kwargs, seed)
                            assert (key, *rest) == careful[:3]
                            assert [(t[1], *t[3:]) for t in tokens] == [(t[1], *t[3:]) for t in careful[3]]
                        assert made.account(args, kwargs)[0] == [
                            (section, name, blake3(data).digest())
                            for section, name, data in made._encode_entries(args, kwargs, Walk([]))[0]
                        ]
                        assert made.account(args, kwargs, found, tokens) == made.account(args, kwargs)


def test_the_quick_way_reads_nothing_and_sees_every_change(three, shelf, monkeypatch):
    read = []
    real = files.digest_descriptor
    monkeypatch.setattr(files, "digest_descriptor", lambda d, size: (read.append(size), real(d, size))[1])
    time.sleep(0.02)
    before = key(FILE, "one")
    assert key(FILE, "one") == before
    assert len(read) == 1
    write(three / "one", b"3")
    assert key(FILE, "one") != before
    (three / "one").unlink()
    with pytest.raises(MissingInput):
        key(FILE, "one")
    (three / "one").mkdir()
    with pytest.raises(MissingInput):
        key(FILE, "one")


@pytest.mark.parametrize("size", [16 << 20, (20 << 20) + 1, 40 << 20])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_file(tmp_path, monkeypatch, size, threads):
    monkeypatch.setattr(hashing, "threads", lambda: threads)
    data = os.urandom(1 << 20) * (size >> 20) + b"x" * (size % (1 << 20))
    path = write(tmp_path / "f", data)
    assert file_digest(path) == (blake3(data).digest(), size)
    before = threading.active_count()
    path.chmod(0o600)
    with open(path, "rb") as file:
        wrong = hashing.digest_descriptor(file.fileno(), 16 << 20)
    assert wrong == (blake3(data).digest(), size)
    assert threading.active_count() == before


def test_a_large_file_that_cannot_be_read(tmp_path, monkeypatch):
    """What goes wrong in the reading thread comes out where the digest was asked for, and no thread stays."""
    monkeypatch.setattr(hashing, "threads", lambda: 2)
    before = threading.active_count()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            hashing.digest_descriptor(descriptor, 16 << 20)
    finally:
        os.close(descriptor)
    assert threading.active_count() == before


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
