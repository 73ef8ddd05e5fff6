"""`hash-object`: the names of contents, and storing them."""

from __future__ import annotations

import sys

import click

from scalable_cas.cli.context import Session, pass_session
from scalable_cas.cli.output import lines
from scalable_cas.format.kinds import BLOB, hasher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from scalable_cas.api import Store

#: Read at a time when nothing is stored: any file, in constant memory. Above 1 MiB larger pieces gain
#: nothing.
_PIECE = 1 << 20


@click.command("hash-object")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path())
@click.option(
    "-w",
    "write",
    is_flag=True,
    help="Store the content too; gc removes it unless it is pinned or an entry needs it.",
)
@click.option(
    "--stdin", "stdin", is_flag=True, help="Take the content of stdin (first, if there are PATHs too)."
)
@pass_session
def command(session: Session, paths: tuple[str, ...], write: bool, stdin: bool) -> None:
    """Print the id of the content of each PATH.

    One a line. It is the BLAKE3 digest of the bytes, as b3sum prints it.
    """
    if not paths and not stdin:
        raise click.UsageError("name a PATH, or give --stdin")
    store = session.store() if write else None
    if stdin:
        if sys.stdin is None:
            raise click.UsageError("stdin is closed")
        lines([_named(sys.stdin.buffer, store)])
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            lines([_named(file, store)])


def _named(file: BinaryIO, store: Store | None) -> str:
    if store is not None:
        return store.put_object(
            BLOB, file.read()
        ).hex()  # read once: what is hashed is what is stored, whoever writes meanwhile
    running = hasher(BLOB)
    piece = memoryview(bytearray(_PIECE))
    while length := file.readinto(piece):  # type: ignore[attr-defined]  # every binary file has it; typeshed's BinaryIO lacks it
        running.update(piece[:length])
    return running.digest().hex()
