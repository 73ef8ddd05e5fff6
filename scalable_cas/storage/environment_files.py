"""The files of an LMDB environment: checked before they are opened, opened, created. See `environment.py` for
the rules.

A damaged file kills the interpreter or lies (half of all single flipped bits gave a wrong value, most
truncations a SIGBUS). So unless it is exactly the file that its last user closed (``stamp``), its whole
structure is checked by a reader in pure Python. While others use it that cannot be done, and need not: they
did; then its length is compared with its meta pages. A file that is too short by these may be whole all the
same: pages at its end that one transaction took and gave back were never written. So that is asked of its
structure, too.
"""

from __future__ import annotations

import errno
import os
import struct
from struct import Struct

import lmdb

from scalable_cas.errors import IndexDamaged, StoreFull, StoreReadOnly
from scalable_cas.storage import fs
from scalable_cas.storage.drafts import temporary_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DATABASES = (
    *("meta", "refs", "records", "objects", "functions", "access", "pins", "runs", "trust", "files"),
    "views",
)
#: How often the structure of a file in use is looked at: a neighbour's commit meanwhile looks like damage.
LOOKS = 5
#: Address space, not disk: LMDB's file grows as it fills. Halved until the system grants it (``ulimit -v`` is
#: common under batch schedulers).
MAP_BYTES = 64 << 30
SMALLEST_MAP = 64 << 20
#: One per live read transaction on this machine; the default of 126 ran out with 140 readers. The lock file
#: is sparse.
MAX_READERS = 4096
#: What of the lock file is certain to be on the disk: it is written through a memory map, and a page that
#: finds no space there kills the process. 64 bytes a reader, so this is for a thousand at once.
LOCK_BYTES = 64 << 10
#: Two pages of the largest size that LMDB knows.
META_BYTES = 128 << 10
_META = Struct("<IIQQ")
_META_TAIL = Struct("<QQ")
_MAGIC = 0xBEEFC0DE


def check(path: str, *, alone: bool) -> None:
    """Refuse files that LMDB must not be given. ``alone``: nobody else uses them, so their structure can be
    read.

    Raises:
        IndexDamaged: they are not whole, or not there. StoreReadOnly: they may not even be read.
    """
    data = f"{path}/data.mdb"
    try:
        with open(data, "rb", buffering=0) as file:
            pages = file.read(META_BYTES)
            size = os.fstat(file.fileno()).st_size  # after them: the file may be growing, and never shrinks
    except PermissionError as error:  # somebody else's: not ours to throw away
        raise StoreReadOnly(path, error.strerror or str(error), cannot="read") from error
    except OSError as error:
        raise IndexDamaged(path, error.strerror or str(error)) from error
    short = size < _committed_bytes(pages, path)
    if not (alone or short) or is_as_left(path, os.stat(data)):
        return
    for look in range(1 if alone else LOOKS):
        try:
            check_structure(data, path)
        except IndexDamaged as error:
            if look == LOOKS - 1 or alone:
                raise IndexDamaged(path, "its file is cut short" if short else error.reason) from error
        else:
            return


def check_structure(data: str, path: str) -> None:
    """Check the whole structure of a file; errors name ``path``.

    Raises:
        IndexDamaged: it is broken.
    """
    from lmdb.verify import VerifyError, verify

    try:
        faults = verify(data)  # type: ignore[no-untyped-call]
    except (VerifyError, OSError, ValueError, IndexError, struct.error) as error:
        raise IndexDamaged(path, str(error)) from error  # the last three: the reader on wild bytes
    if faults:
        raise IndexDamaged(path, str(faults[0]) if isinstance(faults, list) else "its structure is broken")


def leave_stamp(path: str) -> None:
    """Note how the files were left, so that the next user need not check them.

    Raises:
        StoreReadOnly: it cannot be written; that costs the next user a check.
    """
    # Written in place: a torn stamp fits no file, and a kill leaves nothing behind.
    fs.overwrite(f"{path}/stamp", _stamp(os.stat(f"{path}/data.mdb")))


def is_as_left(path: str, seen: os.stat_result) -> bool:
    """Whether a file is exactly the one that its last user closed."""
    return _stamp(seen) == _read(f"{path}/stamp")


