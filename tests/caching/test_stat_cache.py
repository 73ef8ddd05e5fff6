"""The stat cache: an input that did not change is not read again, and one that did never goes unseen."""

from __future__ import annotations

import mmap
import os
import shutil
import time
from types import SimpleNamespace

import pytest
from blake3 import blake3
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from scalable_cas import Store, clock
from scalable_cas.caching import DirType, FileType, cacheable
from scalable_cas.keys import files, stats
from scalable_cas.keys.stats import Memory
from scalable_cas.storage import index, netfs
from scalable_cas.store import known_files
from scalable_cas.store.rebuild import fill_index
from tests.support.stores import assert_whole, forget_open_stores, recorded

SIZE = 70_000  # a local file of this size is worth remembering
WINDOW = 30_000_000  # ns: longer than any tick, and not the 2 s that tests would wait for


def content(number: int, size: int = SIZE) -> bytes:
    return b"%08d" % number + bytes(size - 8)


def settle() -> None:
    """Wait until what is on the disk counts as old."""
    time.sleep(1.5 * WINDOW / 1e9)


@cacheable(path=FileType)
def head(path):
    with open(path, "rb") as file:
        return int(file.read(8))


@cacheable(folder=DirType)
def heads(folder):
    return sorted(head.__wrapped__(entry.path) for entry in os.scandir(folder))


@pytest.fixture
def kind():
    """The type of file system that the tests believe to be on: some run on tmpfs, which is never trusted."""
    return ["ext4"]


@pytest.fixture(autouse=True)
def reads(workdir, monkeypatch, kind):
    """The sizes of the files that were read as a whole."""
    read: list[int] = []
    real = files.digest_descriptor
    monkeypatch.setattr(files, "digest_descriptor", lambda d, size: (read.append(size), real(d, size))[1])
    monkeypatch.setattr(known_files, "LOCAL", (WINDOW, 64 << 10, False))
    seen = SimpleNamespace(**{**vars(netfs), "file_system": lambda path: kind[0]})
    monkeypatch.setattr(known_files, "netfs", seen)
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))
    forget_open_stores()
    yield read
    forget_open_stores()


@pytest.fixture
def old(workdir):
    """A file that was written a while ago."""
    path = workdir / "input"
    path.write_bytes(content(1))
    settle()
    return path


def overwrite(path, number: int) -> None:
    """In place: the inode stays."""
    with open(path, "r+b") as file:
        file.write(content(number))


# --- what it saves -----------------------------------------------------------------------------------------


def test_an_unchanged_file_is_read_once(old, reads):
    assert [head(old), head(str(old)), head(FileType(old)), head(path=old)] == [1] * 4
    assert reads == [SIZE]


def test_the_next_process_reads_nothing(old, reads):
    assert head(old) == 1
    forget_open_stores()
    assert head(old) == 1
    assert head.is_cached(old)
    assert reads == [SIZE]


def test_a_hit_alone_is_remembered_too_when_the_process_ends(old, reads):
    assert head(old) == 1
    forget_open_stores()
    settle()
    old.touch()
    settle()
    assert head(old) == 1  # nothing is committed by this
    forget_open_stores()
    assert head(old) == 1
    assert reads == [SIZE, SIZE]


def test_two_processes(old, run):
    program = (
        "import sys\n"
        "from scalable_cas.keys import files\n"
        "from scalable_cas.store import known_files\n"
        "from tests.caching.test_stat_cache import head\n"
        f"known_files.KnownFiles.trust = lambda self, path: ({WINDOW}, 65536, False)\n"
        "real = files.digest_descriptor\n"
        "files.digest_descriptor = lambda *a: (print('reading'), real(*a))[1]\n"
        "print(head('input'))\n"
    )
    outputs = [run("-c", program) for _ in range(2)]
    overwrite(old, 2)
    settle()
    outputs += [run("-c", program) for _ in range(2)]
    assert [done.stdout.split() for done in outputs] == [["reading", "1"], ["1"], ["reading", "2"], ["2"]]


def test_a_miss_reads_its_input_once(workdir, reads, monkeypatch):
    """Also one that is too young to be remembered: the record of the call is made from the same look at it."""
    monkeypatch.setattr(known_files, "LOCAL", (3600 * 10**9, 64 << 10, False))  # so young for long enough
    path = workdir / "input"
    path.write_bytes(content(1))
    assert head(path) == 1
    assert reads == [SIZE, SIZE]  # for the key; and after the run, because its stat tells nothing yet


