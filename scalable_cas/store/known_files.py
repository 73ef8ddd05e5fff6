"""The rows of the stat cache (keys/stats.py): digests of input files that outlive the process.

They lie in the index because it is local, small and safe to lose: they are derived, never pushed, never part
of a value. What they say is not worth a commit: it is written with the next one, or at exit. A row counts for
one boot of one machine: device numbers change with a reboot, and after a power cut a file may have new
content under its old times.
"""

from __future__ import annotations

import os

from blake3 import blake3

from scalable_cas.errors import ScalableCasError
from scalable_cas.format import rows
from scalable_cas.storage import netfs
from scalable_cas.store.telemetry import boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.keys.stats import Known, Trust
    from scalable_cas.store.core import StoreCore

#: ns and bytes, see keys/stats.py. The windows are those of the coarsest clocks: FAT's 2 s; what a client of
#: a network file system may remember of a stat, and how far the clocks of two machines may lie apart, 60 s.
#: Below 64 KiB to read a local file costs less than to look its digest up (8 µs); opening a remote one costs
#: more.
LOCAL: Trust = (2 * 10**9, 64 << 10, False)
NETWORK: Trust = (60 * 10**9, 0, True)
# What another thread that closes the store meanwhile makes of a look at it is no more than a row that is not
# there.
_NOT_THERE = (ScalableCasError, OSError, AttributeError)


class KnownFiles:
    """The rows of one store. Nothing here raises: a broken store costs only that files are read again."""

    def __init__(self, store: StoreCore) -> None:
        self._store = store
        self._boot = b""

    def get(self, path: str) -> Known | None:
        """What was remembered of the file at an absolute path; None also for a row that is damaged."""
        key = self._key(path)
        try:
            store = self._store
            row = store.notes.files.get(key) or store.index.file(key)
            return None if row is None else rows.unpack_file(key, row, store.secret)
        except _NOT_THERE:
            return None

    def put(self, path: str, known: Known) -> None:
        """Remember it with the next commit."""
        key = self._key(path)
        try:
            store = self._store
            if not store.read_only:
                store.notes.note_file(key, rows.pack_file(key, known, store.secret))
        except _NOT_THERE:
            return

    def trust(self, path: str) -> Trust | None:
        """How far the stats of the file system that holds ``path`` can be trusted; None: not at all."""
        kind = netfs.file_system(path)
        if kind in netfs.TRUE_STATS:
            return LOCAL
        return NETWORK if kind in netfs.TRUE_REMOTE_STATS else None

    def _key(self, path: str) -> bytes:
        self._boot = self._boot or boot().encode()
        digest: bytes = blake3(self._boot + os.fsencode(path)).digest(rows.FILE_KEY_BYTES)
        return digest
