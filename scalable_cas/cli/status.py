"""`status`: what store it is, and what is in it."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import document, pairs, size


@click.command("status")
@json_option
@pass_session
def command(session: Session, as_json: bool) -> None:
    """Show which store it is and why, and how much is in it."""
    place = session.place()
    store = session.store()
    from scalable_cas.ops.summary import summarise

    facts = summarise(store)
    if as_json:
        document({"path": store.root, "source": place.source, **facts})
        return
    shown = facts | {
        "bytes": f"{facts['bytes']} ({size(facts['bytes'])})",
        "leftovers": f"{facts['leftovers']} unfinished files" if facts["leftovers"] else 0,
        "read_only": "yes" if facts["read_only"] else "no",
    }
    pairs(
        [
            ("store", store.root),
            ("found by", place.source),
            *((name.replace("_", " "), value) for name, value in shown.items()),
        ]
    )