def test_large_files_in_a_folder(workdir, reads):
    folder = workdir / "folder"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}").write_bytes(content(number))
    (folder / "small").write_bytes(content(7, 100))
    settle()
    assert heads(folder) == heads(folder) == [0, 1, 2, 7]
    assert sorted(reads)[:3] == [SIZE] * 3
    count = len(reads)
    overwrite(folder / "1", 5)
    assert heads(folder) == [0, 2, 5, 7]
    assert set(reads[count:]) == {SIZE}


def test_a_small_local_file_is_read_each_time(workdir, reads):
    path = workdir / "small"
    path.write_bytes(content(1, 65_535))
    settle()
    assert [head(path), head(path)] == [1, 1]
    assert set(reads) == {65_535}
    assert len(reads) >= 2


# --- what it never takes for unchanged ---------------------------------------------------------------------


def coarse(found: os.stat_result) -> stats.Signature:
    """A stat by a clock that ticks every 20 ms, as slow as any that the window is made for."""
    tick = 20_000_000
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns // tick * tick,
        found.st_ctime_ns // tick * tick,
    )


@pytest.mark.parametrize("clock_of_files", [stats.signature_of, coarse])
def test_a_thousand_rewrites_of_one_size_are_all_seen(workdir, monkeypatch, clock_of_files):
    for module in (files, stats):
        monkeypatch.setattr(module, "signature_of", clock_of_files)
    path = workdir / "input"
    path.write_bytes(content(0))
    for number in range(1000):
        overwrite(path, number)
        if number % 100 == 99:
            settle()
        assert head(path) == number
        assert head(path) == number


def through_a_map(path) -> None:
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:8] = b"%08d" % 2


CHANGES = {
    "in place": lambda path: overwrite(path, 2),
    "mtime put back": lambda path: (
        before := os.stat(path),
        overwrite(path, 2),
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns)),
    ),
    "replaced by a rename": lambda path: (
        (path.parent / "new").write_bytes(content(2)),
        settle(),
        os.utime(path.parent / "new", ns=(0, path.stat().st_mtime_ns)),
        (path.parent / "new").replace(path),
    ),
    "through another name": lambda path: (
        os.link(path, path.parent / "other"),
        overwrite(path.parent / "other", 2),
    ),
    "a link to another file": lambda path: (
        path.rename(path.parent / "first"),
        (path.parent / "second").write_bytes(content(2)),
        path.symlink_to("second"),
    ),
    "longer": lambda path: path.write_bytes(content(2, SIZE + 1)),
    "through a memory map": through_a_map,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("new_process", [False, True])
def test_every_change_is_seen(old, change, wait, new_process):
    assert head(old) == head(old) == 1
    change(old)
    if wait:
        settle()
    if new_process:
        forget_open_stores()
    assert head(old) == head(old) == 2


def test_a_link_that_is_given_another_target(old):
    other, link = old.with_name("other"), old.with_name("link")
    other.write_bytes(content(2))
    link.symlink_to(old)
    settle()
    assert head(link) == head(link) == 1
    link.unlink()
    link.symlink_to(other)
    assert head(link) == head(link) == 2


def test_relative_paths_after_a_change_of_folder(workdir, monkeypatch, reads):
    for number, name in enumerate("ab"):
        (workdir / name).mkdir()
        (workdir / name / "input").write_bytes(content(number))
    settle()
    for _ in range(3):
        for number, name in enumerate("ab"):
            monkeypatch.chdir(workdir / name)
            assert head("input") == number
            assert head("../a/input") == 0
    assert len(reads) == 3  # a/input under two names, b/input


def test_a_page_that_is_dirty_in_a_map_keeps_a_file_from_being_remembered(old, reads):
    """It is written again without a new time, until it was flushed."""
    with open(old, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:8] = b"%08d" % 2
        settle()
        assert head(old) == 2
        mapped[:8] = b"%08d" % 3
        assert head(old) == 3
        mapped[:8] = b"%08d" % 4
        assert head(old) == 4
    assert len(reads) >= 3


def test_a_clock_that_was_set_back(old, reads, monkeypatch):
    assert head(old) == head(old) == 1
    assert len(reads) == 1
    now = clock.now_ns()
    monkeypatch.setattr(clock, "now_ns", lambda: now - 3600 * 10**9)
    assert head(old) == 1  # by the clock it is not written yet, so its time may come again
    forget_open_stores()
    assert head(old) == 1
    assert len(reads) == 3


