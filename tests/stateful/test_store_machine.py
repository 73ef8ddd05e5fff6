"""A real store against a dictionary, in random order: calls, forgetting, pins, collections, damage, lost and rebuilt indexes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from scalable_cas import cacheable
from scalable_cas.caching.session import current
from scalable_cas.errors import CorruptObject, ObjectNotFound
from scalable_cas.ops.gc import Policy, execute, plan_gc
from scalable_cas.ops.verify import repair, verify
from scalable_cas.store import folding, writer
from scalable_cas.store.folding import execute_repack, plan_repack
from scalable_cas.store.rebuild import fill_index
from tests.support.scenarios import Pair
from tests.support.stores import (
    forget_open_stores,
    leftovers,
    object_files,
    overwrite,
    pack_files,
    quiet,
)

runs: list[tuple[str, int]] = []


@cacheable
def small(n):
    runs.append(("small", n))
    return {"n": n}


@cacheable
def nothing(n):
    """Results that are easily taken for the absence of one."""
    runs.append(("nothing", n))
    return (None, False, 0, "", b"")[n % 5]


@cacheable
def large(n):
    runs.append(("large", n))
    return [n, f"{n} " * 2000]


@cacheable
def shared(n):
    """Two contents under all keys."""
    runs.append(("shared", n))
    return b"content %d " % (n % 2) * 300


@cacheable
def buffers(n):
    runs.append(("buffers", n))
    return Pair(bytearray([n]) * 3000, bytearray([n % 2, 1]) * 3000)


@cacheable(_ignore="salt")
def changing(n, salt):
    runs.append(("changing", n))
    return (n, salt)


FUNCTIONS = {f.__name__: f for f in (small, nothing, large, shared, buffers)}
kinds = st.sampled_from(sorted(FUNCTIONS))
numbers = st.integers(0, 5)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.path = Path(self.folder, "store")
        os.environ["SCALABLE_CACHE_DIR"] = str(self.path)
        self.clock = 0
        self.stored: dict[tuple[str, int], int] = {}  # -> when, to know the newest
        self.salts: dict[int, int] = {}  # the stored result of `changing`
        self.pinned: set[tuple[str, int]] = set()
        self.whole: dict[Path, bytes] = {}  # damaged files as they were
        self.doubtful = False  # damage was met since: what is stored is only known again after a clear

    def teardown(self):
        with quiet():
            forget_open_stores()
        os.environ.pop("SCALABLE_CACHE_DIR", None)
        shutil.rmtree(self.folder)

    @property
    def store(self):
        return current().store

    def tick(self):
        self.clock += 1
        return self.clock

    def rowkey(self, kind, n):
        function = changing if kind == "changing" else FUNCTIONS[kind]
        args = (n, 0) if kind == "changing" else (n,)
        key = bytes.fromhex(function.cache_key(*args))
        self.store.flush()
        return next(rowkey for rowkey, _ in self.store.index.scan("refs") if rowkey[8:] == key)

    def healed(self):
        """Forget the damage of files that are whole again."""
        self.store.flush()
        self.whole = {
            f: content for f, content in self.whole.items() if not f.is_file() or f.read_bytes() != content
        }

    # --- calls ----------------------------------------------------------------------------------------------

    @rule(kind=kinds, n=numbers)
    def call(self, kind, n):
        runs.clear()
        with quiet():
            found = FUNCTIONS[kind](n)
        ran = bool(runs)
        expected = FUNCTIONS[kind].__wrapped__(n)
        assert found == expected
        assert type(found) is type(expected)
        if not self.doubtful:
            assert ran == ((kind, n) not in self.stored), "a hit runs nothing, a miss runs"
        if ran:
            self.stored[kind, n] = self.tick()
        self.healed()

    @rule(n=numbers, salt=st.integers(1, 9), bypass=st.booleans())
    def change(self, n, salt, bypass):
        runs.clear()
        with quiet():
            found = changing(n, salt, _cache_bypass=True) if bypass else changing(n, salt)
        if runs:
            assert found == (n, salt)
            assert bypass or self.doubtful or n not in self.salts
            self.salts[n] = salt
            self.stored["changing", n] = self.tick()
        else:
            assert found == (n, self.salts[n])
        self.healed()

    @rule(kind=kinds, n=numbers)
    def is_cached(self, kind, n):
        if not self.doubtful:
            assert FUNCTIONS[kind].is_cached(n) == ((kind, n) in self.stored)

    # --- forgetting -------------------------------------------------------------------------------------------

    def drop(self, entries):
        for entry in entries:
            self.stored.pop(entry, None)
            if entry[0] == "changing":
                self.salts.pop(entry[1], None)

    @rule(kind=kinds, n=numbers)
    def forget(self, kind, n):
        there = FUNCTIONS[kind].cache_forget(n)
        assert self.doubtful or there == ((kind, n) in self.stored)
        self.drop([(kind, n)])

    @rule(kind=kinds)
    def clear(self, kind):
        mine = [entry for entry in self.stored if entry[0] == kind]
        count = FUNCTIONS[kind].cache_clear()
        assert self.doubtful or count == len(mine)
        self.drop(mine)

    @precondition(lambda self: self.stored and not self.doubtful)
    @rule(data=st.data())
    def pin(self, data):
        entry = data.draw(st.sampled_from(sorted(self.stored)))
        pinned = entry not in self.pinned
        self.store.pin([self.rowkey(*entry)], pinned=pinned)
        (self.pinned.add if pinned else self.pinned.discard)(entry)

    @rule(
        policy=st.sampled_from(
            [{}, {"older_than": 0}, {"keep_last": 1}, {"keep_last": 3}, {"older_than": 1e6}, {"max_size": 0}]
        )
    )
    def collect(self, policy):
        try:
            execute(self.store, plan_gc(self.store, Policy(**policy)))
        except (CorruptObject, ObjectNotFound):
            assert self.whole, "nothing was damaged"
            self.doubtful = True  # it may have dropped entries before it met the damage
            return
        kept = {entry for entry in self.stored if entry in self.pinned}
        free = [entry for entry in self.stored if entry not in kept]
        if not policy or policy == {"older_than": 1e6}:
            kept |= set(free)
        elif "keep_last" in policy:
            for kind in {entry[0] for entry in free}:
                mine = sorted(
                    (entry for entry in free if entry[0] == kind), key=lambda entry: -self.stored[entry]
                )
                kept |= set(mine[: policy["keep_last"]])
        self.drop([entry for entry in self.stored if entry not in kept])
        self.whole = {f: content for f, content in self.whole.items() if f.exists() or self.doubtful}
        assert leftovers(self.path) == []

    # --- faults -----------------------------------------------------------------------------------------------

    @rule(data=st.data(), how=st.sampled_from(["flip", "truncate", "delete", "extend"]))
    def damage(self, data, how):
        self.store.flush()
        files = [file for file in object_files(self.path) if file not in self.whole]  # twice may be as never
        if not files:
            return
        file = data.draw(st.sampled_from(files))
        content = file.read_bytes()
        # the one bit of a zstd frame's head that means nothing is left alone
        at = data.draw(st.integers(0, len(content) - 1).filter(lambda at: at != 68))
        self.whole.setdefault(file, content)
        self.doubtful = True
        match how:
            case "flip":
                overwrite(file, content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            case "truncate":
                overwrite(file, content[:at])
            case "extend":
                overwrite(file, content + b"x" * (at + 1))
            case "delete":
                file.unlink()

    @precondition(lambda self: self.doubtful)
    @rule()
    def clear_everything(self):
        """After damage: begin again from what is certain."""
        with quiet():
            for function in (*FUNCTIONS.values(), changing):
                function.cache_clear()
            for pin in self.store.index.pins():
                self.store.pin([pin], pinned=False)
            execute(self.store, plan_gc(self.store, Policy()))
        self.stored.clear()
        self.salts.clear()
        self.pinned.clear()
        self.whole.clear()
        self.doubtful = False
        assert object_files(self.path) == []

    @rule()
    def reopen(self):
        with quiet():
            forget_open_stores()

    @rule()
    def lose_the_index(self):
        self.store.flush()
        with quiet():
            forget_open_stores()
        shutil.rmtree(self.path / "index")
        if self.whole:
            self.doubtful = True

    @rule()
    def reindex(self):
        self.store.flush()
        fill_index(self.store.index, self.store.journal, self.store.objects)

    # --- always -----------------------------------------------------------------------------------------------

    @invariant()
    def verify_finds_what_was_damaged_and_nothing_else(self):
        if not self.path.exists():
            return
        found = {finding.subject for finding in verify(self.store).findings}
        damaged = {file.parent.name + file.name: file for file in self.whole}
        assert found <= damaged.keys(), found - damaged.keys()
        assert {name for name, file in damaged.items() if file.exists()} <= found

    @invariant()
    def as_many_entries_as_were_stored(self):
        if not self.doubtful and self.path.exists():
            self.store.flush()
            assert self.store.index.count("refs") == len(self.stored)
            assert self.store.index.count("records") == len(self.stored)


class PackedMachine(StoreMachine):
    """The same where every commit writes a pack, packs are folded, and it is packs that are damaged."""

    def __init__(self):
        super().__init__()
        self.broken = False  # a pack was damaged since the last clear
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(writer, "PACK_LEAST", 1)
        self.patches.setattr(folding, "MOST_PACKS", 4)
        self.patches.setattr(folding, "MOST_AT_CLOSE", 6)

    def teardown(self):
        super().teardown()
        self.patches.undo()

    @rule(first=numbers)
    def burst(self, first):
        """Several results in one commit, and so in one pack."""
        self.store.flush()
        before = self.store.writer._committed
        self.store.writer._committed = float("inf")
        for n in range(first, first + 4):
            self.call("small", n)
            self.call("shared", n)
        self.store.writer._committed = before
        self.store.flush()

    @rule()
    def repack(self):
        self.store.flush()
        execute_repack(self.store, plan_repack(self.store))
        assert leftovers(self.path) == []

    @rule(data=st.data(), how=st.sampled_from(["flip", "truncate", "delete", "extend"]))
    def damage(self, data, how):
        self.store.flush()
        files = pack_files(self.path)
        if not files:
            return
        file = data.draw(st.sampled_from(files))
        content = file.read_bytes()
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        self.doubtful = self.broken = True
        match how:
            case "flip":
                overwrite(file, content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            case "truncate":
                overwrite(file, content[:at])
            case "extend":
                overwrite(file, content + b"x" * (at + 1))
            case "delete":
                file.unlink()

    @rule(policy=st.sampled_from([{}, {"older_than": 0}, {"keep_last": 1}]))
    def collect(self, policy):
        if not self.broken:
            super().collect(policy)
            return
        try:
            execute(self.store, plan_gc(self.store, Policy(**policy)))
        except (CorruptObject, ObjectNotFound):
            pass

    @precondition(lambda self: self.broken)
    @rule()
    def mend(self):
        """Repair leaves nothing to find."""
        with quiet():
            repair(self.store, verify(self.store))
        assert verify(self.store).findings == []
        self.broken = False

    @precondition(lambda self: self.doubtful)
    @rule()
    def clear_everything(self):
        super().clear_everything()
        self.broken = False
        assert pack_files(self.path) == []

    @rule()
    def lose_the_index(self):
        super().lose_the_index()
        self.doubtful = self.doubtful or self.broken

    @invariant()
    def verify_finds_what_was_damaged_and_nothing_else(self):
        if self.path.exists() and not self.broken:
            assert verify(self.store).findings == []


def test_a_store_and_a_dictionary_agree():
    run_state_machine_as_test(StoreMachine, settings=settings(max_examples=40, stateful_step_count=25))


def test_a_packed_store_and_a_dictionary_agree():
    run_state_machine_as_test(PackedMachine, settings=settings(max_examples=40, stateful_step_count=25))


@pytest.mark.deep
def test_a_packed_store_for_a_long_time():
    run_state_machine_as_test(PackedMachine, settings=settings(max_examples=1500, stateful_step_count=60))


@pytest.mark.deep
def test_for_a_long_time():
    run_state_machine_as_test(StoreMachine, settings=settings(max_examples=1500, stateful_step_count=60))
