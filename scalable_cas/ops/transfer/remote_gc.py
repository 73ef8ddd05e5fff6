"""Collect garbage in a remote: files that no segment names, which interrupted pushes leave behind, and
segments that are in a joined file too. See docs/reference/remote-layout-v1.md, section 7.

The problem: nobody is locked out, so a push may be about to name what is named by no segment yet, and a file
does not tell how old it is on every service. What we do, in two phases: what nobody names is *condemned* by a
notice, and stays for the grace period; from then on no push relies on it. What is still named by nobody when
that is over is *swept*: a second notice says so, all segments are read once more, and what one of them names
by then is kept. A push that wrote a file of a condemned name looks, after its segment is written, for such a
second notice: without one, any sweep that begins later sees the segment; with one, the push waits for its
end, and looks whether its file is still there (`settle`).

A segment that cannot be read stops all this: whoever deletes must not guess.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from scalable_cas import clock
from scalable_cas.errors import MalformedObject, ScalableCasError, UntrustedEntry
from scalable_cas.format import remote_layout as layout
from scalable_cas.ops.transfer.segments import Changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalable_cas.format.remote_layout import Notice
    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.ops.transfer.segments import Listing

#: Seconds between condemning and sweeping: longer than any push runs, and than a laptop sleeps in one.
GRACE = 7 * 86_400
#: How long a push waits for the end of a sweep (seconds). One that takes longer was killed, or is stopped.
SWEEP_SECONDS = 120.0
ATTEMPTS = 5


class UnreadableSegments(ScalableCasError):
    """Segments of a remote cannot be read, so nobody knows what they name. ``names`` of their files."""

    def __init__(self, url: str, names: Sequence[str]) -> None:
        super().__init__(
            f"{url}: {len(names)} segments cannot be read ({names[0]}); nothing was removed; "
            "`scalable-cas verify --remote` and a push by who has them mend that"
        )
        self.url = url
        self.names = tuple(names)


class RemoteGcPlan(NamedTuple):
    """What a collection would do: the names of files to ``condemn`` and to ``sweep``, of ``segments`` that
    are joined and can go, and of ``notices`` that are done with; ``waiting``: condemned files whose time has
    not come; ``bytes`` that sweeping frees.
    """

    condemn: tuple[str, ...]
    sweep: tuple[str, ...]
    segments: tuple[str, ...]
    notices: tuple[str, ...]
    waiting: int
    bytes: int


def plan_remote_gc(repository: Repository, grace: float = GRACE) -> RemoteGcPlan:
    """Plan a collection; ``grace`` in seconds. Changes nothing there.

    Raises:
        RemoteError: the remote could not be read. UnreadableSegments: nobody knows what is garbage.
        StoreVersionError: the remote uses a feature that gc must know.
    """
    repository.format.check("gc", repository.url)
    listing, named = _named(repository)
    now = clock.now_ns()
    condemned: dict[str, int] = {}
    for notice in listing.notices.values():
        for name in _files(notice):
            condemned[name] = min(notice.at, condemned.get(name, notice.at))
    fresh, due, waiting, size = [], [], 0, 0
    unnamed: set[str] = set()
    for prefix in (layout.PACKS, layout.BIGS):
        for file in repository.remote.list(prefix):
            if file.name in named or (layout.pack_id(file.name) or layout.big_id(file.name)) is None:
                continue
            unnamed.add(file.name)
            if file.name not in condemned:
                fresh.append(file.name)
            # not by a clock that has jumped back since, either
            elif 0 <= now - condemned[file.name] >= grace * 1e9:
                due.append(file.name)
                size += file.size
            else:
                waiting += 1
    swept = set(due)
    done = [name for name, notice in listing.notices.items() if not (_files(notice) & unnamed) - swept]
    joined = set().union(*listing.joined.values())
    covered = [name for number, (name, _) in listing.loose.items() if number in joined]
    return RemoteGcPlan(tuple(fresh), tuple(due), tuple(sorted(covered)), tuple(sorted(done)), waiting, size)


def execute_remote_gc(repository: Repository, plan: RemoteGcPlan) -> RemoteGcPlan:
    """Carry out a plan, and return what was done. Keeps I2: what a segment names by now is left.

    Raises:
        RemoteError: the remote could not be read or written; what was done so far is right.
        UnreadableSegments: nothing was removed.
    """
    remote = repository.remote
    if plan.condemn:
        _announce(repository, "condemned", plan.condemn)
    swept: tuple[str, ...] = ()
    if plan.sweep:
        notice = _announce(repository, "sweeping", plan.sweep)
        try:
            _, named = _named(repository)
            swept = tuple(name for name in plan.sweep if name not in named)
            remote.delete(swept)
        finally:
            remote.delete([notice])
    if plan.segments:
        _, named = _named(repository)  # reads each joined file: what goes is certain to be there
        remote.delete(plan.segments)
    remote.delete(plan.notices)
    return plan._replace(sweep=swept, bytes=plan.bytes if swept == plan.sweep else 0)


def _announce(repository: Repository, phase: str, names: Sequence[str]) -> str:
    packs = frozenset(found for name in names if (found := layout.pack_id(name)) is not None)
    bigs = frozenset(found for name in names if (found := layout.big_id(name)) is not None)
    file = layout.notice_name(os.urandom(16))
    repository.remote.put(file, layout.Notice(phase, clock.now_ns(), packs, bigs).pack())
    return file


def _files(notice: Notice) -> set[str]:
    return {layout.pack_name(name) for name in notice.packs} | {layout.big_name(name) for name in notice.bigs}


def _named(repository: Repository) -> tuple[Listing, set[str]]:
    """The files that some segment names, read from the segments themselves."""
    source = repository.source()
    for _ in range(ATTEMPTS):
        listing = source.listing({})
        faults = sorted(listing.faults)
        named: set[str] = set()
        try:
            for _, name, _, found in source.fetch(listing.live):
                if isinstance(found, (MalformedObject, UntrustedEntry)):
                    faults.append(name)
                    continue
                for place in found.places:
                    named.add(layout.pack_name(place.holder) if place.holder else layout.big_name(place.oid))
        except Changed:
            continue
        if faults:
            raise UnreadableSegments(repository.url, faults)
        return listing, named
    raise source.busy()


def settle(repository: Repository, names: set[bytes]) -> set[bytes]:
    """For a push that wrote files which were condemned (ids of packs or names of large objects), after its
    segment is written: wait for the end of any sweep of them, and return those that it removed.
    """
    deadline = clock.monotonic() + SWEEP_SECONDS
    while clock.monotonic() < deadline:
        listing = repository.source().listing(repository.view.joined())
        sweeping = [notice for notice in listing.notices.values() if notice.phase == "sweeping"]
        if not any(names & (notice.packs | notice.bigs) for notice in sweeping):
            break
        clock.sleep(1.0)
    remote = repository.remote
    there = {
        name
        for name in names
        if remote.size(layout.pack_name(name)) is not None or remote.size(layout.big_name(name)) is not None
    }
    return names - there
