"""The protocol of publishing and collecting (scalable_cas/ops/gc.py), explored completely.

A small world: a value V and a root R that names it; two entries, A and B, that both need R (so the second
publisher uses again what the first one stored). Actors take steps in every possible order; any of them may be
killed after any step, which frees the write lock and loses whatever it had not committed.

- Publisher: read the epoch; put V; put R (each is kept if its file is there); lock; if the epoch is another
  one, or odd, put both again and make it even; write the rows of V and R with the current epoch, and the entry;
  commit; unlock.
- Evictor: under the lock, remove one entry.
- Collector: lock; count the epoch up to the next even number and take a snapshot of the entries; unlock. Mark
  from the snapshot. For R, then for V: lock; unless it is marked, or its row's epoch is not older than the
  collector's, remove the row and make the epoch odd; commit; remove the file; make the epoch even; unlock.

The odd epoch came from this model: with one count for each sweep, a publisher that read the epoch between the
commit of the rows and the removal of the files found nothing changed under the lock, and named what was gone.

Broken is, wherever nobody is inside the lock: an entry whose R or V is missing (I2), or R in the index while V is
not (I3). A *file* of R without V can be left behind where a publisher is killed between its puts and its commit
and a collector took V meanwhile: no row names it, nobody relies on it, and the next collection takes it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import pytest

V, R = 0, 1
NONE = -1  # no row


class World(NamedTuple):
    files: tuple[bool, bool]  # of V and R
    rows: tuple[int, int]  # the epoch of each one's row, or NONE
    entries: tuple[bool, bool]  # A and B
    epoch: int
    lock: int  # the actor that holds it, or -1
    actors: tuple[tuple, ...]  # each: (state, what it remembers…)


def put(items, index, value):
    changed = list(items)
    changed[index] = value
    return tuple(changed)


class Publisher:
    """Stores entry ``number``. Rules to leave out: "reput" (nothing is put again), "odd" (an odd epoch is as good
    as an even one), "lock" (rows appear at any time), "epoch" (rows carry the epoch that was read at first).
    """

    START = ("read",)
    STEPS = 6

    def __init__(self, number, without=""):
        self.number = number
        self.without = without

    def steps(self, me, world):
        state, *memory = world.actors[me]
        if state == "read":
            yield "reads the epoch", self.to(world, me, "put V", world.epoch)
        elif state == "put V":
            yield "puts V", self.to(world._replace(files=put(world.files, V, True)), me, "put R", *memory)
        elif state == "put R":
            yield "puts R", self.to(world._replace(files=put(world.files, R, True)), me, "lock", *memory)
        elif state == "lock" and (world.lock < 0 or self.without == "lock"):
            lock = world.lock if self.without == "lock" else me
            yield "locks", self.to(world._replace(lock=lock), me, "check", *memory)
        elif state == "check":
            files, odd = world.files, world.epoch % 2 and self.without != "odd"
            if (world.epoch != memory[0] or odd) and self.without != "reput":
                files = (True, True)
            yield "checks the epoch", self.to(world._replace(files=files), me, "commit", *memory)
        elif state == "commit":
            current = world.epoch + world.epoch % 2
            epoch = memory[0] if self.without == "epoch" else current
            lock = -1 if world.lock == me else world.lock
            entries = put(world.entries, self.number, True)
            after = world._replace(rows=(epoch, epoch), entries=entries, lock=lock, epoch=current)
            yield "commits", self.to(after, me, "done")

    @staticmethod
    def to(world, me, *state):
        return world._replace(actors=put(world.actors, me, state))


class Evictor:
    """Removes entry ``number``, once."""

    START = ("evict",)

    def __init__(self, number):
        self.number = number

    def steps(self, me, world):
        if world.actors[me] == ("evict",) and world.lock < 0 and world.entries[self.number]:
            after = world._replace(entries=put(world.entries, self.number, False))
            yield "evicts", Publisher.to(after, me, "done")


class Collector:
    """One collection. Rules to leave out: "count" (the first step does not count the epoch up), "count sweeps"
    (sweeping does not), "odd" (sweeping counts once, with the rows), "atomic" (the snapshot is taken after the
    lock was given back), "recheck" (rows' epochs are not looked at), "order" (V goes before R), "held" (the files
    are removed after the lock was given back).
    """

    START = ("begin",)

    def __init__(self, without=""):
        self.without = without
        self.order = (V, R) if without == "order" else (R, V)

    def steps(self, me, world):
        state, *memory = world.actors[me]
        if state == "begin" and world.lock < 0:
            epoch = world.epoch if self.without == "count" else world.epoch + 2 - world.epoch % 2
            after = world._replace(epoch=epoch)
            if self.without == "atomic":
                yield "counts", Publisher.to(after, me, "snapshot", epoch)
            else:
                yield "counts, takes its snapshot", Publisher.to(after, me, "mark", epoch, any(world.entries))
        elif state == "snapshot":
            yield "takes its snapshot", Publisher.to(world, me, "mark", *memory, any(world.entries))
        elif state == "mark":
            yield "marks", Publisher.to(world, me, "sweep", *memory, 0)
        elif state == "sweep" and world.lock < 0:
            yield self.sweep(me, world, *memory)
        elif state == "unlink":
            oid = self.order[memory[2]]
            after = world._replace(files=put(world.files, oid, False))
            yield f"removes {'VR'[oid]}", Publisher.to(after, me, "count", *memory)
        elif state == "count":
            epoch, needed, at = memory
            even = world.epoch + 1 if self.without not in ("odd", "count sweeps") else world.epoch
            lock = -1 if world.lock == me else world.lock
            after = world._replace(epoch=even, lock=lock)
            yield "counts, unlocks", Publisher.to(after, me, "sweep", epoch, needed, at + 1)

    def sweep(self, me, world, epoch, needed, at):
        if at == 2:
            return "ends", Publisher.to(world, me, "done")
        oid = self.order[at]
        if needed or (world.rows[oid] >= epoch and self.without != "recheck"):
            return "keeps one", Publisher.to(world, me, "sweep", epoch, needed, at + 1)
        counted = world.epoch + {"count sweeps": 0, "odd": 2}.get(self.without, 1 + world.epoch % 2)
        lock = world.lock if self.without == "held" else me
        after = world._replace(rows=put(world.rows, oid, NONE), epoch=counted, lock=lock)
        return f"drops the row of {'VR'[oid]}", Publisher.to(after, me, "unlink", epoch, needed, at)


def broken(world):
    if world.lock >= 0:
        return None
    if any(world.entries) and not all(world.files):
        return "I2"
    if world.rows[R] != NONE and not (world.rows[V] != NONE and all(world.files)):
        return "I3"
    return None


def explore(*actors, stored=True, crashes=True):
    """(what is broken or None, the shortest way there, the number of worlds)."""
    here = World(
        (stored, stored),
        (0, 0) if stored else (NONE, NONE),
        (stored, False),
        0,
        -1,
        tuple(a.START for a in actors),
    )
    seen = {here: None}
    queue = deque([here])
    while queue:
        world = queue.popleft()
        fault = broken(world)
        if fault:
            return fault, way(seen, world), len(seen)
        for after, what in followers(world, actors, crashes):
            if after not in seen:
                seen[after] = (world, what)
                queue.append(after)
    return None, [], len(seen)


def followers(world, actors, crashes):
    for me, actor in enumerate(actors):
        for what, after in actor.steps(me, world):
            yield after, f"{type(actor).__name__} {me} {what}"
        if crashes and world.actors[me] != ("done",) and world.actors[me] != actor.START:
            lock = -1 if world.lock == me else world.lock
            yield (
                Publisher.to(world._replace(lock=lock), me, "done"),
                f"{type(actor).__name__} {me} is killed",
            )


def way(seen, world):
    steps = []
    while seen[world]:
        world, what = seen[world]
        steps.append(what)
    return steps[::-1]


SCENES = {
    "a publisher and a collector": lambda: [Publisher(1), Collector()],
    "with an evictor": lambda: [Publisher(1), Collector(), Evictor(0)],
    "two publishers": lambda: [Publisher(0), Publisher(1), Collector(), Evictor(0)],
    "two collectors": lambda: [Publisher(1), Collector(), Collector(), Evictor(0)],
}
LARGEST = [Publisher(0), Publisher(1), Collector(), Collector(), Evictor(0), Evictor(1)]


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("scene", SCENES)
def test_no_order_of_steps_breaks_the_store(scene, stored):
    fault, steps, worlds = explore(*SCENES[scene](), stored=stored)
    assert fault is None, "\n".join([fault, *steps])
    assert worlds > 50, "the actors did something"


@pytest.mark.deep
@pytest.mark.parametrize("stored", [True, False])
def test_nor_do_two_of_each(stored):
    """Some 10 million steps, about a minute."""
    fault, steps, _ = explore(*LARGEST, stored=stored)
    assert fault is None, "\n".join([fault, *steps])


#: rule -> the actors, one of which leaves it out
RULES = {
    "objects are put again when the epoch has changed": (
        lambda: [Publisher(1, "reput"), Collector(), Evictor(0)]
    ),
    "rows appear under the lock": (lambda: [Publisher(1, "lock"), Collector(), Evictor(0)]),
    "rows carry the epoch of their commit": (lambda: [Publisher(1, "epoch"), Collector(), Evictor(0)]),
    "an odd epoch is not trusted": (lambda: [Publisher(1, "odd"), Collector(), Evictor(0)]),
    "the epoch is odd while files are removed": (lambda: [Publisher(1), Collector("odd"), Evictor(0)]),
    "it counts the epoch up with each sweep": (lambda: [Publisher(1), Collector("count sweeps"), Evictor(0)]),
    "it looks at the epochs of rows when it sweeps": (
        lambda: [Publisher(1), Collector("recheck"), Evictor(0)]
    ),
    "it removes parents before children": (lambda: [Publisher(1), Collector("order"), Evictor(0)]),
    "it keeps the lock until the files are gone": (lambda: [Publisher(1), Collector("held"), Evictor(0)]),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_needed(rule):
    fault, steps, _ = explore(*RULES[rule](), stored=True)
    assert fault in {"I2", "I3"}, "nothing breaks without it"
    assert steps


def test_a_snapshot_after_the_lock_is_late_but_safe():
    """Taken in the same step because that is simpler to see through; the epochs alone would do."""
    assert explore(Publisher(1), Collector("atomic"), Evictor(0))[0] is None


@pytest.mark.parametrize("without", ["", "count"])
def test_what_was_evicted_is_freed_by_the_next_collection(without):
    """That is what the first count is for: without it the rows of the present epoch would all stay."""
    world = World((True, True), (0, 0), (False, False), 0, -1, (Collector.START,))
    collector = Collector(without)
    while step := next(collector.steps(0, world), None):
        world = step[1]
    assert world.actors == (("done",),)
    assert world.files == ((False, False) if not without else (True, True))
