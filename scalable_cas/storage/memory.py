"""Memory for large content, filled in place.

The naive way, ``bytearray(size)`` or one ``bytes`` for each step, costs twice: the system hands out 4 KiB at
a time, 5 GB/s where a memory of huge pages does 13 (measured), and each step holds a copy. So memory is taken
once, in huge pages, and everything is read, decompressed and verified in it.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from io import BytesIO

#: From this size on huge pages pay (they are of 2 MiB).
LARGE = 4 << 20


class Writable:
    """``size`` bytes of undefined content that nobody else has: `view` while they are filled, `finish` once
    they are.
    """

    def __init__(self, size: int) -> None:
        self.view = _taken(size)

    def finish(self) -> memoryview:
        """The memory itself."""
        return self.view


def _taken(size: int) -> memoryview:
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "empty"):  # its memory may be used again, without a page fault
        return memoryview(numpy.empty(size, numpy.uint8))
    if size < LARGE:
        return memoryview(bytearray(size))
    import mmap  # only where it is needed

    # Private: the default is shared, and a forked child would write into its parent's value.
    taken = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            taken.madvise(mmap.MADV_HUGEPAGE)
        except OSError:  # a kernel without them
            pass
    return memoryview(taken)


class _Lent(BytesIO):
    """Memory that may be dropped while parts of it are lent still: by the collector, with the traceback of a
    fault. Python closes it first, which cannot be done then, and would print that from 3.13 on.
    """

    def close(self) -> None:
        with suppress(BufferError):
            super().close()


class Bytes:
    """A ``bytes`` of ``size`` that is filled in place: `view` while it is filled, `finish` once it is.

    Joining pieces would hold all of it twice. A BytesIO keeps its content in a ``bytes``, which it lends as a
    writable buffer and hands out without a copy.
    """

    def __init__(self, size: int) -> None:
        self._file = _Lent()
        if size:
            self._file.seek(size - 1)
            self._file.write(b"\0")
        self.view = self._file.getbuffer()

    def finish(self) -> bytes:
        """The bytes. The view is no longer valid."""
        self.view.release()
        return self._file.getvalue()
