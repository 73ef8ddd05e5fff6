"""Join segments: many small files of a remote become few, so that a remote pushed to ten thousand times is
still read in a few requests.

Whoever pushes and finds more than `MOST_LOOSE` segments joins them, byte for byte as they were signed, and
removes the originals if he may. No lock is needed: a joined file is written under the digest of its content
before anything is removed, and what is removed is exactly what it holds. Two who do it at once write two
files that hold the same, which harms nobody. Joined files are joined again when together they are as large as
the next larger one, so their number grows with the logarithm of all, and each segment is written again that
often.
"""

from __future__ import annotations

from blake3 import blake3

from scalable_cas.errors import MalformedObject, RemoteError, UntrustedEntry
from scalable_cas.format import joined as joins
from scalable_cas.format import remote_layout as layout
from scalable_cas.ops.transfer.segments import Changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.ops.transfer.segments import Listing

#: Segments that lie by themselves: a reader needs a request for each.
MOST_LOOSE = 64
#: Bytes of a joined file, from which on it is left as it is.
LARGEST = 64 << 20


class Compacted:
    """What was joined: ``segments`` in the new file, ``removed`` files that it replaces."""

    def __init__(self, segments: int, removed: int) -> None:
        self.segments = segments
        self.removed = removed


def compact_if_many(repository: Repository) -> Compacted | None:
    """Join segments if there are many. What fails here is left for the next one who pushes: his own entries
    are there already.
    """
    if repository.view.loose <= MOST_LOOSE:
        return None
    try:
        return compact(repository)
    except (RemoteError, Changed):
        return None


def compact(repository: Repository) -> Compacted | None:
    """Join the loose segments, and the joined files that are not larger than all that comes with them; None
    if there is nothing to join. Keeps I2: nothing is removed that the new file does not hold.

    Raises:
        RemoteError: the remote could not be read or written.
        Changed: others are at it.
    """
    source = repository.source()
    listing = source.listing(repository.view.joined())
    chosen = _choose(listing)
    wanted = listing.uncovered.union(*(listing.joined[name] for name in chosen))
    # what is damaged, or another remote's, stays where it is, for `verify --remote` to name
    parts = {
        number: data
        for number, _, data, found in source.fetch(wanted)
        if not isinstance(found, (MalformedObject, UntrustedEntry))
    }
    if len(parts) < 2:
        return None
    data = joins.pack(parts)
    name: bytes = blake3(data).digest()
    repository.remote.put(layout.joined_name(name), data)
    covered = [file for number, (file, _) in listing.loose.items() if number in parts]
    held = [other for other in chosen if other != name and parts.keys() >= set(listing.joined[other])]
    covered += map(layout.joined_name, held)
    try:
        repository.remote.delete(covered)
    except RemoteError:  # whoever may only add leaves them: readers do not read what is in a joined file
        return Compacted(len(parts), 0)
    return Compacted(len(parts), len(covered))


def _choose(listing: Listing) -> list[bytes]:
    """The joined files that go into the new one: the smallest, as long as the next is not more than twice as
    large as all that would come with it. So the sizes of those that are left grow geometrically.
    """
    size = sum(listing.loose[number][1] for number in listing.uncovered)
    chosen = []
    for name in sorted(listing.joined, key=lambda name: (listing.sizes[name], name)):
        length = listing.sizes[name]
        if length > 2 * size or size + length > LARGEST:
            break
        chosen.append(name)
        size += length
    return chosen
