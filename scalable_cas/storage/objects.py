"""The objects of a store, wherever they lie: loose, or in a pack. Keeps I1 and I5.

Whoever reads need not know which. The index says where an object lies; it is derived and may be behind, so an
object that is not where it says is looked for as a loose file, at the place where the index puts it now, and
in the tables of all packs, before it is called missing. A damaged copy is no fault while another is whole.
"""

from __future__ import annotations

import os

from scalable_cas.errors import CorruptObject, ObjectNotFound, ObjectUnreadable
from scalable_cas.format import header as encoded
from scalable_cas.format import rows
from scalable_cas.storage.loose import CHECK_BYTES, LooseObjects, Placed, checked, own_header
from scalable_cas.storage.packs import Packs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from scalable_cas.format.header import Header
    from scalable_cas.storage.index import Index
    from scalable_cas.storage.loose import Content

    Spot = tuple[bytes, int, int]  # pack, offset, length

#: Content up to this many bytes may go into a pack; larger objects gain nothing by it and are freed more
#: cheaply by themselves.
PACKED_BYTES = 64 << 10


class Objects:
    """The objects of the store at ``root``. ``index`` is set once it is open."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.loose = LooseObjects(root)
        self.packs = Packs(root)
        self.folder = self.loose.folder
        self.index: Index | None = None
        self.damaged: set[bytes] = set()  # packs in which a writer found a damaged object

    # --- reading ---------------------------------------------------------------------------------------

    def get(
        self, oid: bytes, *, threads: int = 1, largest: int | None = None
    ) -> tuple[Header, bytes | memoryview]:
        """Return the header and the content of an object, digest checked.

        ``largest`` bounds the content's size in bytes before anything is decompressed.

        Raises:
            ObjectNotFound: it is nowhere.
            CorruptObject: its bytes are not those that the name promises.
            ObjectUnreadable: the system would not let us read it.
        """
        found: tuple[Header, bytes | memoryview] = self._read(
            oid,
            lambda: self.loose.get(oid, threads=threads, largest=largest),
            lambda spot: checked(oid, self._bytes(oid, spot), largest),
        )
        return found

    def head(self, oid: bytes) -> Header:
        """Return the header of an object; its content is not read.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        found: Header = self._read(
            oid,
            lambda: self.loose.head(oid),
            lambda spot: own_header(oid, self._bytes(oid, spot, encoded.HEADER_BYTES)),
        )
        return found

    def encoded(self, oid: bytes) -> bytes:
        """The bytes of an object as it is stored: header and payload. Of them only the name in the header is
        looked at.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """

        def packed(spot: Spot) -> bytes:
            data = self._bytes(oid, spot)
            own_header(oid, data)
            return data

        found: bytes = self._read(oid, lambda: self.loose.encoded(oid), packed)
        return found

    def is_as_known(self, oid: bytes, inode: int, changed: int, *, packed: bool) -> bool:
        """Whether the file that holds an object is the one that a row knows: one system call, and no look
        into the index.
        """
        path = self.packs.path_of(inode) if packed else self.loose.path(oid)
        try:
            seen = os.lstat(path) if path is not None else None
        except OSError:
            self.packs.forget_paths()
            return False
        return seen is not None and seen.st_mtime_ns == changed and seen.st_ino == inode

    def place(self, oid: bytes) -> Placed | None:
        """Where an object lies, or None if it is nowhere; nothing of it is read."""
        for spot in self._spots(oid):
            if spot is None:
                seen = self.loose.stat(oid)
                if seen is not None:
                    return Placed(seen.st_ino, seen.st_mtime_ns, seen.st_size)
            else:
                seen = self.packs.stat(spot[0])
                if seen is not None:
                    return Placed(seen.st_ino, seen.st_mtime_ns, spot[2], pack=spot[0], offset=spot[1])
        return None

    def _read(self, oid: bytes, loose: Callable[[], Any], packed: Callable[[Spot], Any]) -> Any:
        """What ``loose`` or ``packed`` makes of the first whole copy."""
        fault: CorruptObject | ObjectUnreadable | None = None
        for spot in self._spots(oid):
            try:
                return loose() if spot is None else packed(spot)
            except ObjectNotFound:
                continue
            except (CorruptObject, ObjectUnreadable) as error:
                fault = fault or error
        raise fault or ObjectNotFound(oid.hex())

    def _spots(self, oid: bytes) -> Iterator[Spot | None]:
        """Where an object may be, the likeliest first; None: loose. Asked again after the first two, because
        repack and gc move objects: the row is changed before the old file goes.
        """
        first = self._spot(oid)
        if first is not None:
            yield first
        yield None
        again = self._spot(oid)
        if again is not None and again != first:
            yield again
        found = self.packs.find(oid)
        if found is not None and found not in (first, again):
            yield found

    def _spot(self, oid: bytes) -> Spot | None:
        row = self.known((oid,)).get(oid)
        return None if row is None or row.place != rows.PACK else (row.pack, row.offset, row.stored)

    def _bytes(self, oid: bytes, spot: Spot, limit: int | None = None) -> bytes:
        name, offset, length = spot
        wanted = length if limit is None else min(length, limit)
        data = self.packs.read(name, offset, wanted)
        if data is None:
            raise ObjectNotFound(oid.hex())
        if len(data) != wanted:
            raise CorruptObject(oid.hex(), f"its pack {name.hex()} ends early")
        return data

    # --- listing ---------------------------------------------------------------------------------------

    def names(self, first: bytes = b"\0" * 32, last: bytes = b"\xff" * 32) -> Iterator[bytes]:
        """Yield the names of all objects, in order, each once, from ``first`` to ``last``, both included."""
        from heapq import merge

        tables = [table for name in self.packs.names() if (table := self.packs.table(name)) is not None]
        before = b""
        for oid in merge(self.loose.names(first, last), *(table.names(first, last) for table in tables)):
            if oid != before:
                yield oid
            before = oid

    def strangers(self) -> Iterator[str]:
        """Yield the paths in ``objects/`` that are neither an object's file nor a pack."""
        yield from self.loose.strangers()
        yield from self.packs.strangers()

    # --- writing ---------------------------------------------------------------------------------------

    def put(self, kind: int, oid: bytes, content: Content, *, sync: bool = False) -> Placed:
        """Store ``content`` under its name ``oid``, as a file of its own; a whole copy that is there already
        is kept, a damaged one replaced.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        there = self._whole(kind, oid, len(content), self.known((oid,)).get(oid))
        return there or self.loose.put(kind, oid, content, sync=sync)

    def put_all(
        self, objects: Sequence[tuple[int, bytes, Content]], *, sync: bool, least: int
    ) -> dict[bytes, Placed]:
        """Store many objects (kind, name, content), and tell where each is. Those that are new and small go
        into one pack if there are ``least`` of them, the others become files of their own.

        Raises:
            StoreReadOnly: they cannot be written.
        """
        placed: dict[bytes, Placed] = {}
        small: dict[bytes, tuple[int, Content]] = {}
        large: dict[bytes, tuple[int, Content]] = {}
        known = self.known([oid for _, oid, _ in objects])
        for kind, oid, content in objects:
            if oid in placed:
                continue
            there = self._whole(kind, oid, len(content), known[oid]) if oid in known else None
            if there is not None:
                placed[oid] = there
            elif oid in known and known[oid].place == rows.LOOSE:  # a damaged file is to be replaced
                large[oid] = kind, content
            else:
                (small if len(content) <= PACKED_BYTES else large)[oid] = kind, content
        if len(small) >= least:
            placed |= self._pack(small, sync=sync)
        else:
            large = {**small, **large}
        for oid, (kind, content) in large.items():
            placed[oid] = self.loose.put(kind, oid, content, sync=sync)
        return placed

    def _pack(self, objects: dict[bytes, tuple[int, Content]], *, sync: bool) -> dict[bytes, Placed]:
        """Write a pack of new objects."""
        ready, codings = [], []
        for oid, (kind, content) in objects.items():
            head, payload = encoded.encode(kind, oid, content)
            ready.append((oid, b"".join((head.pack(), payload))))
            codings.append(head.coding)
        written = self.packs.write(ready, sync=sync)
        placed = {}
        for (oid, (offset, length)), coding in zip(written.places.items(), codings, strict=True):
            placed[oid] = Placed(
                written.inode, written.changed, length, coding, pack=written.name, offset=offset
            )
        return placed

    def known(self, oids: Sequence[bytes]) -> dict[bytes, rows.ObjectRow]:
        """The rows of those objects that the index knows; one that is damaged is as good as none."""
        return self.index.object_rows(oids) if self.index is not None else {}

    def _whole(self, kind: int, oid: bytes, size: int, row: rows.ObjectRow | None) -> Placed | None:
        """Where the index says that an object is, if it is there and whole; None if it must be written. Large
        ones are left to `LooseObjects.put`. The index may lie (files were damaged or removed), so it is not
        taken at its word: a copy is read and checked, which costs less than writing one.
        """
        if row is None or size > CHECK_BYTES:
            return None
        if row.place == rows.LOOSE:
            return self.loose.whole(kind, oid, size)
        seen = self.packs.stat(row.pack) if row.place == rows.PACK else None
        if seen is None:
            return None
        try:
            head, content = checked(oid, self._bytes(oid, (row.pack, row.offset, row.stored)), size)
        except CorruptObject:
            self.damaged.add(row.pack)
            return None
        except (ObjectNotFound, ObjectUnreadable):
            return None
        if head.kind != kind or len(content) != size:
            return None
        return Placed(
            seen.st_ino, seen.st_mtime_ns, row.stored, head.coding, pack=row.pack, offset=row.offset
        )