def translated(error: lmdb.Error, path: str) -> StoreReadOnly | IndexDamaged:
    """Our error for one of LMDB's: what the system refused, or what is broken."""
    text = str(error)
    short = "Input/output error" in text and _nothing_free(path)  # it calls a write that stops halfway so
    if short or "No space left" in text or "quota" in text:
        return StoreFull(path, os.strerror(errno.ENOSPC) if short else text)
    if any(
        word in text
        for word in (
            "Input/output error",
            "Read-only file system",
            "Permission denied",
            "already open in this process",  # another handle of this store has yet to give up a broken one
        )
    ):
        return StoreReadOnly(path, text)
    return IndexDamaged(path, text)


def _nothing_free(path: str) -> bool:
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < 1 << 20


def _committed_bytes(pages: bytes, path: str) -> int:
    """How long the file must be, by the newest readable meta page."""
    return newest(pages, path)[1]


def newest(pages: bytes, path: str) -> tuple[int, int]:
    """The last transaction, by the newest readable meta page, and how long the file must be by that.

    Raises:
        IndexDamaged: there is no such page.
    """
    best = (-1, 0)
    size = 0
    # the first table's padding field holds the page size
    for start in (0, int.from_bytes(pages[16 + 24 : 16 + 28], "little") or 4096):
        at = start + 16
        if len(pages) < at + 136:
            continue
        magic, version, _, _ = _META.unpack_from(pages, at)
        if magic != _MAGIC or version & 0xFFFF not in (1, 2, 3):
            continue
        size = int.from_bytes(pages[at + 24 : at + 28], "little")
        last, number = _META_TAIL.unpack_from(pages, at + 24 + 96)
        best = max(best, (number, last))
    if best[0] < 0 or not 512 <= size <= 65536:
        raise IndexDamaged(path, "it has no readable meta page")
    return best[0], (best[1] + 1) * size


def _stamp(seen: os.stat_result) -> bytes:
    return f"{seen.st_ino} {seen.st_size} {seen.st_mtime_ns}\n".encode()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(256)
    except OSError:
        return b""


def open_files(path: str, *, read_only: bool, create: bool = False) -> tuple[Any, dict[str, Any]]:
    """Open checked files; returns LMDB's environment and the handles of `DATABASES`. With ``read_only``
    ``path`` is that of a file to which nobody writes.

    Raises:
        StoreReadOnly: no rights, no address space.
        IndexDamaged: LMDB refuses them.
    """
    if not read_only:
        fs.reserve(f"{path}/lock.mdb", LOCK_BYTES)
    size = MAP_BYTES
    # the 0.9 data format; an existing file tells its own
    options: dict[str, Any] = {"lib_version": 0} if create else {}
    while True:
        try:
            env = lmdb.open(
                os.fsencode(path),  # text it encodes as strict UTF-8, and a name on a disk may be any bytes
                map_size=size,
                max_dbs=len(DATABASES) + 8,
                max_readers=MAX_READERS,
                max_spare_txns=0,
                mode=0o600,
                subdir=not read_only,
                readonly=read_only,
                lock=not read_only,
                readahead=False,
                create=create,
                **options,
            )
            break
        except (lmdb.MemoryError, MemoryError) as error:
            size //= 2
            if size < SMALLEST_MAP:
                raise StoreReadOnly(
                    path, "there is no address space for its map; raise `ulimit -v`"
                ) from error
        except lmdb.Error as error:
            if "Cannot allocate memory" in str(error) and size > SMALLEST_MAP:
                size //= 2
                continue
            raise translated(error, path) from error
    try:
        handles = {}
        for name in DATABASES:
            try:
                handles[name] = env.open_db(name.encode(), create=create)
            except lmdb.NotFoundError:  # a table that came after this index was made
                if not read_only:
                    handles[name] = env.open_db(name.encode())
        if not read_only:
            env.reader_check()
    except lmdb.Error as error:
        env.close()
        raise translated(error, path) from error
    return env, handles


def create(path: str, tmp: str, fill: Any) -> None:
    """Make a new environment at ``path`` unless there is one, whole in one step. ``fill(put)`` writes its
    first meta rows.

    Raises:
        StoreReadOnly: it cannot be made.
    """
    draft = f"{tmp}/{temporary_name()}"
    fs.make_folder(draft)
    try:
        env, handles = open_files(draft, read_only=False, create=True)
        try:
            with env.begin(write=True, db=handles["meta"]) as transaction:
                fill(transaction.put)
        except lmdb.Error as error:
            raise translated(error, path) from error
        finally:
            env.close()
        fs.create_folder(path, draft)
    finally:
        fs.remove_tree(draft)
