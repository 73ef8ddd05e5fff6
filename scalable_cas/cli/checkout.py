"""`checkout`: put a stored file or folder somewhere."""

from __future__ import annotations

import os

import click

from scalable_cas.cli.context import Prefix, Session, pass_session
from scalable_cas.cli.output import count
from scalable_cas.errors import ObjectNotFound
from scalable_cas.ops.selection import select_object


@click.command("checkout")
@click.argument("oid", type=Prefix())
@click.argument("path", type=click.Path())
@pass_session
def command(session: Session, oid: str, path: str) -> None:
    """Put the stored file or folder OID at PATH.

    A blob becomes the file PATH; what a tree holds is put into the folder PATH. Files that are there with the
    same content are left alone, and so are files that are no part of the tree. Nothing is written outside of
    PATH, whatever the tree says.
    """
    from scalable_cas.store.checkout import checkout

    store = session.store()
    name = select_object(store, oid)
    if name is None:
        raise ObjectNotFound(oid)
    written = checkout(store, store.objects.head(name).kind, name, os.fspath(path))
    if session.verbose:
        session.say(f"{count(written, 'file')} written")
