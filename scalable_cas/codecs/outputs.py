"""The head of a value that is files or folders: what the function returned, and which paths are in it
(values-v1, "Files and folders").

The contents are objects by themselves, one for each path, in order; so this is no codec that could decode by
itself: whoever reads such a value puts the contents back (store/outputs.py).
"""

from __future__ import annotations

import os
from struct import Struct

from scalable_cas.codecs import plain
from scalable_cas.errors import MalformedObject, NotStorable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: The codecs of such values: each path is that of a file, or of a folder.
FILES, FOLDERS = "file", "dir"
NAMES = (FILES, FOLDERS)

VERSION = 1
_HEAD = Struct("<BBI")  # version, flags, number of paths; then a byte for each, then the plain value
_WRAPPED = 1  # the function returned its paths in FileType or DirType
_EXECUTABLE = 1  # of a path's byte


class Returned:
    """What a function returned: the ``value`` with plain paths in it, whether each was ``wrapped``, and of
    each path whether its file is ``executable``.
    """

    __slots__ = ("executable", "value", "wrapped")

    def __init__(self, value: Any, executable: Sequence[bool], *, wrapped: bool) -> None:
        self.value = value
        self.executable = tuple(executable)
        self.wrapped = wrapped


def paths_of(value: Any) -> list[str]:
    """The paths in a value: itself, the items of a list or a tuple, the values of a dict; none in None.

    Raises:
        NotStorable: something in it is no path.
    """
    if value is None:
        return []
    kind = type(value)
    items = value if kind in (list, tuple) else value.values() if kind is dict else (value,)
    found = []
    for item in items:
        if not isinstance(item, str | bytes | os.PathLike):
            raise NotStorable(
                kind.__qualname__, f"it is declared to be paths, and holds a {type(item).__name__}"
            )
        found.append(os.fsdecode(os.fspath(item)))
    return found


def pack(returned: Returned) -> bytes:
    """The head.

    Raises:
        NotStorable: a path of a class that cannot be given back.
    """
    encoded = plain.encode(returned.value)
    if encoded is None or encoded.buffers:
        raise NotStorable(type(returned.value).__qualname__, "return each path as a str or a pathlib.Path")
    marks = bytes(_EXECUTABLE if mark else 0 for mark in returned.executable)
    return _HEAD.pack(VERSION, _WRAPPED if returned.wrapped else 0, len(marks)) + marks + encoded.head


def unpack(head: bytes | memoryview, *, trusted: bool) -> Returned:
    """Parse a head.

    Raises:
        MalformedObject: not such a head.
        UntrustedEntry: as the codec "plain".
    """
    data = bytes(head)
    if len(data) < _HEAD.size:
        raise MalformedObject("file value", "it ends inside its own head")
    version, flags, count = _HEAD.unpack_from(data)
    marks = data[_HEAD.size : _HEAD.size + count]
    if (
        version != VERSION
        or flags & ~_WRAPPED
        or len(marks) != count
        or any(mark & ~_EXECUTABLE for mark in marks)
    ):
        raise MalformedObject("file value", "its head is not known here")
    value = plain.decode(data[_HEAD.size + count :], (), trusted=trusted)
    try:
        paths = paths_of(value)
    except NotStorable as error:
        raise MalformedObject("file value", error.reason) from error
    if len(paths) != count:
        raise MalformedObject("file value", f"{len(paths)} paths where it says {count}")
    return Returned(value, [bool(mark) for mark in marks], wrapped=bool(flags & _WRAPPED))
