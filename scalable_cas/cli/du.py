"""`du`: what each function takes on the disk."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import document, row, size, table
from scalable_cas.ops.selection import select_function
from scalable_cas.ops.usage import usage


@click.command("du")
@click.argument("function", required=False)
@json_option
@pass_session
def command(session: Session, function: str | None, as_json: bool) -> None:
    """Show what FUNCTION, or each function, takes on the disk.

    VALUES is the content of all results, each in full; DISK the files that only this function needs; SHARED
    those that others need too; RATIO how many times less is stored than VALUES, because equal parts are
    stored once, and compressed.
    """
    store = session.store()
    names = set(select_function(store, function).values()) if function is not None else None
    found = [item for item in usage(store) if names is None or item.function in names]
    if as_json:
        document([item.as_dict() for item in found])
        return
    if not found:
        session.say("nothing is stored yet")
        return
    table(
        ("DISK", "SHARED", "VALUES", "RATIO", "ENTRIES", "FUNCTION"),
        [
            row(
                size(item.stored),
                size(item.shared),
                size(item.values),
                f"{item.ratio:.1f}",
                item.entries,
                item.function,
            )
            for item in found
        ],
        right=("DISK", "SHARED", "VALUES", "RATIO", "ENTRIES"),
    )
