"""Programs that are killed, or whose system calls fail, at every point: `python -m tests.support.scenarios NAME`.

The store is SCALABLE_CACHE_DIR, and "prepare NAME" brings it into the state that NAME starts from. A program
prints a line when something is acknowledged: "kept KIND N" once the entry is in the files, "gone KIND N" once it
was forgotten. `check` says whether a store is as it must be, given those lines.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from scalable_cas import Store, cacheable
from scalable_cas.caching.session import current
from scalable_cas.errors import ScalableCasError, StoreNotFound
from scalable_cas.store.folding import execute_repack, plan_repack
from scalable_cas.store.lifecycle import close_all

from .stores import flip, forget_open_stores, leftovers, object_files, pack_files, quiet
from .stores import overwrite as write_over


@cacheable
def small(n):
    return {"n": n, "text": f"value {n}", "none": None}


@cacheable
def large(n):
    return [bytes([n % 256]) * 70_000, n]


@cacheable
def buffers(n):
    """Pickled, with two buffers of its own: a root and its children."""
    return Pair(bytearray([n % 256]) * 30_000, bytearray([n % 256, 1]) * 30_000)


@cacheable
def same(n):
    """Few contents under many keys."""
    return {"content": n % 2, "text": "x" * 3000}


@cacheable(_ignore="salt")
def changing(n, salt):
    return {"n": n, "salt": salt}


class Pair:
    def __init__(self, *parts):
        self.parts = parts

    def __eq__(self, other):
        return type(other) is Pair and self.parts == other.parts

    __hash__ = None

    def __reduce_ex__(self, protocol):
        from pickle import PickleBuffer

        return _pair, tuple(PickleBuffer(part) for part in self.parts)


def _pair(*parts):
    return Pair(*map(bytearray, parts))


@cacheable
def cut(n):
    """Stored in chunks, most of which all of them share."""
    import random

    return random.Random(0).randbytes(1_050_000) + random.Random(n).randbytes(90_000)


FUNCTIONS = {"small": small, "large": large, "buffers": buffers, "same": same}


LARGE = {"cut": cut}  # of their own programs only: a megabyte each


def say(*words) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def call(kind: str, n: int, *, ack: bool = True) -> None:
    function = FUNCTIONS.get(kind) or LARGE[kind]
    found = function(n)
    assert found == function.__wrapped__(n), (kind, n, found)
    store = current().store
    if ack and store is not None:
        store.flush()
        if function.is_cached(n):
            say("kept", kind, n)


def everything(numbers) -> None:
    for n in numbers:
        for kind in FUNCTIONS:
            call(kind, n)


# --- the programs -----------------------------------------------------------------------------------------


def first():
    everything(range(1))


def again():
    everything(range(10, 12))


def duplicate():
    """Content that is there already, under other keys; one copy of it is damaged."""
    for n in range(20, 23):
        call("same", n)


def burst():
    """Many small results, written by one commit."""
    for n in range(100, 160):
        assert small(n) == small.__wrapped__(n)
    store = current().store
    if store is not None:
        store.flush()
    for n in range(100, 160):
        if small.is_cached(n):
            say("kept", "small", n)


def overwrite():
    for n in range(3):
        found = changing(n, "new", _cache_bypass=True)
        assert found == {"n": n, "salt": "new"}
        store = current().store
        if store is not None:
            store.flush()
        if changing.is_cached(n, "") and changing(n, "")["salt"] == "new":
            say("kept", "changing", n, "new")


def clear():
    for kind in ("small", "buffers", "same"):
        if FUNCTIONS[kind].cache_clear():
            say("gone", kind, 0)
            say("gone", kind, 1)


def collect():
    with Store.open(os.environ["SCALABLE_CACHE_DIR"]) as store:
        store.gc(keep_last=1, function="tests.support.scenarios.large")
        store.gc()


def chunks():
    """Large values with parts that are there already, and a stream."""
    import io

    for n in (10, 11):
        call("cut", n)
    content = cut.__wrapped__(12) + bytes(100_000)
    with suppress(ScalableCasError), Store.open(os.environ["SCALABLE_CACHE_DIR"]) as store:
        oid = store.put_stream(io.BytesIO(content))
        assert store.get_bytes(oid.hex()) == content


def collect_chunks():
    """Some chunks of a pack are dead, the others are needed by what is left."""
    with Store.open(os.environ["SCALABLE_CACHE_DIR"]) as store:
        store.gc()


def repack():
    """Loose objects and packs become one pack."""
    with Store.open(os.environ["SCALABLE_CACHE_DIR"]) as store:
        execute_repack(store, plan_repack(store))


def collect_packs():
    """Of two packs one is all dead, the other in part."""
    with Store.open(os.environ["SCALABLE_CACHE_DIR"]) as store:
        store.gc()


def pull():
    """Small results that become a pack, and one in chunks, from a folder."""
    root = os.environ["SCALABLE_CACHE_DIR"]
    with Store.open(root) as store:
        store.pull(f"file://{root}/remote", jobs=1)
    for n in PULLED:
        if small.is_cached(n):
            say("kept", "small", n)
    if cut.is_cached(10):
        say("kept", "cut", 10)


def reindex():
    from scalable_cas.store.rebuild import fill_index

    with Store.open(os.environ["SCALABLE_CACHE_DIR"]) as store:
        fill_index(store.index, store.journal, store.objects)


def reopen():
    """The index is gone: the next call makes it anew."""
    call("small", 0)


def configure():
    from click.testing import CliRunner

    from scalable_cas.cli.main import cli

    result = CliRunner().invoke(
        cli, ["--store", os.environ["SCALABLE_CACHE_DIR"], "config", "set", "sync", "strict"]
    )
    if result.exit_code not in (0, 1):
        raise SystemExit(f"{result.output} {result.exception!r}")


def repair():
    from scalable_cas.ops.verify import repair as act
    from scalable_cas.ops.verify import verify

    with Store.open(os.environ["SCALABLE_CACHE_DIR"]) as store:
        act(store, verify(store))


PROGRAMS = {
    program.__name__: program
    for program in (
        first,
        again,
        duplicate,
        burst,
        overwrite,
        clear,
        collect,
        collect_packs,
        chunks,
        collect_chunks,
        repack,
        reindex,
        reopen,
        configure,
        repair,
        pull,
    )
}
#: What is in the store before each but the first; (kind, n).
STORED = [(kind, n) for kind in FUNCTIONS for n in range(2)]


#: Before `repair` one of these is damaged in its pack.
DAMAGED = (*range(200, 204), *range(240, 244))


#: What `pull` brings, beside a result in chunks.
PULLED = range(300, 340)


def prepare(name: str) -> list[str]:
    """Bring the store into the state that a program starts from; returns what is acknowledged there."""
    if name == "first":
        return []
    if name == "pull":
        _share()
    for kind, n in STORED:
        call(kind, n)
    for n in range(3):
        changing(n, "old")
    current().store.flush()
    if name == "collect":  # garbage of every kind
        for n in range(5, 8):
            buffers(n), small(n)
        current().store.flush()
        for n in range(5, 8):
            buffers.cache_forget(n), small.cache_forget(n)
    cuts = []
    if "chunks" in name:
        cuts = list(range(4))
        for n in cuts:
            cut(n)
        current().store.flush()
    if name == "collect_chunks":
        cut.cache_forget(0), cut.cache_forget(2)
        cuts = [1, 3]
    packed = []
    if name in ("collect_packs", "repack", "repair", "reindex"):
        for first in (200, 240):
            for n in range(first, first + 40):
                small(n)
            current().store.flush()
        packed = list(range(200, 280))
    if name == "collect_packs":
        for n in range(200, 250):
            small.cache_forget(n)
        packed = list(range(250, 280))
    root = current().store.root
    forget_open_stores()
    if name == "repair":
        flip(pack_files(root)[0], 200)
    if name == "repair":
        write_over(object_files(root)[0], b"damaged")
        object_files(root)[1].unlink()
    if name == "reopen":
        import shutil

        shutil.rmtree(f"{root}/index")
    kept = [f"kept {kind} {n}" for kind, n in STORED]
    kept += [f"kept small {n}" for n in packed]
    kept += [f"kept cut {n}" for n in cuts]
    return kept + [f"kept changing {n} old" for n in range(3)]


def _share() -> None:
    """Have a folder with results, and none of them here."""
    for n in PULLED:
        small(n)
    cut(10)
    forget_open_stores()
    root = os.environ["SCALABLE_CACHE_DIR"]
    with Store.open(root) as store:
        store.push(f"file://{root}/remote")
        store.forget([entry.record.rowkey for entry in store.entries()])
        store.gc()


# --- the check --------------------------------------------------------------------------------------------


def expected(name: str, before: list[str], said: list[str]) -> set[tuple[str, ...]]:
    """What must be there."""
    kept = {tuple(line.split()[1:]) for line in [*before, *said] if line.startswith("kept ")}
    gone = {tuple(line.split()[1:]) for line in said if line.startswith("gone ")}
    if name == "overwrite":  # either value of those that were not acknowledged
        kept = {item for item in kept if item[0] != "changing" or item[2] == "new"}
    if name == "clear":
        kept = {item for item in kept if item[0] in ("large", "changing")}
    if name == "collect":
        kept -= {("large", "0")}
    if name == "repair":  # what was damaged is forgotten or put back; nothing is promised but truth
        kept = set()
    return kept - gone


def check(path: str, name: str, before: list[str], said: list[str]) -> list[str]:
    """What is wrong with the store after a program was cut short; the environment names it."""
    wrong: list[str] = []
    kept = expected(name, before, said)
    try:
        with quiet():
            _check(path, name, kept, wrong)
            _check_forgotten(said, wrong)
            forget_open_stores()
            _check_after(path, name, kept, wrong)
    except (ScalableCasError, OSError, AssertionError) as error:
        wrong.append(f"{type(error).__name__}: {error}")
    finally:
        forget_open_stores()
    return wrong


def _check(path, name, kept, wrong):
    try:
        with Store(path, heal=True) as store:
            if name != "repair":
                wrong += map(repr, store.verify().findings)
    except StoreNotFound:
        if kept:
            wrong.append("there is no store")
        return
    for kind, n, *salt in sorted(kept):
        if salt:
            if not changing.is_cached(int(n), *salt) or changing(int(n), "other") != {
                "n": int(n),
                "salt": salt[0],
            }:
                wrong.append(f"changing {n} is lost or wrong")
        else:
            function = FUNCTIONS.get(kind) or LARGE[kind]
            if not function.is_cached(int(n)) or function(int(n)) != function.__wrapped__(int(n)):
                wrong.append(f"{kind} {n} is lost or wrong")
    if name == "overwrite":
        for n in range(3):
            if changing(n, "other")["salt"] not in ("old", "new"):
                wrong.append(f"changing {n} is lost")


def _check_forgotten(said, wrong):
    for line in said:
        if line.startswith("gone "):
            _, kind, n = line.split()
            if FUNCTIONS[kind].is_cached(int(n)):
                wrong.append(f"{kind} {n} is back")


def _check_after(path, name, kept, wrong):
    """The next calls work and are stored; gc tidies up; everything is still there after a rebuild."""
    for n in (0, 1, 50, 51, *(DAMAGED if name == "repair" else ())):
        for kind, function in FUNCTIONS.items():
            if function(n) != function.__wrapped__(n):
                wrong.append(f"{kind} {n} is wrong")
    forget_open_stores()
    with Store.open(path) as store:
        store.gc()
        wrong += map(repr, store.verify().findings)
        wrong += [f"left over: {name}" for name in leftovers(path) if name != "remote"]
        entries = {entry.key for entry in store.entries()}
        from scalable_cas.store.rebuild import fill_index

        fill_index(store.index, store.journal, store.objects)
        # More may come back: what was in the journal, and not yet in the index. What was being forgotten may go.
        if name not in ("clear", "collect"):
            wrong += [f"a rebuild loses {key}" for key in entries - {entry.key for entry in store.entries()}]
        wrong += map(repr, store.verify().findings)
    for kind, function in FUNCTIONS.items():
        wrong += [f"{kind} {n} is not stored" for n in (50, 51) if not function.is_cached(n)]
    for kind, n, *salt in kept:
        function = changing if salt else FUNCTIONS.get(kind) or LARGE[kind]
        if not function.is_cached(int(n), *salt):
            wrong.append(f"{kind} {n} is lost after a rebuild")


if __name__ == "__main__":
    from tests.support import scenarios  # under its own name, so that the functions have the same everywhere

    *mode, program = sys.argv[1:]
    if mode:
        print("\n".join(scenarios.prepare(program)))
    else:
        scenarios.PROGRAMS[program]()
        close_all()
