"""What is worth writing down but never worth a commit of its own: counters, times of use, files that were
seen to have moved, and digests of input files.

Written with the next group commit, or at exit. Losing them to a kill costs a statistic.
"""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.store.telemetry import Telemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.storage.index import Changes

#: Rows kept in memory at most; a loop over more distinct entries than this drops the oldest knowledge of use,
#: not a value.
MOST = 200_000


class Notes:
    """The notes of one store in this process."""

    def __init__(self, *, telemetry: bool) -> None:
        self.telemetry = Telemetry(enabled=telemetry)
        self.touched: set[bytes] = set()  # row keys of entries that were hit
        # row key -> (row that was read, row that should be there)
        self.rows: dict[bytes, tuple[bytes, bytes]] = {}
        self.files: dict[bytes, bytes] = {}  # rows of input files that were read

    def pending(self) -> bool:
        """Whether there is something to write."""
        return bool(self.touched or self.rows or self.files) or self.telemetry.pending()

    def note_file(self, key: bytes, row: bytes) -> None:
        """Remember what was read of an input file."""
        if len(self.files) >= MOST:
            self.files.clear()
        self.files[key] = row

    def write(self, changes: Changes) -> None:
        """Write and forget the notes, inside a transaction."""
        touched, self.touched = self.touched, set()
        moved, self.rows = self.rows, {}
        if touched:
            changes.touch(touched, clock.now_ns())
        for rowkey, (old, new) in moved.items():
            if changes.ref(rowkey) == old:  # somebody may have stored it anew
                changes.replace_ref(rowkey, new)
        files, self.files = self.files, {}
        if files:
            changes.put_files(files)
        if self.telemetry.pending():
            changes.put_run(*self.telemetry.row())
