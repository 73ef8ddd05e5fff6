"""Damaged object files: the call returns the right value, nothing hangs, and the next store of it heals."""

from __future__ import annotations

import os
import socket

import pytest

from scalable_cas import cacheable
from scalable_cas.caching.session import current
from tests.support.stores import findings, flip, forget_open_stores, object_files, overwrite, quiet

runs: list[object] = []


@cacheable
def small(n):
    """Decoded from the copy in its row; its file is 70 bytes or so."""
    runs.append(n)
    return {"n": n}


@cacheable
def big(n):
    """Too large for a copy in the row: read from its file, which is compressed."""
    runs.append(n)
    return {"n": n, "text": f"{n} " * 3000}


@cacheable
def raw(n):
    runs.append(n)
    return os.urandom(0) + bytes(range(256)) * 8 + bytes([n])


FUNCTIONS = [small, big, raw]


@pytest.fixture(params=FUNCTIONS, ids=lambda function: function.__name__)
def stored(request, store_path):
    """A function whose result for 1 is stored and closed, and the file of it."""
    runs.clear()
    request.param(1)
    forget_open_stores()
    (file,) = object_files(store_path)
    return request.param, file


def heals(function, store_path, *, found=1):
    """After damage: `verify` sees it, a call returns the right value, then all is well and the next call is a hit."""
    assert len(findings(store_path)) == found
    with quiet():
        assert function(1) == function.__wrapped__(1)
        runs.clear()
        forget_open_stores()
    assert findings(store_path) == []
    assert function(1) is not None
    assert runs == [], "the healed result is a hit"


def test_every_byte_of_a_small_file(store_path):
    """Three bits of each; one store, damaged and healed again and again."""
    small(1)
    forget_open_stores()
    (file,) = object_files(store_path)
    whole = file.read_bytes()
    wrong = []
    for at in range(len(whole)):
        for bit in (0, 4, 7):
            flip(file, at, bit)
            with quiet():
                if small(1) != {"n": 1}:
                    wrong.append((at, bit, "a wrong value"))
                forget_open_stores()
            if file.read_bytes() != whole:
                wrong.append((at, bit, "not healed"))
                overwrite(file, whole)
    assert not wrong, wrong
    assert findings(store_path) == []


@pytest.mark.parametrize("function", [big, raw], ids=lambda function: function.__name__)
def test_every_byte_of_a_file_that_is_read(store_path, function):
    function(1)
    forget_open_stores()
    (file,) = object_files(store_path)
    whole = file.read_bytes()
    expected = function.__wrapped__(1)
    step = max(1, len(whole) // 300)
    wrong = []
    for at in [*range(80), *range(80, len(whole), step), len(whole) - 1]:
        # 64 + 4, bit 4 is the one bit of a zstd frame that means nothing; a decoder must not look at it
        flip(file, at, at % 8 if at != 68 else 5)
        with quiet():
            if function(1) != expected:
                wrong.append((at, "a wrong value"))
            current().store.flush()
        if file.read_bytes() != whole:
            wrong.append((at, "not healed"))
            overwrite(file, whole)
    assert not wrong, wrong
    forget_open_stores()
    assert findings(store_path) == []


def test_every_truncation(stored, store_path):
    function, file = stored
    whole = file.read_bytes()
    expected = function.__wrapped__(1)
    for length in [*range(min(len(whole), 90)), len(whole) // 2, len(whole) - 1]:
        overwrite(file, whole[:length])
        with quiet():
            assert function(1) == expected, length
        assert file.read_bytes() == whole, length
        forget_open_stores()
    assert findings(store_path) == []


def test_bytes_after_the_end(stored, store_path):
    function, file = stored
    overwrite(file, file.read_bytes() + b"x")
    heals(function, store_path)


def test_a_second_frame_after_the_first(store_path):
    import zstandard

    runs.clear()
    big(1)
    forget_open_stores()
    (file,) = object_files(store_path)
    overwrite(file, file.read_bytes() + zstandard.compress(b"more"))
    heals(big, store_path)


def test_swapped_files(store_path):
    big(1)
    big(2)
    forget_open_stores()
    one, two = object_files(store_path)
    first, second = one.read_bytes(), two.read_bytes()
    overwrite(one, second)
    overwrite(two, first)
    assert len(findings(store_path)) == 2
    with quiet():
        assert big(1) == big.__wrapped__(1)
        assert big(2) == big.__wrapped__(2)
        forget_open_stores()
    assert findings(store_path) == []


def make_folder(path):
    path.mkdir()
    (path / "something").write_bytes(b"x")


def make_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


STRANGE = {
    "nothing": lambda path: None,
    "an empty file": lambda path: path.touch(),
    "a folder": make_folder,
    "a FIFO": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a socket": make_socket,
}


@pytest.mark.parametrize("strange", STRANGE)
def test_something_else_in_its_place(stored, store_path, strange):
    function, file = stored
    file.unlink()
    STRANGE[strange](file)
    heals(function, store_path)


@pytest.mark.parametrize("strange", STRANGE)
def test_damaged_again_and_again(stored, store_path, strange):
    """The same object twice: what is set aside the second time must not collide with the first."""
    function, file = stored
    for kind in ("a folder", strange, "an empty file", strange, "a folder"):
        with quiet():
            file.unlink()
            STRANGE[kind](file)
            assert function(1) == function.__wrapped__(1)
            forget_open_stores()
        assert file.is_file()
        assert not file.is_symlink()
    assert findings(store_path) == []


def test_a_fan_out_folder_that_is_a_file(stored, store_path):
    """One object in 256 lies there; it must not stay a miss for ever."""
    function, file = stored
    file.unlink()
    file.parent.rmdir()
    file.parent.write_bytes(b"not a folder")
    heals(function, store_path)


def test_the_objects_folder_is_gone(stored, store_path):
    import shutil

    function, _ = stored
    shutil.rmtree(store_path / "objects")
    heals(function, store_path)


def test_a_damaged_buffer_of_a_pickled_value(store_path):
    from tests.support.scenarios import buffers

    buffers(3)
    forget_open_stores()
    for file in object_files(store_path):
        whole = file.read_bytes()
        overwrite(file, whole[:-1] + bytes([whole[-1] ^ 1]))
        assert len(findings(store_path)) == 1
        with quiet():
            assert buffers(3) == buffers.__wrapped__(3)
            forget_open_stores()
        assert findings(store_path) == []


def test_damage_is_found_once_while_a_process_runs(stored, store_path):
    """In an open process: damaged after the first hit, healed by the second, a hit at the third."""
    function, file = stored
    assert function(1) == function.__wrapped__(1)
    overwrite(file, b"damaged")
    with quiet():
        assert function(1) == function.__wrapped__(1)
    runs.clear()
    assert function(1) == function(1)
    assert runs == []


def test_duplicate_content_over_a_damaged_copy(store_path):
    """Another key with the same content is stored: the damaged copy is found and replaced."""

    @cacheable
    def other(n):
        return {"n": 1, "text": "1 " * 3000}

    big(1)
    forget_open_stores()
    (file,) = object_files(store_path)
    flip(file, 70)
    with quiet():
        other(9)
        forget_open_stores()
    assert findings(store_path) == []
