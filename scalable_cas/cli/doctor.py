"""`doctor`: is everything around the store as it should be?"""

from __future__ import annotations

import os

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import clean, document, lines
from scalable_cas.ops.doctor import WRONG, Check, examine


@click.command("doctor")
@json_option
@pass_session
def command(session: Session, as_json: bool) -> int:
    """Check what surrounds the store.

    Its place, rights, disk, index, clock, versions and settings: a line each; `note` is worth knowing,
    `WRONG` has a remedy below it and makes the exit code 1. `verify` checks the content.
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith("SCALABLE_")}
    checks = examine(session.place, variables)
    if as_json:
        document(
            [{"check": c.name, "state": c.state, "detail": c.detail, "remedy": c.remedy} for c in checks]
        )
    else:
        for check in checks:
            _print(check)
    return 1 if any(check.state == WRONG for check in checks) else 0


def _print(check: Check) -> None:
    state = "WRONG" if check.state == WRONG else check.state
    lines([clean(f"{state:5}  {check.name}: {check.detail}")])
    if check.remedy:
        lines([clean(f"       -> {check.remedy}")])
