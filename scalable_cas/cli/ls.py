"""`ls`: the entries of a store, or of one function."""

from __future__ import annotations

import click

from scalable_cas import clock
from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import SHORT, document, row, seconds, size, table
from scalable_cas.ops.listing import Entry, entries
from scalable_cas.ops.selection import select_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_ORDERS: dict[str, Callable[[Entry], Any]] = {
    "function": lambda entry: (entry.function, entry.created, entry.key),
    "created": lambda entry: (entry.created, entry.key),
    "size": lambda entry: (entry.size, entry.key),
    "seconds": lambda entry: (entry.seconds, entry.key),
}


@click.command("ls")
@click.argument("function", required=False)
@click.option(
    "--sort",
    type=click.Choice(list(_ORDERS)),
    default="function",
    show_default=True,
    help="What comes last is the most of it.",
)
@json_option
@pass_session
def command(session: Session, function: str | None, sort: str, as_json: bool) -> None:
    """List the entries of FUNCTION, or all of them.

    Exit code 1 if nothing is stored of FUNCTION.
    """
    store = session.store()
    chosen = select_function(store, function) if function is not None else None
    found = sorted(entries(store, chosen), key=_ORDERS[sort])
    if as_json:
        document([entry.as_dict() for entry in found])
        return
    if not found:
        session.say("nothing is stored yet")
        return
    now = clock.now_ns()
    table(
        ("KEY", "FUNCTION", "SIZE", "AGE", "TOOK", "CODEC"),
        [
            row(
                entry.key[:SHORT],
                entry.function,
                size(entry.size),
                seconds(max(now - entry.created, 0) / 1e9),
                seconds(entry.seconds),
                entry.codec + (" (foreign)" if entry.foreign else ""),
            )
            for entry in found
        ],
        right=("SIZE", "AGE", "TOOK"),
    )
