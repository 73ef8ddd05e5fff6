"""`log`: what was stored, the newest first."""

from __future__ import annotations

import click

from scalable_cas import clock
from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import SHORT, clean, document, lines, seconds, size
from scalable_cas.ops.listing import Entry, entries, newest
from scalable_cas.ops.selection import select_function


@click.command("log")
@click.argument("function", required=False)
@click.option("-n", "--number", type=click.IntRange(min=0), metavar="N", help="The newest N only.")
@json_option
@pass_session
def command(session: Session, function: str | None, number: int | None, as_json: bool) -> None:
    """Show what was stored, the newest first.

    One line for each entry of FUNCTION, or of all.
    """
    store = session.store()
    chosen = select_function(store, function) if function is not None else None
    found = newest(entries(store, chosen), number)
    if as_json:
        document([entry.as_dict() for entry in found])
    else:
        lines(map(_line, found))


def _line(entry: Entry) -> str:
    took = f"{size(entry.size)} in {seconds(entry.seconds)}"
    return clean(f"{clock.iso(entry.created)} {entry.key[:SHORT]} {entry.function}: {took}, {entry.codec}")
