"""`ls-tree`: what a folder that was stored holds."""

from __future__ import annotations

import os

import click

from scalable_cas.cli.context import Prefix, Session, json_option, pass_session
from scalable_cas.cli.output import clean, document, lines
from scalable_cas.ops.trees import line, listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.format.tree import TreeEntry


@click.command("ls-tree")
@click.option("-r", "recursive", is_flag=True, help="List the folders below too; names are paths then.")
@json_option
@click.argument("oid", type=Prefix())
@pass_session
def command(session: Session, oid: str, *, recursive: bool, as_json: bool) -> None:
    """Print what the tree OID holds, a line for each entry.

    MODE TYPE OID, a tab, NAME; sorted by the bytes of the names. With -r only empty folders have a line of
    their own.
    """
    store = session.store()
    found = listing(store, oid, recursive=recursive)
    if as_json:
        document([_row(entry) for entry in found])
    else:
        lines(f"{line(entry)}\t{clean(os.fsdecode(entry.name))}" for entry in found)


def _row(entry: TreeEntry) -> dict[str, Any]:
    mode, kind, oid = line(entry).split(" ")
    return {"mode": mode, "type": kind, "oid": oid, "size": entry.size, "name": os.fsdecode(entry.name)}
