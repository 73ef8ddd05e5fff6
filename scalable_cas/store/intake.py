"""Files and folders of the user's, on their way into the store: a file becomes a blob, a folder a tree.

Something may write while we read. So a folder is walked twice: the first walk takes all names and stats, the
second one takes them again and reads, each file with an ``fstat`` before and after. Where both agree,
everything was at the end of the first walk as it was read. What differs is a state that perhaps never was; it
is read again, three times, and then refused. Links are kept as links and never followed.

Write order (I2, I3): what a folder holds is written before its tree; small objects wait for each other, so
that they share a pack; the rows come last, under the write lock, after the re-check that a collector took
nothing meanwhile (docs/explanation/gc.md).
"""

from __future__ import annotations

import errno
import os
import stat
from struct import Struct

from blake3 import blake3

from scalable_cas.errors import CollectedMeanwhile, PathRefused, StoreReadOnly
from scalable_cas.format import tree
from scalable_cas.format.chunking import SMALLEST
from scalable_cas.format.kinds import BLOB, TREE, object_id
from scalable_cas.storage.outside import DRAFT_PREFIX, identities
from scalable_cas.storage.parallel import cores
from scalable_cas.storage.putting import PACKED_BYTES
from scalable_cas.store.object_access import place_stream
from scalable_cas.store.writer import LARGEST_QUEUE, LONGEST_QUEUE, PACK_LEAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from io import FileIO
    from typing import Any, BinaryIO

    from scalable_cas.storage.index import Changes
    from scalable_cas.storage.loose import Placed
    from scalable_cas.store.core import StoreCore

    Progress = Callable[[int, int], None]

_ATTEMPTS = 3
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SIGNATURE = Struct("<QQQqq")
#: What a look at something gives that went, or became a link or a file, since it was listed.
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))


class Changed(Exception):
    """What was read is not a state that ever was."""


class Intake:
    """Objects on their way in. ``sizes``: how long each is, by name; ``placed``: what was put so far, and
    where, chunks too; ``epoch``: that of the index before the first was put.
    """

    def __init__(self, store: StoreCore) -> None:
        if store.read_only:
            raise StoreReadOnly(store.root, "it is read-only")
        self.store = store
        self.epoch = store.index.number("epoch")
        self.sizes: dict[bytes, int] = {}
        self.placed: dict[bytes, Placed] = {}
        self._waiting: dict[bytes, tuple[int, bytes]] = {}
        self._bytes = 0

    def add(self, kind: int, content: bytes) -> bytes:
        """Take an object in, and return its name. What it names was taken in before.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        oid = object_id(kind, content, cores())
        if oid in self.sizes:
            return oid
        self.sizes[oid] = len(content)
        if len(content) > PACKED_BYTES:
            self.flush()  # children first
        self._waiting[oid] = kind, content
        self._bytes += len(content)
        if len(self._waiting) >= LONGEST_QUEUE or self._bytes > LARGEST_QUEUE or len(content) > PACKED_BYTES:
            self.flush()
        return oid

    def add_file(self, file: BinaryIO) -> tuple[bytes, int]:
        """Take in a blob: what is left to read of a file, however long. Returns its name and its length.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        oid, placed = place_stream(self.store, file)
        self.sizes[oid] = placed[oid].size
        self.placed |= placed
        return oid, placed[oid].size

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            waiting, self._waiting, self._bytes = self._waiting, {}, 0
            new = [(kind, oid, content, 1) for oid, (kind, content) in waiting.items()]
            self.placed |= self.store.objects.put_all(new, sync=self.store.strict, least=PACK_LEAST)

    def is_whole(self, epoch: int, *, again: bool) -> bool:
        """Under the write lock, where the epoch was ``epoch`` a moment ago, and a collector was at work since
        then if ``again``: whether everything is still there. Where it is may have changed.
        """
        if (self.epoch == epoch and not again) or self.store.objects.still(self.placed):
            return True
        for oid, old in self.placed.items():
            place = self.store.objects.place(oid)
            if place is None:
                return False
            place.kind, place.size = old.kind, old.size
            place.coding = self.store.objects.head(oid).coding
            self.placed[oid] = place
        return True

    def publish(self) -> None:
        """Have rows name all of it, in one transaction.

        Raises:
            CollectedMeanwhile: a collector took something; take it all in anew.
            StoreReadOnly, StoreBusy, IndexDamaged: it cannot be written.
        """
        self.flush()

        def change(changes: Changes) -> None:
            current, again = changes.settle_epoch(self.epoch)
            if again and not self.is_whole(current, again=True):
                raise CollectedMeanwhile(self.store.root)
            rows = {oid: place.row(current) for oid, place in self.placed.items() if place.epoch != current}
            changes.put_sorted("objects", rows)

        self.store.index.write(change)


