"""Collect garbage in a remote: files that no segment names, which interrupted pushes leave behind, packs
that joined ones have replaced, and segments that are in a joined file too. See
docs/reference/remote-layout-v1.md, section 7.

The problem: nobody is locked out, so a push may be about to name what is named by no segment yet, and a file
does not tell how old it is on every service. What we do, in two phases: what nobody names is *condemned* by a
notice, and stays for the grace period; from then on no push relies on it. What is still named by nobody when
that is over is *swept*: a second notice says so, all segments are read once more, and what one of them names
by then is kept. A push that wrote a file of a condemned name looks, after its segment is written, for such a
second notice: without one, any sweep that begins later sees the segment; with one, the push waits for its
end, and looks whether its file is still there (`settle`).

A pack whose objects lie in younger ones, too, needs no such care: who relies on its objects finds them
there. Only readers want it whose view is older than the younger pack, so it stays for the grace period from
then on. A notice of the second kind goes before it is removed, too, so that of two collectors no one counts
on what the other removes, and each object is checked where it lies now (`remote_needs`). So such a notice
is its owner's to remove; what a killed one left is removed by others when a day has passed.

A segment that cannot be read stops all this: whoever deletes must not guess.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from scalable_cas import clock
from scalable_cas.errors import ScalableCasError
from scalable_cas.format import remote_layout as layout
from scalable_cas.ops.transfer.compaction import compact
from scalable_cas.ops.transfer.joining import choose
from scalable_cas.ops.transfer.remote_needs import Needs, files_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scalable_cas.ops.transfer.repository import Repository
    from scalable_cas.ops.transfer.segments import Listing

#: Seconds between condemning and sweeping: longer than any push runs, and than a laptop sleeps in one.
GRACE = 7 * 86_400
#: How long a push waits for the end of a sweep (seconds). One that takes longer was killed, or is stopped.
SWEEP_SECONDS = 120.0
#: A sweep begins to remove such files only within so many seconds of its last look at what segments name:
#: half of what a push waits. When they are over it looks again, for new segments.
FRESH_SECONDS = SWEEP_SECONDS / 2
#: How many it removes at a time: where each is a request, the fewest are sent at once and take 28 s at the
#: most; twice as many after some that were removed in so many seconds.
FEWEST, MOST, QUICK_SECONDS = 8, 64, 1.0
#: How long a sweep may live (seconds): its notice is another collector's until then. It removes nothing any
#: more when half of that is over, because a laptop may sleep in the middle of it.
SWEEP_LIVES = 86_400
#: Files of one notice: 3.5 MB of it.
MOST_ANNOUNCED = 50_000


class UnreadableSegments(ScalableCasError):
    """Segments of a remote cannot be read, so nobody knows what they name. ``names`` of their files."""

    def __init__(self, url: str, names: Sequence[str]) -> None:
        super().__init__(
            f"{url}: {len(names)} segments cannot be read ({names[0]}); nothing is removed; "
            "`scalable-cas verify --remote` and a push by who wrote or read them mend that; "
            "what no push mends `scalable-cas verify --remote NAME --repair` sets aside"
        )
        self.url = url
        self.names = tuple(names)


class RemoteGcPlan(NamedTuple):
    """What a collection would do: how many small packs to ``join``; the names of files to ``condemn`` and to
    ``sweep``, of packs to remove because others have ``replaced`` them, of ``segments`` that are joined and
    can go, and of ``notices`` that are done with; ``waiting``: files whose time has not come; ``bytes`` that
    are freed.
    """

    join: int
    condemn: tuple[str, ...]
    sweep: tuple[str, ...]
    replaced: tuple[str, ...]
    segments: tuple[str, ...]
    notices: tuple[str, ...]
    waiting: int
    bytes: int


def plan_remote_gc(repository: Repository, grace: float = GRACE) -> RemoteGcPlan:
    """Plan a collection; ``grace`` in seconds. Changes nothing there.

    Raises:
        RemoteError: the remote could not be read. UnreadableSegments: nobody knows what is garbage.
        StoreVersionError: the remote uses a feature that gc or writing must know.
        StoreReadOnly, StoreBusy: the view cannot be brought up to date.
    """
    _check_features(repository)
    repository.refresh()
    join = sum(len({place.holder for _, place in group}) for group in choose(repository))
    needs = _needs(repository)
    now = clock.now_ns()
    condemned: dict[str, int] = {}
    for notice in needs.listing.notices.values():
        for name in files_of(notice):
            condemned[name] = min(notice.at, condemned.get(name, notice.at))

    def due(since: int) -> bool:  # not by a clock that has jumped back since, either
        return 0 <= now - since >= grace * 1e9

    fresh = sorted(needs.orphans - condemned.keys())
    swept = {name for name in needs.orphans & condemned.keys() if due(condemned[name])}
    replaced = {name for name, since in needs.replaced.items() if due(since)}
    done = []
    for name, notice in needs.listing.notices.items():
        if notice.phase == "sweeping":  # the others count on it while its collector may be at work
            over = now - notice.at > SWEEP_LIVES * 1e9
        else:
            over = not (files_of(notice) & needs.orphans) - swept
        if over:
            done.append(name)
    return RemoteGcPlan(
        join=join,
        condemn=tuple(fresh),
        sweep=tuple(sorted(swept)),
        replaced=tuple(sorted(replaced)),
        segments=tuple(sorted(_covered(needs.listing))),
        notices=tuple(sorted(done)),
        waiting=len(needs.orphans) - len(fresh) - len(swept) + len(needs.replaced) - len(replaced),
        bytes=sum(needs.there[name] for name in swept | replaced),
    )


def _check_features(repository: Repository) -> None:
    for operation in ("gc", "write"):  # it also joins packs and segments
        repository.format.check(operation, repository.url)


def execute_remote_gc(repository: Repository, plan: RemoteGcPlan) -> RemoteGcPlan:
    """Carry out a plan, and return what was done. Keeps I2: what a segment needs by now is left.

    Raises:
        RemoteError: the remote could not be read or written; what was done so far is right.
        UnreadableSegments: what was not removed by then, stays.
        StoreVersionError: the remote uses a feature that gc or writing must know.
    """
    _check_features(repository)
    remote = repository.remote
    if plan.condemn:
        _announce(repository, "condemned", plan.condemn)
    names = (*plan.sweep, *plan.replaced)
    swept: set[str] = set()
    freed = 0
    for at in range(0, len(names), MOST_ANNOUNCED):
        removed = _sweep(repository, set(names[at : at + MOST_ANNOUNCED]))
        swept |= removed.keys()
        freed += sum(removed.values())
    covered: set[str] = set()
    if plan.segments:
        # reads each joined file: what goes is certain to be there, and in another one that is there now
        covered = _covered(_needs(repository).listing).intersection(plan.segments)
        remote.delete(sorted(covered))
    # of what was left, its time stays known
    notices = plan.notices if swept.issuperset(plan.sweep) else ()
    remote.delete(notices)
    compact(repository, thorough=True)
    return plan._replace(
        sweep=tuple(name for name in plan.sweep if name in swept),
        replaced=tuple(name for name in plan.replaced if name in swept),
        segments=tuple(sorted(covered)),
        notices=notices,
        bytes=freed,
    )


def _covered(listing: Listing) -> set[str]:
    """The files of segments that are in a joined file too, and the joined files that are in a larger one."""
    joined = set().union(*listing.joined.values())
    loose = {name for number, (name, _) in listing.loose.items() if number in joined}
    return loose.union(map(layout.joined_name, listing.needless))


def _sweep(repository: Repository, names: set[str]) -> dict[str, int]:
    """Remove those of some files that are not needed by now; returns them, with their sizes."""
    began = clock.now_ns()
    notice = _announce(repository, "sweeping", names)
    try:
        needs = _needs(repository)
        # orphans at once: to prove packs may take hours
        gone = _remove_orphans(repository, needs, needs.orphans & names, began)
        replaced = needs.proven(names & needs.replaced.keys())
        if _within(SWEEP_LIVES / 2, began):
            repository.remote.delete(sorted(replaced))
            gone |= replaced
        return {name: needs.there[name] for name in gone}
    finally:
        repository.remote.delete([notice])


def _within(seconds: float, since: int) -> bool:
    """Whether no more than that has passed, whichever way the clock jumped."""
    return abs(clock.now_ns() - since) <= seconds * 1e9


def _remove_orphans(repository: Repository, needs: Needs, names: set[str], began: int) -> set[str]:
    """Remove files that nobody names, and return them. A push that writes one of them meanwhile and names it
    waits for the end of the sweep, but not for ever: whatever it named by the time it gives up must have been
    seen here. Where even a look for new segments takes too long, the rest stays for another time.
    """
    left, gone, count = sorted(names), set[str](), FEWEST
    while left:
        if not _within(FRESH_SECONDS, needs.looked):
            named = needs.named_since()
            _refuse(repository, needs)
            left = [name for name in left if name not in named]
        if not _within(FRESH_SECONDS, needs.looked) or not _within(SWEEP_LIVES / 2, began):
            break
        batch, left, since = left[:count], left[count:], clock.monotonic()
        repository.remote.delete(batch)
        gone.update(batch)
        count = min(2 * count, MOST) if clock.monotonic() - since < QUICK_SECONDS else FEWEST
    return gone


def _announce(repository: Repository, phase: str, names: Iterable[str]) -> str:
    packs = frozenset(found for name in names if (found := layout.pack_id(name)) is not None)
    bigs = frozenset(found for name in names if (found := layout.big_id(name)) is not None)
    file = layout.notice_name(os.urandom(16))
    repository.remote.put(file, layout.Notice(phase, clock.now_ns(), packs, bigs).pack())
    return file


def _needs(repository: Repository) -> Needs:
    needs = Needs(repository)
    needs.read()
    _refuse(repository, needs)
    return needs


def _refuse(repository: Repository, needs: Needs) -> None:
    if needs.faults:
        raise UnreadableSegments(repository.url, needs.faults)


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
