"""Join what many pushes wrote: small packs (`joining`) and segments, so that a remote pushed to ten thousand
times is still read in a few requests.

Whoever pushes and finds more than `MOST_LOOSE` segments joins them, byte for byte as they were signed, and
removes the originals if he may. No lock is needed: a joined file is written under the digest of its content
before anything is removed, and what is removed is exactly what it holds, byte for byte: a joined file has no
signature, and an enemy could write one with other segments under the numbers of what he wants removed. Two
who do it at once write two files that hold the same, which harms nobody. Joined files are joined again by the
rule for packs, so their number grows with the logarithm of all, and each segment is written again that often.
"""

from __future__ import annotations

from itertools import accumulate

from blake3 import blake3

from scalable_cas.errors import RemoteError, StoreBusy, StoreReadOnly
from scalable_cas.format import joined as joins
from scalable_cas.format import remote_layout as layout
from scalable_cas.ops.transfer.joining import join_packs, prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.ops.transfer.segments import Listing
    from scalable_cas.remotes.base import Remote

#: Segments that lie by themselves, and with them packs: a reader needs a request for each. Joining them costs
#: five requests or so, where everything is here; so a push costs less than one more.
MOST_LOOSE = 8
#: Bytes of a joined file, from which on it is left as it is.
LARGEST = 64 << 20


class Compacted:
    """What was joined: ``packs`` that were made of smaller ones, ``segments`` in the new file, ``removed``
    files that it replaces.
    """

    def __init__(self, packs: int, segments: int, removed: int) -> None:
        self.packs = packs
        self.segments = segments
        self.removed = removed


def compact_if_many(repository: Repository) -> Compacted | None:
    """Join if there is much to join. What fails here is left for the next one who pushes: his own entries are
    there already.
    """
    # where nobody may delete, joined files stay: then they are made less often, the more there are
    most = max(MOST_LOOSE, len(repository.view.joined()))
    if repository.view.unjoined() <= most:
        return None
    try:
        return compact(repository, least=most + 1)
    except (RemoteError, StoreBusy, StoreReadOnly):
        return None


def compact(repository: Repository, *, least: int = 2, thorough: bool = False) -> Compacted | None:
    """Join small packs, the loose segments, and the joined files that are not larger than all that comes with
    them; None if fewer than ``least`` segments are loose. ``thorough``: join all packs that can be. Keeps I2:
    nothing is removed that the new file does not hold.

    Raises:
        RemoteError: the remote could not be read or written.
        StoreReadOnly, StoreBusy: the view cannot be written.
    """
    source = repository.source()
    repository.view.refresh(source)  # others may have joined meanwhile; and what is new is copied here
    listing = source.last
    if not thorough and len(listing.uncovered) < least:
        return None
    made = join_packs(repository, thorough=thorough)
    for number, name, size in made:
        listing.loose[number] = name, size
    return _join_segments(repository, listing, len(made))


def _join_segments(repository: Repository, listing: Listing, packs: int) -> Compacted:
    chosen = _choose(listing)
    wanted = set(sorted(listing.uncovered)[: joins.MOST_SEGMENTS])
    wanted.update(*(listing.joined[name] for name in chosen))
    # what is damaged there, or another remote's, was never taken over: it stays for `verify --remote` to name
    parts = {number: data for number in wanted if (data := repository.copy(number)) is not None}
    if len(parts) < 2 or len(listing.uncovered & parts.keys()) + len(chosen) < 2:
        return Compacted(packs, 0, 0)
    data = joins.pack(parts)
    name: bytes = blake3(data).digest()
    _write(repository.remote, layout.joined_name(name), data)
    repository.view.note_joined(name, parts)
    alone = repository.view.alone()
    covered = [file for number, (file, _) in listing.loose.items() if number in parts and number in alone]
    held = [other for other in chosen if other != name and _holds(parts, other, listing.joined[other])]
    covered += map(layout.joined_name, held)
    try:
        repository.remote.delete(covered)
    except RemoteError:  # whoever may only add leaves them: readers do not read what is in a joined file
        return Compacted(packs, len(parts), 0)
    return Compacted(packs, len(parts), len(covered))


def _holds(parts: dict[bytes, bytes], name: bytes, numbers: Sequence[bytes]) -> bool:
    """Whether these segments are, byte for byte, those of a joined file: its name is their digest."""
    if not parts.keys() >= set(numbers):
        return False
    same: bool = blake3(joins.pack({number: parts[number] for number in numbers})).digest() == name
    return same


def _write(remote: Remote, file: str, data: bytes) -> None:
    """Write a joined file. One that is there may be damaged, and what is removed next may be in no other."""
    if remote.put(file, data):
        return
    if remote.size(file) != len(data) or remote.get(file, largest=len(data)) != data:
        remote.put(file, data, exclusive=False)


def _choose(listing: Listing) -> list[bytes]:
    """The joined files that go into the new one, the smallest first."""
    size = sum(listing.loose[number][1] for number in listing.uncovered)
    names = sorted(listing.joined.keys() - listing.needless, key=lambda name: (listing.sizes[name], name))
    counts = accumulate((len(listing.joined[name]) for name in names), initial=len(listing.uncovered))
    fit = sum(1 for count in counts if count <= joins.MOST_SEGMENTS) - 1
    return names[: prefix([listing.sizes[name] for name in names[: max(fit, 0)]], LARGEST, size)]
