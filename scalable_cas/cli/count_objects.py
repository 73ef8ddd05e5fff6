"""`count-objects`: how many objects there are and what they take on the disk."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import document, lines
from scalable_cas.ops.summary import Files, garbage, loose_files, pack_files, packed_objects, quarantined


@click.command("count-objects")
@click.option(
    "-v", "verbose", is_flag=True, help="Print more, as `key: value` lines. Sizes are in KiB on the disk."
)
@json_option
@pass_session
def command(session: Session, verbose: bool, as_json: bool) -> None:
    """Count the objects, and what they take on the disk.

    in-pack: objects in packs; size-pack: what the packs take.
    garbage: files among the objects that are none, and unfinished files of processes that are gone.
    quarantined: damaged files that were set aside.
    """
    store = session.store()
    loose = loose_files(store)
    if not verbose and not as_json:
        lines([f"{loose.count} objects, {_kib(loose)} kilobytes"])
        return
    rubbish, packs = garbage(store), pack_files(store)
    facts = {
        "count": loose.count,
        "size": _kib(loose),
        "in-pack": packed_objects(store),
        "packs": packs.count,
        "size-pack": _kib(packs),
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
