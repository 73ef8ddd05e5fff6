"""Where a store lies: read-only, full, removed, half removed, copied, of another time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

from scalable_cas import Store
from scalable_cas.caching import session
from scalable_cas.caching.session import current
from scalable_cas.cli.main import main
from scalable_cas.errors import FormatDamaged, StoreReadOnly, StoreVersionError
from scalable_cas.store.core import StoreCore
from tests.concurrency.functions import large, quick, value
from tests.support.processes import finish, kill, run, start
from tests.support.stores import assert_whole, entry_keys, findings, forget_open_stores, recorded

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def stored(store_path):
    for n in range(20):
        quick(n)
    large(1)
    forget_open_stores()
    return store_path


@pytest.fixture
def tmpfs(tmp_path):
    """A small file system of its own; its size in KiB can be set."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def size(kib, *options):
        mounted = os.path.ismount(folder)
        how = ",".join([f"size={kib}k", *(["remount"] if mounted else []), *options])
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")
        return folder

    yield size
    subprocess.run(["umount", "-l", str(folder)], capture_output=True)


# --- read-only --------------------------------------------------------------------------------------------------


def hits_served_misses_computed(path):
    os.environ["SCALABLE_CACHE_DIR"] = str(path)
    with recorded() as texts:
        assert [quick(n) for n in range(25)] == [value(n) for n in range(25)]
        assert large(1) == large.__wrapped__(1)
        assert large(2) == large.__wrapped__(2)
        assert [quick(n) for n in range(25)] == [value(n) for n in range(25)]
        info = quick.cache_info()
        forget_open_stores()
    assert len(texts) == 1, texts
    assert "read-only" in texts[0].lower()
    assert info.entries == 20
    with Store.open(path) as store:
        assert store.verify().findings == []


@root_only
@pytest.mark.parametrize("clean", [True, False])
def test_a_read_only_mount(stored, tmp_path, monkeypatch, clean):
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(stored))
    if not clean:
        (stored / "index" / "stamp").unlink()
    mount = tmp_path / "ro"
    mount.mkdir()
    for command in (["mount", "--bind", stored, mount], ["mount", "-o", "remount,ro,bind", mount]):
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mount is not allowed here")
    try:
        hits_served_misses_computed(mount)
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(stored, monkeypatch):
    for folder, _, names in os.walk(stored):
        for name in names:
            os.chmod(os.path.join(folder, name), 0o444)
        os.chmod(folder, 0o555)
    try:
        hits_served_misses_computed(stored)
    finally:
        for folder, _, _ in os.walk(stored):
            os.chmod(folder, 0o755)


@root_only
@pytest.mark.parametrize("name", ["", "index", "index/data.mdb"])
def test_what_may_not_be_read_is_no_damage(name, monkeypatch):
    """Not below ``tmp_path``, which nobody else may enter."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("XDG_CONFIG_HOME", f"{folder}/config")
        os.mkdir(f"{folder}/config")
        Store.init(f"{folder}/store").close()
        for path, folders, files in os.walk(folder):
            for each in (path, *(os.path.join(path, part) for part in folders + files)):
                os.chmod(each, 0o755)
        os.chmod(f"{folder}/config", 0o777)
        os.chmod(f"{folder}/store/{name}", 0o700)
        os.setresuid(65534, 65534, 0)
        try:
            for heal in (False, True):
                with pytest.raises(StoreReadOnly, match=rf"cannot read {folder}/store/.*: Permission denied"):
                    StoreCore(f"{folder}/store", create=heal, heal=heal)
        finally:
            os.setresuid(0, 0, 0)
        assert os.path.getsize(f"{folder}/store/index/data.mdb")


@root_only
def test_a_store_that_becomes_read_only_and_comes_back(tmp_path, store_path):
    """The same folder, mounted over itself: files that are open stay so, a file system with such cannot be remounted."""
    assert quick(1) == value(1)
    current().store.writer.sync()
    try:
        for how in (["--bind", store_path], ["-o", "remount,ro,bind"]):
            if subprocess.run(["mount", *how, store_path], capture_output=True).returncode:
                pytest.skip("mount is not allowed here")
        with recorded() as texts:
            assert quick(1) == value(1)
            for n in range(10, 15):
                assert large(n) == large.__wrapped__(n)
                current().store.flush()
            assert quick.cache_info().hits >= 1
        assert 1 <= len(texts) <= 5, texts
    finally:
        subprocess.run(["umount", "-l", store_path], capture_output=True)
    assert quick(2) == value(2)
    forget_open_stores()
    assert quick.is_cached(2)
    forget_open_stores()
    assert_whole(store_path)


# --- full -------------------------------------------------------------------------------------------------------

GROWING = """
import warnings, sys
warnings.simplefilter("ignore")
from tests.concurrency.functions import large, quick, value
for n in range(30):
    assert quick(n) == value(n)
