"""Read a bundle: take it into a store, or only check it. Keeps I1, I2, I5 and I7.

A bundle may come from an enemy, cut short or changed on the way. Its parts are found through a table that
must fill the file exactly; each is checked before anything of it is used, at most one pack and the segments
are in memory at once, and nothing in it names a path. What a store has already is not read.
"""

from __future__ import annotations

import functools
import io
import os
import stat

from blake3 import blake3

from scalable_cas.errors import CorruptObject, MalformedObject, ScalableCasError
from scalable_cas.format import bundle, segment
from scalable_cas.format import pack as packed
from scalable_cas.format import record as records
from scalable_cas.ops.closure import children
from scalable_cas.storage import fs, signing
from scalable_cas.store.ingest import Arrivals, Ingested, ingest, is_wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from scalable_cas.format.record import Record
    from scalable_cas.format.segment import ObjectPlace, Segment
    from scalable_cas.store.core import StoreCore

_PIECE = 1 << 20
#: Encoded bytes put into the store at a time.
_BATCH = 8 << 20
#: A collector may take what was put before it is named; once is bad luck, three times is something else.
_ATTEMPTS = 3


class BadBundle(ScalableCasError):
    """A file that is no whole bundle. ``path``; ``reason``."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class UnreadableBundle(BadBundle):
    """A file that cannot be read, so that nothing is known of the bundle that it may be."""


class BundleFile:
    """An open bundle. ``parts`` in the order of the file; ``size`` in bytes. Nothing in the parts is checked
    when it is opened.

    Raises:
        BadBundle: it is no bundle, cut short, or something follows it. UnreadableBundle: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise UnreadableBundle(path, error.strerror or str(error)) from error
        try:
            seen = os.fstat(self._fd)
            if not stat.S_ISREG(seen.st_mode):  # a pipe has no end to look at first
                raise UnreadableBundle(path, "no bundle: it is not a regular file")
            self.size = seen.st_size
            bundle.check_head(self._read(0, bundle.HEAD_BYTES))
            end = self._read(self.size - bundle.END_BYTES, bundle.END_BYTES)
            count, start, self._digest = bundle.unpack_end(end, self.size)
            self.parts = bundle.unpack_table(self._read(start, count * bundle.ROW_BYTES), start)
        except UnreadableBundle:
            self.close()
            raise
        except MalformedObject as error:
            self.close()
            raise BadBundle(path, f"no whole bundle: {error.reason}") from error
        except OSError as error:
            self.close()
            raise UnreadableBundle(path, error.strerror or str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _read(self, offset: int, length: int) -> bytes:
        if offset < 0:
            return b""
        pieces = []
        while length > 0 and (piece := os.pread(self._fd, length, offset)):
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return b"".join(pieces)

    def read(self, part: bundle.Part) -> bytes:
        """All bytes of a pack or segment, its name checked.

        Raises:
            BadBundle: it is damaged, or the file was changed.
        """
        data = self._read(part.offset, part.length)
        if blake3(data).digest() != part.name:
            raise BadBundle(self.path, f"damaged: the {bundle.TYPE_NAMES[part.type]} at {part.offset}")
        return data

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """Some bytes, a megabyte at a time."""
        while length > 0 and (piece := self._read(offset, min(length, _PIECE))):
            yield piece
            offset, length = offset + len(piece), length - len(piece)

    def window(self, part: bundle.Part) -> io.BufferedReader:
        """A part as a file."""
        return io.BufferedReader(_Window(self._fd, part.offset, part.length), _PIECE)

    def is_sound(self, progress: Callable[[int, int], None] | None = None) -> bool:
        """Whether the digest over the whole file is right."""
        running, at = bundle.hasher(), 0
        for piece in self.pieces(0, self.size - bundle.END_BYTES):
            running.update(piece)
            at += len(piece)
            if progress is not None:
                progress(at, self.size)
        return running.digest() == self._digest

    def segments(self) -> Iterator[Segment]:
        """The segments, each checked with its signature.

        Raises:
            BadBundle: one is damaged. UntrustedEntry: one is not of a bundle, or its signature does not fit.
        """
        for part in self.parts:
            if part.type == bundle.SEGMENT:
                try:
                    data = self.read(part)
                    yield segment.unpack(data, remote_id=bundle.REMOTE_ID, verify=signing.verify)
                except MalformedObject as error:
                    raise BadBundle(
                        self.path, f"damaged: the segment at {part.offset}: {error.reason}"
                    ) from error


class _Window(io.RawIOBase):
    """Some bytes of a file as a file of their own."""

    def __init__(self, fd: int, start: int, length: int) -> None:
        self._fd, self._start, self._length, self._at = fd, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._length)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed names it otherwise
        wanted = min(len(buffer), self._length - self._at)
        data = os.pread(self._fd, wanted, self._start + self._at) if wanted > 0 else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class UnbundlePlan:
    """What a bundle would bring: how many ``entries`` it has, and how many of them are ``known`` here;
    ``missing``, the places of objects that are not here, and the ``bytes`` that they take; ``origins``: how
    many entries come from each, and how many of these only whoever trusts it can use.
    """

    __slots__ = ("bytes", "entries", "known", "missing", "origins")

    def __init__(
        self, known: int, missing: tuple[ObjectPlace, ...], origins: dict[str, tuple[int, int]]
    ) -> None:
        self.entries = sum(entries for entries, _ in origins.values())
        self.known = known
        self.missing = missing
        self.bytes = sum(place.length for place in missing)
        self.origins = origins

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError("a plan does not change")
        object.__setattr__(self, name, value)


