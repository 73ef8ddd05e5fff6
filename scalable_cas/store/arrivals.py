"""Objects that arrive for one `ingest`: checked, put in place, and remembered until a record names them.
Keeps I1 and I7.

A blob in chunks comes as a list of them. The list proves nothing by itself, and whoever stores that blob
later would take what lies under its name for it; so lists are held back until their chunks are in place and
make up the content that the name promises.
"""

from __future__ import annotations

from functools import partial
from threading import Lock

from scalable_cas.errors import CorruptObject, ObjectNotFound, StoreReadOnly
from scalable_cas.format import rows
from scalable_cas.format.header import RAW, ZSTD
from scalable_cas.format.kinds import BLOB
from scalable_cas.storage import fs, incoming, parallel
from scalable_cas.storage.incoming import alone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future

    from scalable_cas.storage.incoming import Checked, Piece
    from scalable_cas.storage.loose import Placed
    from scalable_cas.store.core import StoreCore


class Fact:
    """What is known of an object that is in place: ``content`` if it fits into a row; ``children``
    if they are known.
    """

    __slots__ = ("children", "coding", "content", "kind", "place", "size")

    def __init__(self, found: Checked, place: Placed) -> None:
        head = found.head
        self.kind, self.coding, self.size, self.place = head.kind, head.coding, head.raw_size, place
        self.content = found.content
        self.children = found.children


