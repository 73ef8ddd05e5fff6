"""`verify`: is everything what its name says?"""

from __future__ import annotations

import click

from scalable_cas.cli.context import RemotePlace, Session, json_option, pass_session
from scalable_cas.cli.output import clean, count, document, lines, progress, seconds, size
from scalable_cas.ops.transfer.remote_check import verify_remote
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas.ops.transfer.restoring import restoring
from scalable_cas.ops.transfer.setting_aside import repair_segments
from scalable_cas.ops.verify import Finding, repair, verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scalable_cas.api import Store
    from scalable_cas.ops.verify import Verification


@click.command("verify")
@click.option("--quick", is_flag=True, help="Compare headers and lengths only, without reading contents.")
@click.option(
    "--repair",
    "mend",
    is_flag=True,
    help="Set damaged objects aside, restore what can be, forget what is lost. With --remote: of segments.",
)
@click.option(
    "--from",
    "source",
    type=RemotePlace(),
    metavar="REMOTE",
    help="With --repair: fetch what is missing or damaged here from REMOTE first.",
)
@click.option(
    "--remote",
    type=RemotePlace(),
    metavar="NAME",
    help="Check what lies there instead: everything is downloaded and hashed.",
)
@json_option
@pass_session
def command(
    session: Session, quick: bool, mend: bool, source: str | None, remote: str | None, as_json: bool
) -> int:
    """Check every object against its name, and every entry.

    One line for each thing that is wrong, naming the object and the entries that it affects; exit code 0
    exactly if nothing is wrong, and 1 also where --repair mended it. Without --repair nothing is changed.
    What --remote finds is remembered: the next push sends it again. With --repair a damaged segment is put
    back, or set aside if this store has no copy of it.
    """
    if source is not None and not mend:
        raise click.UsageError("--from says where --repair fetches from; give both")
    if remote is not None and (quick or source is not None):
        raise click.UsageError("--remote goes with neither --quick nor --from; push mends a remote")
    store = session.store()
    if remote is not None:
        return _verify_remote(session, store, remote, mend=mend, as_json=as_json)
    if source is not None:
        with open_repository(store, source):  # one that leads nowhere is an error before hours of reading
            pass
    with progress(session, "verify") as bar:
        found = verify(store, quick=quick, progress=_told(bar))
    done: list[str] = []
    left = found
    if mend and found.findings:
        done = _repair(store, found, source)
        left = verify(
            store, quick=True
        )  # what was damaged is not there any more: contents need no second reading
    if as_json:
        document(_as_dict(found, done, left))
    else:
        lines(map(_line, found.findings))
        lines(f"repaired: {clean(text)}" for text in done)
        if left is not found:
            lines(f"still: {_line(item)}" for item in left.findings)
    _summarise(session, found, left, repaired=mend)
    return 1 if found.findings else 0


def _repair(store: Store, found: Verification, source: str | None) -> list[str]:
    if source is None:
        return repair(store, found)
    with open_repository(store, source) as repository:
        repository.refresh()
        return repair(store, found, restoring(repository))


def _verify_remote(session: Session, store: Store, name: str, *, mend: bool, as_json: bool) -> int:
    with open_repository(store, name) as repository:
        with progress(session, "verify") as bar:
            found = verify_remote(repository, bar)
        done = repair_segments(repository) if mend and found.findings else []
    if as_json:
        document(
            {
                "ok": not found.findings,
                "url": repository.url,
                "objects": found.objects,
                "entries": found.entries,
                "bytes": found.bytes,
                "requests": found.requests,
                "seconds": found.seconds,
                "findings": _rows(found.findings),
                "repaired": done,
            }
        )
    else:
        lines(map(_line, found.findings))
        lines(f"repaired: {clean(text)}" for text in done)
    entries = count(found.entries, "entry", "entries")
    checked = (
        f"{count(found.objects, 'object')} ({size(found.bytes)}) and {entries} in {seconds(found.seconds)}"
    )
    if found.findings:
        wrong = count(len(found.findings), "fault")
        aside = "; a segment that stays damaged then is set aside with --repair"
        more = aside if not mend and any(f.kind == "segment" for f in found.findings) else ""
        session.say(f"{wrong} in {checked}; the next `scalable-cas push` of who has it sends it again{more}")
    else:
        session.say(f"nothing is wrong there: checked {checked}")
    return 1 if found.findings else 0


def _rows(findings: Sequence[Finding]) -> list[dict[str, object]]:
    return [
        {"kind": f.kind, "subject": f.subject, "detail": f.detail, "affects": list(f.affects)}
        for f in findings
    ]


def _told(bar: Callable[[int, int], None] | None) -> Callable[[int, int, int], None] | None:
    if bar is None:
        return None
    return lambda done, total, _size: bar(done, total)


def _line(item: Finding) -> str:
    affected = f"; affects {', '.join(item.affects)}" if item.affects else ""
    return clean(f"{item.kind} {item.subject}: {item.detail}{affected}")


def _as_dict(found: Verification, done: list[str], left: Verification) -> dict[str, object]:
    return {
        "ok": not left.findings,
        "objects": found.objects,
        "entries": found.entries,
        "bytes": found.bytes,
        "seconds": found.seconds,
        "findings": _rows(found.findings),
        "repaired": done,
        "left": _rows(left.findings),
    }


def _summarise(session: Session, found: Verification, left: Verification, *, repaired: bool) -> None:
    entries = count(found.entries, "entry", "entries")
    checked = (
        f"{count(found.objects, 'object')} ({size(found.bytes)}) and {entries} in {seconds(found.seconds)}"
    )
    wrong = count(len(found.findings), "fault")
    if not found.findings:
        session.say(f"nothing is wrong: checked {checked}")
    elif not repaired:
        session.say(f"{wrong} in {checked}; `scalable-cas verify --repair` mends what it can")
    else:
        session.say(f"{wrong} in {checked}; {len(left.findings) or 'none'} left after repair")
