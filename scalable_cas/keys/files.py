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

from scalable_cas import clock
from scalable_cas.errors import InputChanged, MissingInput

from .hashing import SMALL, digest_descriptor
from .stats import memory, signature_of
from .tree import Changed, Walked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from .stats import Signature, Trust

    # "file" or "dir", absolute path, what its stats were (None: too young to tell), digest, size of a file
    Token = tuple[str, str, object, bytes, int]
    T = TypeVar("T")

_ATTEMPTS = 3
#: A file that was written this long before we read it may be written again and have the same stat: ns. The
#: coarsest clock of a file system is that of FAT.
_YOUNG = 2 * 10**9
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_is_regular, _SEPARATOR = stat.S_ISREG, os.sep


def _settled(path: str, read: Callable[[str], T]) -> T:
    for _ in range(_ATTEMPTS):
        try:
            return read(path)
        except Changed:
            continue
    raise InputChanged(path)


# --- files -------------------------------------------------------------------------------------------------


def file_digest(path: str | os.PathLike[str], *, anew: bool = False) -> tuple[bytes, int]:
    """BLAKE3 of a file's bytes (32 bytes) and its size. Links are followed. ``anew``: read it also where its
    stat is known.

    Raises:
        MissingInput: there is no such file, or it is a directory, a FIFO, a device or a socket.
        InputChanged: it changes while it is being read.
        OSError: it cannot be read.
    """
    digest, signature = _settled(os.fspath(path), _read_anew if anew else _read_file)
    return digest, signature[2]


def file_input(path: str, before: Sequence[Token] = ()) -> Token:
    """The token of an input file, which ``inputs_unchanged`` compares with after the function ran.
    ``before``: tokens of this very call, which is only looked at from another side now.
    """
    for token in before:
        if token[0] == "file" and token[1] == _absolute(path):
            return token
    began = clock.now_ns()
    digest, seen = _settled(path, _read_file)
    stamp = None if max(seen[3], seen[4]) >= began - _YOUNG else seen
    return "file", _absolute(path), stamp, digest, seen[2]


def known_file(path: str) -> Token | None:
    """The token of a file that has the stat that it had when it was read; None: it has to be looked at with
    more care. For the quick way to a key: one system call.
    """
    known = memory.quick.get(path)
    if known is None:
        return None
    seen, since, digest = known
    try:
        found = os.stat(path)
    except OSError:
        return None
    if (
        found.st_mtime_ns != seen[3]
        or found.st_ctime_ns != seen[4]
        or found.st_ino != seen[1]
        or found.st_size != seen[2]
        or found.st_dev != seen[0]
        or since > clock.now_ns()  # the clock was set back
    ):
        return None
    return "file", path if path[0] == _SEPARATOR else _absolute(path), seen, digest, seen[2]


def _absolute(path: str) -> str:
    """Where a path leads from here, also after the function changed the working directory. ``..`` is left as
    it is: behind a link it is not what the text says.
    """
    return path if path.startswith(_SEPARATOR) else os.path.join(os.getcwd(), path)


def _read_file(path: str) -> tuple[bytes, Signature]:
    return _content(path, _regular(path))


def _read_anew(path: str) -> tuple[bytes, Signature]:
    return _read_regular(path, memory.trust(path, _regular(path)), look=False)


def _regular(path: str) -> os.stat_result:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInput(path, "FileType") from error
    except ValueError as error:  # a NUL in it
        raise MissingInput(path, "FileType", "is no possible path") from error
    if not _is_regular(found.st_mode):
        kind = "a directory; declare DirType" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise MissingInput(path, "FileType", f"is {kind}")
    return found


def _content(path: str, found: os.stat_result) -> tuple[bytes, Signature]:
    """The digest of a regular file whose stat was just taken, and the stat that the digest belongs to."""
    trust = memory.trust(path, found)
    if trust is not None and not trust[2]:
        seen = signature_of(found)
        digest = memory.find(path, seen, trust)
        if digest is not None:
            return digest, seen
    return _read_regular(path, trust)


def _read_regular(path: str, trust: Trust | None = None, *, look: bool = True) -> tuple[bytes, Signature]:
    began = clock.now_ns() if trust is not None else 0
    try:
        descriptor = os.open(
            path, _FLAGS
        )  # O_NONBLOCK: a FIFO that took the file's place meanwhile must not block us
    except FileNotFoundError as error:
        raise Changed from error
    try:
        before = os.fstat(descriptor)
        if not _is_regular(before.st_mode):
            raise Changed
        signature = signature_of(before)
        if trust is not None and trust[2] and look:
            digest = memory.find(path, signature, trust)
            if digest is not None:
                return digest, signature
        digest, size = digest_descriptor(descriptor, before.st_size)
        if size != before.st_size or signature_of(os.fstat(descriptor)) != signature:
            raise Changed
    finally:
        os.close(descriptor)
    if trust is not None:
        memory.keep(path, signature, digest, began, trust)
    return digest, signature


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


def _listed(path: str, found: os.stat_result) -> tuple[bytes, Signature]:
    """As `_content`, for a file that the walk compares with its stat afterwards: a small one is not looked at
    before, which saves a system call of six.
    """
    size = found.st_size
    if size >= SMALL or memory.trust(path, found) is not None:
        return _content(path, found)
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError as error:
        raise Changed from error
    try:
        data = os.read(descriptor, size + 1)
        seen = signature_of(os.fstat(descriptor))
    except BlockingIOError as error:  # a FIFO took its place
        raise Changed from error
    finally:
        os.close(descriptor)
    if len(data) != size:
        raise Changed
    return blake3(data).digest(), seen


def directory_input(path: str, before: Sequence[Token] = ()) -> Token:
    """The token of an input directory; ``before`` as for `file_input`."""
    for token in before:
        if token[0] == "dir" and token[1] == _absolute(path):
            return token
    digest, stamp = _settled(path, _read_tree)
    return "dir", _absolute(path), stamp, digest, 0


def _read_tree(path: str) -> tuple[bytes, object]:
    """Digest, and a stamp of all listings and stats."""
    began = clock.now_ns()
    walked = Walked(path, _listed)
    if Walked(path).stamp != walked.stamp:
        raise Changed
    return walked.digest, None if walked.newest >= began - _YOUNG else walked.stamp


# --- after the run -----------------------------------------------------------------------------------------


def inputs_unchanged(inputs: Sequence[Token]) -> str | None:
    """The path of an input whose content is no longer what the key says; None if all are as they were.

    Cheap where nothing was touched: content is read again only where a stat differs, or was too young at the
    time to tell one content from the next.
    """
    for kind, path, stamp, digest, _ in inputs:
        try:
            if kind == "file":
                if _stat_now(path) != stamp and _settled(path, _read_file)[0] != digest:
                    return path
            elif (stamp is None or Walked(path).stamp != stamp) and _settled(path, _read_tree)[0] != digest:
                return path
        except (OSError, InputChanged, Changed):
            return path  # gone, unreadable, or still being written (MissingInput is an OSError)
    return None


def _stat_now(path: str) -> Signature:
    found = os.stat(path)
    trust = memory.trust(path, found)
    if trust is None or not trust[2]:
        return signature_of(found)
    descriptor = os.open(path, _FLAGS)
    try:
        return signature_of(os.fstat(descriptor))
    finally:
        os.close(descriptor)
