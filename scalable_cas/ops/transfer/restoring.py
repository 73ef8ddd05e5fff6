"""Fetch lost objects of this store from a remote, for `verify --repair --from`."""

from __future__ import annotations

from scalable_cas.format import rows
from scalable_cas.ops.transfer.fetching import Fetcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.storage.index import Changes


def restoring(repository: Repository) -> Callable[[list[bytes]], list[bytes]]:
    """What `ops.verify.repair` restores with: a function from the names of lost objects to those that are
    back, with all that they name.
    """

    def restore(oids: list[bytes]) -> list[bytes]:
        fetcher = Fetcher(repository)
        fetcher.fetch(oids)
        lost = fetcher.arrivals.settle()
        if lost:  # chunks that are damaged here
            fetcher.fetch(lost)
            fetcher.arrivals.settle()
        fetcher.arrivals.sync()
        back: list[bytes] = []

        def change(changes: Changes) -> None:
            """Rows, named in the present epoch; what a collector took since is not back."""
            back.clear()
            epoch, again = changes.settle_epoch(fetcher.arrivals.epoch)
            for oid in fetcher.reached():
                found = (fetcher.arrivals.look_again if again else fetcher.arrivals.fact)(oid)
                if found is not None:
                    place = found.place
                    row = rows.pack_object(
                        found.kind, found.coding, found.size, place.stored, epoch, place.pack, place.offset
                    )
                    changes.put_object(oid, row)
                    back.append(oid)

        repository.store.index.write(change)
        return sorted(set(back) & set(oids))

    return restore
