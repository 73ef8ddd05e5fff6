"""Bodies of requests and answers: read in pieces, within a time that depends on their size.

A socket's time limit starts anew with each byte, so a server that sends one byte a second would never be
given up. Here each piece looks at the clock.
"""

from __future__ import annotations

import os
from io import SEEK_CUR, SEEK_END
from typing import TYPE_CHECKING, Any

from scalable_cas import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scalable_cas.remotes.base import Limits

PIECE = 256 << 10  # bytes: few calls, and little memory for each of many threads


class TooSlowError(Exception):
    """A body took longer than its size allows."""


class Source:
    """What is to be sent: bytes in memory, or an open file."""

    def __init__(self, content: bytes | bytearray | memoryview | int) -> None:
        self._fd = content if isinstance(content, int) else -1
        self._view = memoryview(b"" if isinstance(content, int) else content).cast("B")
        self.size = os.fstat(content).st_size if isinstance(content, int) else len(self._view)

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes at a place."""
        if self._fd >= 0:
            return os.pread(self._fd, count, offset)
        return bytes(self._view[offset : offset + count])

    def body(self, offset: int, length: int, limits: Limits) -> bytes | Part:
        """A part of it as the body of a request.

        Small ones as they are. Larger ones as a file: of bytes, the socket layer counts its time limit for
        the whole (`socket.sendall`), and a slow line would fail each time.
        """
        if length <= PIECE:
            return self.read_at(offset, length)
        return Part(self, offset, length, limits)


class Part:
    """A part of a source, read like a file by the HTTP client, from the beginning for each try."""

    def __init__(self, source: Source, offset: int, length: int, limits: Limits) -> None:
        self._source = source
        self._offset = offset
        self._length = length
        self._limits = limits
        self._at = 0
        self._deadline = 0.0

    def read(self, count: int = -1) -> bytes:
        """The next bytes.

        Raises:
            TooSlowError: the other side takes them too slowly.
        """
        if not self._at:
            self._deadline = clock.monotonic() + self._limits.body(self._length)
        elif clock.monotonic() > self._deadline:
            raise TooSlowError
        left = self._length - self._at
        content = self._source.read_at(self._offset + self._at, left if count < 0 else min(count, left))
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, as of a file."""
        base = {SEEK_CUR: self._at, SEEK_END: self._length}.get(whence, 0)
        self._at = max(0, min(self._length, base + offset))
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def __len__(self) -> int:
        return self._length


class _Timed:
    """Between botocore's body and the socket: gives what has come, and does not wait for the rest."""

    def __init__(self, raw: Any, deadline: float) -> None:
        self._raw = raw
        self._deadline = deadline

    def read(self, count: int) -> bytes:
        if clock.monotonic() > self._deadline:
            raise TooSlowError
        data: bytes = self._raw.read1(count)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


def pieces(body: Any, size: int, limits: Limits) -> Iterator[bytes]:
    """The content of botocore's streaming body, which says that it has ``size`` bytes.

    Raises:
        TooSlowError: they come too slowly.
    """
    deadline = clock.monotonic() + limits.body(size)
    raw = getattr(body, "_raw_stream", None)
    if hasattr(raw, "read1"):  # botocore has no public way to it; without it the clock is asked less often
        body._raw_stream = _Timed(raw, deadline)  # noqa: SLF001
    try:
        while piece := body.read(PIECE):
            yield piece
            if clock.monotonic() > deadline:
                raise TooSlowError
    finally:
        body.close()
