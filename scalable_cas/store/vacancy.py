"""Whether a store may be made in a folder: not where others have files in the places that it would own.
Changes nothing.

A store owns ``tmp/``, ``index/`` and some other folders. So it never moves in where somebody else's files are
in them. What lies beside them is nobody's business: a scratch folder may hold a store and other things, too.
What an interrupted `initialise` leaves, or a removal that is under way or was cut short, must be taken all
the same: it is told by the names in those folders, which are ours.
"""

from __future__ import annotations

import os

from scalable_cas.config import STORE_FOLDER
from scalable_cas.errors import ConfigError, StoreReadOnly
from scalable_cas.format import layout
from scalable_cas.storage.drafts import is_set_aside, is_temporary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: What tells our index from any other LMDB environment.
_LOCKS = ("stamp", "users.lock", "flight.lock")


def require_vacant(root: str, texts: dict[str, bytes]) -> bool:
    """Refuse a folder in which a store would take what is not ours. ``texts``: what our text files contain.
    Returns whether it holds nothing but what is ours, or is not there.

    Raises:
        ConfigError: it does, and there is no store.
        StoreReadOnly: it cannot be looked at.
    """
    try:
        names = sorted(os.listdir(root))
        strange = [name for name in names if name in FOLDERS and not _is_ours(root, name, texts)]
    except (FileNotFoundError, NotADirectoryError):  # who makes it says what is wrong with that
        return True
    except OSError as error:
        raise StoreReadOnly(root, error.strerror or str(error), cannot="read") from error
    # looked at last: a neighbour may have made the store meanwhile
    if strange and not os.path.exists(f"{root}/{layout.FORMAT_FILE}"):
        better = os.path.join(root, STORE_FOLDER)
        remedy = f"name another folder, for example {better}"
        if os.path.basename(root) == STORE_FOLDER:
            remedy = "move that away, or name another folder"
        raise ConfigError(root, f"it is no store, and {strange[0]!r} in it is not ours; {remedy}")
    return all(name in FOLDERS or name in texts or name in _OTHERS for name in names)


def place_to_make(root: str) -> str:
    """Where the folder of a store is to be made: ``root``, or what a link on the way leads to, if nothing is
    there. Removing a store's folder clears it, and its next user makes it again; so it is behind a link.

    Raises:
        ConfigError: something else lies there, or the link is somebody else's, who could have us make any
            folder.
    """
    there = root
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if os.path.isdir(there):
        return root
    if not os.path.islink(there) or os.path.exists(there):
        raise ConfigError(root, f"{_called(there, root)} is no folder; move it away, or name another place")
    seen = os.lstat(there)
    if seen.st_uid == os.geteuid():
        return os.path.realpath(root)
    target = os.readlink(there)
    raise ConfigError(
        root,
        f"{_called(there, root)} is a link of user {seen.st_uid} to {target}, which is not there; "
        "make that folder, or name another place",
    )


def _called(path: str, root: str) -> str:
    return "it" if path == root else path


def _is_ours(root: str, name: str, texts: dict[str, bytes]) -> bool:
    path = f"{root}/{name}"
    if os.path.islink(path) or not os.path.isdir(path):
        return False
    inside = [item for item in _listing(path) if not item.startswith(".nfs")]
    if name == layout.INDEX and "data.mdb" in inside and not any(lock in inside for lock in _LOCKS):
        return any(_content(f"{root}/{text}") == content for text, content in texts.items())
    return all(map(FOLDERS[name], inside))


def _content(path: str) -> bytes:
    try:
        # never waiting for a FIFO
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return file.read(1 << 12)
    except OSError:
        return b""


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _is_hex(text: str) -> bool:
    return not set(text) - set("0123456789abcdef")


def _in_tmp(name: str) -> bool:
    return is_temporary(name) or name == os.path.basename(layout.BALLAST)


def _in_objects(name: str) -> bool:
    return name == layout.PACKS or (len(name) == 2 and _is_hex(name))


def _in_journal(name: str) -> bool:
    stem, suffix = os.path.splitext(name)
    return suffix == layout.SEGMENT_SUFFIX and len(stem) == 32 and _is_hex(stem)


def _in_index(name: str) -> bool:
    return name in ("data.mdb", "lock.mdb", *_LOCKS) or name.startswith("flight.lock.")


def _in_quarantine(name: str) -> bool:
    return is_set_aside(name) or _in_objects(name)


FOLDERS: dict[str, Callable[[str], bool]] = {
    layout.TMP: _in_tmp,
    layout.OBJECTS: _in_objects,
    layout.JOURNAL: _in_journal,
    layout.INDEX: _in_index,
    layout.QUARANTINE: _in_quarantine,
}
#: Other names of ours.
_OTHERS = frozenset(
    (layout.CONFIG_FILE, layout.FORMAT_FILE, f"{layout.INDEX}.lock", ".gitignore", ".gitkeep")
)
