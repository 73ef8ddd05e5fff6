"""All places of an object that the segments of a remote name, where the view does not keep all of them.

The problem: the view keeps the places from the youngest segments, a few of each object. So whoever can write
one segment could say of every object that it lies at some younger places, which are none, and nobody would
find it any more, while `verify --remote`, which tries all, found nothing wrong. What we do: where an object
is at none of its places, and they are as many as are kept, look through the segments themselves, of which
copies are here, for others in files that are there.
"""

from __future__ import annotations

from scalable_cas.errors import MalformedObject, UntrustedEntry
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import segment as segments
from scalable_cas.format.view_rows import MOST_PLACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from scalable_cas.format.segment import ObjectPlace
    from scalable_cas.ops.transfer.repository import Repository

#: Further places of one object that are tried: each may be a request.
MOST_TRIED = 64


def is_crowded(places: tuple[ObjectPlace, ...]) -> bool:
    """Whether an object may have more places than these, which the view keeps."""
    return len(places) >= MOST_PLACES


def more_places(
    repository: Repository, tried: Mapping[bytes, tuple[ObjectPlace, ...]]
) -> dict[bytes, tuple[ObjectPlace, ...]]:
    """Other places of some objects than those that were ``tried``, as far as there are such files.

    Raises:
        RemoteError: the remote could not be read.
    """
    listed = (repository.remote.list(prefix) for prefix in (layout.PACKS, layout.BIGS))
    files = {file.name: file.size for found in listed for file in found}
    more: dict[bytes, dict[ObjectPlace, None]] = {}
    for data in repository.view.all_copies():
        try:  # signatures do not matter: an object is proved by its name
            places = segments.unpack(data, remote_id=repository.remote_id, verify=None).places
        except (MalformedObject, UntrustedEntry):
            continue
        for place in places:
            known = tried.get(place.oid)
            if known is None or place in known or len(more.get(place.oid, ())) >= MOST_TRIED:
                continue
            name = layout.pack_name(place.holder) if place.holder else layout.big_name(place.oid)
            if place.offset + place.length <= files.get(name, -1):
                more.setdefault(place.oid, {})[place] = None
    return {oid: tuple(places) for oid, places in more.items()}
