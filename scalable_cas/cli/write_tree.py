"""`write-tree`: store a folder."""

from __future__ import annotations

import os

import click

from scalable_cas.cli.context import FILE, Session, pass_session
from scalable_cas.cli.output import lines, progress


@click.command("write-tree")
@click.argument("folder", metavar="DIR", type=FILE)
@pass_session
def command(session: Session, folder: str) -> None:
    """Store the folder DIR, and print the id of its tree.

    Names, contents, exec bits, links and empty folders are kept. Devices, FIFOs, sockets and links that lead
    out of the folder are refused. gc removes the tree unless it is pinned.
    """
    from scalable_cas.store.intake import put_path

    os.scandir(folder).close()  # of a file nothing is to be taken
    store = session.store()
    with progress(session, "storing") as report:
        taken = put_path(store, os.fspath(folder), report)
    lines([taken.oid.hex()])
