"""The journal: append-only segments, one open segment per process, and the truth from which the index is
rebuilt (I4).

A segment is locked by its owner for as long as it is open; the lock goes with the process. Compaction (gc)
only touches segments that nobody holds.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from blake3 import blake3

from scalable_cas import clock
from scalable_cas.errors import MalformedObject, ScalableCasError
from scalable_cas.format import journal as frames
from scalable_cas.format import record as records
from scalable_cas.format.layout import JOURNAL, QUARANTINE, SEGMENT_SUFFIX
from scalable_cas.storage import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scalable_cas.format.record import Record

#: A segment is closed at this size, so that compaction has pieces to work on and a reader need not hold much.
ROLL_BYTES = 16 << 20


class SegmentFault(ScalableCasError):
    """Bytes in a segment that are no frame, or a frame that holds no record. ``tail``: the end of the
    segment, where a kill or a full disk leaves a record that was never acknowledged.
    """

    def __init__(self, path: str, offset: int, length: int, reason: str, *, tail: bool = False) -> None:
        super().__init__(f"{path}: {length} bytes at {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.length = length
        self.reason = reason
        self.tail = tail


class Journal:
    """The journal of the store at ``root``; ``secret`` is the user's 32-byte key. ``path``: the segment that
    was last appended to.
    """

    def __init__(self, root: str, store_id: bytes, secret: bytes) -> None:
        self.folder = f"{root}/{JOURNAL}"
        self._store_id = store_id
        self._secret = secret
        self._fd = -1
        self.path = ""
        self._written = 0
        self._mutex = threading.RLock()

    def append(self, batch: Sequence[bytes], *, sync: bool) -> None:
        """Append packed records, in one write. Called under the index's write lock, so their sequence numbers
        rise.

        Raises:
            StoreReadOnly: no space, or a broken disk.
        """
        data = b"".join(frames.pack_frame(item, self._secret) for item in batch)
        with self._mutex:
            try:
                if self._fd < 0 or self._written > ROLL_BYTES:
                    self._begin()
                fs.append(self._fd, self.path, (data,), sync=sync)
            except BaseException:
                self.close()  # the end, or the head, may be torn: go on in another segment
                raise
            self._written += len(data)

    def _begin(self) -> None:
        import fcntl

        self.close()
        segment_id = os.urandom(16)
        self.path = f"{self.folder}/{segment_id.hex()}{SEGMENT_SUFFIX}"
        self._fd = fs.append_open(self.path)
        # shared with nobody: it only says "in use" to compaction, which asks for it alone
        fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        head = frames.pack_segment_head(self._store_id, segment_id, clock.now_ns())
        fs.append(self._fd, self.path, (head,), sync=False)
        self._written = len(head)

    def close(self) -> None:
        """Close this process's segment; the next append begins another."""
        # never under an append of another thread: its bytes would go to whatever opens next
        with self._mutex:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def after_fork(self) -> None:
        """In the child: the segment is the parent's."""
        self._mutex = threading.RLock()
        self.close()

    def segments(self) -> list[str]:
        """The paths of all segments."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return sorted(f"{self.folder}/{name}" for name in names if name.endswith(SEGMENT_SUFFIX))

    def state(self) -> int:
        """A number that changes, but for once in 2^63 times, when anything is appended or folded."""
        sizes = []
        for path in self.segments():
            with suppress(OSError):
                sizes.append(f"{path} {os.stat(path).st_size}")
        return (
            int.from_bytes(blake3("\n".join(sizes).encode("utf-8", "surrogateescape")).digest(8), "little")
            >> 1
        )

    def idle(self) -> list[str]:
        """The segments that no living process is writing to."""
        return [path for path in self.segments() if path != self.path and _unused(path)]

    def set_aside(self, path: str, root: str) -> bool:
        """Move a damaged segment to quarantine; its records have been written anew."""
        return fs.move(path, f"{root}/{QUARANTINE}/{os.path.basename(path)}")

    def current(
        self, paths: Sequence[str], lookup: Callable[[bytes], Record | None], *, tombstones: bool
    ) -> list[Record] | None:
        """The records in ``paths`` that still count: those that the index (``lookup`` by row key) has, and,
        if asked for, tombstones. None if any of the segments is damaged, or written by somebody else.
        """
        kept: dict[bytes, Record] = {}
        pins: dict[bytes, Record] = {}
        for path in paths:
            for found in self.read(path):
                if isinstance(found, SegmentFault):
                    if found.tail:
                        continue
                    return None
                if not found[1]:
                    return None
                record = found[0]
                if record.type in (records.PIN, records.UNPIN):
                    pins[record.pin_target] = max(record, pins.get(record.pin_target, record), key=_sequence)
                    continue
                if record.type == records.TOMBSTONE:
                    wanted = tombstones
                else:
                    there = lookup(record.rowkey)
                    wanted = (
                        there is not None and there.sequence == record.sequence and there.oid == record.oid
                    )
                before = kept.get(record.rowkey)
                if wanted and (before is None or before.sequence <= record.sequence):
                    kept[record.rowkey] = record
        return sorted([*kept.values(), *pins.values()], key=_sequence)

    def read(self, path: str) -> Iterator[tuple[Record, bool] | SegmentFault]:
        """Yield (record, whether this user's tag is on it) for every whole frame of a segment, and a
        `SegmentFault` for everything else.

        A segment that vanished meanwhile (compaction) yields nothing.
        """
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            yield SegmentFault(path, 0, 0, error.strerror or str(error))
            return
        # its writer was killed, or the disk was full, before it held anything
        if len(data) < frames.SEGMENT_BYTES:
            if data:
                yield SegmentFault(path, 0, len(data), "its head is cut short", tail=True)
            return
        try:
            store_id, _, _ = frames.unpack_segment_head(data)
            if store_id != self._store_id:
                raise MalformedObject("journal segment", "it belongs to another store")
        except MalformedObject as error:
            yield SegmentFault(path, 0, frames.SEGMENT_BYTES, error.reason)
        for frame in frames.frames(data):
            if isinstance(frame, int):
                if frame:
                    yield SegmentFault(
                        path, len(data) - frame, frame, "the end is torn or damaged", tail=True
                    )
                return
            if frame.skipped:
                yield SegmentFault(path, frame.offset - frame.skipped, frame.skipped, "damaged")
            try:
                item = records.unpack(frame.body)
            except MalformedObject as error:
                yield SegmentFault(path, frame.offset, len(frame.body), error.reason)
                continue
            yield item, frame.tag == frames.frame_tag(frame.body, self._secret)


def _sequence(record: Record) -> int:
    return record.sequence


def _unused(path: str) -> bool:
    import fcntl

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks: leave it alone
        return False
    finally:
        os.close(fd)
    return True
