"""What the cache did: counters of runs, added up, as text, as plain data and as a page.

A run is one process that used the cache with the workers that it started. Each process has a row of counters
(see store/telemetry.py); a run's rows share the part of their key before the slash.
"""

from __future__ import annotations

import msgpack

from scalable_cas import clock
from scalable_cas.errors import NothingFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scalable_cas.store.core import StoreCore


class Sums:
    """Counters added up: ``hits``, ``misses``, and in seconds the computing that hits ``saved`` and that
    misses ``spent``.
    """

    __slots__ = ("hits", "misses", "saved", "spent")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.saved = 0.0
        self.spent = 0.0

    def add(self, hits: int, misses: int, saved: float, spent: float) -> None:
        """Count some more."""
        self.hits += hits
        self.misses += misses
        self.saved += saved
        self.spent += spent

    @property
    def lookups(self) -> int:
        """How often the cache was asked."""
        return self.hits + self.misses

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data; ``hit_rate`` from 0 to 1."""
        return {
            "lookups": self.lookups,
            "hits": self.hits,
            "misses": self.misses,
            "hit_rate": self.hits / self.lookups if self.lookups else 0.0,
            "time_saved_seconds": self.saved,
            "time_spent_seconds": self.spent,
        }


class Report:
    """Some runs: the sums of each of their ``functions`` by name, the ``total``, how many ``runs`` it were,
    and when the first ``started`` and the last ``ended`` (ns since 1970).
    """

    def __init__(self) -> None:
        self.functions: dict[str, Sums] = {}
        self.total = Sums()
        self.runs = 0
        self.started = 0
        self.ended = 0

    def as_dict(self) -> dict[str, Any]:
        """The document of `report --json`."""
        return {
            "runs": self.runs,
            "started": clock.iso(self.started),
            "ended": clock.iso(self.ended),
            **self.total.as_dict(),
            "functions": {name: sums.as_dict() for name, sums in sorted(self.functions.items())},
        }

    def text(self) -> str:
        """The lines that the contract promises."""
        total = self.total
        hits = percent(total.hits, total.lookups)
        return "\n".join(
            (
                "Cache Performance:",
                f"  Total lookups: {total.lookups}",
                f"  Hits: {total.hits} ({hits}%)",
                f"  Misses: {total.misses} ({100 - hits}%)",
                f"  Time saved: ~{spoken(total.saved)}",
            )
        )


def make_report(store: StoreCore, *, last: bool = False) -> Report:
    """Add up all runs, or only the one that ended last.

    Raises:
        NothingFound: nothing has been recorded.
    """
    store.writer.flush(notes=True)
    runs: dict[bytes, list[dict[str, Any]]] = {}
    for key, data in store.index.scan("runs"):
        row = _unpack(data)
        if row is not None and row["functions"]:
            runs.setdefault(key.partition(b"/")[0], []).append(row)
    if not runs:
        raise NothingFound(
            "nothing has been recorded yet: no decorated function was called with SCALABLE_TELEMETRY on"
        )
    if last:
        latest = max(runs, key=lambda run: (max(row["ended"] for row in runs[run]), run))
        runs = {latest: runs[latest]}
    return _sum([row for rows in runs.values() for row in rows], len(runs))


def _sum(rows: Sequence[dict[str, Any]], runs: int) -> Report:
    report = Report()
    report.runs = runs
    report.started = min(row["started"] for row in rows)
    report.ended = max(row["ended"] for row in rows)
    for row in rows:
        for name, counters in row["functions"].items():
            report.functions.setdefault(name, Sums()).add(*counters)
            report.total.add(*counters)
    return report


def _unpack(data: bytes) -> dict[str, Any] | None:
    """A row of counters; None if it cannot be read: a lost statistic, which nothing could bring back, must
    not end a report.
    """
    try:
        row = msgpack.unpackb(data, unicode_errors="surrogatepass")
        functions = {
            str(name): (int(h), int(m), float(s), float(p)) for name, (h, m, s, p) in row["functions"].items()
        }
        return {"started": int(row["started"]), "ended": int(row["ended"]), "functions": functions}
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.exceptions.UnpackException):
        return None


def percent(part: int, whole: int) -> int:
    """Percent, rounded half up; 0 of nothing."""
    return (200 * part + whole) // (2 * whole) if whole else 0


#: Units of time as people use them: name, seconds, and up to how many of it one goes on counting in it.
_UNITS = (
    ("millisecond", 0.001, 100),
    ("second", 1.0, 90),
    ("minute", 60.0, 90),
    ("hour", 3600.0, 48),
    ("day", 86_400.0, float("inf")),
)


def spoken(seconds: float) -> str:
    """A duration as a person would say it: ``15 minutes``, ``3.2 hours``, ``0.4 seconds``."""
    if seconds < 0.0005:
        return "0 seconds"
    unit, length, _ = next(item for item in _UNITS if seconds < item[1] * item[2])
    number = seconds / length
    said = f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"
    said = said.removesuffix(".0")
    return f"{said} {unit}" if said == "1" else f"{said} {unit}s"
