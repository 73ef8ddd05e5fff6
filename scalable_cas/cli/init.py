"""`init`: make a store."""

from __future__ import annotations

import os

import click

from scalable_cas.cli.context import Session, pass_session
from scalable_cas.cli.output import lines
from scalable_cas.format.layout import FORMAT_FILE


@click.command("init")
@pass_session
def command(session: Session) -> None:
    """Make a store, where a decorated call would.

    Nothing happens if there is one. The last line on stdout says where it is.
    """
    there = os.path.isfile(f"{session.place().path}/{FORMAT_FILE}")
    # where the format file was lost, an index may be left that belongs to no store any more
    store = session.store(create=True, heal=not there)
    found = "a store of what was there" if store.index.count("refs") else "an empty store"
    lines([f"{'There is already a store' if there else f'Made {found}'} in {store.root}"])
