"""Files and folders as results: a hit puts them back where they are missing or differ (CONTRACT 2)."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scalable_cas import CacheWarning, Store
from scalable_cas.caching import DirType, FileType, cacheable
from scalable_cas.codecs import outputs
from scalable_cas.keys import stats
from scalable_cas.store import outputs as putting
from tests.support.stores import assert_whole, forget_open_stores, object_files, pack_files

runs: list[object] = []
promised: list[object] = []
LARGE = 200_000


@pytest.fixture(autouse=True)
def _fresh(workdir, monkeypatch):
    forget_open_stores()  # one of an earlier test may have switched the stat cache off for this process
    runs.clear()
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))


@pytest.fixture
def settled(monkeypatch):
    """Times of files are judged as if they were two seconds older than they are."""
    monkeypatch.setattr(stats, "SETTLED", 0)
    monkeypatch.setattr(putting, "SETTLED", 0)
    monkeypatch.setattr("scalable_cas.store.known_files.LOCAL", (0, 64 << 10, False))
    monkeypatch.setattr(stats.memory, "_devices", {})  # an earlier test may have asked for this one


@cacheable(return_type=FileType)
def write(number, path="out/result.txt", size=0):
    runs.append(number)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    Path(path).write_text(f"result {number}" + "x" * size)
    return path


@cacheable(return_type=DirType)
def draw(number, folder="plots"):
    runs.append(number)
    root = Path(folder)
    (root / "sub/empty").mkdir(parents=True, exist_ok=True)
    (root / "a.png").write_text(f"plot {number}")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    if not os.path.lexists(root / "sub/latest"):
        (root / "sub/latest").symlink_to("../a.png")
    return root


def test_a_missing_file_comes_back(workdir):
    assert write(1) == "out/result.txt"
    shutil.rmtree("out")
    assert write(1) == "out/result.txt"
    assert Path("out/result.txt").read_text() == "result 1"
    assert runs == [1]


@pytest.mark.parametrize("size", [0, LARGE])
def test_a_file_that_differs_is_put_back_and_one_that_does_not_is_left_alone(size):
    write(1, size=size)
    write(2, size=size)
    assert write(1, size=size) == "out/result.txt"
    assert Path("out/result.txt").read_text().startswith("result 1")
    before = os.lstat("out/result.txt")
    assert write(1, size=size) == "out/result.txt"
    assert os.lstat("out/result.txt") == before
    assert runs == [1, 2]


@pytest.mark.parametrize("make", [str, Path, FileType, lambda path: FileType(Path(path))])
def test_the_path_comes_back_as_it_was_returned(make):
    @cacheable(FileType)
    def give(x):
        Path("./a.txt").write_text("a")
        return make("./a.txt")

    first = give(1)
    os.unlink("a.txt")
    again = give(1)
    assert (type(again), repr(again)) == (type(first), repr(first))
    assert os.fspath(again) == os.fspath(first)
    assert Path("a.txt").read_text() == "a"


def test_a_relative_path_is_seen_from_the_working_directory_of_the_call(workdir):
    write(1)
    (workdir / "elsewhere").mkdir()
    os.chdir("elsewhere")
    assert write(1) == "out/result.txt"
    assert (workdir / "elsewhere/out/result.txt").read_text() == "result 1"


def test_an_absolute_path_is_that_path(workdir):
    path = str(workdir / "there/a.txt")
    assert write(1, path) == path
    os.unlink(path)
    os.chdir("/")
    assert write(1, path) == path
    assert Path(path).read_text() == "result 1"
    assert runs == [1]


def test_an_executable_file_stays_one():
    @cacheable(return_type=FileType)
    def script(x):
        Path("run").write_text("#!/bin/sh\necho ran\n")
        os.chmod("run", 0o700)
        return "run"

    script(1)
    os.chmod("run", 0o644)
    script(1)
    assert subprocess.run(["./run"], capture_output=True, text=True).stdout == "ran\n"
    assert stat.S_IMODE(os.stat("run").st_mode) == 0o755


def test_a_folder_comes_back_with_all_that_it_held():
    assert draw(1) == Path("plots")
    shutil.rmtree("plots")
    assert draw(1) == Path("plots")
    assert Path("plots/sub/latest").read_text() == "plot 1"
    assert os.readlink("plots/sub/latest") == "../a.png"
    assert list(Path("plots/sub/empty").iterdir()) == []
    assert os.access("plots/run", os.X_OK)
    assert runs == [1]


def test_of_a_folder_only_what_differs_is_written_and_other_files_are_left_alone():
    draw(1)
    Path("plots/mine.txt").write_text("mine")
    Path("plots/a.png").write_text("plot 9")
    os.unlink("plots/sub/latest")
    os.symlink("/etc", "plots/sub/latest")
    before = os.lstat("plots/run")
    draw(1)
    assert Path("plots/a.png").read_text() == "plot 1"
    assert os.readlink("plots/sub/latest") == "../a.png"
    assert Path("plots/mine.txt").read_text() == "mine"
    assert os.lstat("plots/run") == before
    assert runs == [1]


def test_a_folder_that_is_a_link_of_the_users_is_written_through_that_link(workdir):
    """`results` on another disk, as is usual on a cluster."""
    (workdir / "disk").mkdir()
    os.symlink("disk", "plots")
    draw(1)
    shutil.rmtree("disk/sub")
    draw(1)
    assert os.path.islink("plots")
    assert Path("disk/sub/latest").read_text() == "plot 1"


def test_a_file_that_is_a_link_to_the_right_content_is_left_alone():
    @cacheable(return_type=FileType)
    def latest(x):
        Path(f"run{x}.txt").write_text(f"run {x}")
        if os.path.lexists("latest"):
            os.unlink("latest")
        os.symlink(f"run{x}.txt", "latest")
        return "latest"

    latest(1)
    latest(1)
    assert os.readlink("latest") == "run1.txt"
    Path("run1.txt").write_text("other")
    latest(1)
    assert Path("latest").read_text() == "run 1"
    assert Path("run1.txt").read_text() == "other"  # not written through


@pytest.mark.parametrize(
    "declared, give",
    [
        (list[FileType], lambda a, b: [a, Path(b)]),
        (tuple[FileType, ...], lambda a, b: (a, b)),
        (dict[str, FileType], lambda a, b: {"one": a, "two": b}),
        (list[FileType], lambda a, b: [FileType(a), FileType(b)]),
        (list[FileType], lambda a, b: []),
        (FileType, lambda a, b: None),
        (FileType | None, lambda a, b: None),
        (list[FileType] | None, lambda a, b: [a, b]),
    ],
)
def test_many_files_at_once(declared, give):
    @cacheable(return_type=declared)
    def both(x):
        runs.append(x)
        for name in ("a", "b"):
            Path(name).write_text(name)
        return give("a", "b")

    first = both(1)
    for name in ("a", "b"):
        os.unlink(name)
    again = both(1)
    assert repr(again) == repr(first) and type(again) is type(first)
    assert runs == [1]
    if again:
        assert Path("a").read_text() + Path("b").read_text() == "ab"


def test_the_same_content_is_stored_once():
    write(1, "a.txt", LARGE)
    write(1, "b.txt", LARGE)
    with Store.open("cache") as store:
        assert sum(store.stat(oid.hex()).size > LARGE for oid in store.objects.names()) == 1


def test_an_entry_says_what_it_is(workdir):
    write(1, size=LARGE)
    draw(1)
    forget_open_stores()
    with Store.open("cache") as store:
        found = {entry.codec: entry for entry in store.entries()}
        assert set(found) == {"file", "dir"}
        assert found["file"].size > LARGE
        assert store.gc().objects == 0
    assert_whole("cache")


# --- what is looked at -------------------------------------------------------------------------------------


def count_reads(monkeypatch) -> list[object]:
    """Every file that is opened to be hashed, from now on."""
    opened: list[object] = []
    real = os.open

    def watched(path, flags, *more, **how):
        if not flags & os.O_DIRECTORY and "cache/" not in os.fsdecode(path):
            opened.append(path)
        return real(path, flags, *more, **how)

    monkeypatch.setattr(os, "open", watched)
    return opened


@pytest.mark.usefixtures("settled")
def test_unchanged_output_costs_only_stats(monkeypatch):
    write(1, size=LARGE)
    draw(1)
    for _ in range(2):
        write(1, size=LARGE)
        draw(1)
    opened = count_reads(monkeypatch)
    write(1, size=LARGE)
    draw(1)
    assert opened == []
    Path("plots/a.png").write_text("plot 2")
    draw(1)
    assert opened
    assert Path("plots/a.png").read_text() == "plot 1"


@pytest.mark.usefixtures("settled")
def test_check_output_reads_what_is_there_anew(monkeypatch):
    checked = cacheable(return_type=FileType, check_output=True)(write.__wrapped__)
    checked_draw = cacheable(return_type=DirType, check_output=True)(draw.__wrapped__)
    for _ in range(3):
        checked(1, size=LARGE)
        checked_draw(1)
    opened = count_reads(monkeypatch)
    checked(1, size=LARGE)
    checked_draw(1)
    assert {"out/result.txt", b"a.png", b"run"} <= set(opened)
    assert runs == [1, 1]


def test_a_young_file_is_read_again_because_its_stat_does_not_tell():
    write(1, size=LARGE)
    write(1, size=LARGE)
    seen = os.stat("out/result.txt")
    with open("out/result.txt", "r+") as file:
        file.write("RESULT")
    os.utime("out/result.txt", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    write(1, size=LARGE)
    assert Path("out/result.txt").read_text().startswith("result 1")


# --- options and callers -----------------------------------------------------------------------------------


def test_a_coroutine_function_puts_its_file_back_too():
    @cacheable(return_type=FileType)
    async def fetch(x):
        await asyncio.sleep(0)
        return write.__wrapped__(x, "a")

    assert asyncio.run(fetch(1)) == "a"
    os.unlink("a")
    assert asyncio.run(fetch(1)) == "a"
    assert Path("a").read_text() == "result 1"
    assert runs == [1]


def test_bypass_and_recompute_replace_the_stored_file():
    content = ["old"]

    def make(x):
        runs.append(x)
        Path("a").write_text(content[0])
        return "a"

    cached = cacheable(return_type=FileType, _ignore=())(make)
    cached(1)
    content[0] = "new"
    cached(1, _cache_bypass=True)
    os.unlink("a")
    cached(1)
    assert Path("a").read_text() == "new"
    content[0] = "newest"
    cacheable(return_type=FileType, recompute=True)(make)(1)
    os.unlink("a")
    cached(1)
    assert Path("a").read_text() == "newest"
    assert runs == [1, 1, 1]


def test_store_false_and_void_and_cache_if():
    looking = cacheable(return_type=FileType, store=False)(write.__wrapped__)
    looking(1)
    looking(1)
    assert runs == [1, 1]
    write(1)
    os.unlink("out/result.txt")
    looking(1)
    assert Path("out/result.txt").read_text() == "result 1"
    assert runs == [1, 1, 1]
    void = cacheable(return_type=FileType, void=True)(write.__wrapped__)
    void(1)
    choosy = cacheable(return_type=FileType, _cache_if=lambda path: path == "other")(write.__wrapped__)
    choosy(5)
    choosy(5)
    assert runs == [1, 1, 1, 1, 5, 5]


def test_is_cached_explain_and_ttl():
    assert not write.is_cached(1)
    write(1)
    assert write.is_cached(1)
    assert write.explain(1).hit
    assert not write.explain(2).hit
    late = cacheable(return_type=FileType, _ttl=0)(write.__wrapped__)
    late(1)
    assert runs == [1, 1]
    assert write.cache_clear() == 1
    assert not write.is_cached(1)


def test_a_wrapper_without_the_declaration_puts_the_file_back_too_and_what_it_stores_holds_no_file():
    plain = cacheable(write.__wrapped__)
    write(1)
    os.unlink("out/result.txt")
    assert plain(1) == "out/result.txt"
    assert Path("out/result.txt").exists()
    plain(2)
    os.unlink("out/result.txt")
    assert not write.is_cached(2)
    assert "without its files" in str(write.explain(2))
    assert write(2) == "out/result.txt"  # a path without its file is no result of this wrapper
    assert runs == [1, 2, 2]
    os.unlink("out/result.txt")
    write(2)
    assert Path("out/result.txt").read_text() == "result 2"
    assert runs == [1, 2, 2]


def test_a_wrapper_can_be_pickled():
    again = pickle.loads(pickle.dumps(write))
    again(1)
    os.unlink("out/result.txt")
    again(1)
    assert Path("out/result.txt").exists()


def test_a_mixture_of_files_and_folders_is_refused_at_decoration():
    with pytest.raises(TypeError, match="cannot be mixed"):
        cacheable(return_type=tuple[FileType, DirType])(write.__wrapped__)


def test_check_output_is_a_flag():
    with pytest.raises(TypeError, match="check_output"):
        cacheable(check_output=str)(write.__wrapped__)


# --- what cannot be stored ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "declared, result, said",
    [
        (FileType, "not there", "No such file"),
        (FileType, "folder", "declare DirType"),
        (DirType, "file", "declare FileType"),
        (FileType, 7, "holds a int"),
        (FileType, ["file"], "declared to be one path"),
        (list[FileType], "file", "not the declared"),
        (FileType, FileType("not there"), "No such file"),
        (DirType, "bad", "leads out"),
        (FileType, DirType("folder"), "DirType"),
    ],
)
def test_what_is_not_there_is_returned_and_not_stored(workdir, declared, result, said):
    (workdir / "folder").mkdir()
    (workdir / "file").write_text("1")
    (workdir / "bad").mkdir()
    (workdir / "bad/out").symlink_to("../file")

    @cacheable(return_type=declared)
    def promise(x):
        runs.append(x)
        return promised[-1]

    promised.append(result)  # as a captured variable it would be in the key
    with pytest.warns(CacheWarning, match=said):
        assert promise(1) is result
    assert promise(1) is result
    assert runs == [1, 1]
    assert promise.cache_info().entries == 0


# --- what goes wrong ---------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("size", [0, LARGE, 3 << 20])
def test_a_damaged_object_is_a_miss_that_heals(size):
    write(1, size=size)
    os.unlink("out/result.txt")
    for path in (*object_files("cache"), *pack_files("cache")):
        if path.read_bytes()[11] != 4:  # not the value, which names them
            damage(path)
    with pytest.warns(CacheWarning) as said:
        write(1, size=size)
    assert "is damaged" in str(said[0].message)
    assert Path("out/result.txt").read_text() == "result 1" + "x" * size
    assert runs == [1, 1]
    os.unlink("out/result.txt")
    write(1, size=size)
    assert Path("out/result.txt").read_text() == "result 1" + "x" * size
    assert runs == [1, 1]
    forget_open_stores()
    assert_whole("cache")


def test_a_damaged_or_missing_tree_is_a_miss_that_heals():
    for way in (damage, os.unlink):
        draw(1)
        shutil.rmtree("plots")
        for path in object_files("cache"):
            if path.read_bytes()[11] == 2:
                way(path)
        with pytest.warns(CacheWarning):
            draw(1)
        assert Path("plots/sub/latest").read_text() == "plot 1"
        shutil.rmtree("plots")
        draw(1)
        assert Path("plots/a.png").read_text() == "plot 1"
        draw.cache_clear()
        forget_open_stores()


def test_where_the_output_cannot_be_written_the_function_runs():
    write(1)
    shutil.rmtree("out")
    Path("out").write_text("a file where a folder should be")
    with pytest.raises(FileExistsError):
        write(1)  # its own error
    with pytest.warns(CacheWarning, match="cannot be put back"):
        forget_open_stores()
    assert runs == [1, 1]
    assert Path("out").read_text().startswith("a file")


def test_two_processes_that_put_back_at_once_are_fine(workdir):
    code = (
        "import sys; from pathlib import Path\n"
        "from scalable_cas import cacheable, FileType, DirType\n"
        "@cacheable(return_type=DirType)\n"
        "def many(x):\n"
        "    print('ran')\n"
        "    for n in range(300):\n"
        "        p = Path(f'many/{n % 7}/{n}'); p.parent.mkdir(parents=True, exist_ok=True); p.write_text(str(n))\n"
        "    return 'many'\n"
        "if __name__ == '__main__':\n"
        "    many(1)\n"
    )
    (workdir / "many.py").write_text("pass")
    (workdir / "program.py").write_text(code)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "program.py"]
    os.unlink("many.py")
    first = subprocess.run(command, env=env, capture_output=True, text=True)
    assert first.stdout == "ran\n", first.stderr
    for _ in range(3):
        shutil.rmtree("many")
        both = [
            subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in "abc"
        ]
        assert [done.communicate()[0] for done in both] == [b"", b"", b""]
        assert sum(len(files) for _, _, files in os.walk("many")) == 300


def test_threads_that_want_one_result_run_once():
    def work():
        write(1, size=LARGE)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs == [1]


def test_a_read_only_store_puts_back_what_it_has(workdir, monkeypatch):
    write(1)
    forget_open_stores()
    os.unlink("out/result.txt")
    with Store.open("cache") as store:
        store.read_only = True
        reading = cacheable(return_type=FileType, _store=store)(write.__wrapped__)
        reading(1)
        assert Path("out/result.txt").read_text() == "result 1"
        with pytest.warns(CacheWarning, match="read-only"):
            reading(2)
    assert runs == [1, 2]


def test_a_collector_between_the_files_and_the_record_costs_an_entry_and_no_truth(monkeypatch):
    """Every object is in its place, no row names one yet, and gc takes them all."""
    flush, collected = putting.Intake.flush, []

    def late(self):
        flush(self)
        if self.placed and not collected:
            with Store.open("cache") as store:
                collected.append(store.gc().objects)

    monkeypatch.setattr(putting.Intake, "flush", late)
    write(1, size=LARGE)
    assert collected == [1]
    assert not write.is_cached(1)
    forget_open_stores()
    assert_whole("cache")
    os.unlink("out/result.txt")
    write(1, size=LARGE)
    assert runs == [1, 1]


# --- what comes from elsewhere -----------------------------------------------------------------------------


def disown() -> None:
    """Make the store one that somebody else wrote: its records lack this user's tag."""
    forget_open_stores()
    shutil.rmtree("cache/index")
    os.unlink(Path(os.environ["XDG_CONFIG_HOME"], "scalable-cas/local.key"))


