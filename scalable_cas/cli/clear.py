"""`clear`: forget what is stored of a function, or everything."""

from __future__ import annotations

import sys

import click

from scalable_cas.cli.context import Session, pass_session
from scalable_cas.cli.output import count, seconds
from scalable_cas.format.record import NO_FUNCTION
from scalable_cas.ops.listing import entries
from scalable_cas.ops.selection import select_function


@click.command("clear")
@click.argument("function", required=False)
@click.option("--all", "everything", is_flag=True, help="Forget every entry of every function.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; without a terminal nothing is asked anyway.")
@pass_session
def command(session: Session, function: str | None, everything: bool, yes: bool) -> None:
    """Forget the entries of FUNCTION, or with --all every entry.

    All versions of FUNCTION are forgotten. Calls compute again from then on. The disk space is freed by the
    next `scalable-cas gc`.
    """
    if everything is (function is not None):
        raise click.UsageError("name a FUNCTION, or give --all")
    store = session.store()
    chosen = select_function(store, function) if function is not None else None
    found = list(entries(store, chosen))
    took = seconds(sum(entry.seconds for entry in found))
    if everything and found and not yes and sys.stdin is not None and sys.stdin.isatty():
        click.confirm(
            f"Forget {count(len(found), 'entry', 'entries')} that took {took} to compute?",
            abort=True,
            err=True,
        )
    whole = [NO_FUNCTION] if chosen is None else list(chosen)
    forgotten = store.forget([entry.record.rowkey for entry in found], whole=whole)
    session.say(
        f"forgot {count(forgotten, 'entry', 'entries')} that took {took} to compute; "
        "`scalable-cas gc` frees the space"
    )
