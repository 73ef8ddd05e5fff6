"""A pack that is written as a stream, so that gigabytes of chunks need no memory. Keeps I1.

Like any new file it has no name before it is whole: it is written in ``tmp/``, hashed as it grows, and
published under that digest. A kill, or a full disk, leaves a file in ``tmp/`` that gc removes, and no object.
"""

from __future__ import annotations

import os

from blake3 import blake3

from scalable_cas.errors import ObjectUnreadable, StoreReadOnly
from scalable_cas.format import pack as packed
from scalable_cas.format.layout import TMP
from scalable_cas.storage import fs
from scalable_cas.storage.packs import Written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalable_cas.storage.packs import Packs

    Part = bytes | bytearray | memoryview

#: Bytes of a pack of chunks: twice what folded packs have, so that folding leaves it alone.
TARGET = 64 << 20
#: Parts of this many bytes on average are written where they are: to join them costs more than to hash each.
_LARGE = 128 << 10


class PackStream:
    """One pack being written. `close` it in the end: what was not published by then is gone.

    Raises, here and in what it does:
        StoreReadOnly: it cannot be written.
    """

    def __init__(self, packs: Packs, *, sync: bool, threads: int) -> None:
        self._packs = packs
        self._sync = sync
        self._draft = fs.Draft(f"{packs.root}/{TMP}", packs.folder)
        self._hash = blake3(max_threads=threads)
        self._members: list[packed.Member] = []
        self.size = 0
        try:
            self._append([packed.begin()])
        except BaseException:  # a full disk: nobody else would close it
            self._draft.close()
            raise

    def close(self) -> None:
        """Let go of the draft."""
        self._draft.close()

    def _append(self, parts: Sequence[Part]) -> None:
        size = sum(map(len, parts))
        if len(parts) > 1 and size < _LARGE * len(parts):  # one write and one hash instead of hundreds
            parts = [b"".join(parts)]
        self._draft.write(parts)
        for part in parts:
            self._hash.update(part)
        self.size += size

    def add(self, objects: Sequence[tuple[bytes, bytes, Part, int]]) -> None:
        """Append encoded objects: (name, header, payload, CRC-32 of both). The caller names none twice."""
        at = self.size
        parts: list[Part] = []
        for oid, head, payload, crc in objects:
            length = len(head) + len(payload)
            self._members.append(packed.Member(oid, at, length, crc))
            at += length
            parts += (head, payload)
        self._append(parts)

    def add_run(self, objects: Sequence[tuple[bytes, int, int]], data: Part) -> None:
        """Append encoded objects (name, length, CRC-32) that stand one after the other in ``data``."""
        at = self.size
        for oid, length, crc in objects:
            self._members.append(packed.Member(oid, at, length, crc))
            at += length
        self._append([data])

    def seal(self) -> None:
        """All objects are in it. It has no name yet, so that no collector takes it for garbage while the rest
        of a large blob is still on its way.
        """
        self._append([packed.finish(self._members, self.size)])
        self._draft.seal(sync=self._sync)

    def publish(self) -> Written:
        """Give a sealed pack its name; a whole one of that name is kept, a damaged one replaced.

        Raises:
            ObjectUnreadable: a damaged one cannot be replaced.
        """
        name: bytes = self._hash.digest()
        path = self._packs.path(name)
        for attempt in range(3):
            try:
                seen = self._draft.publish(path)
            except StoreReadOnly:
                if attempt or not self._packs.clear_way():
                    raise
                continue
            if seen is None and self._digest(path) == name:
                seen = self._packs.stat(name)
            if seen is not None:
                places = {item.oid: (item.offset, item.length) for item in self._members}
                return Written(name, seen, places, self.size)
            self._packs.quarantine(name)
        raise ObjectUnreadable(name.hex(), "a damaged pack cannot be replaced")

    def _digest(self, path: str) -> bytes | None:
        """The digest of the file that has our name already."""
        running = blake3()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(fd, "rb", buffering=0) as file:
                while piece := file.read(1 << 20):
                    running.update(piece)
        except OSError:
            return None
        found: bytes = running.digest()
        return found
