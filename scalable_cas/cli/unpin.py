"""`unpin`: let gc have what was pinned."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Prefix, Session, pass_session
from scalable_cas.ops.selection import select_pin


@click.command("unpin")
@click.argument("keys", metavar="KEY|OID...", nargs=-1, required=True, type=Prefix())
@pass_session
def command(session: Session, keys: tuple[str, ...]) -> None:
    """Undo pin: gc may take these entries and objects again."""
    store = session.store()
    found = [select_pin(store, key) for key in keys]
    store.pin(found, pinned=False)
    for key in found:
        session.say(f"unpinned {key[-32:].hex()}")
