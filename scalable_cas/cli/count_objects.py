"""`count-objects`: how many objects there are and what they take on the disk."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import document, lines
from scalable_cas.ops.summary import Files, garbage, object_files, quarantined


@click.command("count-objects")
@click.option(
    "-v", "verbose", is_flag=True, help="Print more, as `key: value` lines. Sizes are in KiB on the disk."
)
@json_option
@pass_session
def command(session: Session, verbose: bool, as_json: bool) -> None:
    """Count the objects, and what they take on the disk.

    garbage: files among the objects that are none, and unfinished files of processes that are gone.
    quarantined: damaged files that were set aside.
    """
    store = session.store()
    objects = object_files(store)
    if not verbose and not as_json:
        lines([f"{objects.count} objects, {_kib(objects)} kilobytes"])
        return
    rubbish = garbage(store)
    facts = {
        "count": objects.count,
        "size": _kib(objects),
        "in-pack": 0,
        "packs": 0,
        "size-pack": 0,
        "garbage": rubbish.count,
        "size-garbage": _kib(rubbish),
        "quarantined": len(quarantined(store.root)),
    }
    if as_json:
        document(facts)
    else:
        lines(f"{name}: {value}" for name, value in facts.items())


def _kib(files: Files) -> int:
    return files.bytes // 1024
