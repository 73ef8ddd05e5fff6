"""`pull`: fetch what is not here."""

from __future__ import annotations

import click

from scalable_cas.cli.context import RemotePlace, Session, json_option, pass_session
from scalable_cas.cli.output import clean, count, document, lines, seconds, size
from scalable_cas.cli.transferring import bar, function_option, jobs_option
from scalable_cas.ops.selection import one_function
from scalable_cas.ops.transfer.pull import Pulled, pull
from scalable_cas.ops.transfer.pull_plan import PullPlan, plan_pull
from scalable_cas.ops.transfer.repository import DEFAULT, open_repository, url_of

#: Lost entries that are printed; the rest is counted.
NAMED = 20


@click.command("pull")
@click.argument("remote", type=RemotePlace(), default=DEFAULT)
@function_option
@click.option("--dry-run", is_flag=True, help="Print what would be fetched, and fetch none of it.")
@jobs_option
@json_option
@pass_session
def command(
    session: Session, remote: str, function: tuple[str, ...], dry_run: bool, jobs: int | None, as_json: bool
) -> int:
    """Fetch entries from REMOTE that are not here.

    REMOTE is a name that `remote add` gave, or a URL.

    An entry that is here already is kept, whatever REMOTE says. Everything is checked before it is stored,
    and marked with its signer: what could run code is used only if you trust him (see `trust`). Exit code 1
    if something there is missing or damaged; the line names it, and the next push by somebody who has it
    sends it again.
    """
    if "://" not in remote:
        url_of(session.place().path, remote)  # before a store is made for nothing
    store = session.store(create=True)
    with open_repository(store, remote, jobs=jobs) as repository:
        chosen = None
        if function:
            repository.refresh()
            there = repository.view.functions()
            chosen = [fnid for name in function for fnid in one_function(there, name, remote)]
        plan = plan_pull(repository, chosen)
        if dry_run:
            _show(session, repository.url, plan, as_json=as_json)
            return 1 if plan.faults else 0
        with bar(session, "pull") as progress:
            done = pull(repository, plan, progress)
        if as_json:
            document({"dry_run": False, "url": repository.url, "plan": _planned(plan), "done": _done(done)})
        else:
            lines(_faults(done))
        _summarise(session, done)
    return 1 if done.lost or done.refused or done.faults else 0


def _planned(plan: PullPlan) -> dict[str, object]:
    return {
        "entries": plan.entries,
        "bytes": plan.bytes,
        "present": plan.present,
        "faults": [{"file": name, "reason": reason} for name, reason in plan.faults],
    }


def _done(done: Pulled) -> dict[str, object]:
    return {
        "entries": done.entries,
        "objects": done.objects,
        "present": done.present,
        "refused": done.refused,
        "bytes": done.bytes,
        "requests": done.requests,
        "seconds": round(done.seconds, 3),
        "lost": [
            {"key": e.rowkey[8:].hex(), "function": e.function, "object": e.oid.hex(), "reason": e.reason}
            for e in done.lost
        ],
        "faults": [{"file": name, "reason": reason} for name, reason in done.faults],
    }


def _faults(done: Pulled) -> list[str]:
    found = [f"segment {name}: {reason}" for name, reason in done.faults]
    if done.refused:
        found.append(f"{count(done.refused, 'entry', 'entries')} refused: they do not fit their objects")
    for entry in done.lost[:NAMED]:
        found.append(
            f"object {entry.oid.hex()}: {entry.reason}; lacking in {entry.function} {entry.rowkey[8:].hex()}"
        )
    if len(done.lost) > NAMED:
        found.append(f"and {len(done.lost) - NAMED} more entries; --json names all")
    return [clean(text) for text in found]


def _show(session: Session, url: str, plan: PullPlan, *, as_json: bool) -> None:
    if as_json:
        document({"dry_run": True, "url": url, "plan": _planned(plan)})
        return
    lines(
        [
            clean(f"from {url}:"),
            f"entries to fetch: {plan.entries} ({plan.present} are here already)",
            f"bytes to fetch: about {plan.bytes} ({size(plan.bytes)})",
            *(clean(f"segment {name}: {reason}") for name, reason in plan.faults),
        ]
    )
    session.say("nothing was fetched")


def _summarise(session: Session, done: Pulled) -> None:
    lost = f", {count(len(done.lost), 'entry', 'entries')} could not be had" if done.lost else ""
    session.say(
        f"{count(done.entries, 'new entry', 'new entries')}, {done.present:,} already here{lost}, "
        f"{size(done.bytes)} received in {count(done.requests, 'request')} and {seconds(done.seconds)}"
    )
