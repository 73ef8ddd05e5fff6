"""`hash-object`: the names of contents, and storing them."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext

import click

from scalable_cas.cli.context import FILE, Session, pass_session
from scalable_cas.cli.output import lines, progress
from scalable_cas.format.kinds import BLOB, hasher
from scalable_cas.storage.parallel import cores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from scalable_cas.api import Store

#: Read at a time when nothing is stored: any file, in constant memory, and enough for all cores to hash.
_PIECE = 4 << 20
#: Bytes from which on a person waits for the result.
_WAITED = 256 << 20


@click.command("hash-object")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=FILE)
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
        lines([_named(session, sys.stdin.buffer, store, "stdin", 0)])
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            lines([_named(session, file, store, path, os.fstat(file.fileno()).st_size)])


def _named(session: Session, file: BinaryIO, store: Store | None, label: str, size: int) -> str:
    """The name of a file's content of about ``size`` bytes, 0 if nobody knows. It is read once: what is
    hashed is what is stored, whoever writes meanwhile.
    """
    with progress(session, label) if size >= _WAITED else nullcontext() as report:

        def tell(done: int) -> None:
            if report is not None:
                report(done, size)

        if store is not None:
            return store.put_stream(file, progress=tell).hex()
        running, done = hasher(BLOB, cores()), 0
        piece = memoryview(bytearray(_PIECE))
        while length := file.readinto(piece):  # type: ignore[attr-defined]  # every binary file has it; typeshed's BinaryIO lacks it
            running.update(piece[:length])
            done += length
            tell(done)
    return running.digest().hex()
