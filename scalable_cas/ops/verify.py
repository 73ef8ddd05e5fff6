"""Verify: re-hash every object, check every entry, and say what is wrong and what that affects. Changes
nothing; `repair` acts on the findings.

What is checked: each object's header, sizes and digest (``quick``: header and length only); each entry's row
(tag, record, object, buffers); that the journal could rebuild each entry. What is no fault: files that no row
names (a killed writer; gc takes them), and a torn end of a journal segment whose records are all in the
index.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from scalable_cas import clock
from scalable_cas.errors import (
    CorruptObject,
    MalformedObject,
    ObjectNotFound,
    ObjectUnreadable,
    ScalableCasError,
)
from scalable_cas.format import record as records
from scalable_cas.format import rows, shuffle
from scalable_cas.ops.checking import Checked, Room, check_loose, check_pack
from scalable_cas.ops.closure import descendants
from scalable_cas.storage.journal import SegmentFault
from scalable_cas.store.moving import rewrite, set_aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scalable_cas.format.record import Record
    from scalable_cas.storage.index import Changes
    from scalable_cas.store.core import StoreCore

#: Affected entries that a finding names; the rest is counted.
NAMED = 20
#: Bytes of packs for which numpy is loaded, if it is installed: it unshuffles twice as fast.
MUCH = 256 << 20


class Finding:
    """One thing that is wrong: ``kind`` ("corrupt", "missing", "unreadable", "pack", "entry", "journal"),
    ``subject`` (an id or a path), ``detail``, and ``affects``: "function key" of each entry that needs it.
    """

    __slots__ = ("affects", "detail", "kind", "subject")

    def __init__(self, kind: str, subject: str, detail: str, affects: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.subject = subject
        self.detail = detail
        self.affects = affects

    def __repr__(self) -> str:
        return f"Finding({self.kind} {self.subject}: {self.detail})"


class Verification:
    """The outcome: ``findings``, and what was read: ``objects``, raw ``bytes``, ``entries``, ``seconds``."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.objects = 0
        self.bytes = 0
        self.entries = 0
        self.seconds = 0.0


def verify(
    store: StoreCore,
    *,
    quick: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
    jobs: int | None = None,
) -> Verification:
    """Check a store. ``progress(objects done, of how many, raw bytes so far)``; ``jobs`` threads, by default
    one a core.

    Raises:
        StoreVersionError: the store uses a feature that verify must know.
        IndexDamaged: the index cannot be read at all.
    """
    store.format.check("verify", store.root)
    store.flush()
    since = clock.monotonic()
    result = Verification()
    entries = dict(_entries(store, result))
    result.entries = len(entries)
    names = list(store.objects.loose.names())
    expected = sum(1 for _ in store.objects.names())
    users: dict[bytes, list[Record]] = {}
    for record in entries.values():
        users.setdefault(record.oid, []).append(record)
    parents: dict[bytes, list[bytes]] = {}
    faults: list[tuple[str, bytes, str]] = []
    whole: set[bytes] = set()
    seen: set[bytes] = set()  # by this check, not by a table that was read before a pack was damaged
    for item in _check_all(store, names, quick, jobs, result):
        result.objects += item.oid not in whole
        result.bytes += item.size
        seen.add(item.oid)
        if item.fault is not None:
            faults.append((item.fault[0], item.oid, item.fault[1]))
        else:
            whole.add(item.oid)
        for _, child in item.children:
            parents.setdefault(child, []).append(item.oid)
        if progress is not None:
            progress(result.objects, max(expected, result.objects), result.bytes)
    wanted = (
        users.keys()
        | parents.keys()
        | {oid for oid, _ in store.index.scan("objects")}
        | {pin for pin in store.index.pins() if len(pin) == 32}
    )
    for oid in sorted(wanted - seen):
        if _lost(store, oid) and _still_needed(store, oid, users, parents):
            faults.append(("missing", oid, "no such object"))
    for kind, oid, detail in faults:
        affected = () if oid in whole else _affected(oid, users, parents)  # else another copy serves
        result.findings.append(Finding(kind, oid.hex(), detail, affected))
    _check_sizes(entries, store, result)
    _check_journal(store, entries, result)
    result.seconds = clock.monotonic() - since
    return result


def _check_all(
    store: StoreCore, names: list[bytes], quick: bool, jobs: int | None, result: Verification
) -> Iterator[Checked]:
    """Check objects in parallel: reading, decompressing and hashing all let go of the interpreter."""
    workers = jobs or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        chunk = 256  # submitted at a time, so that a million objects are not a million futures
        for at in range(0, len(names), chunk):
            yield from pool.map(lambda oid: check_loose(store, oid, quick), names[at : at + chunk])
        listed, room = store.objects.packs.names(), Room()
        if not quick and store.format.uses("shuffle") and _size(store, listed) >= MUCH:
            shuffle.prepare()
        packs = iter(listed)
        # never so many at a time that they wait for the last; of one that is done only the findings are kept
        ahead = deque(
            pool.submit(check_pack, store, name, quick, room) for name in islice(packs, 2 * workers)
        )
        while ahead:
            pack = ahead.popleft().result()
            ahead.extend(pool.submit(check_pack, store, name, quick, room) for name in islice(packs, 1))
            yield from pack.objects
            if pack.fault is not None:
                result.findings.append(Finding(*pack.fault))