def plan_unbundle(store: StoreCore | None, file: BundleFile) -> UnbundlePlan:
    """Plan to take a bundle into a store; None: into one that is to be made. Changes nothing.

    Raises:
        BadBundle, UntrustedEntry: as `BundleFile.segments`, or a record cannot be read.
    """
    known = entries = 0
    missing: dict[bytes, ObjectPlace] = {}
    counts: dict[str, tuple[int, int]] = {}
    if store is not None:
        store.flush()
    for made in file.segments():
        origin = records.origin_of(made.signer)
        for record in _records(file, made):
            entries += 1
            if store is not None:
                known += not is_wanted(store, store.index.ref(record.rowkey), record, origin)
            some, pickled = counts.get(origin, (0, 0))
            counts[origin] = some + 1, pickled + ("pickle" in record.codec)
        for place in made.places:
            if store is None or store.objects.place(place.oid) is None:
                missing[place.oid] = place
    return UnbundlePlan(known, tuple(missing.values()) if known < entries else (), counts)


def _records(file: BundleFile, made: Segment) -> Iterator[Record]:
    try:
        yield from map(records.unpack, made.records)
    except MalformedObject as error:
        raise BadBundle(file.path, f"one of its records is malformed: {error.reason}") from error


def unbundle(
    store: StoreCore,
    file: BundleFile,
    plan: UnbundlePlan,
    progress: Callable[[int, int], None] | None = None,
) -> Ingested:
    """Carry out a plan: objects, then entries. ``progress(bytes done, in all)``. Doing it again changes
    nothing.

    Raises:
        BadBundle: a part is damaged; no entry was taken. StoreReadOnly, StoreBusy, IndexDamaged: the store
            cannot be written; what was done is whole, and doing it again goes on.
    """
    done = Ingested()
    if plan.known == plan.entries:
        done.known = plan.known
        return done
    arrivals = Arrivals(store)
    wanted = {place.oid for place in plan.missing}
    taken = 0
    for _ in range(_ATTEMPTS):
        _put(file, arrivals, wanted, plan.bytes, progress)
        done = Ingested()
        for made in file.segments():  # one at a time: the records of all may be more than memory holds
            origin = records.origin_of(made.signer)
            found = [(record, origin) for record in _records(file, made)]
            done.add(ingest(store, found, arrivals, functools.partial(children, store.objects)))
        done.known -= taken  # by an attempt before this
        taken = done.new = taken + done.new
        wanted = done.lost
        if not wanted:
            break
    return done


def _put(
    file: BundleFile,
    arrivals: Arrivals,
    wanted: set[bytes],
    total: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Put the wanted objects of a bundle into the store."""
    left, done = set(wanted), 0
    for part in file.parts:
        if not left:
            return
        try:
            if part.type == bundle.PACK:
                done += _put_pack(file, part, arrivals, left)
            elif part.type == bundle.OBJECT and part.name in left:
                _put_large(file, part, arrivals)
                left.discard(part.name)
                done += part.length
        except CorruptObject as error:
            raise BadBundle(file.path, f"damaged: {error}") from error
        if progress is not None:
            progress(min(done, total), total)


def _put_pack(file: BundleFile, part: bundle.Part, arrivals: Arrivals, left: set[bytes]) -> int:
    data = file.read(part)
    batch: list[tuple[bytes, bytes]] = []
    size = done = 0
    members = [member for member in table_of_pack(file, part, data) if member.oid in left]
    for member in sorted(members, key=lambda member: member.offset):
        batch.append((member.oid, data[member.offset : member.offset + member.length]))
        size += member.length
        left.discard(member.oid)
        if size >= _BATCH:
            arrivals.put(batch)
            batch, done, size = [], done + size, 0
    arrivals.put(batch)
    return done + size


def table_of_pack(file: BundleFile, part: bundle.Part, data: bytes) -> packed.Table:
    """The table of a pack.

    Raises:
        BadBundle: it is not whole.
    """
    table = packed.read_table(data)
    if table.reason:
        raise BadBundle(file.path, f"malformed: the pack at {part.offset}: {table.reason}")
    return table


def _put_large(file: BundleFile, part: bundle.Part, arrivals: Arrivals) -> None:
    path = arrivals.draft()
    fd = fs.append_open(path)
    try:
        for piece in file.pieces(part.offset, part.length):
            fs.append(fd, path, (piece,), sync=False)
    except BaseException:
        fs.remove(path)
        raise
    finally:
        os.close(fd)
    arrivals.put_file(part.name, path)
