"""Why a call is or is not a hit: the nearest stored call, and what differs from it."""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.keys.own import is_other_code
from scalable_cas.ops.differences import Call, differing, distance, other_code, sentence
from scalable_cas.store.trust import refusal_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scalable_cas.format.record import Record
    from scalable_cas.store.core import StoreCore

#: Stored calls that are compared at most; more would take longer than a person waits (about 20 µs each).
COMPARED = 100_000


class Explanation:
    """``hit``: whether the call is stored. ``reason``: a sentence. ``differs``: names of the arguments that
    differ from the nearest stored call. ``str()`` of it is a text for people.
    """

    __slots__ = ("differs", "function", "hit", "reason")

    def __init__(self, function: str, *, hit: bool, reason: str, differs: list[str]) -> None:
        self.function = function
        self.hit = hit
        self.reason = reason
        self.differs = differs

    def __str__(self) -> str:
        return f"{self.function}: {'stored' if self.hit else 'not stored'}: {self.reason}"

    def __repr__(self) -> str:
        return f"Explanation(hit={self.hit}, reason={self.reason!r}, differs={self.differs!r})"


def explain(
    store: StoreCore | None, function: str, rowkey: bytes, call: Call, limit: int | None, *, cached: bool
) -> Explanation:
    """Explain the call behind ``rowkey``, of which ``call`` is known; ``limit`` is the age limit in ns;
    ``cached`` is false for a function that is never cached.
    """

    def missed(reason: str, differs: list[str] | None = None) -> Explanation:
        return Explanation(function, hit=False, reason=reason, differs=differs or [])

    if not cached:
        return missed("void functions are never cached")
    if store is None:
        return missed("there is no store to look in")
    if store.contains(rowkey, limit):
        return Explanation(function, hit=True, reason="this call is stored", differs=[])
    if store.contains(rowkey):
        return missed("it was stored, but is older than _ttl allows")
    store.flush()
    refused = refusal_of(store, rowkey)
    if refused is not None:
        return missed(str(refused))
    if store.index.ref(rowkey) is not None:
        return missed("it was stored, but its object is missing")
    nearest = _nearest(_records(store, rowkey[:8]), call)
    if nearest is None:
        return missed("no call of this function is stored")
    return missed(*_compared(nearest, call))


def explain_entry(store: StoreCore, rowkey: bytes) -> Explanation | None:
    """Why the stored call behind ``rowkey`` (40 bytes) had to run when it did: compared with the calls of its
    function that were stored before it. None if it was forgotten meanwhile.
    """
    record = store.index.record(rowkey)
    if record is None:
        return None
    call = call_of(record)
    earlier = (
        other
        for other in _records(store, rowkey[:8])
        if other.key != record.key and other.created <= record.created
    )
    nearest = _nearest(earlier, call)
    if nearest is None:
        reason, differs = "no other call of this function was stored before it", list[str]()
    else:
        reason, differs = _compared(nearest, call)
    when = f"ran at {clock.iso(record.created)}, because "
    return Explanation(record.function, hit=True, reason=when + reason, differs=differs)


def call_of(record: Record) -> Call:
    """What a record says of its call."""
    return Call(
        record.parts,
        record.outlines,
        version=record.version,
        seed=record.seed,
        code=record.code,
        reached=record.reached,
        packages=record.packages,
    )


def _records(store: StoreCore, fnid: bytes) -> Iterator[Record]:
    from scalable_cas.format.record import unpack

    for count, (_, data) in enumerate(store.index.scan("records", fnid)):
        if count == COMPARED:
            return
        yield unpack(data)


def _nearest(records: Iterator[Record], call: Call) -> Record | None:
    best: tuple[tuple[int, int, bool, bool, int], Record] | None = None
    for record in records:
        other = call_of(record)
        parts = differing(other, call)
        far = distance(other, call, parts)
        score = (len(parts), far, other.version != call.version, other.seed != call.seed, -record.created)
        if best is None or score < best[0]:
            best = (score, record)
    return None if best is None else best[1]


def _compared(nearest: Record, call: Call) -> tuple[str, list[str]]:
    """The reason, and the names of the arguments that differ."""
    other = call_of(nearest)
    parts = differing(other, call)
    told = []
    if parts:
        told.append(sentence(other, call, parts))
    if other.version != call.version:
        told.append(f"_version was {other.version!r} and is {call.version!r}")
    if other.seed != call.seed:
        told.append("SCALABLE_SEED is another")
    reached = other_code(other, call)
    if reached:
        told.append(reached)
    if not told and is_other_code(other.code, call.code):
        told.append("the function's code is another")
    if not told:
        told.append("code that the function reaches is another, or the recipe of the key")
    text = f"the nearest stored call, {nearest.key.hex()[:12]} of {clock.iso(nearest.created)}, differs: "
    text += "; ".join(told)
    return text + _packages(other, call), sorted({name for _, name in parts})


def _packages(old: Call, new: Call) -> str:
    """What else is worth knowing where an argument differs: it is not in the key."""
    changed = [
        f"{name} {old.packages[name]} then, {new.packages[name]} now"
        for name in sorted(old.packages.keys() & new.packages.keys())
        if old.packages[name] != new.packages[name]
    ]
    return f" (not part of the key: {', '.join(changed)})" if changed else ""
