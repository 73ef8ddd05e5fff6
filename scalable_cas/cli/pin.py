"""`pin`: keep entries and objects from gc, and list what is kept so."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Prefix, Session, json_option, pass_session
from scalable_cas.cli.output import clean, document, lines
from scalable_cas.ops.listing import entry
from scalable_cas.ops.selection import select_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.api import Store


@click.command("pin")
@click.argument("keys", metavar="[KEY|OID]...", nargs=-1, type=Prefix())
@json_option
@pass_session
def command(session: Session, keys: tuple[str, ...], as_json: bool) -> None:
    """Keep entries and objects from gc, or list what is kept so.

    An object that no entry names, such as one made by `hash-object -w`, is kept by its id.
    """
    if keys and as_json:
        raise click.UsageError("--json is for the list of pins")
    store = session.store()
    if not keys:
        _list(store, as_json=as_json)
        return
    found = [select_any(store, key) for key in keys]  # all or none: a mistyped id pins nothing
    store.pin(found)
    for key in found:
        session.say(f"pinned {key[-32:].hex()}")


def _list(store: Store, *, as_json: bool) -> None:
    rows = []
    for key in sorted(store.index.pins()):
        pinned = entry(store, key) if len(key) > 32 else None
        kind = "entry" if len(key) > 32 else "object"
        rows.append(
            {"id": key[-32:].hex(), "kind": kind, "function": pinned.function if pinned is not None else None}
        )
    if as_json:
        document(rows)
    else:
        lines(clean(f"{row['id']} {row['kind']} {row['function'] or ''}".rstrip()) for row in rows)
