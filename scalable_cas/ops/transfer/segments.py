"""Read the segments of a remote: what there is, and those that are wanted, whether they lie by themselves or
joined with others (remote-layout-v1, sections 4 and 5).

Whoever joins segments signs nothing, and could write others under the same numbers. A reader may be misled by
that, as by whatever an enemy writes; whoever removes files may not, and reads `every` copy.

Between a listing and a read others may join segments and remove the originals, so a file that is not there
any more is no fault: `Changed` asks for a new listing, which finds them in the joined file.
"""

from __future__ import annotations

from scalable_cas.errors import MalformedObject, RemoteError, RemoteFileMissing, UntrustedEntry
from scalable_cas.format import joined as joins
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import segment as segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scalable_cas.format.remote_layout import Notice
    from scalable_cas.format.segment import Segment
    from scalable_cas.ops.transfer.parallel import Crew
    from scalable_cas.remotes.base import Remote

    Verify = Callable[[bytes, bytes, bytes], bool]
    Found = Segment | MalformedObject | UntrustedEntry

#: Wanted pieces of a file that are nearer to each other are read in one request: on a connection of 10 MB/s
#: as long as a request's 25 ms take.
GAP = 256 << 10
#: The first read of a joined file: head and table, and of a short one all the rest, in one request.
FIRST_READ = GAP
#: A piece that is read in one request is not longer, unless a segment is.
LONGEST_READ = 32 << 20
NOTICE_BYTES = 16 << 20


class Changed(Exception):
    """A file that was listed is gone: list again."""


class Listing:
    """What there is: ``loose`` segments (number -> file), ``joined`` files (id -> numbers in it), ``live``:
    the numbers of all; ``notices`` of collectors (file -> content); ``faults``: file and reason of what
    cannot be used.
    """

    def __init__(self) -> None:
        self.loose: dict[bytes, tuple[str, int]] = {}
        self.joined: dict[bytes, tuple[bytes, ...]] = {}
        self.notices: dict[str, Notice] = {}
        self.faults: dict[str, str] = {}
        self.sizes: dict[bytes, int] = {}  # of joined files

    @property
    def live(self) -> set[bytes]:
        """The numbers of all segments."""
        return set(self.loose).union(*self.joined.values())

    @property
    def uncovered(self) -> set[bytes]:
        """The numbers of the loose segments that are not in a joined file."""
        return set(self.loose).difference(*self.joined.values())

    @property
    def needless(self) -> set[bytes]:
        """The joined files all of whose segments are in one larger one: who wrote that may not delete."""
        sets = [(set(numbers), name) for name, numbers in self.joined.items()]
        sets.sort(key=lambda item: len(item[0]))
        return {
            name
            for at, (mine, name) in enumerate(sets)
            if any(mine < other for other, _ in reversed(sets[at + 1 :]))
        }


class _Read:
    """One request: ``wanted`` (number, offset and length in the piece) of a piece of a file."""

    __slots__ = ("length", "name", "offset", "wanted")

    def __init__(self, name: str, offset: int, length: int, wanted: list[tuple[bytes, int, int]]) -> None:
        self.name = name
        self.offset = offset
        self.length = length
        self.wanted = wanted