def test_a_foreign_file_is_put_back_below_the_working_directory():
    write(1)
    draw(1)
    disown()
    shutil.rmtree("out")
    shutil.rmtree("plots")
    assert write(1) == "out/result.txt"
    assert draw(1) == Path("plots")
    assert Path("plots/sub/latest").read_text() == "plot 1"
    assert runs == [1, 1]


@pytest.mark.parametrize(
    "path",
    [
        "{work}/there/a.txt",
        "../a.txt",
        "out/../../a.txt",
        ".ssh/authorized_keys",
        "link/a.txt",
        "{0}/../{a.txt",
    ],
)
def test_a_foreign_file_is_put_back_nowhere_else(workdir, path):
    path = path.replace("{work}", str(workdir))
    os.makedirs("sub/cwd/out")
    os.chdir("sub/cwd")
    (workdir / "other").mkdir()
    os.symlink(workdir / "other", "link")
    write(1, path)
    os.chdir(workdir)
    disown()
    os.chdir("sub/cwd")
    os.unlink(path)
    with pytest.warns(CacheWarning, match="cannot be put back"):
        assert write(1, path) == path
    assert runs == [1, 1]  # the function ran and wrote its file itself
    os.unlink(path)
    write(1, path)  # and that entry was made here
    assert runs == [1, 1]
    assert Path(path).read_text() == "result 1"


