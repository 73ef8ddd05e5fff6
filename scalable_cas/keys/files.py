"""Content of files and directories that are declared as inputs. Reads only.

A file's digest is plain BLAKE3 of its bytes, as ``b3sum`` prints it. A directory's digest is a Merkle tree
over names, exec bits and contents (docs/reference/key-v1.md). Neither depends on path, owner or time.

Something may write while we read. So everything is looked at before and after: a file by ``fstat`` on one
descriptor, a directory by two listings. What differs is read again, three times, and then refused: a digest
of a state that never was would be a key for a result of something else.
"""

from __future__ import annotations

import os
import stat

from blake3 import blake3

from scalable_cas.errors import InputChanged, MissingInput

from .tags import pack_u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    Signature = tuple[int, int, int, int, int]  # dev, ino, size, mtime_ns, ctime_ns
    Token = tuple[str, str, object, bytes]  # "file" or "dir", absolute path, what its stats were, digest
    Record = tuple[
        int, bytes, str, bool, object, int
    ]  # folder, name, kind, exec bit, stat or link text, own folder number
    T = TypeVar("T")

_ATTEMPTS = 3
# 1 MiB blocks: 7.5 GB/s on one thread; larger ones gain nothing, and a memory map can kill the process.
_BLOCK = 1 << 20
_SMALL = 1 << 16  # up to here one os.read is cheaper than a buffer
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class _Changed(Exception):
    """What was read is not a state that ever was."""


def _settled(path: str, read: Callable[[str], T]) -> T:
    for _ in range(_ATTEMPTS):
        try:
            return read(path)
        except _Changed:
            continue
    raise InputChanged(path)


def _signature(found: os.stat_result) -> Signature:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


# --- files -------------------------------------------------------------------------------------------------


def file_digest(path: str | os.PathLike[str]) -> tuple[bytes, int]:
    """BLAKE3 of a file's bytes (32 bytes) and its size. Links are followed.

    Raises:
        MissingInput: there is no such file, or it is a directory, a FIFO, a device or a socket.
        InputChanged: it changes while it is being read.
        OSError: it cannot be read.
    """
    digest, signature = _settled(os.fspath(path), _read_file)
    return digest, signature[2]


def file_input(path: str) -> tuple[Token, int]:
    """The token of an input file, which ``inputs_unchanged`` compares with after the function ran, and its
    size.
    """
    digest, signature = _settled(path, _read_file)
    return ("file", os.path.abspath(path), signature, digest), signature[2]


def _read_file(path: str) -> tuple[bytes, Signature]:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInput(path, "FileType") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory; declare DirType" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise MissingInput(path, "FileType", f"is {kind}")
    return _read_regular(path)


def _read_regular(path: str | bytes) -> tuple[bytes, Signature]:
    try:
        descriptor = os.open(
            path, _FLAGS
        )  # O_NONBLOCK: a FIFO that took the file's place meanwhile must not block us
    except FileNotFoundError as error:
        raise _Changed from error
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise _Changed
        digest, size = _digest_descriptor(descriptor, before.st_size)
        signature = _signature(before)
        if size != before.st_size or _signature(os.fstat(descriptor)) != signature:
            raise _Changed
        return digest, signature
    finally:
        os.close(descriptor)


def _digest_descriptor(descriptor: int, expected: int) -> tuple[bytes, int]:
    if expected < _SMALL:
        data = os.read(descriptor, _SMALL)
        if len(data) == expected:
            return blake3(data).digest(), expected
        hasher, size = blake3(data), len(data)
    else:
        hasher, size = blake3(), 0
    buffer = memoryview(bytearray(_BLOCK))
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
            size += count
    return hasher.digest(), size


# --- directories -------------------------------------------------------------------------------------------


def directory_digest(path: str | os.PathLike[str]) -> bytes:
    """The Merkle digest (32 bytes) of a directory: names, exec bits, contents, empty folders. Links are
    followed.

    Raises:
        MissingInput: there is no such directory, it is a file, or it holds a FIFO, a device, a socket or a
        loop of links. InputChanged: it changes while it is being read. OSError: something in it cannot be
        read.
    """
    return _settled(os.fspath(path), _read_tree)[0]


def directory_input(path: str) -> Token:
    """The token of an input directory."""
    digest, stamp = _settled(path, _read_tree)
    return ("dir", os.path.abspath(path), stamp, digest)


