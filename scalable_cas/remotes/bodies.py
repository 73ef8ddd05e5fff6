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
    from typing import Self

    from scalable_cas.remotes.base import Limits

PIECE = 256 << 10  # bytes: few calls, and little memory for each of many threads


class TooSlowError(Exception):
    """A body took longer than its size allows."""


class BrokenError(Exception):
    """A body ended before its size."""


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


class Body:
    """The content of an answer, botocore's streaming body that says it has ``size`` bytes, read into memory.
    A context manager.

    The naive way is the body's own `read`: each piece goes through three layers that put it together and copy
    it, which takes as long for a gigabyte as receiving and hashing it. Most answers come over a plain
    `http.client` connection whose bytes are what was asked for; those are received where they belong. The way
    down to it is not public, so each step is looked at, and without it the body's own `read` is used. So it
    is for a body whose checksum botocore checks on the way.
    """

    def __init__(self, body: Any, size: int, limits: Limits) -> None:
        self._body = body
        self._left = size
        self._deadline = clock.monotonic() + limits.body(size)
        self._raw: Any = getattr(body, "_raw_stream", None)
        self._http: Any = self._plain(size) if type(body).__name__ == "StreamingBody" else None
        if self._http is None and hasattr(self._raw, "read1"):  # else the clock is asked less often
            body._raw_stream = _Timed(self._raw, self._deadline)  # noqa: SLF001 - no public way to it

    def _plain(self, size: int) -> Any:
        from http.client import HTTPResponse

        answer: Any = getattr(self._raw, "_fp", None)
        plain = isinstance(answer, HTTPResponse) and not answer.chunked and answer.length == size
        return answer if plain and hasattr(answer.fp, "readinto1") else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            if self._http is not None and not self._left:
                self._http.read(0)  # it is at its end, and lets go of the socket
                self._raw.release_conn()  # the next request may use it
        finally:
            self._body.close()

    def readinto(self, target: memoryview) -> int:
        """Fill ``target``, or a part of it, with what comes next; returns how much. The caller asks for no
        more than there is to come.

        Raises:
            TooSlowError: it comes too slowly.
            BrokenError: the connection broke, or ended early.
        """
        if self._http is not None:
            try:
                count: int = self._http.fp.readinto1(target)
            except TimeoutError as error:
                raise TooSlowError from error
            except OSError as error:
                raise BrokenError from error
            self._http.length -= count
        else:
            piece = self._body.read(min(len(target), PIECE))
            count = len(piece)
            target[:count] = piece
            if count == self._left:
                self._body.read(1)  # it is at its end: only there botocore compares a checksum
        if not count:
            raise BrokenError
        self._left -= count
        if clock.monotonic() > self._deadline:
            raise TooSlowError
        return count


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