def test_a_foreign_file_replaces_only_what_the_store_has():
    write(1)
    write(2)
    disown()
    write(1)
    assert Path("out/result.txt").read_text() == "result 1"
    assert runs == [1, 2]
    Path("out/result.txt").write_text("a file of the user's own")
    with pytest.warns(CacheWarning, match="nowhere in the store"):
        write(2)  # the function may overwrite it; a stranger may not
    assert runs == [1, 2, 2]


def test_a_foreign_folder_brings_no_repository():
    @cacheable(return_type=DirType)
    def clone(x):
        runs.append(x)
        os.makedirs("repo/.git/hooks", exist_ok=True)
        Path("repo/.git/hooks/post-checkout").write_text("evil")
        return "repo"

    clone(1)
    disown()
    shutil.rmtree("repo")
    with pytest.warns(CacheWarning, match="repository"):
        clone(1)
    assert runs == [1, 1]


@pytest.mark.parametrize(
    "name",
    [
        "numpy.py",
        "out/NumPy.PY",
        "pkg.py/data.txt",
        "out/__pycache__/model.cpython-311.pyc",
        "zlib.cpython-312-x86_64-linux-gnu.so",
        "libz.so.1",
        "GNUmakefile",
        "scalable.yaml",
        "repo/HEAD",
        "evil.dist-info/entry_points.txt",
        "run.sh",
        "out/results/.Rprofile",
    ],
)
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_what_programs_run_or_import_for_its_name_is_not_put_back_for_a_stranger(name, folder):
    path = f"results/{name}" if folder else name

    @cacheable(return_type=DirType if folder else FileType)
    def make(x):
        runs.append(x)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        Path(path).write_text("print('evil')")
        return "results" if folder else path

    make(1)
    os.unlink(path)
    make(1)  # our own comes back
    assert Path(path).exists() and runs == [1]
    disown()
    os.unlink(path)
    with pytest.warns(CacheWarning, match="is not trusted: programs may run or import|is hidden"):
        make(1)
    assert runs == [1, 1]