def _read_tree(path: str) -> tuple[bytes, bytes]:
    """Digest, and a stamp of all listings and stats."""
    records, folders = _list_tree(path)
    nodes: list[list[bytes]] = [[] for _ in folders]
    digests: list[bytes] = [b""] * len(folders)
    for record in reversed(
        records
    ):  # a folder is listed before what it holds, so its content is complete here
        folder, name, kind, executable, detail, own = record
        if kind == "f":
            digest, signature = _read_regular(os.path.join(folders[folder], name))
            if signature != detail:
                raise _Changed
        elif kind == "d":
            digest = digests[own] = _node_digest(nodes[own])
        else:
            digest = blake3(detail).digest()  # type: ignore[arg-type]
        mark = kind.encode() + (b"x" if executable else b"-")
        nodes[folder].append(mark + pack_u64(len(name)) + name + digest)
    if _list_tree(path) != (records, folders):
        raise _Changed
    return _node_digest(nodes[0]), _stamp(records)


def _node_digest(entries: list[bytes]) -> bytes:
    # By raw name: the name starts at byte 10, behind kind, exec bit and length, and no name contains what
    # follows it.
    entries.sort(key=lambda entry: entry[10:-32])
    return blake3(pack_u64(len(entries)) + b"".join(entries)).digest()


def _stamp(records: Sequence[Record]) -> bytes:
    return blake3(repr(records).encode()).digest()


def _list_tree(path: str) -> tuple[list[Record], list[bytes]]:
    """Everything below a directory, each folder before its content, and the folders' paths by number."""
    try:
        root = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInput(path, "DirType") from error
    if not stat.S_ISDIR(root.st_mode):
        kind = "a file; declare FileType" if stat.S_ISREG(root.st_mode) else "no directory"
        raise MissingInput(path, "DirType", f"is {kind}")
    records: list[Record] = []
    folders = [os.fsencode(path)]
    places = [(-1, root.st_dev, root.st_ino)]  # parent's number, device, inode
    number = 0
    while number < len(folders):
        for entry in _sorted_entries(folders[number]):
            kind, executable, detail, found = _look_at(path, entry)
            own = 0
            if found is not None:
                _refuse_loop(path, entry, places, number, found)
                own = len(folders)
                folders.append(entry.path)
                places.append((number, found.st_dev, found.st_ino))
            records.append((number, entry.name, kind, executable, detail, own))
        number += 1
    return records, folders


def _sorted_entries(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _Changed from error


def _look_at(path: str, entry: os.DirEntry[bytes]) -> tuple[str, bool, object, os.stat_result | None]:
    """Kind, exec bit, signature or link text, and the stat of a folder."""
    try:
        found = os.stat(entry.path)
    except OSError as error:
        # A link to nowhere, or to itself (ELOOP), is a thing of its own: editors leave such locks behind.
        if not os.path.islink(entry.path):
            raise _Changed from error
        if isinstance(error, PermissionError):
            raise
        return "l", False, os.readlink(entry.path), None
    if stat.S_ISDIR(found.st_mode):
        return "d", False, None, found
    if not stat.S_ISREG(found.st_mode):
        raise MissingInput(path, "DirType", f"holds {_shown(entry)}, which is neither a file nor a directory")
    return "f", bool(found.st_mode & stat.S_IXUSR), _signature(found), None


def _refuse_loop(
    path: str,
    entry: os.DirEntry[bytes],
    places: list[tuple[int, int, int]],
    parent: int,
    found: os.stat_result,
) -> None:
    while parent >= 0:
        parent, device, inode = places[parent]
        if (device, inode) == (found.st_dev, found.st_ino):
            raise MissingInput(path, "DirType", f"holds {_shown(entry)}, a link to a folder that it lies in")


def _shown(entry: os.DirEntry[bytes]) -> str:
    return repr(os.fsdecode(entry.path))


# --- after the run -----------------------------------------------------------------------------------------


def inputs_unchanged(inputs: Sequence[Token]) -> str | None:
    """The path of an input whose content is no longer what the key says; None if all are as they were.

    Cheap where nothing was touched: content is read again only where a stat differs.
    """
    for kind, path, stamp, digest in inputs:
        try:
            if kind == "file":
                if _signature(os.stat(path)) != stamp and _settled(path, _read_file)[0] != digest:
                    return path
            elif _stamp(_list_tree(path)[0]) != stamp and _settled(path, _read_tree)[0] != digest:
                return path
        except (
            OSError,
            InputChanged,
            _Changed,
        ):  # gone, unreadable, or still being written (MissingInput is an OSError)
            return path
    return None
