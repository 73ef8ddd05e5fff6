"""A result on its way into the store, and how a batch of them becomes visible under the write lock."""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.format import numbering, rows
from scalable_cas.format.record import tombstone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.format.record import Record
    from scalable_cas.storage.index import Changes
    from scalable_cas.storage.loose import Placed
    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.intake import Intake

# kind, name, content, size in bytes of the numbers in it
Object = tuple[int, bytes, "bytes | bytearray | memoryview", int]


class Pending:
    """A result that is visible here and not yet written. ``objects`` in write order, children first; the last
    one is the root. ``intake``: more objects of it, which are in their places already. ``replaces``: the user
    wants what was stored before to be gone. ``packed``: the record, which must not change any more.

    Raises:
        NotStorable: the record cannot be packed. In a batch it would take the others with it.
    """

    __slots__ = ("bytes", "intake", "objects", "packed", "record", "replaces", "since")

    def __init__(
        self, record: Record, objects: list[Object], intake: Intake | None = None, *, replaces: bool = False
    ) -> None:
        self.record = record
        self.packed = numbering.pack_unnumbered(record)
        self.replaces = replaces
        self.objects = objects
        self.intake = intake
        self.bytes = record.total
        self.since = clock.monotonic()


def publish(
    store: StoreCore, changes: Changes, batch: list[Pending], placed: dict[bytes, Placed], epoch: int
) -> list[Record]:
    """Under the write lock: journal and rows of a batch whose objects are in place. Keeps I2 and I4. Returns
    tombstones for the journal, once this is committed.

    `reindex` falls back on what a key's last record replaced, where its object is not there: the record may
    never have taken effect. Not beyond a tombstone; so one gets between what the user had computed anew and
    what was there, which may have been wrong. Before the commit it would take away what still stands.
    """
    stones: list[Record] = []
    replaced = [
        item.record for item in batch if item.replaces and changes.ref(item.record.rowkey) is not None
    ]
    if replaced:
        before = changes.next_number("sequence")
        stones = [tombstone(r.rowkey, r.function, created=r.created, sequence=before) for r in replaced]
    sequence = changes.next_number("sequence") if batch else 0
    number = numbering.pack_number(sequence)
    # of one that was there and has been named in this epoch, the row is as it would be
    objects = {oid: place.row(epoch) for oid, place in placed.items() if place.epoch != epoch}
    refs: dict[bytes, bytes] = {}
    packed: dict[bytes, bytes] = {}
    for item in sorted(batch, key=lambda item: item.record.rowkey):  # once for both tables
        record = item.record
        record.sequence = sequence
        _, oid, root, _ = item.objects[-1]
        rowkey = record.rowkey
        packed[rowkey] = numbering.numbered(item.packed, number)
        refs[rowkey] = ref_row(store.secret, record, placed[oid], root)
    if batch:
        for table, items in (("objects", objects), ("refs", refs), ("records", packed)):
            changes.put_sorted(table, items)
        if store.outbox:  # in the same transaction: what a killed process stored is sent by the next one
            changes.put_sorted("views", dict.fromkeys((store.outbox + rowkey for rowkey in refs), b""))
        changes.name_functions({item.record.fnid: item.record.function for item in batch})
        store.journal.append(list(packed.values()), sync=store.strict)
    store.notes.write(changes)
    return stones


def ref_row(
    secret: bytes,
    record: Record,
    place: Placed,
    content: bytes | bytearray | memoryview | None,
    flags: int = 0,
    signer: bytes = b"",
) -> bytes:
    """The index row of an entry whose root object is at ``place``; small content is copied into it, None is
    not. ``signer``: as in `rows.pack_ref`.
    """
    copied = content is not None and len(content) <= rows.INLINE_BYTES
    return rows.pack_ref(
        record.rowkey,
        secret,
        flags=flags | (rows.PACKED if place.pack else 0),
        codec=record.codec,
        kind=record.kind,
        created=record.created,
        seconds=record.seconds,
        size=record.size,
        inode=place.inode,
        changed=place.changed,
        oid=record.oid,
        inline=bytes(content) if copied and content is not None else None,
        code=rows.code_mark(record.code),
        signer=signer,
    )
