"""`cat-file`: what an object is, and what is in it."""

from __future__ import annotations

import os
import sys

import click

from scalable_cas.cli.context import Prefix, Session, pass_session
from scalable_cas.cli.output import clean, lines
from scalable_cas.errors import ObjectNotFound, ScalableCasError
from scalable_cas.format import value as values
from scalable_cas.format.kinds import BLOB, KIND_NAMES, TREE
from scalable_cas.ops.selection import select_object
from scalable_cas.ops.trees import line, listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.api import Store

#: Longer plain values are not laid out as text: it takes a second a megabyte, and nobody reads it.
_SHOWN = 1 << 20
#: Blobs up to this size are held in memory and checked before a byte of them is printed.
_CHECKED = 64 << 20


@click.command("cat-file")
@click.option("-t", "kind", is_flag=True, help="Print its kind: blob, tree or value.")
@click.option("-s", "size", is_flag=True, help="Print the size of its content in bytes.")
@click.option(
    "-p",
    "content",
    is_flag=True,
    help="Print its content: a blob as it is, a tree as ls-tree, a value described.",
)
@click.option("-e", "exists", is_flag=True, help="Print nothing; exit code 0 if it is there and readable.")
@click.argument("oid", type=Prefix())
@pass_session
def command(session: Session, oid: str, *, kind: bool, size: bool, content: bool, exists: bool) -> int:
    """Show what the object OID is, or what is in it.

    Content is checked against its name before it is shown, or meanwhile if it is a blob of more than 64 MiB.
    Of a value, -p shows the codec, the length of its head, its buffers, and the value itself if it is plain
    data: nothing is unpickled or imported.
    """
    if kind + size + content + exists != 1:
        raise click.UsageError("say what to show: one of -t, -s, -p and -e")
    store = session.store()
    name = select_object(store, oid)
    if exists:
        return 0 if name is not None and _is_readable(store, name) else 1
    if name is None:
        raise ObjectNotFound(oid)
    if content:
        _print(store, name)
    else:
        head = store.objects.head(name)
        lines([KIND_NAMES[head.kind] if kind else str(head.raw_size)])
    return 0


def _is_readable(store: Store, name: bytes) -> bool:
    try:
        store.objects.head(name)
    except ScalableCasError:
        return False
    return True


def _print(store: Store, name: bytes) -> None:
    store.flush()
    kind = store.objects.head(name).kind
    if kind == BLOB:
        _copy(store, name)
        return
    if kind == TREE:
        entries = listing(store, name.hex(), recursive=False)
        lines(f"{line(entry)}\t{clean(os.fsdecode(entry.name))}" for entry in entries)
        return
    _, content = store.get_object(name)
    parsed = values.unpack(content)
    lines(
        [
            f"codec {parsed.codec}",
            f"head {len(parsed.head)}",
            *(f"buffer {KIND_NAMES[item.kind]} {item.oid.hex()} {item.size}" for item in parsed.buffers),
        ]
    )
    if parsed.codec == "plain":
        lines(["", *_decoded(store, parsed)])


def _copy(store: Store, name: bytes) -> None:
    """Print a blob. One that fits into some memory is checked before; of a larger one, what was printed
    before damage was met is wrong, and the exit code says so.
    """
    sys.stdout.flush()
    out = sys.stdout.buffer
    if store.objects.head(name).raw_size <= _CHECKED:
        out.write(store.get_object(name)[1])
    else:
        store.read_stream(name, out, holes=False)
    out.flush()


def _decoded(store: Store, parsed: values.ValueObject) -> list[str]:
    """A plain value as Python would write it, decoded as a stranger's: nothing that it names is imported."""
    from pprint import pformat

    from scalable_cas.codecs.base import decode

    if len(parsed.head) > _SHOWN:
        return [f"(a plain value of {len(parsed.head)} bytes: too long to be shown)"]
    try:
        buffers = tuple(store.get_object(item.oid)[1] for item in parsed.buffers)
        found = decode(parsed.codec, parsed.head, buffers, trusted=False)
    except ScalableCasError as error:
        return [clean(f"(not shown: {error})")]
    return pformat(found, width=100, sort_dicts=False).splitlines()
