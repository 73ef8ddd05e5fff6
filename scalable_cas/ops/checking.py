"""Check objects: a loose file, or all that a pack holds. Changes nothing; `verify` puts it together.

A blob in chunks has two kinds of digests: of each chunk, and of the whole. The naive way checks the chunks,
then reads the blob; so all is unpacked twice. But a pack mostly holds a blob's chunks in their order, and the
list behind them: so the chunks of a pack are checked in the order of the pack, and what was unpacked for the
one digest goes into the other. Where the order is another (a chunk that comes again, or one of an earlier
pack) the blob is read, as by anyone who asks for it.
"""

from __future__ import annotations

import threading

from blake3 import blake3

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import header
from scalable_cas.format.chunking import ChunkList
from scalable_cas.format.kinds import BLOB, hasher
from scalable_cas.format.pack import read_table
from scalable_cas.ops.closure import PARENTS, children_of
from scalable_cas.storage import chunks
from scalable_cas.storage.memory import Writable
from scalable_cas.storage.reading import checked, content_of, own_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalable_cas.format.pack import Member
    from scalable_cas.store.core import StoreCore

_CHUNKED = bytes([header.CHUNKED])


class Checked:
    """What checking one copy of an object gave: its raw ``size`` (of a blob in chunks that of its list: the
    chunks count for themselves) and ``children``, or a ``fault``: "corrupt" or "unreadable", and why.
    """

    __slots__ = ("children", "fault", "oid", "size")

    def __init__(self, oid: bytes) -> None:
        self.oid = oid
        self.size = 0
        self.children: tuple[tuple[int, bytes], ...] = ()
        self.fault: tuple[str, str] | None = None


class CheckedPack:
    """The ``objects`` of a pack, and its own ``fault``: kind, path and reason of a finding."""

    __slots__ = ("fault", "objects")

    def __init__(self) -> None:
        self.objects: list[Checked] = []
        self.fault: tuple[str, str, str] | None = None


def _is_parent(head: header.Header) -> bool:
    return head.kind in PARENTS or head.coding == header.CHUNKED


def _own_size(head: header.Header) -> int:
    """The raw bytes of an object that no other object counts."""
    return head.stored_size if head.coding == header.CHUNKED else head.raw_size


def check_loose(store: StoreCore, oid: bytes, quick: bool) -> Checked:
    """Check the file of an object; ``quick``: header and length only."""
    item, loose = Checked(oid), store.objects.loose
    try:
        if quick:
            head = loose.head(oid)
            seen = loose.stat(oid)
            if seen is None or seen.st_size != header.HEADER_BYTES + head.stored_size:
                raise CorruptObject(oid.hex(), "its file has another length than its header says")
        else:
            head = loose.check(oid)
        if _is_parent(head):
            item.children = _children(store, head, loose.get(oid)[1], quick)
        item.size = _own_size(head)
    except CorruptObject as error:
        item.fault = ("corrupt", error.reason)
    except ObjectUnreadable as error:
        item.fault = ("unreadable", error.reason)
    except ObjectNotFound:  # collected since the listing; if somebody needs it, it is found missing
        pass
    return item


class Room(threading.local):
    """Memory for packs, one after the other, of each thread that checks them: to take it anew for each costs
    a twentieth of the time.
    """

    def __init__(self) -> None:
        self._taken = memoryview(b"")

    def __call__(self, size: int) -> memoryview:
        """At least ``size`` bytes, good until the next are asked for."""
        if size > len(self._taken):
            self._taken = Writable(size).view
        return self._taken


def check_pack(store: StoreCore, name: bytes, quick: bool, room: Room) -> CheckedPack:
    """Check a pack: each object, the table, and the name, which is the digest of all. Damage of an object is
    told once, by the object.
    """
    found, path = CheckedPack(), store.objects.packs.path(name)
    try:
        data = store.objects.packs.load_into(name, room)
    except FileNotFoundError:  # written anew since the listing
        return found
    except ObjectUnreadable as error:
        found.fault = ("unreadable", path, error.reason)
        return found
    table = read_table(data)
    if table.reason:
        found.fault = ("pack", path, table.reason)
    members = sorted(table, key=lambda member: member.offset)
    check = _Members(store, members, data, quick).check
    found.objects = [check(member) for member in members]
    sound = found.fault is None and not any(item.fault for item in found.objects)
    if sound and not quick and blake3(data, max_threads=1).digest() != name:
        found.fault = ("pack", path, "its bytes have another digest than its name says")
    return found


