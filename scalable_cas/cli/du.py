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

    VALUES is what was stored, uncompressed; DISK the files that only this function needs; SHARED those that
    others need too.
    """
    store = session.store()
    names = set(select_function(store, function).values()) if function is not None else None
    found = [item for item in usage(store) if names is None or item.function in names]
    if as_json:
        fields = ("function", "entries", "raw", "stored", "shared")
        document([{field: getattr(item, field) for field in fields} for item in found])
        return
    if not found:
        session.say("nothing is stored yet")
        return
    table(
        ("DISK", "SHARED", "VALUES", "ENTRIES", "FUNCTION"),
        [
            row(size(item.stored), size(item.shared), size(item.raw), item.entries, item.function)
            for item in found
        ],
        right=("DISK", "SHARED", "VALUES", "ENTRIES"),
    )
