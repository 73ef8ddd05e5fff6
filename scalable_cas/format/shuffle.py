"""The byte-shuffle: the first bytes of all numbers, then the second bytes, and so on.

The exponents of numbers that belong together are alike and their last digits are noise; side by side, zstd
packs the former and skips the latter. Twice as fast with numpy, if the program has it loaded already; it is
imported for nothing less than `prepare`.
"""

from __future__ import annotations

import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    Content = bytes | bytearray | memoryview

#: Item sizes in bytes that may be shuffled: those of numbers.
ITEMS = (2, 4, 8, 16)
#: So many numbers numpy puts in place by one call, although one for each byte of theirs is faster: each lets
#: go of the interpreter, and threads that unpack small chunks side by side wait for their turns (`verify` of
#: chunks of 64 KiB is 8 % faster so).
_FEW = 32 << 10


def prepare() -> None:
    """Load numpy, if it is installed: for whoever is about to unshuffle half a gigabyte or more. Less is not
    worth the tenth of a second that it takes.
    """
    with suppress(ImportError):
        import numpy as np  # noqa: F401


def shuffle(content: Content, item: int) -> bytes:
    """``content`` with the bytes of its items side by side; a rest shorter than an item stays at the end."""
    view = memoryview(content)
    whole = len(view) - len(view) % item
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        mixed: bytes = numpy.frombuffer(view[:whole], numpy.uint8).reshape(-1, item).T.tobytes()
        return mixed if whole == len(view) else mixed + bytes(view[whole:])
    body = bytes(view[:whole])  # slices of bytes with a step are copied four times as fast as a view's
    return b"".join([*(body[at::item] for at in range(item)), view[whole:]])


def unshuffle_into(content: Content, item: int, target: memoryview) -> None:
    """Undo `shuffle` into ``target``, which is as long."""
    view = memoryview(content)
    whole = len(view) - len(view) % item
    count = whole // item
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        planes = numpy.frombuffer(view[:whole], numpy.uint8).reshape(item, count)
        lines = numpy.frombuffer(target[:whole], numpy.uint8).reshape(count, item)
        if count < _FEW:
            lines[:] = planes.T
        else:  # 1.4 to 2.4 times as fast
            for at in range(item):
                lines[:, at] = planes[at]
    else:
        body = bytearray(whole)
        for at in range(item):
            body[at::item] = view[at * count : (at + 1) * count]
        target[:whole] = body
    target[whole:] = view[whole:]
