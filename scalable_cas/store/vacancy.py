"""Whether a store may be made in a folder: only where nobody else's files are. Changes nothing.

A store hides its folder from git, owns ``tmp/`` and ``index/`` in it, and is cleared by removing all of it;
so it never moves in with files of others. What an interrupted `initialise` leaves, or a removal that is under
way or was cut short, must be taken all the same: it is told by the names on two levels, which are ours.
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

#: What a folder may hold that somebody prepared for a store, or that its file system puts there.
HARMLESS = frozenset((".gitignore", ".gitkeep", ".keep", ".DS_Store", ".snapshot", "lost+found"))
#: What tells our index from any other LMDB environment.
_LOCKS = ("stamp", "users.lock", "flight.lock")


def require_vacant(root: str, texts: dict[str, bytes]) -> None:
    """Refuse a folder that holds what is not of a store of ours. ``texts``: what our text files contain.

    Raises:
        ConfigError: it does, and there is no store.
        StoreReadOnly: it cannot be looked at.
    """
    try:
        names = os.listdir(root)
        strange = [name for name in sorted(names) if not _is_ours(root, name, texts)]
    except (FileNotFoundError, NotADirectoryError):  # who makes it says what is wrong with that
        return
    except OSError as error:
        raise StoreReadOnly(root, error.strerror or str(error)) from error
    # looked at last: a neighbour may have made the store meanwhile
    if strange and not os.path.exists(f"{root}/{layout.FORMAT_FILE}"):
        better = os.path.join(root, STORE_FOLDER)
        remedy = f"name an empty folder, for example {better}"
        if os.path.basename(root) == STORE_FOLDER:
            remedy = "move that away, or name another folder"
        raise ConfigError(root, f"it is not empty and no store (it holds {strange[0]!r}); {remedy}")


def _is_ours(root: str, name: str, texts: dict[str, bytes]) -> bool:
    if name in HARMLESS or name.startswith(".nfs"):
        return True
    path = f"{root}/{name}"
    if name in texts:
        return _content(path) == texts[name]
    if name in (layout.CONFIG_FILE, f"{layout.INDEX}.lock"):
        return not os.path.isdir(path)
    ours = _FOLDERS.get(name)
    if ours is None or os.path.islink(path) or not os.path.isdir(path):
        return False
    inside = [item for item in _listing(path) if not item.startswith(".nfs")]
    if name == layout.INDEX and "data.mdb" in inside and not any(lock in inside for lock in _LOCKS):
        return any(_content(f"{root}/{text}") == content for text, content in texts.items())
    return all(map(ours, inside))


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


def _in_objects(name: str) -> bool:
    return name == layout.PACKS or (len(name) == 2 and _is_hex(name))


def _in_journal(name: str) -> bool:
    stem, suffix = os.path.splitext(name)
    return suffix == layout.SEGMENT_SUFFIX and len(stem) == 32 and _is_hex(stem)


def _in_index(name: str) -> bool:
    return name in ("data.mdb", "lock.mdb", *_LOCKS) or name.startswith("flight.lock.")


def _in_quarantine(name: str) -> bool:
    return is_set_aside(name) or _in_objects(name)


_FOLDERS: dict[str, Callable[[str], bool]] = {
    layout.TMP: is_temporary,
    layout.OBJECTS: _in_objects,
    layout.JOURNAL: _in_journal,
    layout.INDEX: _in_index,
    layout.QUARANTINE: _in_quarantine,
}