def test_times_that_prove_nothing(old):
    """In the future; no ctime at all; within the window; just outside of it."""
    found = os.stat(old)
    trust = (WINDOW, 0, False)
    rows = known_files.KnownFiles(None)
    for mtime, ctime, kept in (
        (1000 * WINDOW, 800 * WINDOW, False),
        (800 * WINDOW, 1000 * WINDOW, False),
        (10 * WINDOW, 0, False),
        (10 * WINDOW, 899 * WINDOW, False),
        (10 * WINDOW, 900 * WINDOW - WINDOW - 1, True),
    ):
        memory = Memory()
        memory.keep("/f", (found.st_dev, 1, 1, mtime, ctime), bytes(32), 900 * WINDOW, trust)
        assert bool(memory.quick) is kept, (mtime, ctime)
    assert rows.get("/f") is None  # not even a store


@pytest.mark.parametrize("name", ["tmpfs", "vfat", "exfat", "zfs", "fuse.sshfs", "afs", ""])
def test_file_systems_whose_times_are_not_known_to_tell(old, reads, kind, name):
    kind[0] = name
    assert [head(old), head(old)] == [1, 1]
    assert len(reads) >= 2


def test_on_a_network_the_window_is_longer_and_a_file_is_opened(old, reads, kind, monkeypatch):
    kind[0] = "nfs4"
    small = old.with_name("small")
    small.write_bytes(content(3, 10))
    assert [head(old), head(small), head(old), head(small)] == [1, 3, 1, 3]
    assert SIZE in reads
    now = clock.now_ns()
    monkeypatch.setattr(clock, "now_ns", lambda: now + 59 * 10**9)
    reads.clear()
    assert [head(old), head(old)] == [1, 1]
    assert reads == [SIZE, SIZE]
    monkeypatch.setattr(clock, "now_ns", lambda: now + 61 * 10**9)
    assert [head(old), head(small)] == [1, 3]
    reads.clear()
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: (opened.append(path), real(path, *rest))[1])
    assert [head(old), head(small)] == [1, 3]
    assert reads == []
    assert opened == [str(old), str(small)]  # which is what makes a client ask the server
    forget_open_stores()
    assert [head(old), head(small)] == [1, 3]
    assert reads == []


