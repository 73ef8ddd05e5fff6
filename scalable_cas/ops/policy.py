"""Which entries a collection drops: policies, and how they work together.

``older_than`` and ``unused_for`` name candidates; ``keep_last`` protects the newest N of each function, and
alone makes candidates of all others; ``max_size`` drops more until the rest fits, those first that cost the
least computing per byte. Pinned entries stay. Entries past their own ``_ttl`` go in any case.
"""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.format import rows
from scalable_cas.format.record import unpack
from scalable_cas.ops.usage import entry_objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.format.record import Record
    from scalable_cas.store.core import StoreCore


class Policy:
    """What to drop: ages in seconds, ``max_size`` in bytes on disk, ``function`` a full function name that
    the policy is limited to. None: not asked for.
    """

    __slots__ = ("function", "keep_last", "max_size", "older_than", "unused_for")

    def __init__(
        self,
        *,
        older_than: float | None = None,
        unused_for: float | None = None,
        max_size: int | None = None,
        keep_last: int | None = None,
        function: str | None = None,
    ) -> None:
        for name, value in (
            ("older_than", older_than),
            ("unused_for", unused_for),
            ("max_size", max_size),
            ("keep_last", keep_last),
        ):
            if value is not None and value < 0:
                raise ValueError(f"{name} cannot be negative")
        self.older_than = older_than
        self.unused_for = unused_for
        self.max_size = max_size
        self.keep_last = keep_last
        self.function = function


class Eviction:
    """One entry to drop: its ``rowkey`` (40 bytes), ``function``, ``reason`` ("expired", "old", "unused",
    "beyond keep-last", "size"), the ``seconds`` it took, its ``size`` and when it was ``created`` (ns).
    """

    __slots__ = ("created", "function", "reason", "rowkey", "seconds", "size")

    def __init__(self, record: Record, reason: str) -> None:
        self.rowkey = record.rowkey
        self.function = record.function
        self.reason = reason
        self.seconds = record.seconds
        self.size = record.total
        self.created = record.created


def choose(store: StoreCore, policy: Policy) -> tuple[Eviction, ...]:
    """The entries that ``policy`` drops now, in key order."""
    now = clock.now_ns()
    pins = store.index.pins()
    free = [
        record
        for record in (unpack(data) for _, data in store.index.scan("records"))
        if record.rowkey not in pins
    ]
    if policy.function is not None:
        free = [record for record in free if record.function == policy.function]
    kept = _newest(free, policy.keep_last) if policy.keep_last is not None else set()
    found: dict[bytes, Eviction] = {}
    for record in free:
        reason = _reason(store, policy, record, now, kept)
        if reason is not None:
            found[record.rowkey] = Eviction(record, reason)
    if policy.max_size is not None:
        rest = [record for record in free if record.rowkey not in found and record.rowkey not in kept]
        for record in _beyond_size(store, policy.max_size, rest, set(found)):
            found[record.rowkey] = Eviction(record, "size")
    return tuple(found[key] for key in sorted(found))


def _newest(records: list[Record], count: int) -> set[bytes]:
    functions: dict[bytes, list[Record]] = {}
    for record in records:
        functions.setdefault(record.fnid, []).append(record)
    return {
        r.rowkey
        for group in functions.values()
        for r in sorted(group, key=lambda r: (-r.created, r.key))[:count]
    }


def _reason(store: StoreCore, policy: Policy, record: Record, now: int, kept: set[bytes]) -> str | None:
    if record.ttl and now - record.created > record.ttl:
        return "expired"
    if record.rowkey in kept:
        return None
    if policy.older_than is not None and now - record.created > policy.older_than * 1e9:
        return "old"
    if (
        policy.unused_for is not None
        and now - max(record.created, store.index.last_use(record.rowkey)) > policy.unused_for * 1e9
    ):
        return "unused"
    if (
        policy.keep_last is not None
        and policy.older_than is None
        and policy.unused_for is None
        and policy.max_size is None
    ):
        return "beyond keep-last"
    return None


def _beyond_size(store: StoreCore, budget: int, candidates: list[Record], gone: set[bytes]) -> list[Record]:
    """The candidates to drop, cheapest to compute per byte first, until what is stored fits ``budget`` bytes.
    Shared objects count once, and are freed with their last user.
    """
    users: dict[bytes, int] = {}
    objects: dict[bytes, list[bytes]] = {}
    for rowkey, oids in entry_objects(store):
        if rowkey not in gone:
            objects[rowkey] = oids
            for oid in oids:
                users[oid] = users.get(oid, 0) + 1
    sizes: dict[bytes, int] = {}
    for oid in users:
        row = store.index.object_row(oid)
        sizes[oid] = row.stored if row is not None else rows.INLINE_BYTES
    total = sum(sizes.values())
    dropped = []
    for record in sorted(candidates, key=lambda r: (r.seconds / max(r.total, 1), r.created)):
        if total <= budget:
            break
        dropped.append(record)
        for oid in objects.get(record.rowkey, ()):
            users[oid] -= 1
            if not users[oid]:
                total -= sizes[oid]
    return dropped