def _size(store: StoreCore, packs: list[bytes]) -> int:
    """The bytes of some packs."""
    return sum(seen.st_size for seen in map(store.objects.packs.stat, packs) if seen is not None)


def _lost(store: StoreCore, oid: bytes) -> bool:
    """Whether an object that no check has seen is not there now either. Of a pack that was cut short, the
    header of an object may be left alone.
    """
    try:
        place = store.objects.place(oid)
        (store.objects.get if place is not None and place.pack else store.objects.head)(oid)
    except ObjectUnreadable:
        return False
    except (ObjectNotFound, CorruptObject):
        return True
    return False


def _still_needed(
    store: StoreCore, oid: bytes, users: dict[bytes, list[Record]], parents: dict[bytes, list[bytes]]
) -> bool:
    """Whether a missing object is missed by something that still counts: its row, an entry, a pin. Asked
    again now, because a collector may have been at work while we read; it removes rows first. A file of a
    parent that nothing needs (a killed writer's, before its commit) may lack children: it is garbage.
    """
    if store.index.object_row(oid) is not None:
        return True
    pins = store.index.pins()
    queue, seen = [oid], {oid}
    while queue:
        current = queue.pop()
        if current in pins:
            return True
        for record in users.get(current, ()):
            now = store.index.record(record.rowkey)
            if now is not None and now.oid == current:
                return True
        fresh = [parent for parent in parents.get(current, ()) if parent not in seen]
        seen.update(fresh)
        queue.extend(fresh)
    return False


def _entries(store: StoreCore, result: Verification) -> Iterator[tuple[bytes, Record]]:
    """Every entry whose row and record can be read; the others are findings."""
    foreign = not store.index.is_ours()
    for rowkey, row in store.index.scan("refs"):
        name = rowkey[8:].hex()
        if not foreign and (
            len(row) < rows.REF_FIXED
            or rows.ref_tag(rowkey, row[rows.TAG_BYTES :], store.secret) != row[: rows.TAG_BYTES]
        ):
            result.findings.append(
                Finding("entry", name, "its row in the index is damaged; run `scalable-cas reindex`")
            )
            continue
        try:
            now, record = store.index.entry(rowkey)
        except MalformedObject as error:
            result.findings.append(Finding("entry", name, f"{error}; run `scalable-cas reindex`"))
            continue
        if now is None and record is None:  # forgotten since the scan
            continue
        if (
            now is None
            or record is None
            or record.rowkey != rowkey
            or record.oid != rows.REF.unpack_from(now)[11]
        ):
            result.findings.append(
                Finding("entry", name, "its row and its record do not agree; run `scalable-cas reindex`")
            )
            continue
        yield rowkey, record


def _check_sizes(entries: dict[bytes, Record], store: StoreCore, result: Verification) -> None:
    """An entry's record must name its object by the right kind and size."""
    for record in entries.values():
        row = store.index.object_row(record.oid)
        if row is not None and (row.kind, row.size) != (record.kind, record.size):
            result.findings.append(
                Finding(
                    "entry",
                    record.key.hex(),
                    "its object is of another kind or size than its record says",
                    (_label(record),),
                )
            )


def _check_journal(store: StoreCore, entries: dict[bytes, Record], result: Verification) -> None:
    unknown = dict(entries)
    for attempt in range(3):  # compaction by a neighbour moves records to a segment that we did not list
        for path in store.journal.segments() if unknown or not attempt else ():
            for found in store.journal.read(path):
                if not isinstance(found, SegmentFault):
                    _strike(unknown, found[0])
                elif not found.tail and not attempt:
                    detail = f"{found.length} bytes at {found.offset}: {found.reason}"
                    result.findings.append(Finding("journal", found.path, detail))
    for rowkey, record in unknown.items():
        now = store.index.record(rowkey)
        # else it was stored anew or forgotten while we read
        if now is not None and now.sequence == record.sequence:
            detail = "the journal does not know this entry, so reindex would lose it"
            result.findings.append(Finding("journal", record.key.hex(), detail, (_label(record),)))


def _strike(unknown: dict[bytes, Record], record: Record) -> None:
    """The journal knows this one. It may know more than the index, by one batch whose writer was killed or
    whose commit failed: that is no fault.
    """
    entry = unknown.get(record.rowkey)
    if (
        entry is not None
        and record.type == records.REF
        and (record.sequence, record.oid) == (entry.sequence, entry.oid)
    ):
        del unknown[record.rowkey]


