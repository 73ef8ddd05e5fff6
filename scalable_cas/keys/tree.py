"""Content of a directory that is declared as an input: a Merkle digest over names, exec bits and contents
(docs/reference/key-v1.md, section 8). Reads only.

Something may write while we read. So the directory is walked twice: the first walk takes every name and stat
and reads every file, the second one takes names and stats again; where the two differ, no state is known to
have been what was read. A file is compared by ``fstat`` with its stat in the first walk, once it was read: a
look before, as for a single file, would find nothing that the second walk does not.

100,000 small files cost some system calls each, and the rest is Python's: so what a walk found is kept as
bytes, which the garbage collector does not visit, unlike tuples.
"""

from __future__ import annotations

import os
import stat
from struct import Struct

from blake3 import blake3

from scalable_cas.errors import MissingInput

from .stats import signature_of
from .tags import pack_u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .stats import Signature

    Read = Callable[[str, os.stat_result], tuple[bytes, Signature]]

_SIGNATURE = Struct("<QQQqq")
_EXECUTABLE = stat.S_IXUSR


class Changed(Exception):
    """What was read is not a state that ever was."""


class Walked:
    """One walk over a directory. ``stamp``: a digest of all names and stats. ``digest``: the Merkle digest,
    if there was a ``read`` to give the digest of each file. ``newest``: the newest time in any stat (ns).

    Raises, when made:
        MissingInput: there is no such directory, it is a file, or it holds what has no content.
        Changed: something came or went meanwhile.
        OSError: something in it cannot be read.
    """

    def __init__(self, path: str, read: Read | None = None) -> None:
        self._path = path
        self._read = read
        root = _root(path)
        self.newest = 0
        self._folders = [os.fsencode(path)]
        self._places = [(-1, root.st_dev, root.st_ino)]  # parent's number, device, inode
        self._nodes: list[list[bytes]] = []  # entries of each folder, as they are hashed
        self._inside: list[
            list[tuple[int, int]]
        ] = []  # of each folder: (place of an entry, that folder's number)
        stamp = blake3()
        while len(self._nodes) < len(self._folders):  # never recursing: a folder may be very deep
            stamp.update(b"".join(self._list(len(self._nodes))))
        self.stamp = stamp.digest()
        self.digest = b"" if read is None else self._digest()

    def _list(self, number: int) -> list[bytes]:
        """Go through one folder; what is found is said as bytes."""
        node: list[bytes] = []
        inside: list[tuple[int, int]] = []
        self._nodes.append(node)
        self._inside.append(inside)
        seen = [pack_u64(number)]
        entries = _sorted_entries(self._folders[number])
        for entry in entries:
            name = entry.name
            label = pack_u64(len(name)) + name
            found = _stat(entry)
            if found is None:
                mark, detail = b"l-", os.readlink(entry.path)
                node.append(mark + label + blake3(detail).digest())
                detail = pack_u64(len(detail)) + detail
            elif stat.S_ISREG(found.st_mode):
                mark = b"fx" if found.st_mode & _EXECUTABLE else b"f-"
                detail = self._file(entry, found, node, mark + label)
            elif stat.S_ISDIR(found.st_mode):
                mark, detail = b"d-", b""
                self._refuse_loop(entry, number, found)
                inside.append((len(node), len(self._folders)))
                node.append(mark + label)
                self._folders.append(entry.path)
                self._places.append((number, found.st_dev, found.st_ino))
            else:
                what = f"holds {_shown(entry)}, which is neither a file nor a directory"
                raise MissingInput(self._path, "DirType", what)
            seen.append(mark + label + detail)
        return seen

    def _file(
        self, entry: os.DirEntry[bytes], found: os.stat_result, node: list[bytes], start: bytes
    ) -> bytes:
        signature = signature_of(found)
        self.newest = max(self.newest, signature[3], signature[4])
        if self._read is not None:
            digest, read = self._read(os.fsdecode(entry.path), found)
            if read != signature:
                raise Changed
            node.append(start + digest)
        return _SIGNATURE.pack(*signature)

    def _digest(self) -> bytes:
        digests = [b""] * len(self._nodes)
        for number in reversed(range(len(self._nodes))):  # what a folder holds has a higher number
            node = self._nodes[number]
            for place, own in self._inside[number]:
                node[place] += digests[own]
            digests[number] = blake3(pack_u64(len(node)) + b"".join(node)).digest()
        return digests[0]

    def _refuse_loop(self, entry: os.DirEntry[bytes], parent: int, found: os.stat_result) -> None:
        while parent >= 0:
            parent, device, inode = self._places[parent]
            if (device, inode) == (found.st_dev, found.st_ino):
                what = f"holds {_shown(entry)}, a link to a folder that it lies in"
                raise MissingInput(self._path, "DirType", what)


def _root(path: str) -> os.stat_result:
    try:
        root = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInput(path, "DirType") from error
    except ValueError as error:  # a NUL in it
        raise MissingInput(path, "DirType", "is no possible path") from error
    if not stat.S_ISDIR(root.st_mode):
        kind = "a file; declare FileType" if stat.S_ISREG(root.st_mode) else "no directory"
        raise MissingInput(path, "DirType", f"is {kind}")
    return root


def _sorted_entries(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Changed from error


def _stat(entry: os.DirEntry[bytes]) -> os.stat_result | None:
    """The stat of what an entry leads to; None for a link that leads nowhere."""
    try:
        return entry.stat()
    except OSError as error:
        # A link to nowhere, or to itself (ELOOP), is a thing of its own: editors leave such locks behind.
        if not os.path.islink(entry.path):
            raise Changed from error
        if isinstance(error, PermissionError):
            raise
        return None


def _shown(entry: os.DirEntry[bytes]) -> str:
    return repr(os.fsdecode(entry.path))