# --- reading files and folders -----------------------------------------------------------------------------


class Taken:
    """What was taken in: kind, name and size of the object, and whether a file is ``executable``."""

    __slots__ = ("executable", "kind", "oid", "size")

    def __init__(self, kind: int, oid: bytes, size: int, *, executable: bool = False) -> None:
        self.kind = kind
        self.oid = oid
        self.size = size
        self.executable = executable


def take(intake: Intake, path: str, progress: Progress | None = None) -> Taken:
    """Take in the file or the folder at ``path``; a link that it is itself is followed, one inside is kept.
    The store's own folder is left out. ``progress(done, total)`` counts files.

    Raises:
        PathRefused: there is nothing, or what has no content, or a link that leads out of the folder; or it
            changes while it is read.
        StoreReadOnly: the store cannot be written.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _take(intake, path, progress)
        except Changed:
            continue
        except OSError as error:
            raise PathRefused(path, error.strerror or str(error)) from error
        except ValueError as error:  # a NUL in it
            raise PathRefused(path, "is no possible path") from error
    raise PathRefused(path, "changes while it is being read; wait until it is complete")


def _take(intake: Intake, path: str, progress: Progress | None) -> Taken:
    seen = os.stat(path)
    if stat.S_ISREG(seen.st_mode):
        oid, size, seen = _read(intake, os.open(path, _READ & ~os.O_NOFOLLOW))
        return Taken(BLOB, oid, size, executable=bool(seen.st_mode & stat.S_IXUSR))
    if not stat.S_ISDIR(seen.st_mode):
        raise PathRefused(path, "is neither a file nor a folder")
    first = _Walk(None, path, identities(intake.store.root))
    first.run()
    second = _Walk(intake, path, first.skipped)
    if progress is not None:
        second.progress, second.total = progress, first.files
    oid, size = second.run()
    if second.stamp.digest() != first.stamp.digest():
        raise Changed
    return Taken(TREE, oid, size)


def _read(intake: Intake, fd: int) -> tuple[bytes, int, os.stat_result]:
    """Take in an open file; returns name, size, and its stat, which was the same before and after. The
    descriptor is closed.

    Raises:
        Changed: it was not, or is no file any more.
    """
    with open(fd, "rb", buffering=0) as file:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise Changed
        content = None
        if before.st_size < SMALLEST:
            content = _all_of(file, before.st_size + 1)
            size = len(content)
        else:
            oid, size = intake.add_file(file)
        if size != before.st_size or _signature(os.fstat(fd)) != _signature(before):
            raise Changed
        return (oid if content is None else intake.add(BLOB, content)), size, before


def _all_of(file: FileIO, limit: int) -> bytes:
    """The bytes of a file, however few the system gives at a time; of one that is longer so many."""
    pieces = []
    while limit > 0 and (piece := file.read(limit)):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)


def _signature(seen: os.stat_result) -> bytes:
    times = seen.st_mtime_ns, seen.st_ctime_ns
    return _SIGNATURE.pack(seen.st_dev, seen.st_ino, seen.st_size, *times) + bytes((seen.st_mode & 0o100,))


class _Walk:
    """One walk over a folder; without an ``intake`` it only takes the ``stamp``, a digest of all names, stats
    and links, and counts ``files``. ``skipped``: the store's own folder, which is not part of any other.
    """

    def __init__(self, intake: Intake | None, path: str, skipped: Collection[tuple[int, int]]) -> None:
        self._intake = intake
        self._path = path
        self._parts: list[bytes] = []  # names from the root down to where we are
        self._root = -1
        self.skipped = skipped
        self.stamp = blake3()
        self.files = self.total = self._entries = 0
        self.progress: Progress | None = None

    def run(self) -> tuple[bytes, int]:
        """Name and size of the tree."""
        self._root = os.open(self._path, _FOLDER & ~os.O_NOFOLLOW)
        try:
            return self._folder(self._root)
        finally:
            os.close(self._root)

    def _folder(self, fd: int) -> tuple[bytes, int]:
        if len(self._parts) >= tree.DEEPEST:
            raise PathRefused(self._called(), f"folders within folders more than {tree.DEEPEST} deep")
        entries = []
        with os.scandir(fd) as listing:
            names = sorted(os.fsencode(entry.name) for entry in listing)
        for name in names:
            if name.startswith(DRAFT_PREFIX):  # of a process that puts something back, or was killed at it
                continue
            self._entries += 1
            if self._entries > tree.MOST_ENTRIES:
                raise PathRefused(self._path, f"it has more than {tree.MOST_ENTRIES:,} entries")
            entry = self._entry(fd, name)
            if entry is not None:
                entries.append(entry)
        self.stamp.update(b"/")
        if self._intake is None:
            return b"", 0
        content = tree.pack(entries)
        return self._intake.add(TREE, content), len(content)

    def _entry(self, fd: int, name: bytes) -> tree.TreeEntry | None:
        try:
            seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISREG(seen.st_mode):
                return self._file(fd, name, seen)
            if stat.S_ISLNK(seen.st_mode):
                return self._link(fd, name, seen)
            if stat.S_ISDIR(seen.st_mode):
                return self._below(fd, name, seen)
        except OSError as error:
            if error.errno in _GONE:
                raise Changed from error
            raise PathRefused(self._called(name), error.strerror or str(error)) from error
        raise PathRefused(self._called(name), "is a device, a FIFO or a socket, which has no content")

    def _file(self, fd: int, name: bytes, seen: os.stat_result) -> tree.TreeEntry | None:
        self.files += 1
        if self._intake is None:
            self._note(name, _signature(seen))
            return None
        oid, size, seen = _read(self._intake, os.open(name, _READ, dir_fd=fd))
        self._note(name, _signature(seen))
        if self.progress is not None and self.files % 64 == 0:
            self.progress(self.files, max(self.files, self.total))
        mode = tree.EXECUTABLE if seen.st_mode & stat.S_IXUSR else tree.FILE
        return tree.TreeEntry(name, mode, oid, size)

    def _link(self, fd: int, name: bytes, seen: os.stat_result) -> tree.TreeEntry | None:
        target = os.readlink(name, dir_fd=fd)
        self._note(name, _signature(seen) + target)
        if self._intake is None:
            return None
        fault = tree.link_fault(target, self._parts, self._is_folder)
        if fault is not None:
            raise PathRefused(self._called(name), f"a link to {os.fsdecode(target)!r}, which {fault}")
        return tree.TreeEntry(name, tree.LINK, self._intake.add(BLOB, target), len(target))

    def _below(self, fd: int, name: bytes, seen: os.stat_result) -> tree.TreeEntry | None:
        if (seen.st_dev, seen.st_ino) in self.skipped:
            return None
        self._note(name, b"/")
        inside = os.open(name, _FOLDER, dir_fd=fd)
        self._parts.append(name)
        try:
            oid, size = self._folder(inside)
        finally:
            self._parts.pop()
            os.close(inside)
        return tree.TreeEntry(name, tree.FOLDER, oid, size) if self._intake is not None else None

    def _note(self, name: bytes, detail: bytes) -> None:
        self.stamp.update(name + b"\0" + len(detail).to_bytes(4, "little") + detail)

    def _is_folder(self, parts: Sequence[bytes]) -> bool:
        try:
            seen = os.stat(b"/".join(parts), dir_fd=self._root, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISDIR(seen.st_mode)

    def _called(self, name: bytes = b"") -> str:
        return os.path.join(self._path, *map(os.fsdecode, self._parts), os.fsdecode(name)).rstrip(os.sep)


def put_path(store: StoreCore, path: str, progress: Progress | None = None) -> Taken:
    """Take in a file or a folder and have rows name all of it. gc removes it unless it is pinned or an entry
    needs it.

    Raises:
        PathRefused, StoreReadOnly, StoreBusy, IndexDamaged: as `take` and `Intake.publish`.
    """
    lost: Any = None
    for _ in range(_ATTEMPTS):
        intake = Intake(store)
        taken = take(intake, path, progress)
        try:
            intake.publish()
        except CollectedMeanwhile as error:  # nothing named this yet
            lost = error
        else:
            return taken
    raise lost
