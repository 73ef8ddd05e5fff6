"""`gc`: free space."""

from __future__ import annotations

from collections import Counter

import click

from scalable_cas.cli.context import DURATION, SIZE, RemotePlace, Session, json_option, pass_session
from scalable_cas.cli.output import count, document, lines, progress, row, seconds, size, table
from scalable_cas.ops.gc import GcPlan, GcResult, Policy, execute, plan_gc
from scalable_cas.ops.selection import select_function
from scalable_cas.ops.transfer.remote_gc import GRACE, RemoteGcPlan, execute_remote_gc, plan_remote_gc
from scalable_cas.ops.transfer.repository import open_repository

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scalable_cas.api import Store


@click.command("gc")
@click.option(
    "--older-than",
    type=DURATION,
    metavar="AGE",
    help="Drop entries stored longer ago: 30s, 15m, 12h, 30d, 2w.",
)
@click.option(
    "--unused-for", type=DURATION, metavar="AGE", help="Drop entries that were not used for so long."
)
@click.option(
    "--max-size",
    type=SIZE,
    metavar="SIZE",
    help="Drop what is cheapest to compute until the rest fits: 10GB, 500MiB.",
)
@click.option(
    "--keep-last", type=click.IntRange(min=0), metavar="N", help="Keep the newest N entries of each function."
)
@click.option("--function", metavar="NAME", help="Apply all of this to one function only.")
@click.option(
    "--remote",
    type=RemotePlace(),
    metavar="NAME",
    help="Tidy up there instead: what interrupted pushes left, and small packs.",
)
@click.option(
    "--grace",
    type=DURATION,
    metavar="AGE",
    help="With --remote: how long what is not needed stays. Default: 7d; longer than any push takes.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be dropped, and change nothing.")
@json_option
@pass_session
def command(
    session: Session,
    /,
    remote: str | None,
    grace: float | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Free space: drop entries by age, use or size.

    Objects that nothing needs any more go with them. Programs may run meanwhile. Without a policy only
    expired entries and objects that no entry names are dropped. Pinned entries and objects stay. MB and GB
    are powers of 1000, MiB and GiB of 1024.

    With --remote nothing is dropped here. There, files that no push has named are announced first, and
    removed by a later run, after the grace; small packs are joined, and those that were joined before the
    grace are removed, after the new ones were checked; so are segments that are joined with others. No entry
    is.
    """
    if remote is None and grace is not None:
        raise click.UsageError("--grace goes with --remote")
    if remote is not None and any(value is not None for value in options.values()):
        raise click.UsageError("--remote goes with --grace and --dry-run only; no entry is dropped there")
    store = session.store()
    if remote is not None:
        _collect_remote(session, store, remote, GRACE if grace is None else grace, dry_run, as_json)
        return
    if options["function"] is not None:
        (options["function"],) = set(select_function(store, options["function"]).values())
    if options["max_size"] is not None:
        options["max_size"] = int(options["max_size"])
    plan = plan_gc(store, Policy(**options))
    done = None if dry_run else _execute(session, store, plan)
    if as_json:
        document(_as_dict(plan, done))
        return
    if done is None or session.verbose:
        _print(plan, details=session.verbose)
    if done is None:
        session.say(f"would free about {size(plan.bytes)}; nothing was changed")
    else:
        dropped = f"{count(done.entries, 'entry', 'entries')} and {count(done.objects, 'object')}"
        session.say(f"dropped {dropped}, freed {size(done.bytes)}")


def _collect_remote(
    session: Session, store: Store, name: str, grace: float, dry_run: bool, as_json: bool
) -> None:
    with open_repository(store, name) as repository:
        plan = plan_remote_gc(repository, grace)
        done = None if dry_run else execute_remote_gc(repository, plan)
    if as_json:
        document({"dry_run": dry_run, "url": repository.url, "plan": _remote_facts(plan)})
        return
    if dry_run:
        lines([f"{key.replace('_', ' ')}: {value}" for key, value in _remote_facts(plan).items()])
        session.say("nothing was changed")
        return
    assert done is not None
    announced = count(len(done.condemn), "file")
    removed = count(len(done.sweep) + len(done.replaced) + len(done.segments), "file")
    session.say(
        f"announced {announced} that no push has named, joined {count(done.join, 'small pack')}; "
        f"removed {removed}, freed {size(done.bytes)}; {done.waiting:,} wait for the end of the grace"
    )


def _remote_facts(plan: RemoteGcPlan) -> dict[str, int]:
    return {
        "files_to_announce": len(plan.condemn),
        "files_waiting": plan.waiting,
        "files_to_remove": len(plan.sweep),
        "small_packs_to_join": plan.join,
        "joined_packs_to_remove": len(plan.replaced),
        "bytes_to_free": plan.bytes,
        "joined_segments_to_remove": len(plan.segments),
    }


def _execute(session: Session, store: Store, plan: GcPlan) -> GcResult:
    with progress(session, "gc") as bar:
        return execute(store, plan, _told(bar))


def _told(bar: Callable[[int, int], None] | None) -> Callable[[str, int, int], None] | None:
    if bar is None:
        return None
    return lambda _stage, done, total: bar(done, total)


def _groups(plan: GcPlan) -> list[tuple[str, str, int, float]]:
    """Function, reason, number of entries, seconds of computing."""
    entries: Counter[tuple[str, str]] = Counter()
    took: Counter[tuple[str, str]] = Counter()
    for item in plan.entries:
        entries[item.function, item.reason] += 1
        took[item.function, item.reason] += item.seconds  # type: ignore[assignment]  # typeshed knows counts only
    return [(*group, number, took[group]) for group, number in sorted(entries.items())]


def _print(plan: GcPlan, *, details: bool) -> None:
    groups = _groups(plan)
    if groups:
        table(
            ("FUNCTION", "REASON", "ENTRIES", "TOOK"),
            [row(function, reason, number, seconds(took)) for function, reason, number, took in groups],
            right=("ENTRIES", "TOOK"),
        )
        lines([""])
    if details and plan.entries:
        table(
            ("KEY", "FUNCTION", "REASON"),
            [row(e.rowkey[8:].hex(), e.function, e.reason) for e in plan.entries],
        )
        lines([""])
    lines(
        [
            f"entries to drop: {len(plan.entries)}, which took {seconds(plan.seconds)} to compute",
            f"objects to drop: {plan.objects}, which take {plan.bytes} bytes ({size(plan.bytes)})",
            f"unfinished files to drop: {len(plan.drafts)}",
        ]
    )


def _as_dict(plan: GcPlan, done: GcResult | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "dry_run": done is None,
        "plan": {
            "entries": [
                {
                    "key": e.rowkey[8:].hex(),
                    "function": e.function,
                    "reason": e.reason,
                    "seconds": e.seconds,
                    "size": e.size,
                }
                for e in plan.entries
            ],
            "objects": plan.objects,
            "bytes": plan.bytes,
            "seconds": plan.seconds,
            "unfinished_files": len(plan.drafts),
        },
    }
    if done is not None:
        found["done"] = {
            "entries": done.entries,
            "objects": done.objects,
            "bytes": done.bytes,
            "unfinished_files": done.drafts,
        }
    return found
