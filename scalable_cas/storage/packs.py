"""Packs: the files ``objects/pack/NAME.pack``, each with many small objects (format-v1, section 8). Keeps I1.

A pack is published whole, under the BLAKE3 of its bytes, and never changed. Where an object lies is a row of
the index, which is derived; the tables of the packs are asked where the index does not know, or is wrong.
"""

from __future__ import annotations

import os

from blake3 import blake3

from scalable_cas.errors import MalformedObject, ObjectUnreadable, StoreReadOnly
from scalable_cas.format import pack as packed
from scalable_cas.format.layout import OBJECTS, PACKS, QUARANTINE, TMP
from scalable_cas.storage import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NAME_LENGTH = 64 + len(packed.PACK_SUFFIX)


class Written:
    """A pack that was written: its ``name``, ``inode`` and change stamp (mtime, ns), and the offset and
    length of each object.
    """

    __slots__ = ("changed", "inode", "name", "places", "size")

    def __init__(
        self, name: bytes, seen: os.stat_result, places: dict[bytes, tuple[int, int]], size: int
    ) -> None:
        self.name = name
        self.inode = seen.st_ino
        self.changed = seen.st_mtime_ns
        self.places = places
        self.size = size


class Packs:
    """The packs of the store at ``root``."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.folder = f"{root}/{OBJECTS}/{PACKS}"
        self._tmp = f"{root}/{TMP}"
        # of packs that were asked; they never change, so at worst one of them is of a pack that is gone
        self._tables: dict[bytes, packed.Table] = {}
        self._paths: dict[int, str] = {}  # inode -> path, for the hot path
        self._listed = (0, 0)  # inode and time of change of the folder when the paths were listed

    def path(self, name: bytes) -> str:
        """The file of a pack."""
        return f"{self.folder}/{name.hex()}{packed.PACK_SUFFIX}"

    def write(self, objects: Sequence[tuple[bytes, bytes]], *, sync: bool) -> Written:
        """Write a pack of (name, encoded object), each name once. A whole one of that name is kept, a damaged
        one replaced.

        Raises:
            StoreReadOnly: it cannot be written.
            ObjectUnreadable: a damaged one cannot be replaced.
        """
        data, places = packed.assemble(objects)
        name: bytes = blake3(data).digest()
        path = self.path(name)
        for attempt in range(3):
            try:
                seen = fs.write_new(self._tmp, path, (data,), sync=sync)
            except StoreReadOnly:
                if attempt or not self.clear_way():
                    raise
                continue
            if seen is None:
                seen = self._same(path, data)
            if seen is not None:
                return Written(name, seen, places, len(data))
            self.quarantine(name)
        raise ObjectUnreadable(name.hex(), "a damaged pack cannot be replaced")

    def clear_way(self) -> bool:
        """Set aside what stands where the folder of packs should be; False if nothing does."""
        if not os.path.lexists(self.folder) or os.path.isdir(self.folder):
            return False
        return fs.move(self.folder, f"{self.root}/{QUARANTINE}/{PACKS}")

    def _same(self, path: str, data: bytes) -> os.stat_result | None:
        """The state of the file at ``path`` if it holds exactly ``data``."""
        try:
            fd = os.open(path, _READ)
            with open(fd, "rb", buffering=0) as file:
                return os.fstat(fd) if file.readall() == data else None
        except OSError:
            return None

    def names(self) -> list[bytes]:
        """The names of all packs, in order."""
        return sorted(bytes.fromhex(name[:64]) for name in self._listing() if _is_name(name))

    def strangers(self) -> Iterator[str]:
        """Yield the paths among the packs that are none."""
        for name in sorted(self._listing()):
            if not _is_name(name):
                yield f"{self.folder}/{name}"

    def _listing(self) -> list[str]:
        try:
            return os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def load(self, name: bytes) -> bytes:
        """All bytes of a pack.

        Raises:
            FileNotFoundError: it is gone.
            ObjectUnreadable: the system would not let us read it.
        """
        try:
            fd = os.open(self.path(name), _READ)
            with open(fd, "rb", buffering=0) as file:
                return file.readall() or b""
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ObjectUnreadable(name.hex(), error.strerror or str(error)) from error

    def load_into(self, name: bytes, room: Callable[[int], memoryview]) -> memoryview:
        """The same, in memory that ``room`` gives, which takes their number and may give more.

        Raises:
            FileNotFoundError, ObjectUnreadable: as `load`, or there is no memory for it.
        """
        try:
            fd = os.open(self.path(name), _READ)
            with open(fd, "rb", buffering=0) as file:
                size = done = os.fstat(fd).st_size
                data = room(size)[:size]
                while done and (count := file.readinto(data[size - done :])):
                    done -= count
                return data[: size - done]
        except FileNotFoundError:
            raise
        except MemoryError as error:
            raise ObjectUnreadable(name.hex(), "there is no memory for all of its pack") from error
        except OSError as error:
            raise ObjectUnreadable(name.hex(), error.strerror or str(error)) from error

    def read(self, name: bytes, offset: int, length: int) -> bytes | None:
        """Some bytes of a pack, fewer where it ends early; None if it is gone.

        Raises:
            ObjectUnreadable: the system would not let us read them.
        """
        try:
            fd = os.open(self.path(name), _READ)
            try:
                return os.pread(fd, length, offset)
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ObjectUnreadable(name.hex(), error.strerror or str(error)) from error

    def stat(self, name: bytes) -> os.stat_result | None:
        """The state of a pack's file, or None if it is gone."""
        try:
            return os.lstat(self.path(name))
        except OSError:
            return None

    def table(self, name: bytes) -> packed.Table | None:
        """The table of a pack, made anew from its objects where it is damaged; None if the pack is gone or
        cannot be read.
        """
        found = self._tables.get(name)
        if found is None:
            try:
                found = self._read_table(name)
            except (FileNotFoundError, ObjectUnreadable):
                return None
            if not found.reason:
                self._tables[name] = found
        return found

    def _read_table(self, name: bytes) -> packed.Table:
        seen = self.stat(name)
        size = seen.st_size if seen is not None else 0
        end = self.read(name, max(size - packed.END_BYTES, 0), packed.END_BYTES)
        try:
            packed.check_head(self.read(name, 0, packed.HEAD_BYTES) or b"")
            start, length, crc = packed.end_of(size, end or b"")
            return packed.table_of(self.read(name, start, length) or b"", start, crc)
        except MalformedObject as error:
            return packed.scan(self.load(name), error.reason)

    def find(self, oid: bytes) -> tuple[bytes, int, int] | None:
        """The pack, offset and length of an object, from the tables; for where the index does not know it."""
        names = self.names()
        for name in self._tables.keys() - set(names):
            self._tables.pop(name, None)
        for name in names:
            table = self.table(name)
            member = table.find(oid) if table is not None else None
            if member is not None:
                return name, member.offset, member.length
        return None

    def path_of(self, inode: int) -> str | None:
        """The path of the pack whose file has this inode. The folder is listed only after it has changed."""
        found = self._paths.get(inode)
        if found is None:
            try:
                seen = os.stat(self.folder)
                now = seen.st_ino, seen.st_mtime_ns
                if now != self._listed:
                    with os.scandir(self.folder) as listing:
                        self._paths = {item.inode(): item.path for item in listing if _is_name(item.name)}
                    self._listed = now
            except OSError:
                return None
            found = self._paths.get(inode)
        return found

    def forget_paths(self) -> None:
        """A path led nowhere: its inode may be another pack's by now."""
        self._paths, self._listed = {}, (0, 0)

    def delete(self, name: bytes) -> bool:
        """Remove a pack; False if it was not there. Only under the rules of docs/explanation/gc.md."""
        self._tables.pop(name, None)
        return fs.remove(self.path(name))

    def quarantine(self, name: bytes) -> bool:
        """Move a damaged pack out of the way, where a person can look at it."""
        self._tables.pop(name, None)
        return fs.move(self.path(name), f"{self.root}/{QUARANTINE}/{name.hex()}{packed.PACK_SUFFIX}")


def _is_name(name: str) -> bool:
    return (
        len(name) == _NAME_LENGTH
        and name.endswith(packed.PACK_SUFFIX)
        and not set(name[:64]) - set("0123456789abcdef")
    )
