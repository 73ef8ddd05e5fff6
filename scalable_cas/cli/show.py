"""`show`: everything that is known of one entry. Its value stays bytes: decoding may run code (see `cat-file
-p`).
"""

from __future__ import annotations

import click

from scalable_cas import clock
from scalable_cas.cli.context import Prefix, Session, json_option, pass_session
from scalable_cas.cli.output import count, document, lines, pairs, row, seconds, size, table
from scalable_cas.errors import NothingFound
from scalable_cas.ops.differences import shown
from scalable_cas.ops.listing import entry, objects_of
from scalable_cas.ops.selection import select_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.ops.listing import Entry

#: What the sections of a call key hold (docs/reference/key-v1.md).
_SECTIONS = {
    "a": "argument",
    "b": "bound to",
    "c": "captured",
    "k": "argument",
    "p": "argument",
    "s": "seed",
    "v": "argument",
}

#: Objects that people see: a folder may hold a million.
_SHOWN = 100


@click.command("show")
@click.argument("key", type=Prefix())
@json_option
@pass_session
def command(session: Session, key: str, as_json: bool) -> None:
    """Show everything that is known of the entry KEY.

    Its function, what its key was made of, its objects, its times and its use. The value itself is not
    decoded.
    """
    store = session.store()
    rowkey = select_entry(store, key)
    found = entry(store, rowkey)
    if found is None:
        raise NothingFound(f"the entry {key} was forgotten just now")
    last = store.index.last_use(rowkey)
    facts = found.as_dict() | {
        "pinned": rowkey in store.index.pins(),
        "last_use": clock.iso(last) if last else None,
        "arguments": [
            {"section": section, "name": name, "value": value, "digest": digest.hex()}
            for (section, name, digest), value in zip(found.record.parts, _values(found), strict=True)
        ],
        "packages": found.record.packages,
        "objects": objects_of(store, found),
    }
    if as_json:
        document(facts)
    else:
        _print(found, facts)


def _values(found: Entry) -> list[str]:
    outlines = [shown(outline) for outline in found.record.outlines]
    missing = len(found.record.parts) - len(outlines)
    return (outlines + [""] * missing)[: len(found.record.parts)]


def _print(found: Entry, facts: dict[str, Any]) -> None:
    version = found.record.version
    pairs(
        [
            ("key", found.key),
            ("function", found.function),
            *([("version", repr(version))] if version is not None else []),
            ("created", facts["created"]),
            ("took", seconds(found.seconds)),
            ("size", f"{found.size} ({size(found.size)})"),
            ("codec", found.codec),
            ("origin", found.origin),
            ("pinned", "yes" if facts["pinned"] else "no"),
            ("last use", facts["last_use"] or "not noted"),
            ("ran with", ", ".join(" ".join(item) for item in found.record.packages.items()) or "not noted"),
        ]
    )
    if facts["arguments"]:
        lines(["", "what the key was made of:"])
        table(
            ("", "NAME", "VALUE", "DIGEST"),
            [
                row(_SECTIONS.get(a["section"], a["section"]), a["name"], a["value"], a["digest"])
                for a in facts["arguments"]
            ],
        )
    lines(["", "objects:"])
    table(
        ("OID", "KIND", "SIZE", "STORED", "HOW", ""),
        [
            row(o["oid"], o["kind"], o.get("size", "?"), o.get("stored", "?"), _how(o), o.get("problem", ""))
            for o in facts["objects"][:_SHOWN]
        ],
        right=("SIZE", "STORED"),
    )
    if len(facts["objects"]) > _SHOWN:
        lines([f"and {len(facts['objects']) - _SHOWN:,} more, which --json lists"])


def _how(found: dict[str, Any]) -> str:
    chunks = found.get("chunks")
    return count(chunks, "chunk") if chunks else found.get("coding", "?")
