"""A reserve of space, so that a store on a full disk can be cleared.

To forget something takes space before any comes back: a tombstone in the journal, fresh pages of the index.
So a store keeps a file of one MiB in ``tmp/`` that holds nothing. It is made as soon as a store that is
written to, made or collected finds that space becomes scarce: where there is plenty nobody needs it. It goes
when `clear` or gc finds the disk full, and then the work goes on in small pieces, which that is
enough for. Nothing else looks at it.
"""

from __future__ import annotations

import os
from contextlib import suppress

from scalable_cas.errors import ScalableCasError, StoreFull
from scalable_cas.format import layout
from scalable_cas.storage import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

#: Entries forgotten, or objects removed, at a time on a full disk. That may take as many pages of 4 KiB of
#: each of three tables, and those above them; each transaction uses again what earlier ones gave back.
FEW = 16
BYTES = 1 << 20
#: It is made while less than this is free, and more than `LEAST`. What fills the disk from here within a
#: second finds none; then others have to make room.
SCARCE = 4 << 30
LEAST = 8 << 20
LOOK_SECONDS = 1.0


def keep(root: str) -> None:
    """Make the reserve if it is missing, and space is scarce but there."""
    path = f"{root}/{layout.BALLAST}"
    try:
        with suppress(FileNotFoundError):
            if os.stat(path).st_size >= BYTES:
                return
        found = os.statvfs(root)
        if not LEAST <= found.f_bavail * found.f_frsize < SCARCE:
            return
        try:
            fs.reserve(path, BYTES)
        except ScalableCasError:
            fs.remove(path)
    except (ScalableCasError, OSError):  # it goes without
        pass


def release(root: str) -> bool:
    """Give the reserve up; False if there is none."""
    try:
        return fs.remove(f"{root}/{layout.BALLAST}")
    except ScalableCasError:  # then what called for it is what is to be told
        return False


def with_room(root: str, work: Callable[[], T]) -> T:
    """What ``work`` returns; where the disk is full the reserve goes, and it is called again.

    Raises:
        StoreFull: that was not enough. And what ``work`` raises.
    """
    try:
        return work()
    except StoreFull:
        if not release(root):
            raise
    return work()


def in_batches(root: str, items: Sequence[T], work: Callable[[Sequence[T], bool], None], most: int) -> None:
    """Call ``work(batch, is_last)`` for ``items``, ``most`` at a time and once at least. Where the disk is
    full the reserve goes, and batches become small; ``work`` is then called again for the same items.

    Raises:
        StoreFull: all that was not enough. And what ``work`` raises.
    """
    at, size = 0, max(most, 1)
    while True:
        try:
            work(items[at : at + size], at + size >= len(items))
        except StoreFull:
            if not release(root) and size <= FEW:
                raise
            size = min(size, FEW)
            continue
        at += size
        if at >= len(items):
            return