for n in range(20):
    assert large(n) == large.__wrapped__(n)
"""


def growing(tmpfs, monkeypatch, sizes):
    disk = tmpfs(4)
    wrong = []
    for size in sizes:
        tmpfs(size)
        monkeypatch.setenv("SCALABLE_CACHE_DIR", str(disk / "store"))
        code, _, err = finish(start(GROWING, store=disk / "store"))
        if code or err:
            wrong.append((size, code, err[-800:]))
        tmpfs(40_000)
        if (disk / "store" / "format").exists():
            with Store(disk / "store", heal=True) as store:
                wrong += [(size, finding) for finding in store.verify().findings]
            assert quick(1) == value(1)
            forget_open_stores()
            with Store.open(disk / "store") as store:
                store.gc()
                wrong += [(size, finding) for finding in store.verify().findings]
            if not quick.is_cached(1):
                wrong.append((size, "is not stored once there is space"))
            forget_open_stores()
        shutil.rmtree(disk / "store", ignore_errors=True)
    assert not wrong, wrong


@root_only
def test_disks_of_some_sizes(tmpfs, monkeypatch):
    growing(tmpfs, monkeypatch, [4, 16, 28, 40, 52, 64, 80, 100, 120, 160, 240])


@root_only
@pytest.mark.crash
def test_disks_of_every_size(tmpfs, monkeypatch):
    growing(tmpfs, monkeypatch, range(4, 400, 4))


@root_only
@pytest.mark.parametrize("inodes", [2, 5, 8, 12, 16, 20, 40])
def test_a_disk_without_free_inodes(tmpfs, monkeypatch, inodes):
    disk = tmpfs(40_000, f"nr_inodes={inodes}")
    code, _, err = finish(start(GROWING, store=disk / "store"))
    assert (code, err) == (0, "")
    tmpfs(40_000, "nr_inodes=10000")
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(disk / "store"))
    assert quick(1) == value(1)
    forget_open_stores()
    assert quick.is_cached(1)
    forget_open_stores()
    assert findings(disk / "store") == []


@pytest.mark.parametrize("kib", [1, 8, 40, 100, 200])
def test_a_limit_on_the_size_of_files(store_path, kib):
    """`ulimit -f`: a write ends in the middle, the next one fails with EFBIG (and not with a signal)."""
    code, _, err = finish(
        start(
            GROWING, store=store_path, prefix=["bash", "-c", f'trap "" XFSZ; ulimit -f {kib}; exec "$@"', "-"]
        )
    )
    assert (code, err) == (0, "")
    assert quick(1) == value(1)
    forget_open_stores()
    assert quick.is_cached(1)
    forget_open_stores()
    assert findings(store_path) == []


@pytest.mark.parametrize("mib", [140, 200, 300, 1000, 5000])
def test_little_address_space(store_path, mib):
    """`ulimit -v`, as batch schedulers set it: the index takes a smaller map, or the function runs uncached."""
    code, out, err = finish(
        start(
            GROWING + "print(quick.cache_info().misses)\n",
            store=store_path,
            prefix=["bash", "-c", f'ulimit -v {mib * 1024}; exec "$@"', "-"],
        )
    )
    if "MemoryError" in err or "cannot allocate" in err.lower() or "failed to map" in err:
        pytest.skip(f"the interpreter itself does not start in {mib} MiB")
    assert (code, err) == (0, "")
    if mib >= 1000:
        assert out == "30\n"
        assert len(entry_keys(store_path)) == 50


# --- gone -------------------------------------------------------------------------------------------------------


def test_removed_under_a_running_process(stored):
    assert quick(1) == value(1)
    shutil.rmtree(stored)
    assert quick(1) == value(1)
    for n in range(300, 330):
        assert quick(n) == value(n)
    current().store.flush()
    out = run(
        "from tests.concurrency.functions import quick\nprint(sum(map(quick.is_cached, range(300, 330))))\n",
        store=stored,
    )
    assert out == "30\n", "what was computed afterwards is stored"
    forget_open_stores()
    assert_whole(stored)


def test_removed_under_a_process_that_only_computes_new_things(stored):
    """It never looks at an old entry, so nothing but the write itself can notice."""
    quick(5000)
    for round_ in range(3):
        shutil.rmtree(stored)
        for n in range(1000 * round_, 1000 * round_ + 300):
            assert quick(6000 + n) == value(6000 + n)
        current().store.flush()
        count = run(
            "from tests.concurrency.functions import quick\nprint(quick.cache_info().entries)\n", store=stored
        )
        assert int(count) >= 299, count
    forget_open_stores()
    assert_whole(stored)


def test_removed_while_a_function_runs(stored, tmp_path, monkeypatch):
    from scalable_cas import cacheable

    @cacheable
    def removing(n):
        shutil.rmtree(stored)
        return value(n)

    assert removing(1) == value(1)
    assert quick(2) == value(2)
    forget_open_stores()
    assert quick.is_cached(2)
    forget_open_stores()
    assert_whole(stored)


def test_removed_again_and_again_under_threads(store_path):
    stop = threading.Event()
    errors = []

    def work(number):
        n = 0
        while not stop.is_set():
            n += 1
            try:
                assert quick(n % 50) == value(n % 50)
                assert quick(1000 * number + n) == value(1000 * number + n)
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    with recorded() as texts:
        for thread in threads:
            thread.start()
        for _ in range(25):
            time.sleep(0.08)
            shutil.rmtree(store_path, ignore_errors=True)
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors, errors
        assert quick(1) == value(1)
        forget_open_stores()
    assert len(texts) <= 30, texts
    if not (store_path / "format").exists() or findings(store_path):
        # a removal that overlapped with writing leaves parts; one more clears them
        shutil.rmtree(store_path, ignore_errors=True)
    assert quick(1) == value(1)
    forget_open_stores()
    assert quick.is_cached(1)
    forget_open_stores()
    assert_whole(store_path)


def test_removed_under_several_processes(stored):
    program = """
