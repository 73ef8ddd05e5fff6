"""`checkout`: put a stored file or folder somewhere."""

from __future__ import annotations

import os
from itertools import islice

import click

from scalable_cas.cli.context import FILE, Prefix, Session, pass_session
from scalable_cas.cli.output import count, progress
from scalable_cas.errors import ObjectNotFound
from scalable_cas.format.kinds import TREE
from scalable_cas.ops.selection import select_object
from scalable_cas.ops.trees import listing

#: Entries that are counted before the first is written: a hostile tree has no end.
_COUNTED = 1_000_000


@click.command("checkout")
@click.argument("oid", type=Prefix())
@click.argument("path", type=FILE)
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
    kind = store.objects.head(name).kind
    with progress(session, "writing") as report:
        total = 0
        if report is not None and kind == TREE:
            total = sum(1 for _ in islice(listing(store, oid, recursive=True), _COUNTED))
        tell = None if report is None else lambda done: report(done, max(done, total))
        written = checkout(store, kind, name, os.fspath(path), tell)
    if session.verbose:
        session.say(f"{count(written, 'file')} written")
