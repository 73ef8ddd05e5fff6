"""`push`: send what a remote lacks."""

from __future__ import annotations

import click

from scalable_cas.cli.context import RemotePlace, Session, json_option, pass_session
from scalable_cas.cli.output import clean, count, document, lines, seconds, size
from scalable_cas.cli.transferring import bar, function_option, jobs_option
from scalable_cas.ops.selection import select_function
from scalable_cas.ops.transfer.push import Pushed, push
from scalable_cas.ops.transfer.push_plan import PushPlan, plan_push
from scalable_cas.ops.transfer.repository import DEFAULT, open_repository


@click.command("push")
@click.argument("remote", type=RemotePlace(), default=DEFAULT)
@function_option
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
@jobs_option
@json_option
@pass_session
def command(
    session: Session, remote: str, function: tuple[str, ...], dry_run: bool, jobs: int | None, as_json: bool
) -> int:
    """Send entries that REMOTE lacks, with their objects. REMOTE is a name that `remote add` gave, or a URL.

    Others see an entry whole or not at all. What was sent before an interruption stays, and the next push
    goes on from there. What `verify --remote` or a pull found damaged there is sent again. Exit code 1 if an
    entry could not be sent because an object of it is missing or damaged here.
    """
    store = session.store()
    chosen = [fnid for name in function for fnid in select_function(store, name)]
    with open_repository(store, remote, jobs=jobs, create=not dry_run, plan=dry_run) as repository:
        plan = plan_push(repository, chosen if function else None)
        if dry_run:
            _show(session, repository.url, plan, as_json=as_json)
            return 1 if plan.broken else 0
        with bar(session, "push") as progress:
            done = push(repository, plan, progress)
        if as_json:
            document({"dry_run": False, "url": repository.url, "plan": _planned(plan), "done": _done(done)})
        _summarise(session, done)
    return 1 if done.broken else 0


def _planned(plan: PushPlan) -> dict[str, object]:
    return {
        "entries": plan.entries,
        "objects": plan.objects,
        "bytes": plan.bytes,
        "present": plan.present,
        "withheld": plan.withheld,
        "damaged": plan.damaged,
        "broken": [rowkey[8:].hex() for rowkey in plan.broken],
    }


def _done(done: Pushed) -> dict[str, object]:
    return {
        "entries": done.entries,
        "objects": done.objects,
        "present": done.present,
        "withheld": done.withheld,
        "bytes": done.bytes,
        "requests": done.requests,
        "seconds": round(done.seconds, 3),
        "broken": [rowkey[8:].hex() for rowkey in done.broken],
    }


def _show(session: Session, url: str, plan: PushPlan, *, as_json: bool) -> None:
    if as_json:
        document({"dry_run": True, "url": url, "plan": _planned(plan)})
        return
    lines(
        [
            clean(f"to {url}:"),
            f"entries to send: {plan.entries} ({plan.present} are there already)",
            f"objects to send: {plan.objects}, which take {plan.bytes} bytes ({size(plan.bytes)})",
        ]
    )
    _remarks(session, plan.withheld, plan.broken)
    session.say("nothing was sent")


def _summarise(session: Session, done: Pushed) -> None:
    _remarks(session, done.withheld, done.broken)
    session.say(
        f"{count(done.entries, 'new entry', 'new entries')}, {done.present:,} already there, "
        f"{size(done.bytes)} sent in {count(done.requests, 'request')} and {seconds(done.seconds)}"
    )


def _remarks(session: Session, withheld: int, broken: tuple[bytes, ...]) -> None:
    if withheld:
        entries = count(withheld, "entry", "entries")
        session.say(f"{entries} not sent: from signers that you do not trust, so you cannot vouch for them")
    if broken:
        entries = count(len(broken), "entry", "entries")
        session.say(
            f"{entries} not sent: an object is missing or damaged here; `scalable-cas verify` names it"
        )