def _affected(
    oid: bytes, users: dict[bytes, list[Record]], parents: dict[bytes, list[bytes]]
) -> tuple[str, ...]:
    found: list[str] = []
    queue, seen = [oid], {oid}
    while queue:
        current = queue.pop()
        found.extend(_label(record) for record in users.get(current, ()))
        fresh = [parent for parent in parents.get(current, ()) if parent not in seen]
        seen.update(fresh)
        queue.extend(fresh)
    return tuple(sorted(found)[:NAMED]) + ((f"and {len(found) - NAMED} more",) if len(found) > NAMED else ())


def _label(record: Record) -> str:
    return f"{record.function} {record.key.hex()}"


def repair(
    store: StoreCore,
    verification: Verification,
    restore: Callable[[list[bytes]], list[bytes]] | None = None,
) -> list[str]:
    """Act on findings: set damaged objects aside, put back those whose content is known here, forget entries
    that nothing can bring back, and write lost journal records anew. ``restore`` is given the names of lost
    objects, fetches what it can from elsewhere, and returns their names.

    Returns a line for each thing done. An entry that is forgotten is computed at its next call.

    Raises:
        StoreReadOnly, StoreBusy: the store cannot be written.
    """
    done: list[str] = []
    lost = {finding.subject for finding in verification.findings if finding.kind in ("corrupt", "missing")}
    for name in sorted(lost):
        if set_aside(store, bytes.fromhex(name)):
            done.append(f"{name}: set aside in quarantine")
    for path in sorted(finding.subject for finding in verification.findings if finding.kind == "pack"):
        if os.path.lexists(path):  # else it went with one of its objects
            rewrite(store, [bytes.fromhex(os.path.basename(path)[:64])])
            done.append(f"{path}: set aside in quarantine; what is whole in it was saved")
    if restore is not None:
        gone = [oid for name in sorted(lost) if store.objects.place(oid := bytes.fromhex(name)) is None]
        done.extend(f"{oid.hex()}: fetched" for oid in restore(gone))
    for rowkey, row in list(store.index.scan("refs")):
        done.extend(_repair_entry(store, rowkey, row, lost))
    gone = [bytes.fromhex(name) for name in lost if store.objects.place(bytes.fromhex(name)) is None]
    pins = store.index.pins()

    def change(changes: Changes) -> None:
        for oid in gone:
            changes.drop_object(oid)

    store.index.write(change)
    if lost_pins := [oid for oid in gone if oid in pins]:
        store.pin(lost_pins, pinned=False)
    done.extend(f"{oid.hex()}: was pinned and is lost" for oid in lost_pins)
    done.extend(_repair_journal(store, verification))
    return done


def _repair_entry(store: StoreCore, rowkey: bytes, row: bytes, lost: set[str]) -> list[str]:
    """Restore an entry's root from the copy in its row, or forget the entry."""
    if len(row) < rows.REF_FIXED:
        return []
    fields = rows.REF.unpack_from(row)
    kind, oid, copied = fields[3], fields[11], rows.inline_of(row)
    sound = rows.ref_tag(rowkey, row[rows.TAG_BYTES :], store.secret) == row[: rows.TAG_BYTES]
    done: list[str] = []
    if oid.hex() in lost and sound and copied is not None and store.objects.place(oid) is None:
        store.put_object(kind, copied)
        done = [f"{oid.hex()}: restored from the index"]
    needs: set[bytes] = set()
    lost_for_good = False
    try:
        deque(descendants(store.objects, [(kind, oid)], needs), maxlen=0)
    except CorruptObject:  # its bytes are as they were written, and are not what they should be
        lost_for_good = True
    except ScalableCasError:
        pass
    if lost_for_good or any(store.objects.place(item) is None for item in needs):
        store.forget([rowkey])
        done = [f"{rowkey[8:].hex()}: forgotten, because its value is lost"]
    return done


def _repair_journal(store: StoreCore, verification: Verification) -> list[str]:
    keys = {finding.subject for finding in verification.findings if finding.kind == "journal"}
    again = [
        record
        for record in (records.unpack(data) for _, data in store.index.scan("records"))
        if record.key.hex() in keys
    ]
    damaged = any(os.sep in key for key in keys)
    if damaged:  # write all entries anew, so that the damaged segments are not needed any more
        again = [records.unpack(data) for _, data in store.index.scan("records")]
    if not again and not damaged:
        return []
    with store.index.environment.locked():
        store.journal.append([record.pack() for record in again], sync=True)
        done = [f"{record.key.hex()}: written to the journal again" for record in again]
        idle = set(store.journal.idle())
        for path in sorted(key for key in keys if os.sep in key):
            if path in idle and store.journal.set_aside(path, store.root):
                done.append(f"{path}: set aside in quarantine")
    return done
