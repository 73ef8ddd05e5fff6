"""The tree object: one folder, as its sorted entries (format-v1, section 10).

A folder has exactly one form, so two equal folders are one object: entries in strict order of their names'
bytes, modes out of four, nothing unused. Whoever reads a tree may have got it from a stranger and is about to
write what it says: so names that lead anywhere else are refused here, before anybody sees them.
"""

from __future__ import annotations

from struct import Struct

from scalable_cas.errors import MalformedObject
from scalable_cas.format.kinds import BLOB, TREE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NamedTuple

    class TreeEntry(NamedTuple):
        """One entry: its ``name`` (bytes, as the file system has it), ``mode`` (one of this module), and the
        ``oid`` and ``size`` (bytes of content) of its object: a tree for a folder, a blob for a file, and for
        a link the blob of its target.
        """

        name: bytes
        mode: int
        oid: bytes
        size: int

else:
    from collections import namedtuple  # typing costs 5 ms to import

    TreeEntry = namedtuple("TreeEntry", ("name", "mode", "oid", "size"))  # noqa: PYI024

#: Modes, as git's: nothing else of a mode is kept, because it is the business of whoever gets the folder.
FILE, EXECUTABLE, LINK, FOLDER = 0o100644, 0o100755, 0o120000, 0o040000
_KINDS = {FILE: BLOB, EXECUTABLE: BLOB, LINK: BLOB, FOLDER: TREE}

VERSION = 1
_HEAD = Struct("<B3sI")  # version, zeros, number of entries
_ENTRY = Struct("<HBBHHQ32s")  # mode, kind, 0, length of the name, 0, size, oid; then the name
#: Bytes of a name: Linux takes 255 of them, and so many UTF-16 units (three bytes each in UTF-8) are taken
#: elsewhere.
LONGEST_NAME = 1024
#: Bytes of a link's target: Linux takes 4,095 (PATH_MAX with its NUL).
LONGEST_TARGET = 4095
#: Folders within folders: each costs an open file while it is written or read, and three frames of Python's
#: 1,000.
DEEPEST = 128
#: Files, links and folders in a folder, all told, that are stored or put back. Who has more of them packs
#: them first; and a hostile tree of 60 objects can hold itself 2**60 times.
MOST_ENTRIES = 10_000_000
_LARGEST = (1 << 48) - 1  # bytes of an object, as in the header


def kind_of(mode: int) -> int:
    """The kind of the object that an entry of this mode names."""
    return _KINDS[mode]


def pack(entries: Iterable[TreeEntry]) -> bytes:
    """The content of the tree with these entries, in whatever order they come.

    Raises:
        MalformedObject: a name that no folder may have, or twice; an unknown mode; a size out of bounds.
    """
    ordered = sorted(entries, key=lambda entry: entry[0])
    parts = [_HEAD.pack(VERSION, b"", len(ordered))]
    before = None
    for name, mode, oid, size in ordered:
        if mode not in _KINDS:
            raise MalformedObject("tree", f"mode {mode:o} is not known here")
        _check(name, before, mode, size)
        if len(oid) != 32:
            raise MalformedObject("tree", "an id that is not 32 bytes long")
        parts.append(_ENTRY.pack(mode, _KINDS[mode], 0, len(name), 0, size, oid))
        parts.append(name)
        before = name
    return b"".join(parts)


def unpack(content: bytes | memoryview) -> tuple[TreeEntry, ...]:
    """Parse the content of a tree. What is returned gives the same bytes again.

    Raises:
        MalformedObject: not such content.
    """
    data = bytes(content)
    if len(data) < _HEAD.size:
        raise MalformedObject("tree", "it ends inside its own head")
    version, zeros, count = _HEAD.unpack_from(data)
    if version != VERSION or zeros != b"\0\0\0":
        raise MalformedObject("tree", "its version is not known here")
    if count > (len(data) - _HEAD.size) // (_ENTRY.size + 1):
        raise MalformedObject("tree", f"it claims {count} entries")
    entries = []
    at, before = _HEAD.size, None
    for _ in range(count):
        if len(data) - at < _ENTRY.size:
            raise MalformedObject("tree", "it ends inside an entry")
        mode, kind, zero, length, more, size, oid = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        name = data[at : at + length]
        at += length
        if len(name) != length:
            raise MalformedObject("tree", "it ends inside a name")
        if zero or more or _KINDS.get(mode) != kind:
            raise MalformedObject("tree", f"mode {mode:o} and kind {kind} are not known here")
        _check(name, before, mode, size)
        entries.append(TreeEntry(name, mode, oid, size))
        before = name
    if at != len(data):
        raise MalformedObject("tree", f"{len(data) - at} bytes follow its last entry")
    return tuple(entries)


def _check(name: bytes, before: bytes | None, mode: int, size: int) -> None:
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise MalformedObject("tree", f"{name!r} is no name of a file")
    if len(name) > LONGEST_NAME:
        raise MalformedObject("tree", f"a name of {len(name)} bytes")
    if before is not None and name <= before:
        raise MalformedObject("tree", f"{name!r} is there twice or out of order")
    if not 0 <= size <= (LONGEST_TARGET if mode == LINK else _LARGEST) or (mode == LINK and not size):
        raise MalformedObject("tree", f"{name!r} has a size of {size} bytes")


def link_fault(
    target: bytes, folder: Sequence[bytes], is_folder: Callable[[Sequence[bytes]], bool]
) -> str | None:
    """Why a link in ``folder`` (the names of the folders from the root down to it) may lead out of the root;
    None if it cannot.

    The problem: ``..`` goes to the parent of where one *is*, and behind a link that is not what the text
    says. If ``a`` is a link to ``b/c``, then ``a/../..`` is the root; if ``b/c/a`` is a link to the root,
    then ``b/c/a/..`` is outside, though the text looks harmless. So it is not enough to count. What holds: a
    link is within a real folder, whose parents are real folders too. Leading ``..`` are therefore what they
    seem; and a ``..`` further on is so if each name before it is that of a real folder, which ``is_folder``
    says (given the names from the root). Names lead down: into a real folder, or through a link that was
    checked in the same way. So nothing leads out.
    """
    if not target or b"\0" in target or len(target) > LONGEST_TARGET:
        return "has no possible target"
    if target.startswith(b"/"):
        return "leads to an absolute path"
    here: list[bytes] = list(folder)
    for part in target.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            here.append(part)
        elif not here:
            return "leads out of the folder"
        elif not all(is_folder(here[:count]) for count in range(1, len(here) + 1)):
            return "goes up again behind what is no folder of its own, so it cannot be told where it leads"
        else:
            here.pop()
    return None