class Arrivals:
    """The objects that were put into ``store`` for one `ingest`, and those found there that it relies on.

    Raises:
        StoreReadOnly: nothing can be put there.
    """

    def __init__(self, store: StoreCore) -> None:
        if store.read_only:
            raise StoreReadOnly(store.root, "it is read-only")
        self.store = store
        self.epoch = store.index.number("epoch")
        self._facts: dict[bytes, Fact] = {}
        self._fresh: set[str] = set()  # files that are to be made safe from a power cut
        self._flushing: list[Future[None]] = []
        self._mutex = Lock()
        # lists of chunks, until their chunks are in place and prove them
        self._lists: dict[bytes, tuple[Checked, bytes]] = {}
        self._proofs: dict[bytes, Future[bool]] = {}

    def put(self, objects: Sequence[tuple[bytes, bytes]]) -> None:
        """Check encoded objects (name, bytes) and put them in place; some MB at a time.

        Raises:
            CorruptObject: one is not what its name says; none of them was put. StoreReadOnly.
        """
        self.put_checked([(incoming.check(oid, data), alone(data)) for oid, data in objects])

    def put_checked(self, objects: Sequence[tuple[Checked, Piece]], *, absent: bool = False) -> None:
        """Put encoded objects in place that `storage.incoming.check` has checked; ``absent`` as in
        `storage.incoming.place_all`. Threads may do so at once, each with other objects.

        Raises:
            StoreReadOnly: they cannot be written.
        """
        ready = {}
        for found, piece in objects:
            oid = found.head.oid
            if found.listed is not None:
                with self._mutex:  # what was proved of another list says nothing of this one
                    self._lists[oid] = found, bytes(piece.data)
                    self._proofs.pop(oid, None)
            elif oid not in self._facts:
                ready[oid] = found, piece
        items = [(found.head, piece) for found, piece in ready.values()]
        placed = incoming.place_all(self.store.objects, items, absent=absent)
        self._add([found for found, _ in ready.values()], placed)

    def draft(self) -> str:
        """Where to write the bytes of a large object, for `put_file`."""
        return incoming.draft(self.store.objects)

    def put_file(self, oid: bytes, path: str) -> None:
        """Check the encoded object in a file made at a path of `draft`, and put it in place. The file is gone
        afterwards, whatever happens.

        Raises:
            CorruptObject: it is not what its name says. ObjectUnreadable, StoreReadOnly.
        """
        try:
            found = incoming.check_file(oid, path)
            if found.listed is not None:
                with open(path, "rb") as file:
                    self.put([(oid, file.read(incoming.LONGEST_LIST))])
                return
            self._add([found], {oid: incoming.place_file(self.store.objects, found.head, path)})
        finally:
            fs.remove(path)

    def _add(self, objects: Sequence[Checked], placed: dict[bytes, Placed]) -> None:
        expected, loose = self.store.objects.expected, self.store.objects.loose
        fresh: set[str] = set()
        packs: set[bytes] = set()
        for found in objects:
            head = found.head
            place = placed[head.oid]
            self._facts[head.oid] = Fact(found, place)
            if place.pack:
                packs.add(place.pack)
                expected[head.oid] = rows.pack_object(
                    head.kind, place.coding, head.raw_size, place.stored, 0, place.pack, place.offset
                )
            else:
                fresh.add(loose.path(head.oid))
        fresh.update(map(self.store.objects.packs.path, packs))
        with self._mutex:
            self._fresh |= fresh

    def missing(self, oids: Iterable[bytes]) -> list[bytes]:
        """Those of some objects that are neither put nor in the store, each once."""
        place = self.store.objects.place
        here = self._facts.keys() | self._lists.keys()
        return [oid for oid in dict.fromkeys(oids) if oid not in here and place(oid) is None]

    def prove_behind(self, submit: Callable[[Callable[[], bool]], Future[bool]]) -> None:
        """Begin to read the blobs of which all chunks have come, to see whether they are what their names
        promise, in threads that ``submit`` gives the work to; `settle` waits for them.
        """
        for oid, (found, _) in list(self._lists.items()):
            # from the end: there what is missing is met first
            if all(name in self._facts for name in reversed(found.children or ())):
                with self._mutex:
                    if oid not in self._proofs:
                        self._proofs[oid] = submit(partial(incoming.proves, self.store.objects, found))

    def settle(self) -> set[bytes]:
        """Put the lists of chunks in place whose chunks are there and make up the blob. Returns the names of
        chunks that are not there; a list that is wrong is dropped.
        """
        lost: set[bytes] = set()
        proven: list[bytes] = []

        def prove(oid: bytes) -> None:
            found, _ = self._lists[oid]
            begun = self._proofs.pop(oid, None)
            try:
                if begun.result() if begun is not None else incoming.proves(self.store.objects, found):
                    proven.append(oid)
                    return
            except CorruptObject:
                del self._lists[oid]
                return
            names = found.children or ()
            here = incoming.in_place(self.store.objects, names)
            absent = {name for name, there in zip(names, here, strict=True) if not there}
            for name in absent or names:  # one that is there and damaged may be any of them
                self.drop(name)
                lost.add(name)

        parallel.each(prove, list(self._lists), parallel.cores())
        lists = [self._lists.pop(oid) for oid in proven]
        items = [(found.head, alone(data)) for found, data in lists]
        self._add([found for found, _ in lists], incoming.place_all(self.store.objects, items))
        return lost

    def chunks_of(self, oid: bytes) -> tuple[bytes, ...]:
        """The chunks that a list waits for; nothing if there is no such list."""
        item = self._lists.get(oid)
        return item[0].children or () if item is not None else ()

    def fact(self, oid: bytes) -> Fact | None:
        """What is known of an object that is in place, None if it is not."""
        found = self._facts.get(oid)
        if found is None:
            place = self.store.objects.place(oid)
            if place is None:
                return None
            try:
                head = self.store.objects.head(oid)
            except (ObjectNotFound, CorruptObject):
                return None
            place.coding = head.coding
            childless = head.kind == BLOB and head.coding in (RAW, ZSTD)
            known = incoming.Checked(head, None, () if childless else None)
            found = self._facts[oid] = Fact(known, place)
        return found

    def drop(self, oid: bytes) -> None:
        """Forget an object that turned out not to be in place, so that it can be put again."""
        self._facts.pop(oid, None)

    def look_again(self, oid: bytes) -> Fact | None:
        """The same after a collector was at work, under the lock that keeps others from being so."""
        found = self._facts.get(oid)
        place = self.store.objects.place(oid)
        if place is None or found is None:
            self.drop(oid)
            return None
        place.coding = found.coding
        found.place = place
        return found

    def sync_behind(self, submit: Callable[[Callable[[], None]], Future[None]]) -> None:
        """Begin to make safe what was put so far, in a thread that ``submit`` gives the work to: the disk
        writes while more arrives.
        """
        self._flushing.append(submit(self._flush))

    def sync(self) -> None:
        """Make what was put safe from a power cut.

        Raises:
            StoreReadOnly: the disk refused.
        """
        self._flush()
        while self._flushing:
            self._flushing.pop().result()

    def _flush(self) -> None:
        with self._mutex:
            fresh, self._fresh = sorted(self._fresh), set()
        if fresh:
            fs.sync_paths(fresh)
