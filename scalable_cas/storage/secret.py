"""The user's local key: 32 random bytes, outside every store, made at first use.

It tags the rows of the index and the frames of the journal, so that a flipped bit, another user, or a store
folder that came out of an archive is noticed before a value is decoded. A key beside the data would protect
nothing: whoever hands over a folder would hand over its key.
"""

from __future__ import annotations

import os

from scalable_cas.errors import StoreReadOnly
from scalable_cas.storage import fs

KEY_BYTES = 32


def user_secret(folder: str, fallback: str) -> bytes:
    """Return the key in ``folder``/local.key, making it if there is none; in ``fallback`` where ``folder``
    cannot be written (a container without a home).

    Raises:
        StoreReadOnly: neither place can hold it, or it belongs to somebody else.
    """
    for place in (folder, fallback):
        found = _load(f"{place}/local.key") or _make(place)
        if found is not None:
            return found
    raise StoreReadOnly(folder, "no place for the user's local key; set XDG_CONFIG_HOME to a folder of yours")


def _make(place: str) -> bytes | None:
    try:
        fs.make_folder(place)
        fs.write_new(place, f"{place}/local.key", (os.urandom(KEY_BYTES),), sync=True, mode=0o600)
    except StoreReadOnly:
        return None
    return _load(f"{place}/local.key")  # ours, or that of a process which was quicker


def _load(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        seen = os.fstat(fd)
        data = os.read(fd, KEY_BYTES + 1)
    finally:
        os.close(fd)
    if seen.st_uid != os.geteuid() or seen.st_mode & 0o077 or len(data) != KEY_BYTES:
        return None
    return data
