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
from scalable_cas.format.chunking import ChunkList
from scalable_cas.storage import chunks, reading
from scalable_cas.storage.loose import LooseObjects, Placed
from scalable_cas.storage.packs import Packs
from scalable_cas.storage.putting import put_all
from scalable_cas.storage.reading import own_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn

    from scalable_cas.format.header import Header
    from scalable_cas.storage.index import Index
    from scalable_cas.storage.putting import New

    Content = bytes | memoryview
    Spot = tuple[bytes, int, int]  # pack, offset, length


class Objects:
    """The objects of the store at ``root``. ``index`` is set once it is open."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.loose = LooseObjects(root)
        self.packs = Packs(root)
        self.folder = self.loose.folder
        self.index: Index | None = None
        # The rows that objects in packs will have, while the index has none. Only a hint: without it each of
        # the thousands of chunks that a pull brings is looked for in the tables of all packs.
        self.expected: dict[bytes, bytes] = {}
        self.damaged: set[bytes] = set()  # packs in which a writer found a damaged object
        self.declare: Callable[[str], None] | None = None  # writes down a feature that the store needs now
        self._needed: set[str] = set()

    # --- reading ---------------------------------------------------------------------------------------

    def get(
        self, oid: bytes, *, threads: int = 1, largest: int | None = None, frozen: bool = False
    ) -> tuple[Header, Content]:
        """Return the header and the content of an object, digest checked.

        ``largest`` bounds the content's size in bytes before memory is taken. Large content is writable
        memory that nobody else has, or with ``frozen`` a ``bytes``.

        Raises:
            ObjectNotFound: it is nowhere.
            CorruptObject: its bytes are not those that the name promises; or those of one of its chunks,
                which is then the one that is named.
            ObjectUnreadable: the system would not let us read it, or there is no memory for it.
        """

        def content_of(
            found: tuple[Header, Content | ChunkList], spot: Spot | None = None
        ) -> tuple[Header, Content]:
            head, content = found
            if isinstance(content, ChunkList):
                return head, chunks.whole(self, head, content, threads, frozen=frozen, spot=spot)
            return head, content

        found: tuple[Header, Content] = self._read(
            oid,
            lambda: content_of(self.loose.get(oid, threads=threads, largest=largest, frozen=frozen)),
            lambda spot: content_of(self.packed(oid, spot, threads, largest, frozen=frozen), spot),
        )
        return found

    def stored(self, oid: bytes, *, largest: int | None = None) -> tuple[Header, Content | ChunkList]:
        """The same, but of a blob in chunks its list.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        found: tuple[Header, Content | ChunkList] = self._read(
            oid,
            lambda: self.loose.get(oid, largest=largest),
            lambda spot: self.packed(oid, spot, 1, largest),
        )
        return found

    def in_one(self, oid: bytes, *, largest: int | None = None) -> tuple[Header, Content]:
        """The same from a copy that is no list: what a chunk must have, though the same content may also be
        stored in chunks, as a blob by itself.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """

        def no_list(found: tuple[Header, Content | ChunkList]) -> tuple[Header, Content]:
            head, content = found
            if isinstance(content, ChunkList):
                raise CorruptObject(oid.hex(), "a chunk cannot be a list of chunks")
            return head, content

        found: tuple[Header, Content] = self._read(
            oid,
            lambda: no_list(self.loose.get(oid, largest=largest)),
            lambda spot: no_list(self.packed(oid, spot, 1, largest)),
        )
        return found

    def pieces(self, oid: bytes, *, threads: int = 1) -> tuple[Header, Iterator[memoryview]]:
        """Return the header of an object, and its content piece by piece, each of which is only good until
        the next is asked for. The digest of the whole is the caller's to check.

        Raises, also while the pieces are asked for:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        head = self.head(oid)
        if head.coding == encoded.CHUNKED:
            head, content = self.stored(oid)
            if isinstance(content, ChunkList):
                return head, chunks.stream(self, oid, content, threads)
            return head, iter((memoryview(content),))
        if head.stored_size > reading.SMALL and self.loose.stat(oid) is not None:
            return head, self.loose.stream(oid)
        return head, iter((memoryview(self.get(oid, threads=threads)[1]),))

    def blame(self, oid: bytes) -> NoReturn:
        """Say what is wrong with an object whose `pieces` had another digest.

        Raises:
            CorruptObject: naming it, or the chunk that is damaged.
            ObjectNotFound, ObjectUnreadable: as `get`.
        """
        _, content = self.stored(oid)
        if isinstance(content, ChunkList):
            chunks.blame(self, oid, content)
        raise CorruptObject(oid.hex(), "its content has another digest")

    def encoded(self, oid: bytes) -> bytes:
        """The encoded form of an object, header and payload, as it lies in its file or pack; of a blob in
        chunks that is its list. Its content is not checked.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """

        def packed(spot: Spot) -> bytes:
            data = self._bytes(oid, spot)
            own_header(oid, data)
            return data

        found: bytes = self._read(oid, lambda: self.loose.encoded(oid), packed)
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
        row = self.known((oid,)).get(oid) or rows.object_row(self.expected.get(oid))
        return None if row is None or row.place != rows.PACK else (row.pack, row.offset, row.stored)

    def packed(
        self, oid: bytes, spot: Spot, threads: int, largest: int | None, *, frozen: bool = False
    ) -> tuple[Header, Content | ChunkList]:
        """`stored`, from one place in a pack (its name, offset, length) and nowhere else.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `get`.
        """
        name, offset, length = spot
        path = self.packs.path(name)
        try:
            fd = os.open(path, reading.OPEN)
            try:
                return reading.load(oid, fd, offset, length, threads=threads, largest=largest, frozen=frozen)
            finally:
                os.close(fd)
        except OSError as error:
            raise reading.reraised(oid, error, path) from error

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

    def put(self, kind: int, oid: bytes, content: Content | bytearray, *, sync: bool = False) -> Placed:
        """Store ``content`` under its name ``oid``; a whole copy that is there already is kept, a damaged one
        replaced.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        return self.put_all([(kind, oid, content, 1)], sync=sync, least=2)[oid]

    def put_all(self, objects: Sequence[New], *, sync: bool, least: int) -> dict[bytes, Placed]:
        """Store many objects (kind, name, content, and the size in bytes of the numbers that it is made of),
        and tell where each is, and each chunk of those that are stored in chunks: `storage/putting.py`.

        Raises:
            StoreReadOnly: they cannot be written.
        """
        return put_all(self, objects, sync=sync, least=least)

    def need(self, feature: str) -> None:
        """Have the store say that it takes a program that knows ``feature``, before the first object that
        does is written.
        """
        if feature not in self._needed:
            if self.declare is not None:
                self.declare(feature)
            self._needed.add(feature)

    def known(self, oids: Sequence[bytes]) -> dict[bytes, rows.ObjectRow]:
        """The rows of those objects that the index knows; one that is damaged is as good as none."""
        return self.index.object_rows(oids) if self.index is not None else {}

    def still(self, placed: dict[bytes, Placed]) -> bool:
        """Whether the files that hold some objects are still the ones that they were put into. Asked under
        the lock, when nobody moves or removes any.
        """
        seen: set[bytes] = set()
        for oid, place in placed.items():
            if place.pack in seen:
                continue
            now = self.packs.stat(place.pack) if place.pack else self.loose.stat(oid)
            if now is None or (now.st_ino, now.st_mtime_ns) != (place.inode, place.changed):
                return False
            if place.pack:
                seen.add(place.pack)
        return True
