"""Encoded objects that come from elsewhere: checked, then put in place byte for byte. Keeps I1, I5 and I7.

What arrives is not encoded anew: that would cost the compression once more, and would make of one pack
another. But nothing about it is believed: an object gets its name only after its header, its sizes and the
digest of its content were checked. The content is never held at once where it is large, because a hostile
frame of a megabyte may hold a terabyte.
"""

from __future__ import annotations

import io
import os
from typing import NamedTuple
from zlib import crc32

from scalable_cas.errors import CorruptObject, MalformedObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import header as encoded
from scalable_cas.format import rows, value
from scalable_cas.format.chunking import ChunkList
from scalable_cas.format.kinds import BLOB, VALUE, hasher
from scalable_cas.format.layout import TMP
from scalable_cas.storage import chunks, fs
from scalable_cas.storage.drafts import temporary_name
from scalable_cas.storage.loose import Placed
from scalable_cas.storage.packing import PackStream
from scalable_cas.storage.reading import content_of, own_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from scalable_cas.format.header import Header
    from scalable_cas.storage.objects import Objects
    from scalable_cas.storage.packs import Written

    Buffer = bytes | memoryview

#: Content up to this many bytes is decoded at once, larger in pieces.
AT_ONCE = 1 << 20
#: An object that expands more than this, to more than `FREE` bytes, is refused: honest large ones are cut
#: into chunks before they are compressed.
MOST_EXPANSION, FREE = 1000, 64 << 20
#: Bytes of a list of chunks: two million of them.
LONGEST_LIST = 64 << 20
#: Bytes of a value that are held to know its buffers: a million of them.
LONGEST_START = value.START_BYTES + (48 << 20)
#: Larger content is a file of its own. Chunks, which are read together, are smaller nearly always.
PACKED_BYTES = 4 << 20
#: Bytes that are written to a pack together: they stay in the cache from one step to the next.
GROUP = 1 << 20
#: New small objects from which on they become a pack, as where results are stored.
PACK_LEAST = 32


class Checked:
    """An object whose bytes are those that its name promises: ``head``; ``content``, if it fits into a row;
    ``children``, the names of the objects that it names, None where only `ops.closure` can tell. Of a blob
    in chunks its list, ``listed``, of which nothing is known yet but that it is one: see `proves`.
    """

    __slots__ = ("children", "content", "head", "listed")

    def __init__(
        self,
        head: Header,
        content: bytes | None,
        children: tuple[bytes, ...] | None,
        listed: ChunkList | None = None,
    ) -> None:
        self.head = head
        self.content = content
        self.children = children
        self.listed = listed


class Piece(NamedTuple):
    """An encoded object: the bytes from ``start`` to ``end`` of some memory, and their CRC-32 if it is known.
    What lies side by side there is written in one go.
    """

    memory: memoryview
    start: int
    end: int
    crc: int | None = None

    @property
    def data(self) -> memoryview:
        """The bytes themselves."""
        return self.memory[self.start : self.end]


def alone(data: bytes) -> Piece:
    """An encoded object that came by itself."""
    return Piece(memoryview(data), 0, len(data))


def check(oid: bytes, data: Buffer) -> Checked:
    """Check an encoded object. Nothing of ``data`` is kept but a short content: it may be a piece of what is
    thrown away as a whole.

    Raises:
        CorruptObject: it is not the whole object of that name, expands too far, or is malformed.
    """
    head = own_header(oid, data)
    if head.raw_size <= AT_ONCE or head.coding == encoded.CHUNKED:
        content = content_of(head, data)
        if isinstance(content, ChunkList):
            return Checked(head, None, tuple(dict.fromkeys(name for name, _ in content.chunks)), content)
        short = bytes(content) if len(content) <= rows.INLINE_BYTES else None
        return Checked(head, short, _children(head, content))
    with io.BytesIO(data) as file:
        return check_stream(oid, file, len(data))