def _children(
    store: StoreCore, head: header.Header, content: bytes | memoryview | ChunkList, quick: bool
) -> tuple[tuple[int, bytes], ...]:
    """What an object names. Of a blob in chunks also the digest of the whole is checked, unless ``quick``;
    where a chunk is at fault, the check of that chunk tells.
    """
    if not isinstance(content, ChunkList):
        return children_of(head.kind, head.oid, content)
    if not quick:
        chunks.check(store.objects, head.oid, content)
    return tuple((BLOB, name) for name, _ in content.chunks)


class _Running:
    """The digest of a blob in chunks, as far as its chunks were met."""

    __slots__ = ("at", "chunks", "digest")

    def __init__(self, listed: ChunkList) -> None:
        self.chunks = listed.chunks
        self.digest = hasher(BLOB)
        self.at = 0


class _Members:
    """Checks the objects of a pack, which must be asked for in the order of ``members``, that of the pack."""

    def __init__(self, store: StoreCore, members: Sequence[Member], data: memoryview, quick: bool) -> None:
        self._store = store
        self._data = data
        self._quick = quick
        self._blobs: dict[bytes, _Running] = {}
        self._waiting: dict[bytes, list[_Running]] = {}  # by the chunk that is their next
        if not quick:
            self._expect({member.oid: n for n, member in enumerate(members)}, members)

    def _expect(self, order: dict[bytes, int], members: Sequence[Member]) -> None:
        """Find the blobs whose chunks will all be met in their order."""
        for member in members:
            listed = self._list_of(member)
            if listed is None or not listed.chunks:
                continue
            places = [order.get(name, -1) for name, _ in listed.chunks]
            if places[0] >= 0 and all(map(int.__lt__, places, places[1:])) and places[-1] < order[member.oid]:
                running = self._blobs[member.oid] = _Running(listed)
                self._waiting.setdefault(running.chunks[0][0], []).append(running)

    def _list_of(self, member: Member) -> ChunkList | None:
        piece = self._piece(member)
        if piece[header.CODING] != _CHUNKED:
            return None
        try:
            content = checked(member.oid, piece)[1]
        except CorruptObject:  # `check` tells
            return None
        return content if isinstance(content, ChunkList) else None

    def _piece(self, member: Member) -> memoryview:
        return self._data[member.offset : member.offset + member.length]

    def check(self, member: Member) -> Checked:
        """Check one object."""
        item, oid, piece = Checked(member.oid), member.oid, self._piece(member)
        try:
            head = own_header(oid, piece)
            if header.HEADER_BYTES + head.stored_size != member.length:
                raise CorruptObject(oid.hex(), "its header has another length than the table of its pack")
            if _is_parent(head):
                known = self._quick or self._is_whole(oid)
                item.children = _children(self._store, head, content_of(head, piece), known)
            elif not self._quick:
                content = content_of(head, piece)
                if oid in self._waiting and not isinstance(content, ChunkList):
                    self._met(head, content)
            item.size = _own_size(head)
        except CorruptObject as error:
            item.fault = ("corrupt", error.reason)
        except ObjectUnreadable as error:
            item.fault = ("unreadable", error.reason)
        return item

    def _met(self, head: header.Header, content: bytes | memoryview) -> None:
        for running in self._waiting.pop(head.oid):
            if head.kind != BLOB or head.raw_size != running.chunks[running.at][1]:
                continue  # no reader would take it; reading the blob tells why
            running.digest.update(content)
            running.at += 1
            if running.at < len(running.chunks):
                self._waiting.setdefault(running.chunks[running.at][0], []).append(running)

    def _is_whole(self, oid: bytes) -> bool:
        running = self._blobs.pop(oid, None)
        return running is not None and running.at == len(running.chunks) and running.digest.digest() == oid
