"""`show-ref`: which call key leads to which object."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import clean, document, lines
from scalable_cas.ops.listing import entries
from scalable_cas.ops.selection import select_function


@click.command("show-ref")
@click.argument("function", required=False)
@json_option
@pass_session
def command(session: Session, function: str | None, as_json: bool) -> int:
    """Print OID KEY FUNCTION for every entry.

    Or for those of FUNCTION. Exit code 1 if there are none.
    """
    store = session.store()
    chosen = select_function(store, function) if function is not None else None
    rows = sorted((entry.function, entry.key, entry.record.oid.hex()) for entry in entries(store, chosen))
    if as_json:
        document([{"object": oid, "key": key, "function": name} for name, key, oid in rows])
    else:
        lines(clean(f"{oid} {key} {name}") for name, key, oid in rows)
    return 0 if rows else 1
