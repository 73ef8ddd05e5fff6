"""How commands print: data to stdout, JSON documents, tables, sizes and times for people, progress on
terminals.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager

import click

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from scalable_cas.cli.context import Session

#: Digits of an id in a table. With 100,000 ids two share their first 12 once in 50,000 stores.
SHORT = 12
_LINES = 500  # lines a write: one call of the system for some pages of text


def clean(text: str) -> str:
    """Text of unknown origin (names of functions, errors) without characters that would steer a terminal or
    break a line.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """Text as one printable line."""
    return clean(" ".join(text.split()))


def lines(rows: Iterable[str]) -> None:
    """Print lines."""
    batch: list[str] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _LINES:
            click.echo("\n".join(batch))
            batch = []
    if batch:
        click.echo("\n".join(batch))


def document(content: object) -> None:
    """Print one JSON document."""
    import json

    click.echo(json.dumps(content, indent=2))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print columns under their headers; those named in ``right`` are aligned to the right."""
    from tabulate import tabulate  # 60 ms to import: only commands that print a table pay for it

    align = ["right" if header in right else "left" for header in headers]
    # the headers as a row like the others: as headers they would be padded
    text = tabulate([headers, *rows], tablefmt="plain", colalign=align, disable_numparse=True)
    lines(line.rstrip() for line in text.splitlines())


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Print ``name: value`` lines, values aligned."""
    found = list(rows)
    width = max((len(name) for name, _ in found), default=0) + 2
    lines(f"{name + ':':{width}}{clean(str(value))}" for name, value in found)


def size(count: float) -> str:
    """Bytes for people, in powers of 1000, as disks are sold."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"
    return f"{count / 1000:.1f} PB"


def seconds(count: float) -> str:
    """A duration for people: three digits at most, in the largest unit that it fills."""
    if count < 0.9995:
        if 0 < count < 0.00005:
            return "<0.1 ms"
        return f"{count * 1000:.0f} ms" if count >= 0.0995 or not count else f"{count * 1000:.1f} ms"
    for unit, length, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if count < length * most:
            return f"{count / length:.3g} {unit}"
    return f"{count / 86_400:,.0f} d"


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 entry``, ``2 entries``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


@contextmanager
def progress(session: Session, label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr for work that reports (done, total); None where stderr is no terminal, or quiet was
    asked for.
    """
    if session.quiet or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr, show_pos=True) as bar:

        def report(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield report


def row(*cells: Any) -> list[str]:
    """Cells as text that is safe to print."""
    return [clean(str(cell)) for cell in cells]
