"""`report`: what the cache did."""

from __future__ import annotations

import os

import click

from scalable_cas.cli.context import FILE, Session, json_option, pass_session
from scalable_cas.cli.output import clean, document, lines, row, table
from scalable_cas.errors import StoreReadOnly
from scalable_cas.ops.page import page
from scalable_cas.ops.report import Report, make_report, percent, spoken
from scalable_cas.storage import fs


@click.command("report")
@click.option("--last", is_flag=True, help="Only the run that ended last; otherwise all runs are added up.")
@json_option
@click.option(
    "--html",
    metavar="FILE",
    type=FILE,
    help="Write a page to FILE instead, which needs nothing else to be shown.",
)
@pass_session
def command(session: Session, last: bool, as_json: bool, html: str | None) -> None:
    """Show hits, misses and the time saved.

    A run is one process that used the cache, with the worker processes that it started. Exit code 1 if
    nothing was recorded.
    """
    store = session.store()
    report = make_report(store, last=last)
    if html is not None:
        _write(html, page(report, store.root))
        session.say(f"wrote {html}")
    if as_json:
        document(report.as_dict())
    elif html is None:
        lines([report.text()])
        if session.verbose:
            lines([""])
            _print_functions(report)


def _print_functions(report: Report) -> None:
    table(
        ("FUNCTION", "HITS", "MISSES", "HIT RATE", "SAVED", "SPENT"),
        [
            row(
                name,
                sums.hits,
                sums.misses,
                f"{percent(sums.hits, sums.lookups)}%",
                spoken(sums.saved),
                spoken(sums.spent),
            )
            for name, sums in sorted(report.functions.items(), key=lambda item: (-item[1].saved, item[0]))
        ],
        right=("HITS", "MISSES", "HIT RATE", "SAVED", "SPENT"),
    )


def _write(path: str, text: str) -> None:
    target = os.path.realpath(path)  # a link stays a link
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise StoreReadOnly(clean(path), "there is no such folder")
    if os.path.lexists(target) and not os.path.isfile(
        target
    ):  # replacing a device or a folder is never meant
        raise StoreReadOnly(clean(path), "it is no plain file")
    fs.replace(folder, target, text.encode("utf-8", "backslashreplace"), sync=False, mode=0o644)
