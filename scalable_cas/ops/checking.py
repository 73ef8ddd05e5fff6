"""Check objects: a loose file, or all that a pack holds. Changes nothing; `verify` puts it together."""

from __future__ import annotations

from blake3 import blake3

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import header
from scalable_cas.format.chunking import ChunkList
from scalable_cas.format.kinds import BLOB
from scalable_cas.format.pack import read_table
from scalable_cas.ops.closure import PARENTS, children_of
from scalable_cas.storage import chunks
from scalable_cas.storage.reading import checked, own_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.format.pack import Member
    from scalable_cas.store.core import StoreCore


class Checked:
    """What checking one copy of an object gave: its raw ``size`` and ``children``, or a ``fault``: "corrupt"
    or "unreadable", and why.
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
        if head.kind in PARENTS or head.coding == header.CHUNKED:
            item.children = _children(store, head, loose.get(oid)[1], quick)
        item.size = head.raw_size
    except CorruptObject as error:
        item.fault = ("corrupt", error.reason)
    except ObjectUnreadable as error:
        item.fault = ("unreadable", error.reason)
    except ObjectNotFound:  # collected since the listing; if somebody needs it, it is found missing
        pass
    return item


def check_pack(store: StoreCore, name: bytes, quick: bool) -> CheckedPack:
    """Check a pack: each object, the table, and the name, which is the digest of all. Damage of an object is
    told once, by the object.
    """
    found, path = CheckedPack(), store.objects.packs.path(name)
    try:
        data = store.objects.packs.load(name)
    except FileNotFoundError:  # written anew since the listing
        return found
    except ObjectUnreadable as error:
        found.fault = ("unreadable", path, error.reason)
        return found
    table = read_table(data)
    if table.reason:
        found.fault = ("pack", path, table.reason)
    view = memoryview(data)
    found.objects = [_check_member(store, member, view, quick) for member in table]
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


def _check_member(store: StoreCore, member: Member, data: memoryview, quick: bool) -> Checked:
    item = Checked(member.oid)
    piece = bytes(data[member.offset : member.offset + member.length])
    try:
        head = own_header(member.oid, piece)
        if header.HEADER_BYTES + head.stored_size != member.length:
            raise CorruptObject(member.oid.hex(), "its header has another length than the table of its pack")
        parent = head.kind in PARENTS or head.coding == header.CHUNKED
        if not quick or parent:
            _, content = checked(member.oid, piece)
            if parent:
                item.children = _children(store, head, content, quick)
        item.size = head.raw_size
    except CorruptObject as error:
        item.fault = ("corrupt", error.reason)
    except ObjectUnreadable as error:
        item.fault = ("unreadable", error.reason)
    return item
