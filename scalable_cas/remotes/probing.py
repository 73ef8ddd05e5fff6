"""What a place lets us do, found out by doing it with one small file.

sccache's users met a wrongly configured bucket as "100 % misses"; asked once, when a remote is added, each
missing right is a line for people. A fault that may pass (busy, silent) is an error here, never "cannot":
another cache stayed read-only for good after one "slow down".
"""

from __future__ import annotations

from secrets import token_bytes, token_hex
from typing import TYPE_CHECKING

from scalable_cas.errors import RemoteDenied, RemoteError, RemoteFileMissing
from scalable_cas.remotes.base import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable

    from scalable_cas.remotes.base import Remote

    #: Write a file if none is there, by the place's own atomic means. False: there is one.
    IfAbsent = Callable[[str, bytes], bool]

SIZE = 1_000  # bytes: one packet


class CannotDoError(Exception):
    """The place has no such operation."""


def probe(remote: Remote, if_absent: IfAbsent) -> Capabilities:
    """Try everything that a remote must do.

    Raises:
        RemoteError: it cannot be reached, or says something else than yes or no.
    """
    name, content = f"probe/{token_hex(8)}", token_bytes(SIZE)
    notes: list[str] = []
    can_list = _allowed(notes, "list", lambda: next(iter(remote.list("probe/")), None))
    can_write = _allowed(notes, "write", lambda: remote.put(name, content, exclusive=False))
    if not can_write:
        return Capabilities(can_list, None, False, None, None, None, tuple(notes))
    reads: dict[str, bool] = {}
    conditional = None
    try:
        can_read = _allowed(notes, "read", lambda: reads.update(_read(remote, name, content)))
        if can_read and not reads["whole"]:
            raise RemoteError(
                remote.url, name, "it gives back other bytes than were written; use another place"
            )
        ranges = reads.get("ranges")
        if ranges is False:
            notes.append("cannot read part of a file: large files, and reading through, need another server")
        if can_read:
            conditional = _conditional(remote, name, content, if_absent)
            if not conditional:
                notes.append(
                    "cannot write only where nothing is: beginning a cache here twice at once is unsafe"
                )
    finally:
        can_delete = _allowed(notes, "delete", lambda: remote.delete([name, f"{name}-b"]))
        if not can_delete:
            notes.append(
                f"so {name}, of {SIZE:,} bytes, stays there; gc of this remote needs other credentials"
            )
    return Capabilities(can_list, can_read, True, ranges, conditional, can_delete, tuple(notes))


def _allowed(notes: list[str], verb: str, action: Callable[[], object]) -> bool:
    try:
        action()
    except RemoteDenied as denied:
        notes.append(f"may not {verb}: {denied.reason}")
        return False
    return True


def _read(remote: Remote, name: str, content: bytes) -> dict[str, bool]:
    whole = remote.get(name, largest=SIZE) == content
    try:
        part = remote.get(name, largest=SIZE, offset=100, length=50)
    except RemoteError as error:
        if error.retryable or isinstance(error, RemoteDenied | RemoteFileMissing):
            raise
        return {"whole": whole, "ranges": False}  # `get` refuses an answer that is not the range it asked for
    return {"whole": whole, "ranges": part == content[100:150]}


def _conditional(remote: Remote, name: str, content: bytes, if_absent: IfAbsent) -> bool:
    """Whether a conditional write is refused where there is a file, leaves that as it was, and is done where
    there is none. Some servers answer 200 and ignore the condition.
    """
    try:
        refused = not if_absent(name, content[::-1])
        made = if_absent(f"{name}-b", content)
    except CannotDoError:
        return False
    return refused and made and remote.get(name, largest=SIZE) == content
