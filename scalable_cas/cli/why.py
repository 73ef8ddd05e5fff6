"""`why`: why a call had to run, or what sets it apart from the calls that were stored before it."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import document, lines, one_line
from scalable_cas.errors import NothingFound
from scalable_cas.ids import prefix_bounds
from scalable_cas.ops.explain import explain_entry
from scalable_cas.ops.listing import entries, newest
from scalable_cas.ops.selection import matching_entries, select_entry, select_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.api import Store


@click.command("why")
@click.argument("name", metavar="KEY|FUNCTION")
@json_option
@pass_session
def command(session: Session, name: str, as_json: bool) -> None:
    """Say why a stored call had to run.

    Compares the entry KEY, or the newest entry of FUNCTION, with the nearest call of the same function that
    was stored before it: which argument differs, which part of it, or which version or code.
    """
    store = session.store()
    rowkey = _entry(store, name)
    found = explain_entry(store, rowkey)
    if found is None:
        raise NothingFound(f"the entry {name} was forgotten just now")
    key = rowkey[8:].hex()
    if as_json:
        document({"key": key, "function": found.function, "reason": found.reason, "differs": found.differs})
    else:
        lines([one_line(f"{found.function} ({key[:12]}) {found.reason}.")])


def _entry(store: Store, name: str) -> bytes:
    """The row key of the entry that is meant: a key first, as functions are rarely called 4 hex digits."""
    try:
        prefix_bounds(name)
        if next(matching_entries(store, name), None) is not None:
            return select_entry(store, name)
    except ValueError:  # no digits, or too few
        pass
    chosen = select_function(store, name)
    latest = newest(entries(store, chosen), 1)
    if not latest:
        raise NothingFound(f"nothing is stored of {name} any more")
    return latest[0].record.rowkey
