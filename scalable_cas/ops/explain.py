"""Why a call is or is not a hit: the nearest stored call, and the arguments in which it differs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalable_cas.format.record import Record
    from scalable_cas.store.core import StoreCore

#: Stored calls that are compared at most; more would take longer than a person waits (about 10 µs each).
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
    store: StoreCore | None,
    function: str,
    rowkey: bytes,
    parts: Sequence[tuple[str, str, bytes]],
    version: object,
    limit: int | None,
    *,
    cached: bool,
) -> Explanation:
    """Explain the call behind ``rowkey`` with these key ``parts``; ``limit`` is the age limit in ns;
    ``cached`` is false for a function that is never cached.
    """
    if not cached:
        return Explanation(function, hit=False, reason="void functions are never cached", differs=[])
    if store is None:
        return Explanation(function, hit=False, reason="there is no store to look in", differs=[])
    if store.contains(rowkey, limit):
        return Explanation(function, hit=True, reason="this call is stored", differs=[])
    if store.contains(rowkey):
        return Explanation(
            function, hit=False, reason="it was stored, but is older than _ttl allows", differs=[]
        )
    store.flush()
    if store.index.ref(rowkey) is not None:
        return Explanation(function, hit=False, reason="it was stored, but its object is missing", differs=[])
    nearest, differs = _nearest(store, rowkey[:8], parts, version)
    if nearest is None:
        return Explanation(function, hit=False, reason="no call of this function is stored", differs=[])
    if not differs:
        what = (
            f"_version was {nearest.version!r} and is {version!r}"
            if nearest.version != version
            else "the arguments are those of a stored call, so SCALABLE_SEED or the recipe of the key differs"
        )
        return Explanation(function, hit=False, reason=what, differs=[])
    names = ", ".join(differs)
    return Explanation(
        function,
        hit=False,
        reason=f"the nearest stored call ({nearest.key.hex()[:12]}) differs in {names}",
        differs=differs,
    )


def _nearest(
    store: StoreCore, fnid: bytes, parts: Sequence[tuple[str, str, bytes]], version: object
) -> tuple[Record | None, list[str]]:
    from scalable_cas.format.record import unpack

    wanted = {(section, name): digest for section, name, digest in parts}
    best: tuple[tuple[int, int, int], Record, list[str]] | None = None
    for count, (_, data) in enumerate(store.index.scan("records", fnid)):
        if count == COMPARED:
            break
        record = unpack(data)
        have = {(section, name): digest for section, name, digest in record.parts}
        differs = sorted(
            {
                name
                for section, name in wanted.keys() | have.keys()
                if wanted.get((section, name)) != have.get((section, name))
            }
        )
        score = (len(differs), record.version != version, -record.created)
        if best is None or score < best[0]:
            best = (score, record, differs)
    return (None, []) if best is None else (best[1], best[2])