def check_file(oid: bytes, path: str) -> Checked:
    """Check the encoded object that a file holds, a megabyte at a time.

    Raises:
        CorruptObject: as `check`. ObjectUnreadable: the file cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            return check_stream(oid, file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ObjectUnreadable(oid.hex(), error.strerror or str(error)) from error


def check_stream(oid: bytes, file: BinaryIO, length: int) -> Checked:
    """Check the encoded object of ``length`` bytes that is the rest of ``file``.

    Raises:
        CorruptObject: as `check`.
    """
    start = file.read(encoded.HEADER_BYTES)
    head = _bounded(oid, own_header(oid, start))
    if head.coding == encoded.CHUNKED and length <= LONGEST_LIST:
        return check(oid, start + file.read(length))
    if length != encoded.HEADER_BYTES + head.stored_size:
        stored = length - encoded.HEADER_BYTES
        raise CorruptObject(oid.hex(), f"{stored} bytes are stored of {head.stored_size}")
    running = hasher(head.kind)
    told, wanted = bytearray(), value.START_BYTES if head.kind == VALUE else 0
    try:
        for piece in encoded.decode_stream(head, file):
            running.update(piece)
            if len(told) < wanted:
                told += piece[: LONGEST_START - len(told)]
                wanted = min(value.measure(told), LONGEST_START)
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error
    if running.digest() != oid:
        raise CorruptObject(oid.hex(), "its content has another digest")
    return Checked(head, None, _children(head, told[:wanted]))


def _children(head: Header, content: bytes | bytearray | memoryview) -> tuple[bytes, ...] | None:
    """The names of what an object names, from its content or, of a value, the start of it with all its
    buffers. Of a value whose content is held elsewhere too many buffers are refused before they are counted.
    """
    if head.kind == BLOB and head.coding in (encoded.RAW, encoded.ZSTD):
        return ()
    if head.kind != VALUE:
        return None
    try:
        if value.measure(bytes(content[: value.START_BYTES])) > LONGEST_START:
            raise MalformedObject("value", "it has too many buffers")
        return tuple(ref.oid for ref in value.unpack(memoryview(content)).buffers)
    except MalformedObject as error:
        raise CorruptObject(head.oid.hex(), error.reason) from error


def _bounded(oid: bytes, head: Header) -> Header:
    if head.coding == encoded.CHUNKED or head.raw_size <= FREE:
        return head
    if head.filter or head.raw_size > MOST_EXPANSION * head.stored_size:  # a filter needs all of it at once
        raise CorruptObject(oid.hex(), f"{head.stored_size} bytes are said to be {head.raw_size}")
    return head


def place_all(
    objects: Objects, items: Sequence[tuple[Header, Piece]], *, absent: bool = False
) -> dict[bytes, Placed]:
    """Put checked objects in place, each name once. New small ones become a pack if they are many; a whole
    copy that is there is kept, a damaged one replaced. ``absent``: the caller has looked, and found none.

    Raises:
        StoreReadOnly: they cannot be written.
    """
    placed: dict[bytes, Placed] = {}
    small: list[tuple[Header, Piece]] = []
    known = {} if absent else objects.known([head.oid for head, _ in items])
    for head, piece in items:
        # One that only the table of a pack knows is written again: to ask all tables for each would take
        # longer than the rest.
        loose = not absent and objects.loose.stat(head.oid) is not None
        there = whole(objects, head) if loose or head.oid in known else None
        if there is not None:
            placed[head.oid] = there
        elif head.raw_size <= PACKED_BYTES and not loose:
            small.append((head, piece))
        else:
            placed[head.oid] = _place_loose(objects, head, piece.data)
    if len(small) < PACK_LEAST:
        return placed | {head.oid: _place_loose(objects, head, piece.data) for head, piece in small}
    written = _write_pack(objects, small)
    for head, _ in small:
        offset, length = written.places[head.oid]
        placed[head.oid] = Placed(
            written.inode, written.changed, length, head.coding, pack=written.name, offset=offset
        )
    return placed


def _write_pack(objects: Objects, items: Sequence[tuple[Header, Piece]]) -> Written:
    """One pack, written as a stream. What came in one piece of memory is neither joined nor taken apart: a
    copy of some tens of megabytes takes longer than to hash them.
    """
    stream = PackStream(objects.packs, sync=False, threads=1)
    try:
        members: list[tuple[bytes, int, int]] = []
        run, first, last = memoryview(b""), 0, 0
        for head, (memory, start, end, crc) in items:
            if memory is not run or start != last or end - first > GROUP:
                stream.add_run(members, run[first:last])
                members, run, first = [], memory, start
            members.append((head.oid, end - start, crc32(memory[start:end]) if crc is None else crc))
            last = end
        stream.add_run(members, run[first:last])
        stream.seal()
        return stream.publish()
    finally:
        stream.close()


def place_file(objects: Objects, head: Header, path: str) -> Placed:
    """Give a checked object in a file of ``tmp/`` its name; the file is the caller's to remove. As
    `place_all`.

    Raises:
        StoreReadOnly: it cannot be written.
    """
    there = whole(objects, head)
    if there is not None:
        return there
    if objects.loose.stat(head.oid) is not None:
        objects.loose.quarantine(head.oid)
    seen = fs.publish(path, objects.loose.path(head.oid))
    if seen is not None:
        return Placed(seen.st_ino, seen.st_mtime_ns, seen.st_size, head.coding)
    return _there(objects, head)


def draft(objects: Objects) -> str:
    """A path for a file that is to be placed: `place_file`."""
    folder = f"{objects.root}/{TMP}"
    fs.make_folder(folder)
    return f"{folder}/{temporary_name()}"


def whole(objects: Objects, head: Header) -> Placed | None:
    """Where a whole copy of an object lies already; None if there is none."""
    there = objects.place(head.oid)
    if there is None:
        return None
    try:
        found, pieces = objects.pieces(head.oid)
        running = hasher(head.kind)
        for piece in pieces:
            running.update(piece)
    except (ObjectNotFound, CorruptObject, ObjectUnreadable):
        return None
    if found.kind != head.kind or running.digest() != head.oid:
        return None
    there.coding = found.coding
    return there


def proves(objects: Objects, found: Checked) -> bool:
    """Whether the chunks of a blob are in place, and make up what its name promises. Asked before the list
    gets that name: whoever stores the blob later takes what he finds there for the blob.

    Raises:
        CorruptObject: its chunks are whole, but make up something else.
        ObjectUnreadable: one cannot be read.
    """
    assert found.listed is not None
    if not all(in_place(objects, [name for name, _ in found.listed.chunks])):
        return False
    return chunks.check(objects, found.head.oid, found.listed)


def in_place(objects: Objects, oids: Sequence[bytes]) -> list[bool]:
    """Whether each of some objects lies somewhere: `Objects.place` for thousands, of which most are in few
    packs, and have rows or will have them.
    """
    known = objects.known(oids)
    packs: dict[bytes, bool] = {}
    found = []
    for oid in oids:
        row = known.get(oid) or rows.object_row(objects.expected.get(oid))
        if row is not None and row.pack and row.pack not in packs:
            packs[row.pack] = objects.packs.stat(row.pack) is not None
        here = row is not None and bool(row.pack) and packs[row.pack]
        found.append(here or objects.place(oid) is not None)
    return found


def _place_loose(objects: Objects, head: Header, data: Buffer) -> Placed:
    if objects.loose.stat(head.oid) is not None:  # put there since we looked, or damaged
        there = whole(objects, head)
        if there is not None:
            return there
        objects.loose.quarantine(head.oid)
    seen = fs.write_new(f"{objects.root}/{TMP}", objects.loose.path(head.oid), (data,))
    if seen is not None:
        return Placed(seen.st_ino, seen.st_mtime_ns, seen.st_size, head.coding)
    return _there(objects, head)


def _there(objects: Objects, head: Header) -> Placed:
    """The copy that somebody else put in place while we were about to."""
    found = whole(objects, head)
    if found is None:
        raise ObjectUnreadable(head.oid.hex(), "a damaged copy cannot be replaced")
    return found
