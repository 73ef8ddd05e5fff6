"""Arguments that make every key unique, so that nothing is ever a hit: a time, an id of the run, a path that
is another on each machine. Found in what the records keep of small arguments.

An argument that is never twice the same is no fault by itself: most functions are called with many numbers.
So it is named only if it also looks like one of those, in nearly every call.
"""

from __future__ import annotations

import re
from itertools import islice

from scalable_cas.format.record import unpack
from scalable_cas.keys.outline import CONTAINER, OTHER, PLAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scalable_cas.format.record import Record
    from scalable_cas.store.core import StoreCore

#: Calls of a function before anything is said of it, and calls that are looked at (20 µs each).
FEWEST, MOST = 5, 2_000
#: Share of the calls that must look alike: one call by hand must not hide what a program does.
SHARE = 0.9
#: A number that is within a day of when the call was stored was a clock's (seconds).
NEAR = 86_400

_RUN_ID = re.compile(
    r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}|(?=.*\d)(?=.*[a-f])[0-9a-f]{12,64}", re.IGNORECASE
)
_DATE_AND_TIME = re.compile(r"20\d\d-?[01]\d-?[0-3]\d[T _-]?[0-2]\d[:-]?[0-5]\d")

TIME, ID, PATH = "a time", "an id", "an absolute path"
REMEDIES = {
    TIME: "leave it out with _ignore, or pass the day if the day matters",
    ID: "leave it out with _ignore",
    PATH: "declare it FileType or DirType, so that its content counts",
}


def unique_arguments(store: StoreCore) -> Iterator[tuple[str, str, int, str]]:
    """Yield (function, argument or the part of it, calls that were looked at, what it looks like)."""
    for fnid, function in sorted(store.index.function_names().items(), key=lambda item: item[1]):
        records = [unpack(data) for _, data in islice(store.index.scan("records", fnid), MOST)]
        if len(records) >= FEWEST:
            for label, kind in _suspects(records):
                yield function, label, len(records), kind


def _suspects(records: list[Record]) -> Iterator[tuple[str, str]]:
    values: dict[str, list[tuple[Any, int]]] = {}
    for record in records:
        for label, found in _leaves(record):
            values.setdefault(label, []).append((found, record.created))
    for label, seen in values.items():
        if len(seen) < SHARE * len(records) or len({repr(found) for found, _ in seen}) < SHARE * len(seen):
            continue
        kinds = [kind_of(found, created) for found, created in seen]
        for kind in (TIME, ID, PATH):
            if kinds.count(kind) >= SHARE * len(kinds):
                yield label, kind


def _leaves(record: Record) -> Iterator[tuple[str, Any]]:
    """Arguments, and the parts of containers, by the names that they have in explanations."""
    for (_, name, _), outline in zip(record.parts, record.outlines, strict=False):
        if not isinstance(outline, list) or len(outline) < 2:
            continue
        if outline[0] != CONTAINER:
            yield name, outline
        elif len(outline) == 4 and isinstance(outline[3], list):
            for child in outline[3]:
                if isinstance(child, list) and len(child) == 2:
                    yield f"{name}{child[0]}", child[1]


def kind_of(outline: Any, created: int) -> str | None:
    """What the value of an outline looks like, in a call that was stored at ``created`` (ns); None for
    anything that may be meant.
    """
    if not isinstance(outline, list) or len(outline) < 2:
        return None
    if outline[0] == OTHER and len(outline) == 4:
        return _kind_of_object(outline[1], str(outline[2]))
    if outline[0] != PLAIN:
        return None
    value = outline[1]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = created / 1e9
        near = any(abs(value / unit - seconds) < NEAR for unit in (1, 1e3, 1e6, 1e9))
        return TIME if near else None
    return _kind_of_text(value) if isinstance(value, str) else None


def _kind_of_object(type_name: Any, text: str) -> str | None:
    if type_name in ("datetime", "Timestamp") and not text.endswith(" 00:00:00"):
        return TIME
    if type_name == "UUID":
        return ID
    return PATH if type_name == "PosixPath" and text.startswith("/") else None


def _kind_of_text(text: str) -> str | None:
    if _DATE_AND_TIME.search(text):
        return TIME
    if _RUN_ID.fullmatch(text):
        return ID
    return PATH if re.match(r"/[^/]+/.", text) else None
