"""`repack`: fold small files into packs."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import count, document, lines, progress, size
from scalable_cas.store.folding import execute_repack, plan_repack


@click.command("repack")
@click.option("--dry-run", is_flag=True, help="Print what would be folded, and change nothing.")
@json_option
@pass_session
def command(session: Session, dry_run: bool, as_json: bool) -> None:
    """Fold small objects and small packs into large packs.

    Programs may run meanwhile. No object is dropped: that is what gc is for, which also repacks where there
    are many small files.
    """
    store = session.store()
    plan = plan_repack(store)
    facts: dict[str, object] = {
        "dry_run": dry_run,
        "plan": {
            "packs": plan.packs,
            "loose": plan.loose,
            "bytes": plan.bytes,
            "new_packs": len(plan.groups),
        },
    }
    done = None
    if not dry_run:
        with progress(session, "repack") as bar:
            done = execute_repack(store, plan, bar)
        facts["done"] = {"packs": done.packs, "loose": done.loose, "bytes": done.bytes}
    if as_json:
        document(facts)
    elif done is None:
        lines(
            [
                f"loose objects to fold: {plan.loose}",
                f"packs to fold: {plan.packs}",
                f"packs to write: {len(plan.groups)}, of {plan.bytes} bytes ({size(plan.bytes)}) at most",
            ]
        )
        session.say("nothing was changed")
    else:
        files = f"{count(done.loose, 'loose object')} and {count(done.packs, 'pack')}"
        gain = f"freed {size(done.bytes)}"
        if done.bytes < 0:  # tables of packs, which the blocks of many small files mostly outweigh
            gain = f"{size(-done.bytes)} longer than they were"
        session.say(f"folded {files} into {count(len(plan.groups), 'pack')}, {gain}")