import sys, time
from tests.concurrency.functions import quick, value
print("ready", flush=True)
sys.stdin.readline()
ends = time.monotonic() + 2.5
n = 0
while time.monotonic() < ends:
    n += 1
    assert quick(n % 100) == value(n % 100)
    assert quick(10_000 * (1 + int(sys.argv[1])) + n) == value(10_000 * (1 + int(sys.argv[1])) + n)
"""
    children = [start(program, number, store=stored, PYTHONWARNINGS="ignore") for number in range(4)]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        for _ in range(8):
            time.sleep(0.25)
            shutil.rmtree(stored, ignore_errors=True)
        ends = [finish(child) for child in children]
    finally:
        for child in children:
            kill(child)
    assert all(end == (0, "", "") for end in ends), ends
    shutil.rmtree(stored, ignore_errors=True)
    assert quick(1) == value(1)
    forget_open_stores()
    assert_whole(stored)


@pytest.mark.parametrize("name", ["objects", "index", "journal", "tmp", "format"])
def test_a_part_is_removed_under_a_running_process(stored, name):
    assert quick(1) == value(1)
    path = stored / name
    with recorded():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert [quick(n) for n in range(30)] == [value(n) for n in range(30)]
        assert large(1) == large.__wrapped__(1)
        assert large(2) == large.__wrapped__(2)
        forget_open_stores()
        assert [quick(n) for n in range(30)] == [value(n) for n in range(30)]
        forget_open_stores()
        assert large.is_cached(2)
        forget_open_stores()


def test_its_place_cannot_be_used_any_more(stored):
    """A file stands where the folder was: the function runs, for as long as that lasts."""
    assert quick(1) == value(1)
    shutil.rmtree(stored)
    stored.write_bytes(b"in the way")
    with recorded() as texts:
        for n in (1, 2, 3, 1):
            assert quick(n) == value(n)
        assert large(1) == large.__wrapped__(1)
    assert texts
    stored.unlink()
    with recorded():
        deadline = time.monotonic() + 10
        while not ((stored / "format").exists() and quick.is_cached(1)):
            assert time.monotonic() < deadline, "it does not recover"
            quick(1)
            time.sleep(0.1)
        forget_open_stores()
    assert_whole(stored)


def test_a_closed_store_still_runs_the_function(store_path):
    from scalable_cas import cacheable

    with Store.init(store_path) as store:

        @cacheable(_store=store)
        def work(n):
            return value(n)

        assert work(1) == value(1)
    with recorded() as texts:
        assert work(1) == value(1)
        assert work(2) == value(2)
        assert work(1, _cache_bypass=True) == value(1)
    assert len(texts) == 1
    assert "closed" in texts[0]


# --- of another place or time ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["-a", "-r"])
def test_a_copy_works_elsewhere(stored, tmp_path, monkeypatch, how):
    copy = tmp_path / "elsewhere" / "copy"
    copy.parent.mkdir()
    subprocess.run(["cp", how, stored, copy], check=True)
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(copy))
    for _ in range(2):
        assert [quick(n) for n in range(20)] == [value(n) for n in range(20)]
        assert large(1) == large.__wrapped__(1)
        assert quick.cache_info().entries == 20
        assert (quick.cache_info().misses, large.cache_info().misses)[0] in (
            0,
            20,
        )  # 20: those of the fixture
        forget_open_stores()
    assert findings(copy) == []
    assert findings(stored) == []


def test_a_copy_of_a_store_in_use_works(stored, tmp_path):
    """As a backup takes it: files of different moments."""
    child = start(
        """
