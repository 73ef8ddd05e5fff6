"""BLAKE3 of what a descriptor reads, as fast as the page cache gives it. Never through a memory map: a file
that is cut short meanwhile would kill the process.

A large file is read by one thread and hashed by others at the same time. Measured on two busy cores, 1 GiB
from the page cache: one thread and blocks of 1 MiB 4.4 GB/s, the hash on two threads 5.5 (blocks of 4 MiB,
best of all sizes), reading beside it 7.8. Blocks of 1 MiB give 6.5 then, of 16 MiB fall out of the
processor's cache.
"""

from __future__ import annotations

import os

from blake3 import blake3

from .digest import threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from queue import SimpleQueue
    from typing import Any

SMALL = 1 << 16  # bytes; up to here one os.read is cheaper than a buffer
_BLOCK = 1 << 20
#: From here on threads and their two buffers of 4 MiB, whose pages cost 1 ms to get, are worth it.
_LARGE = 16 << 20
_LARGE_BLOCK = 4 << 20


def digest_descriptor(descriptor: int, expected: int) -> tuple[bytes, int]:
    """BLAKE3 (32 bytes) of all that can be read, and how many bytes that were; about ``expected``.

    Raises:
        OSError: it cannot be read.
    """
    if expected < SMALL:
        data = os.read(descriptor, expected + 1)
        if len(data) == expected:
            return blake3(data).digest(), expected
        hasher, size = blake3(data), len(data)
    else:
        hasher, size = blake3(), 0
    many = threads() if expected >= _LARGE else 1
    if many > 1:
        hasher = blake3(max_threads=many)
    for block in _read_ahead(descriptor) if many > 1 else _read(descriptor):
        hasher.update(block)
        size += len(block)
    return hasher.digest(), size


def _read(descriptor: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_BLOCK))
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]


def _read_ahead(descriptor: int) -> Iterator[memoryview]:
    """The blocks of a file; the next one is read while the caller works on one."""
    import threading
    from queue import SimpleQueue

    free: SimpleQueue[memoryview | None] = SimpleQueue()
    filled: SimpleQueue[Any] = SimpleQueue()  # a buffer and its length, or what went wrong
    thread = threading.Thread(target=_fill, args=(descriptor, free, filled), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is shutting down, or no thread is to be had
        yield from _read(descriptor)
        return
    try:
        for _ in range(2):
            free.put(memoryview(bytearray(_LARGE_BLOCK)))
        while True:
            found = filled.get()
            if isinstance(found, OSError):
                raise found
            buffer, count = found
            if not count:
                return
            yield buffer[:count]
            free.put(buffer)
    finally:
        free.put(None)  # also where the caller was interrupted: nobody reads a descriptor that we close
        thread.join()


def _fill(descriptor: int, free: SimpleQueue[memoryview | None], filled: SimpleQueue[Any]) -> None:
    try:
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            while (buffer := free.get()) is not None:
                filled.put((buffer, file.readinto(buffer)))
    except OSError as error:
        filled.put(error)