@pytest.mark.parametrize("how", ["environment", "setting"])
def test_switched_off(old, reads, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("SCALABLE_STAT_CACHE", "0")
    else:
        with Store.init("cache") as store:
            settings_file = f"{store.root}/config.json"
        with open(settings_file, "w", encoding="utf-8") as file:
            file.write('{"stat_cache": "off"}')
    assert [head(old), head(old), head(old)] == [1, 1, 1]
    assert len(reads) == 4  # at each call, and after the run, as the file was not two seconds old before it


# --- the rows ----------------------------------------------------------------------------------------------


def rows_of(path) -> dict[bytes, bytes]:
    with Store.open(path) as store:
        return dict(store.index.scan("files"))


def test_a_row_with_a_flipped_bit_is_no_row(old, reads):
    assert head(old) == 1
    forget_open_stores()
    ((key, row),) = rows_of("cache").items()
    for bit in range(0, len(row) * 8, 37):
        damaged = bytearray(row)
        damaged[bit // 8] ^= 1 << bit % 8
        with Store.open("cache") as store:
            store.index.write(lambda changes, row=bytes(damaged): changes.put_files({key: row}))
        reads.clear()
        forget_open_stores()
        assert head.cache_key(old) == head.cache_key(FileType(old))
        assert reads == [SIZE]
        forget_open_stores()
    assert_whole("cache")


def test_a_row_that_belongs_to_another_path_is_no_row(old, reads):
    other = old.with_name("other")
    other.write_bytes(content(2))
    settle()
    assert [head(old), head(other)] == [1, 2]
    forget_open_stores()
    with Store.open("cache") as store:
        (one, first), (two, second) = store.index.scan("files")
        store.index.write(lambda changes: changes.put_files({one: second, two: first}))
    reads.clear()
    assert [head(old), head(other)] == [1, 2]
    assert reads == [SIZE, SIZE]


def test_the_table_does_not_grow_without_bound(workdir, monkeypatch):
    monkeypatch.setattr(index, "MOST_FILES", 5)
    for number in range(20):
        (workdir / f"{number}").write_bytes(content(number))
    settle()
    for number in range(20):
        assert head(workdir / f"{number}") == number
        forget_open_stores()
        assert 0 < len(rows_of("cache")) <= 6
    assert_whole("cache")


def test_the_memory_does_not_grow_without_bound(workdir, monkeypatch):
    monkeypatch.setattr(stats, "MOST", 5)
    for number in range(20):
        (workdir / f"{number}").write_bytes(content(number))
    settle()
    for _ in range(2):
        for number in range(20):
            assert head(workdir / f"{number}") == number
            assert len(stats.memory.quick) <= 5


def test_rebuilding_the_index_empties_the_table(old):
    assert head(old) == 1
    forget_open_stores()
    assert len(rows_of("cache")) == 1
    with Store.open("cache") as store:
        fill_index(store.index, store.journal, store.objects)
    assert rows_of("cache") == {}
    assert head(old) == 1


def test_a_store_that_cannot_be_written_costs_nothing(old, reads, monkeypatch):
    assert head(old) == 1
    forget_open_stores()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    other = old.with_name("other")
    other.write_bytes(content(1))
    settle()
    reads.clear()
    with recorded() as texts:
        assert [head(old), head(other), head(other)] == [1, 1, 1]
        forget_open_stores()
    assert texts == []
    assert reads == [SIZE]  # the copy, once: this process remembers it


def test_a_store_that_was_removed_or_closed(old, workdir, reads):
    assert head(old) == 1
    shutil.rmtree("cache")
    stats.memory.quick.clear()
    assert head(old) == 1
    forget_open_stores()
    stats.memory.attach(known_files.KnownFiles(Store.init("elsewhere")))
    stats.memory.rows._store.close()
    assert files.file_digest(old)[0] == blake3(content(1)).digest()


def test_a_forked_child_has_its_own_eyes(old):
    assert head(old) == 1
    overwrite(old, 2)
    child = os.fork()
    if not child:
        os._exit(0 if head(old) == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert head(old) == 2


def test_an_input_that_changes_while_the_function_runs_is_not_stored(old):
    @cacheable(path=FileType)
    def careless(path):
        overwrite(path, 2)
        return "of the first content"

    assert head(old) == 1  # so that the key comes from the stat cache
    with recorded() as texts:
        assert careless(old) == "of the first content"
    assert len(texts) == 1
    assert "changed while the function ran" in texts[0]
    overwrite(old, 1)
    assert not careless.is_cached(old)


# --- anything, in any order --------------------------------------------------------------------------------


class Machine(RuleBasedStateMachine):
    """Whatever is done to files, the key of a call is that of the content."""

    names = st.sampled_from(["one", "two", "folder/one"])
    numbers = st.integers(1, 3)

    @initialize()
    def start(self):
        self.folder = os.path.join(os.getcwd(), f"machine{time.monotonic_ns()}")
        os.makedirs(f"{self.folder}/folder")
        for name in ("one", "two", "folder/one"):
            self._write(name, content(1), "wb")
        os.chdir(self.folder)

    def _write(self, name, data, mode):
        with open(f"{self.folder}/{name}", mode) as file:
            file.write(data)

    @rule(name=names, number=numbers)
    def write_anew(self, name, number):
        self._write(name, content(number), "wb")

    @rule(name=names, number=numbers)
    def write_in_place(self, name, number):
        self._write(name, content(number), "r+b")

    @rule(name=names)
    def append(self, name):
        self._write(name, b"x", "ab")

    @rule(one=names, two=names)
    def rename(self, one, two):
        self._write("draft", content(3), "wb")
        os.replace(f"{self.folder}/{one}", f"{self.folder}/other")
        os.replace(f"{self.folder}/draft", f"{self.folder}/{one}")
        os.replace(f"{self.folder}/other", f"{self.folder}/{two}")

    @rule(name=names, number=numbers)
    def write_and_put_mtime_back(self, name, number):
        path = f"{self.folder}/{name}"
        found = os.stat(path)
        self._write(name, content(number), "r+b")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    @rule(name=names, ns=st.sampled_from([0, 10**18, 4 * 10**18]))
    def touch(self, name, ns):
        os.utime(f"{self.folder}/{name}", ns=(ns, ns))

    @rule(one=names, two=names)
    def link(self, one, two):
        if one != two:
            os.unlink(f"{self.folder}/{two}")
            os.link(f"{self.folder}/{one}", f"{self.folder}/{two}")

    @rule(below=st.booleans())
    def go(self, below):
        os.chdir(f"{self.folder}/folder" if below else self.folder)

    @rule()
    def wait(self):
        settle()

    @rule()
    def a_new_process(self):
        forget_open_stores()

    @invariant()
    def every_key_is_that_of_the_content(self):
        if not hasattr(self, "folder"):
            return
        for path in ("one", f"{self.folder}/one", f"{self.folder}/two", f"{self.folder}/folder/one"):
            with open(path, "rb") as file:
                data = file.read()
            for _ in range(2):
                (token,) = head.cache_key.__self__.bind((path,), {}, None)[3]
                assert token[3:] == (blake3(data).digest(), len(data))
            assert head(path) == int(data[:8])


def test_any_sequence_of_changes(workdir, monkeypatch):
    run_state_machine_as_test(Machine, settings=settings(max_examples=25, stateful_step_count=15))
    assert len(stats.memory.quick) < 100
