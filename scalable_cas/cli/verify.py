"""`verify`: is everything what its name says?"""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import clean, count, document, lines, progress, seconds, size
from scalable_cas.ops.verify import Finding, repair, verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scalable_cas.ops.verify import Verification


@click.command("verify")
@click.option("--quick", is_flag=True, help="Compare headers and lengths only, without reading contents.")
@click.option(
    "--repair",
    "mend",
    is_flag=True,
    help="Set damaged objects aside, restore what can be, forget what is lost.",
)
@json_option
@pass_session
def command(session: Session, quick: bool, mend: bool, as_json: bool) -> int:
    """Check every object against its name, and every entry.

    One line for each thing that is wrong, naming the object and the entries that it affects; exit code 0
    exactly if nothing is wrong, and 1 also where --repair mended it. Without --repair nothing is changed.
    """
    store = session.store()
    with progress(session, "verify") as bar:
        found = verify(store, quick=quick, progress=_told(bar))
    done: list[str] = []
    left = found
    if mend and found.findings:
        done = repair(store, found)
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


def _told(bar: Callable[[int, int], None] | None) -> Callable[[int, int, int], None] | None:
    if bar is None:
        return None
    return lambda done, total, _size: bar(done, total)


def _line(item: Finding) -> str:
    affected = f"; affects {', '.join(item.affects)}" if item.affects else ""
    return clean(f"{item.kind} {item.subject}: {item.detail}{affected}")


def _as_dict(found: Verification, done: list[str], left: Verification) -> dict[str, object]:
    def rows(result: Verification) -> list[dict[str, object]]:
        return [
            {"kind": f.kind, "subject": f.subject, "detail": f.detail, "affects": list(f.affects)}
            for f in result.findings
        ]

    return {
        "ok": not left.findings,
        "objects": found.objects,
        "entries": found.entries,
        "bytes": found.bytes,
        "seconds": found.seconds,
        "findings": rows(found),
        "repaired": done,
        "left": rows(left),
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
