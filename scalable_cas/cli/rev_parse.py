"""`rev-parse`: from the beginning of an id to the whole."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Prefix, Session, pass_session
from scalable_cas.cli.output import lines
from scalable_cas.ops.selection import select_any


@click.command("rev-parse")
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True, type=Prefix())
@pass_session
def command(session: Session, prefixes: tuple[str, ...]) -> None:
    """Print the whole call key or object id for each PREFIX.

    Exit code 1 if nothing starts so, or more than one thing does.
    """
    store = session.store()
    for prefix in prefixes:
        lines([select_any(store, prefix)[-32:].hex()])
