"""From objects here to files of a remote: small and middle ones in packs, large ones by themselves. Every
object is checked before it is sent, so that damage here does not become damage there (I5).
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

from blake3 import blake3

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format.chunking import ChunkList
from scalable_cas.format.header import CHUNKED
from scalable_cas.format.pack import FRAME_BYTES, ROW_BYTES, assemble, read_table
from scalable_cas.format.segment import ObjectPlace
from scalable_cas.storage import incoming
from scalable_cas.storage.putting import PACKED_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scalable_cas.ops.transfer.push_plan import Wanted
    from scalable_cas.storage.incoming import Buffer
    from scalable_cas.storage.objects import Objects

#: Bytes of a pack: one upload of a second or so, and what each thread holds in memory.
TARGET = 32 << 20
#: Encoded objects from this size on are files of their own: a file more costs one request, 25 ms, which is
#: what 8 MiB need on a fast line, and it can be sent in parts.
BIG = 8 << 20


class Upload(NamedTuple):
    """A file to send: the pack ``name`` with its ``data``, or (``data`` is None) the big object ``name``.
    ``places``: what it holds.
    """

    name: bytes
    data: bytes | None
    places: tuple[ObjectPlace, ...]


class Packing:
    """Make the files of a batch. ``failed``: objects that turned out to be missing or damaged here."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.failed: dict[bytes, str] = {}

    def files(self, wanted: Sequence[Wanted]) -> Iterator[Upload]:
        """Yield the files that hold the wanted objects; the same ones in the same order are the same files.

        Small objects (as in packs here), chunks and middle ones go into packs of their own: roots are small,
        and so are lists of chunks, so whoever fetches thousands of entries has their roots in one piece, and
        knows then what else to fetch. Chunks stay in the order of their blob, in which they are read again.
        """
        chunks = self._chunks(wanted)
        groups: tuple[list[Wanted], list[Wanted], list[Wanted]] = ([], [], [])
        for item in wanted:
            if item.stored < BIG:
                size = item.stored if item.coding == CHUNKED else item.size
                groups[1 if item.oid in chunks else 0 if size <= PACKED_BYTES else 2].append(item)
        for group in groups:
            yield from self._packs(group)
        for item in wanted:
            if item.stored >= BIG:
                place = ObjectPlace(item.oid, item.kind, item.coding, item.size, b"", 0, item.stored)
                yield Upload(item.oid, None, (place,))

    def _chunks(self, wanted: Sequence[Wanted]) -> set[bytes]:
        """The chunks of the blobs that are sent as lists."""
        found: set[bytes] = set()
        for item in wanted:
            if item.coding == CHUNKED:
                try:
                    _, listed = self._objects.stored(item.oid)
                except (ObjectNotFound, CorruptObject, ObjectUnreadable):  # met again where it is read
                    continue
                if isinstance(listed, ChunkList):
                    found.update(name for name, _ in listed.chunks)
        return found

    def _packs(self, wanted: Sequence[Wanted]) -> Iterator[Upload]:
        pieces: list[tuple[bytes, Buffer]] = []
        crcs: list[int] = []
        heads: dict[bytes, Wanted] = {}
        size = FRAME_BYTES
        for item, data in self.read(wanted):
            more = len(data) + ROW_BYTES
            if pieces and size + more > TARGET:
                yield _upload(pieces, crcs, heads)
                pieces, crcs, heads, size = [], [], {}, FRAME_BYTES
            pieces.append((item.oid, data))
            crcs.append(crc32(data))  # now that it is in the processor's cache: half as long as later
            heads[item.oid] = item
            size += more
        if pieces:
            yield _upload(pieces, crcs, heads)

    def read(self, wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Buffer]]:
        """The bytes of objects, checked. Those in one pack here are taken out of it together: reading it once
        is quicker than opening it for each.
        """
        groups: dict[bytes, list[Wanted]] = {}
        for item in wanted:
            groups.setdefault(item.pack or item.oid, []).append(item)
        for name, items in groups.items():
            pack = self._members(name) if items[0].pack and len(items) > 1 else {}
            for item in items:
                try:
                    data: Buffer | None = pack.get(item.oid)
                    if data is None or not _is_whole(item.oid, data):
                        data = self._objects.encoded(item.oid)
                        incoming.check(item.oid, data)
                except (ObjectNotFound, CorruptObject, ObjectUnreadable) as error:
                    self.failed[item.oid] = str(error)
                else:
                    yield item, data

    def _members(self, name: bytes) -> dict[bytes, memoryview]:
        try:
            data = self._objects.packs.load(name)
        except (FileNotFoundError, ObjectUnreadable):
            return {}
        view = memoryview(data)
        return {
            member.oid: view[member.offset : member.offset + member.length] for member in read_table(data)
        }


def _is_whole(oid: bytes, data: Buffer) -> bool:
    try:
        incoming.check(oid, data)
    except CorruptObject:
        return False
    return True


def _upload(pieces: list[tuple[bytes, Buffer]], crcs: list[int], heads: dict[bytes, Wanted]) -> Upload:
    data, spots = assemble(pieces, crcs)
    name: bytes = blake3(data, max_threads=1).digest()
    places = tuple(
        ObjectPlace(oid, heads[oid].kind, heads[oid].coding, heads[oid].size, name, offset, length)
        for oid, (offset, length) in spots.items()
    )
    return Upload(name, data, places)