import sys
from tests.concurrency.functions import quick
print("ready", flush=True)
n = 100
while True:
    n += 1
    quick(n)
""",
        store=stored,
    )
    try:
        child.stdout.readline()
        copies = []
        for number in range(5):
            copy = tmp_path / f"copy{number}"
            subprocess.run(["cp", "-a", stored, copy], check=False, capture_output=True)
            copies.append(copy)
    finally:
        kill(child)
    for copy in copies:
        env = {"PYTHONWARNINGS": "ignore"}
        run(
            "from tests.concurrency.functions import quick, value\nassert [quick(n) for n in range(150)] == [value(n) for n in range(150)]\n",
            store=copy,
            **env,
        )
        run(
            "from tests.concurrency.functions import quick\nassert all(map(quick.is_cached, range(150)))\n",
            store=copy,
        )


def test_a_format_of_the_future_is_refused(stored):
    file = stored / "format"
    file.write_bytes(file.read_bytes().replace(b'"format": 1', b'"format": 2'))
    before = sorted((p, p.stat().st_mtime_ns) for p in stored.rglob("*") if p.is_file())
    with pytest.raises(StoreVersionError, match="upgrade"):
        Store.open(stored)
    with recorded() as texts:
        assert quick(1) == value(1)
    assert len(texts) == 1
    assert "upgrade" in texts[0]
    assert before == sorted((p, p.stat().st_mtime_ns) for p in stored.rglob("*") if p.is_file())


@pytest.mark.parametrize("operation", ["read", "write", "gc", "verify"])
def test_a_feature_of_the_future_is_refused_by_name(stored, operation):
    file = stored / "format"
    content = file.read_bytes().replace(
        f'"{operation}": []'.encode(), f'"{operation}": ["packs-v9"]'.encode()
    )
    assert b"packs-v9" in content
    file.write_bytes(content)
    with recorded() as texts:
        assert quick(1) == value(1)
        assert quick(99) == value(99)
        forget_open_stores()
    if operation in ("read", "write"):
        assert 1 <= len(texts) <= 2
        assert "packs-v9" in texts[0]
    if operation != "read":
        with recorded():
            key = quick.cache_key(99)
            forget_open_stores()
        with recorded(), Store.open(stored) as store:
            if operation in ("gc", "verify"):
                with pytest.raises(StoreVersionError, match="packs-v9"):
                    getattr(store, operation)()
            if operation == "write":
                assert not any(
                    entry.function.endswith("quick") and entry.key == key for entry in store.entries()
                )


NO_FORMATS = {
    "empty": b"",
    "cut": b"{",
    "a list": b"[]",
    "zeros": b"\0" * 300,
    "no text": b"\xff" * 10,
    "deep": b"[" * 60_000,
    "no id": b'{"format": 1}',
    "a short id": b'{"format": 1, "id": "00", "features": {}}',
    "version 0": b'{"format": 0, "id": "00112233445566778899aabbccddeeff", "features": {}}',
    "a version in words": b'{"format": "1", "id": "00112233445566778899aabbccddeeff", "features": {}}',
    "features of another kind": b'{"format": 1, "id": "00112233445566778899aabbccddeeff", "features": {"gc": 1}}',
}


@pytest.mark.parametrize("content", NO_FORMATS.values(), ids=NO_FORMATS)
def test_a_damaged_format_file(stored, content):
    (stored / "format").write_bytes(content)
    with pytest.raises(
        FormatDamaged, match=r"format is damaged; move that file away, then `scalable-cas init`"
    ):
        Store.open(stored)
    with recorded() as texts:
        assert quick(1) == value(1)
    assert len(texts) == 1
    assert "upgrade" not in texts[0]


def test_a_later_format_is_known_by_its_number_alone(stored):
    (stored / "format").write_bytes(b'{"format": 2, "name": "whatever a later version writes"}')
    with pytest.raises(StoreVersionError, match=r"it has format 2; .* upgrade"):
        Store.open(stored)


def test_what_is_advised_where_the_format_file_is_damaged_brings_the_entries_back(stored, capsys):
    before = entry_keys(stored)
    (stored / "format").write_bytes(b"")
    (stored / "format").rename(stored / "format.damaged")
    assert main(["--store", str(stored), "init"]) == 0
    assert "Made a store of what was there in" in capsys.readouterr().out
    assert entry_keys(stored) == before


def test_threads_that_find_a_store_shut_open_it_once(store_path, monkeypatch):
    """Each opening made a table of who computes what; whoever waited at a table that was replaced was never told."""
    quick(1)
    store = session.current().store
    opened, real = [], type(store)._open

    def slowly(self):
        opened.append(threading.get_ident())
        time.sleep(0.05)
        real(self)

    monkeypatch.setattr(type(store), "_open", slowly)
    store._shut(write=True)
    found = []
    threads = [threading.Thread(target=lambda: found.append(store.flights)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    assert {id(flights) for flights in found} == {id(store.flights)}
    forget_open_stores()


BROKEN_YAML = {
    "a date of no calendar": b"started: 2026-02-30\n",
    "a tag of another kind": b"x: !!bool perhaps\n",
    "a tag of nothing": b'x: !!int ""\n',
    "a time that is none": b"x: !!timestamp noon\n",
    "brackets": b"[" * 20_000,
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", BROKEN_YAML.values(), ids=BROKEN_YAML)
def test_a_scalable_yaml_that_cannot_be_read_costs_one_warning(workdir, run, content):
    (workdir / "scalable.yaml").write_bytes(content)
    (workdir / "m.py").write_text(
        "from scalable_cas import cacheable\n@cacheable\ndef f(x): return x\nprint(f(1), f(2))\n"
    )
    done = run("m.py")
    assert (done.returncode, done.stdout) == (0, "1 2\n")
    assert done.stderr.count("CacheWarning") == 1
    done = run("-m", "scalable_cas", "ls")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {workdir}/scalable.yaml: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{", b"[1]", b"\xff"])
def test_settings_of_a_store_that_cannot_be_read_cost_one_warning(stored, content):
    (stored / "config.json").write_bytes(content)
    with recorded() as texts:
        assert (quick(1), quick(2)) == (value(1), value(2))
    assert len(texts) == 1
    assert "config.json: not" in texts[0]