def test_a_stranger_replaces_no_program():
    write(1, "report")
    disown()
    Path("report").write_text("result 1")
    write(2, "report")  # so its content is in the store, as what a stranger sends along is
    Path("report").chmod(0o755)
    with pytest.warns(CacheWarning, match="is not trusted: it would replace a program"):
        write(1, "report")
    assert runs == [1, 2, 1]


@pytest.mark.parametrize(
    "data",
    [b"", b"\1", b"\2\0\0\0\0\0\xc0", b"\1\2\0\0\0\0\xc0", b"\1\0\1\0\0\0\2\xa1a", b"\1\0\2\0\0\0\0\0\xa1a"],
)
def test_a_head_that_was_not_written_by_us_is_malformed(data):
    from scalable_cas.errors import MalformedObject

    with pytest.raises(MalformedObject):
        outputs.unpack(data, trusted=False)


def test_packs_serve_outputs_too():
    @cacheable(return_type=DirType)
    def many(x):
        runs.append(x)
        os.makedirs("many", exist_ok=True)
        for number in range(100):
            Path(f"many/{number}").write_text(str(number))
        return "many"

    many(1)
    assert pack_files("cache")
    shutil.rmtree("many")
    many(1)
    assert {path.name for path in Path("many").iterdir()} == {str(number) for number in range(100)}
    assert runs == [1]


def test_a_hit_does_not_replace_a_fifo(workdir):
    @cacheable(return_type=FileType)
    def into(path):
        runs.append(path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)
        os.write(fd, b"line")
        os.close(fd)
        return path

    into("out")
    os.unlink("out")
    os.mkfifo("out")
    with pytest.warns(CacheWarning):
        assert into("out") == "out"
    assert stat.S_ISFIFO(os.lstat("out").st_mode) and len(runs) == 2