class Source:
    """The segments of ``remote``, whose id is ``remote_id``; ``verify`` checks a signature."""

    def __init__(self, remote: Remote, remote_id: bytes, verify: Verify, crew: Crew) -> None:
        self._remote = remote
        self._remote_id = remote_id
        self._verify = verify
        self._crew = crew
        self.last = Listing()  # what was listed last
        self._parts: dict[bytes, tuple[joins.Part, ...]] = {}
        self._short: dict[str, bytes] = {}  # joined files that were read whole for their tables

    def busy(self) -> RemoteError:
        """What to raise if listing and reading never agree."""
        return RemoteError(
            self._remote.url, "", "it keeps changing while it is read; try again", retryable=True
        )

    def listing(self, known: dict[bytes, tuple[bytes, ...]]) -> Listing:
        """List the segments; ``known``: joined files whose content need not be asked for.

        Raises:
            RemoteError: the remote could not be read.
        """
        found = Listing()
        notices = []
        for name, size in self._remote.list(layout.SEGMENTS):
            number, joined = layout.segment_number(name), layout.joined_id(name)
            if number is not None:
                found.loose[number] = name, size
            elif joined is not None:
                found.sizes[joined] = size
            elif layout.is_notice(name):
                notices.append(name)
        for joined, table in zip(found.sizes, self._tables(found, known), strict=True):
            if isinstance(table, str):
                found.faults[layout.joined_name(joined)] = table
            elif table is not None:
                found.joined[joined] = table
        for name, notice in zip(notices, self._crew.map(self._notice, notices), strict=True):
            if notice is not None:
                found.notices[name] = notice
        self.last = found
        return found

    def _tables(
        self, found: Listing, known: dict[bytes, tuple[bytes, ...]]
    ) -> Iterator[tuple[bytes, ...] | str | None]:
        def table(joined: bytes) -> tuple[bytes, ...] | str | None:
            if joined in known:
                return known[joined]
            try:
                return tuple(part.number for part in self._table(joined, found.sizes[joined]))
            except RemoteFileMissing:  # part of a larger one by now, which the next listing shows
                return None
            except MalformedObject as error:
                return error.reason

        return self._crew.map(table, found.sizes)

    def _table(self, joined: bytes, size: int) -> tuple[joins.Part, ...]:
        parts = self._parts.get(joined)
        if parts is None:
            name = layout.joined_name(joined)
            start = self._remote.get(name, largest=FIRST_READ, offset=0, length=min(size, FIRST_READ))
            more = joins.HEAD_BYTES + joins.table_bytes(start, size) - len(start)
            if more > 0:
                start += self._remote.get(name, largest=more, offset=len(start), length=more)
            parts = self._parts[joined] = joins.unpack_table(start, size)
            if len(start) == size:
                self._short[name] = start
        return parts

    def _notice(self, name: str) -> Notice | None:
        try:
            return layout.unpack_notice(self._remote.get(name, largest=NOTICE_BYTES))
        except (
            RemoteFileMissing,
            MalformedObject,
        ):  # withdrawn just now; or nonsense, which announces nothing
            return None

    def fetch(self, wanted: set[bytes], *, every: bool = False) -> Iterator[tuple[bytes, str, bytes, Found]]:
        """Yield number, file, bytes and content of the wanted segments of the last listing; what is wrong
        with one stands in its content's place. ``every``: each of them from every file that has it, not only
        from that which takes the fewest requests.

        Raises:
            Changed: a file is gone.
            RemoteError: the remote could not be read.
        """
        for name, found in self._crew.map(self._fetch, self._reads(wanted, every=every)):
            for number, data, item in found:
                yield number, name, data, item

    def _reads(self, wanted: set[bytes], *, every: bool) -> Iterator[_Read]:
        listing = self.last
        for number in wanted & (listing.loose.keys() if every else listing.uncovered):
            name, size = listing.loose[number]
            yield _Read(name, 0, size, [(number, 0, size)])
        rest = wanted if every else wanted - listing.uncovered
        # the largest first: what an overlapping smaller one holds too is not read again
        for joined in sorted(listing.joined, key=lambda item: -len(listing.joined[item])):
            here = rest.intersection(listing.joined[joined])
            rest = rest if every else rest - here
            if here:
                yield from self._pieces(joined, here)

    def _pieces(self, joined: bytes, wanted: set[bytes]) -> Iterator[_Read]:
        name = layout.joined_name(joined)
        read: _Read | None = None
        try:
            parts = self._table(joined, self.last.sizes[joined])
        except RemoteFileMissing as error:
            raise Changed from error
        for part in parts:
            if part.number not in wanted:
                continue
            end = part.offset + part.length
            near = read is not None and part.offset - read.offset - read.length <= GAP
            if read is not None and near and end - read.offset <= LONGEST_READ:
                read.length = end - read.offset
                read.wanted.append((part.number, part.offset - read.offset, part.length))
                continue
            if read is not None:
                yield read
            read = _Read(name, part.offset, part.length, [(part.number, 0, part.length)])
        if read is not None:
            yield read

    def _fetch(self, read: _Read) -> tuple[str, list[tuple[bytes, bytes, Found]]]:
        if read.length > max(segments.LARGEST, LONGEST_READ):
            return read.name, [
                (number, b"", MalformedObject("segment", f"{length} bytes are more than one may have"))
                for number, _, length in read.wanted
            ]
        short = self._short.pop(read.name, None)
        for attempt in range(2):  # what was damaged on its way is whole the second time
            if short is None or attempt:
                data = self._data(read)
            else:
                data = short[read.offset : read.offset + read.length]
            found = []
            for number, offset, length in read.wanted:
                piece = data[offset : offset + length]
                found.append((number, piece, self._unpack(number, piece)))
            if attempt or not any(isinstance(item, MalformedObject) for _, _, item in found):
                break
        return read.name, found

    def _data(self, read: _Read) -> bytes:
        try:
            return self._remote.get(read.name, largest=read.length, offset=read.offset, length=read.length)
        except RemoteFileMissing as error:
            raise Changed from error

    def _unpack(self, number: bytes, data: bytes) -> Found:
        try:
            found = segments.unpack(data, remote_id=self._remote_id, verify=self._verify)
        except (MalformedObject, UntrustedEntry) as error:
            return error
        return found if found.nonce == number else MalformedObject("segment", "another one is in its place")
