"""Files and folders go into the store and come out again; what would write elsewhere does not."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas import Store, clock
from scalable_cas.errors import CorruptObject, ObjectNotFound, PathRefused, StoreReadOnly
from scalable_cas.format import tree
from scalable_cas.format.kinds import BLOB, TREE
from scalable_cas.store import intake as intakes
from tests.support.stores import assert_whole, object_files, pack_files


@pytest.fixture
def store(workdir):
    with Store.init(workdir / "store") as opened:
        yield opened


@pytest.fixture
def folder(workdir):
    """One of everything that a folder may hold."""
    root = workdir / "in"
    (root / "sub/empty").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "none").write_bytes(b"")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "sub/large").write_bytes(os.urandom(3 << 20))
    (root / "sub/up").symlink_to("../a.txt")
    (root / "nowhere").symlink_to("sub/not there")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe\n")).write_text("a name that is no text")
    return root


def look(root: Path) -> dict[str, object]:
    """What lies below a folder: of each file its exec bit and content, of each link where it leads."""
    found: dict[str, object] = {}
    for above, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(above, name)
            seen = os.lstat(path)
            if stat.S_ISLNK(seen.st_mode):
                found[os.path.relpath(path, root)] = os.readlink(path)
            elif stat.S_ISDIR(seen.st_mode):
                found[os.path.relpath(path, root)] = None
            else:
                found[os.path.relpath(path, root)] = (bool(seen.st_mode & 0o100), Path(path).read_bytes())
    return found


def put_tree(store, *entries: tuple[bytes, int, bytes]) -> str:
    """A tree by hand: name, mode, content or the id of another tree (hex)."""
    made = []
    for name, mode, content in entries:
        if mode == tree.FOLDER:
            oid = bytes.fromhex(content.decode())
            made.append(tree.TreeEntry(name, mode, oid, store.stat(content.decode()).size))
        else:
            made.append(tree.TreeEntry(name, mode, store.put_object(BLOB, content), len(content)))
    return store.put_object(TREE, tree.pack(made)).hex()


# --- there and back ----------------------------------------------------------------------------------------


def test_a_folder_comes_back_with_all_that_it_held(store, folder, workdir):
    oid = store.put_path(folder)
    store.checkout(oid, "out")
    assert look(workdir / "out") == look(folder)
    assert store.put_path("out") == oid
    assert store.stat(oid).kind == "tree"
    assert store.verify().findings == []


def test_a_file_is_a_blob_named_by_its_content(store, workdir):
    content = os.urandom(200_000)
    (workdir / "file").write_bytes(content)
    oid = store.put_path("file")
    assert oid == blake3(content).hexdigest()
    store.checkout(oid, "deep/er/copy")
    assert (workdir / "deep/er/copy").read_bytes() == content


def test_a_link_that_is_named_itself_is_followed(store, folder, workdir):
    (workdir / "link").symlink_to("in")
    assert store.put_path("link") == store.put_path("in")


def test_a_large_file_is_stored_in_chunks_and_only_what_changed_is_stored_again(store, workdir):
    content = bytearray(os.urandom(6 << 20))
    (workdir / "in").mkdir()
    (workdir / "in/large").write_bytes(content)
    oid = store.put_path("in")
    before = sum(path.stat().st_size for path in pack_files(store.root))
    content[3 << 20 : 3 << 20] = b"inserted"
    (workdir / "in/large").write_bytes(content)
    again = store.put_path("in")
    assert sum(path.stat().st_size for path in pack_files(store.root)) - before < 1 << 20
    for tree_id in (again, oid):
        store.checkout(tree_id, "out")
    assert (workdir / "out/large").stat().st_size == 6 << 20
    assert store.put_path("out") == oid
    assert store.verify().findings == []


def test_two_folders_that_share_files_share_objects(store, folder, workdir):
    store.put_path(folder)
    before = set(store.objects.names())
    (folder / "sub/one more").write_text("new")
    store.put_path(folder)
    assert len(set(store.objects.names()) - before) == 3  # the file and the two folders above it


def test_owners_times_and_other_modes_do_not_count(store, folder):
    oid = store.put_path(folder)
    (folder / "a.txt").chmod(0o600)
    (folder / "sub").chmod(0o700)
    os.utime(folder / "a.txt", (1, 1))
    assert store.put_path(folder) == oid
    (folder / "a.txt").chmod(0o700)
    assert store.put_path(folder) != oid


def test_modes_are_644_and_755_less_the_umask_and_files_can_be_written(store, folder, workdir):
    oid = store.put_path(folder)
    before = os.umask(0o027)
    try:
        store.checkout(oid, "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((workdir / "out/a.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((workdir / "out/run").stat().st_mode) == 0o750


def test_a_file_shares_nothing_with_the_store(store, workdir):
    (workdir / "file").write_bytes(b"x" * 100_000)
    oid = store.put_path("file")
    store.checkout(oid, "copy")
    assert (workdir / "copy").stat().st_nlink == 1
    with open("copy", "r+b") as copy:
        copy.write(b"changed")
    assert store.get_bytes(oid) == b"x" * 100_000


def test_what_is_there_already_and_what_is_no_part_of_the_tree_is_left_alone(store, folder, workdir):
    oid = store.put_path(folder)
    store.checkout(oid, "out")
    (workdir / "out/sub/mine").write_text("mine")
    (workdir / "out/a.txt").write_text("b")
    (workdir / "out/run").chmod(0o644)
    before = {path: path.lstat() for path in (workdir / "out").rglob("*") if not path.is_dir()}
    store.checkout(oid, "out")
    same = [path.name for path, seen in before.items() if path.lstat() == seen]
    assert (workdir / "out/a.txt").read_text() == "a"
    assert (workdir / "out/run").stat().st_mode & 0o100
    assert sorted({path.name for path in before} - set(same)) == ["a.txt", "run"]


def test_a_file_or_link_in_the_place_of_a_folder_goes_a_folder_in_that_of_a_file_does_not(
    store, folder, workdir
):
    oid = store.put_path(folder)
    (workdir / "out").mkdir()
    (workdir / "out/sub").symlink_to(workdir)
    (workdir / "out/none").symlink_to("/etc/passwd")
    store.checkout(oid, "out")
    assert look(workdir / "out") == look(folder)
    (workdir / "out/a.txt").unlink()
    (workdir / "out/a.txt").mkdir()
    (workdir / "out/a.txt/precious").write_text("1")
    with pytest.raises(PathRefused, match="move it away"):
        store.checkout(oid, "out")
    assert (workdir / "out/a.txt/precious").read_text() == "1"


def test_many_small_files_share_packs(store, workdir):
    for number in range(3000):
        path = workdir / f"in/{number % 30}/{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}")
    oid = store.put_path("in")
    assert len(store.objects.packs.names()) <= 4
    assert not object_files(store.root)
    store.checkout(oid, "out")
    assert look(workdir / "out") == look(workdir / "in")
    assert store.verify().findings == []


names = st.text(st.sampled_from("ab.- \u00e9"), min_size=1, max_size=5).filter(
    lambda name: name not in (".", "..")
)
trees = st.recursive(
    st.binary(max_size=20),
    lambda inner: st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
).filter(lambda found: isinstance(found, dict))


@given(trees)
def test_any_folder_comes_back(tmp_path_factory, shape):
    root = tmp_path_factory.mktemp("any")

    def make(path: Path, found) -> None:
        if isinstance(found, bytes):
            path.write_bytes(found)
            return
        path.mkdir()
        for name, inner in found.items():
            make(path / name, inner)

    make(root / "in", shape)
    with Store.init(root / "store") as store:
        oid = store.put_path(root / "in")
        store.checkout(oid, root / "out")
        assert look(root / "out") == look(root / "in")
        assert store.put_path(root / "out") == oid


# --- what is not stored ------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/etc", "../..", "sub/../../x", "sub/up2/.."])
def test_a_link_that_leads_out_is_refused(store, folder, target):
    (folder / "sub/up2").symlink_to("..")
    (folder / "bad").symlink_to(target)
    with pytest.raises(PathRefused, match="bad: a link to"):
        store.put_path(folder)


def test_links_inside_are_kept_however_they_are_written(store, folder, workdir):
    (folder / "sub/deep").mkdir()
    (folder / "sub/deep/round").symlink_to("../../sub/../a.txt")
    (folder / "here").symlink_to(".")
    oid = store.put_path(folder)
    store.checkout(oid, "out")
    assert (workdir / "out/sub/deep/round").read_text() == "a"


def test_what_has_no_content_is_refused(store, folder, workdir):
    os.mkfifo(folder / "fifo")
    with pytest.raises(PathRefused, match="fifo: is a device, a FIFO or a socket"):
        store.put_path(folder)
    (folder / "fifo").unlink()
    os.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(PathRefused, match="socket: is a device"):
            store.put_path(folder)
    with pytest.raises(PathRefused, match="neither a file nor a folder"):
        store.put_path("/dev/null")
    with pytest.raises(PathRefused, match="No such file"):
        store.put_path("not there")
    with pytest.raises(PathRefused, match="no possible path"):
        store.put_path("a\0b")


def test_a_file_that_never_holds_still_is_refused(store, folder, monkeypatch):
    read = intakes._read

    def growing(*args):
        with open(folder / "a.txt", "a") as file:
            file.write("more")
        return read(*args)

    monkeypatch.setattr(intakes, "_read", growing)
    with pytest.raises(PathRefused, match="changes while it is being read"):
        store.put_path(folder)


def test_a_file_that_changes_once_is_read_again(store, folder, workdir, monkeypatch):
    read, changed = intakes._read, []

    def once(*args):
        found = read(*args)
        if not changed:
            changed.append(True)
            (folder / "sub/large").write_bytes(b"other")
        return found

    monkeypatch.setattr(intakes, "_read", once)
    store.checkout(store.put_path(folder), "out")
    assert look(workdir / "out") == look(folder)


def test_the_store_is_no_part_of_what_it_stores_and_nothing_is_written_into_it(store, folder, workdir):
    os.rename(folder, workdir / "above")
    oid = store.put_path(workdir)  # the working directory, in which the store lies
    store.checkout(oid, workdir / "copy")
    assert not (workdir / "copy/store").exists()
    evil = put_tree(store, (b"format", tree.FILE, b"{}"))
    with pytest.raises(PathRefused, match="store's own folder"):
        store.checkout(evil, "store")
    with pytest.raises(PathRefused, match="store's own folder"):
        store.checkout(evil, "store/objects/new")
    above = put_tree(store, (b"store", tree.FOLDER, evil.encode()))
    with pytest.raises(PathRefused, match="store's own folder"):
        store.checkout(above, ".")
    (workdir / "alias").symlink_to("store")
    with pytest.raises(PathRefused, match="store's own folder"):
        store.checkout(evil, "alias")


def test_folders_deeper_than_the_limit_are_refused(store, workdir):
    deep = "in/" + "/".join(["d"] * (tree.DEEPEST - 1))
    os.makedirs(deep)
    store.checkout(store.put_path("in"), "out")
    assert look(workdir / "out") == look(workdir / "in")
    os.makedirs(deep + "/d/d")
    with pytest.raises(PathRefused, match="deep"):
        store.put_path("in")


def test_more_entries_than_the_limit_are_refused(store, folder, monkeypatch):
    monkeypatch.setattr(tree, "MOST_ENTRIES", 9)
    store.put_path(folder)
    (folder / "one more").mkdir()
    with pytest.raises(PathRefused, match="more than 9 entries"):
        store.put_path(folder)


def test_what_a_kill_left_half_written_is_no_part_of_a_folder(store, folder):
    oid = store.put_path(folder)
    (folder / "sub/.scalable-cas-draft.1.2.3").write_text("half")
    assert store.put_path(folder) == oid


# --- hostile trees -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [b"/etc", b"../..", b"a/../../b", b"link/../x", b"x/../.."])
def test_a_stored_link_that_leads_out_is_not_made(store, workdir, target):
    evil = put_tree(store, (b"link", tree.LINK, b"."), (b"z", tree.LINK, target))
    with pytest.raises(PathRefused, match="a link to"):
        store.checkout(evil, "out")
    assert not os.path.lexists(workdir / "out/z")


def test_a_link_is_never_written_through(store, workdir):
    """The old trick: a link, and below it, in another tree, a file; or both in one folder."""
    (workdir / "outside").mkdir()
    (workdir / "out").mkdir()
    (workdir / "out/x").symlink_to(workdir / "outside")
    (workdir / "out/y").symlink_to(workdir / "outside/file")
    inner = put_tree(store, (b"file", tree.FILE, b"evil"))
    evil = put_tree(store, (b"x", tree.FOLDER, inner.encode()), (b"y", tree.FILE, b"evil"))
    store.checkout(evil, "out")
    assert list((workdir / "outside").iterdir()) == []
    assert (workdir / "out/x/file").read_text() == (workdir / "out/y").read_text() == "evil"


def raw_tree(store, name: bytes) -> str:
    """A tree that no writer of ours would make."""
    blob = store.put_object(BLOB, b"evil")
    content = tree._HEAD.pack(1, b"", 1) + tree._ENTRY.pack(tree.FILE, BLOB, 0, len(name), 0, 4, blob) + name
    return store.put_object(TREE, content).hex()


@pytest.mark.parametrize("name", [b"../evil", b"..", b"/tmp/evil", b"a/b", b"a\0", b""])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(store, workdir, name):
    oid = raw_tree(store, name)
    with pytest.raises(CorruptObject, match=r"no name of a file|it claims"):
        store.checkout(oid, "out")
    assert not (workdir / "evil").exists()
    assert list((workdir / "out").iterdir()) == []
    assert [finding.subject for finding in store.verify().findings] == [oid]


def test_a_tree_that_lies_about_a_size_or_a_kind_is_refused(store, workdir):
    blob = store.put_object(BLOB, b"abc")
    for entry in (
        tree.TreeEntry(b"a", tree.FILE, blob, 2),
        tree.TreeEntry(b"a", tree.FILE, blob, 4),
        tree.TreeEntry(b"a", tree.FILE, blob, 3 << 20),
        tree.TreeEntry(b"a", tree.FOLDER, blob, 3),
    ):
        oid = store.put_object(TREE, tree.pack([entry])).hex()
        with pytest.raises(CorruptObject):
            store.checkout(oid, "out")
        assert not (workdir / "out/a").is_file()
    oid = store.put_object(TREE, tree.pack([tree.TreeEntry(b"a", tree.FILE, bytes(32), 3)])).hex()
    with pytest.raises(ObjectNotFound):
        store.checkout(oid, "out")


def test_a_tree_that_holds_itself_over_and_over_has_an_end(store, monkeypatch):
    oid = put_tree(store, (b"x", tree.FILE, b"x"))
    for _ in range(60):
        oid = put_tree(store, *((bytes((97 + n,)), tree.FOLDER, oid.encode()) for n in range(8)))
    monkeypatch.setattr(tree, "MOST_ENTRIES", 500)
    with pytest.raises(PathRefused, match="more than 500 entries"):
        store.checkout(oid, "out")
    since = clock.monotonic()
    assert store.verify().findings == []
    store.pin([bytes.fromhex(oid)])
    assert store.gc().objects == 0  # each object is looked at once
    assert clock.monotonic() - since < 20
    for _ in range(90):
        oid = put_tree(store, (b"x", tree.FOLDER, oid.encode()))
    monkeypatch.undo()
    with pytest.raises(PathRefused, match="deep"):
        store.checkout(oid, "out2")


def test_a_folder_that_becomes_a_link_meanwhile_is_not_written_through(store, workdir):
    """Another process swaps a folder of ours for a link to a place that we must not touch, again and again."""
    inner = put_tree(store, *((b"file%d" % n, tree.FILE, b"evil") for n in range(20)))
    evil = put_tree(store, *((b"d%d" % n, tree.FOLDER, inner.encode()) for n in range(10)))
    outside = workdir / "outside"
    outside.mkdir()
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for number in range(10):
                path = workdir / f"out/d{number}"
                try:
                    os.rename(path, workdir / f"away{number}")
                    os.symlink(outside, path)
                    os.unlink(path)
                    os.rename(workdir / f"away{number}", path)
                except OSError:
                    continue

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(15):
            try:
                store.checkout(evil, "out")
            except PathRefused:
                continue
    finally:
        stop.set()
        thread.join()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("size", [500_000, 3 << 20])
def test_damage_is_found_before_a_file_gets_its_name(store, workdir, size):
    """In one piece, or in chunks."""
    (workdir / "large").write_bytes(os.urandom(size))
    oid = store.put_path("large")
    for path in (*object_files(store.root), *pack_files(store.root)):
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    (workdir / "copy").write_text("mine")
    with pytest.raises(CorruptObject):
        store.checkout(oid, "copy")
    assert (workdir / "copy").read_text() == "mine"
    assert sorted(os.listdir(workdir)) == ["copy", "large", "store"]  # and no draft is left


# --- beside a collector ------------------------------------------------------------------------------------


def test_what_nothing_needs_goes_with_all_that_it_holds_and_what_is_pinned_stays(store, folder, workdir):
    oid = store.put_path(folder)
    store.pin([bytes.fromhex(oid)])
    assert store.gc().objects == 0
    store.checkout(oid, "out")
    store.pin([bytes.fromhex(oid)], pinned=False)
    store.gc()
    assert list(store.objects.names()) == []


def test_what_a_collector_takes_while_a_folder_is_stored_is_stored_again(store, folder, workdir, monkeypatch):
    """The collector runs after every object is in its place and before any row names one."""
    publish, collected = intakes.Intake.publish, []

    def late(self):
        self.flush()
        if not collected:
            collected.append(store.gc().objects)
        publish(self)

    monkeypatch.setattr(intakes.Intake, "publish", late)
    oid = store.put_path(folder)
    assert collected[0] > 5
    store.checkout(oid, "out")
    assert look(workdir / "out") == look(folder)
    assert store.verify().findings == []


def test_a_rebuilt_index_knows_trees(store, folder, workdir):
    oid = store.put_path(folder)
    store.pin([bytes.fromhex(oid)])
    store.close()
    with Store.open(workdir / "store") as again:
        from scalable_cas.store.rebuild import fill_index

        fill_index(again.index, again.journal, again.objects)
        assert again.gc().objects == 0
        again.checkout(oid, "out")
    assert look(workdir / "out") == look(folder)
    assert_whole(workdir / "store")


def test_a_missing_file_of_a_tree_is_found_with_what_it_affects(store, folder):
    oid = store.put_path(folder)
    store.pin([bytes.fromhex(oid)])
    lost = blake3(b"a").digest()
    store.objects.loose.delete(lost)
    (finding,) = store.verify().findings
    assert (finding.kind, finding.subject) == ("missing", lost.hex())


def test_a_store_that_cannot_be_written_says_so(store, folder):
    store.read_only = True
    with pytest.raises(StoreReadOnly):
        store.put_path(folder)


# --- what is no file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", ["itself", "a link to it", "a tree's file", "a tree's link", "a tree's folder"]
)
def test_a_fifo_is_not_replaced(store, workdir, way):
    (workdir / "out").mkdir()
    pipe = workdir / "out/a"
    os.mkfifo(workdir / "pipe" if way == "a link to it" else pipe)
    if way == "a link to it":
        pipe.symlink_to("../pipe")
    mode = {"a tree's link": tree.LINK, "a tree's folder": tree.FOLDER}.get(way, tree.FILE)
    content = put_tree(store).encode() if mode == tree.FOLDER else b"b"
    blob = store.put_bytes(b"")
    before = os.lstat(pipe)
    with pytest.raises(PathRefused, match="out/a: is neither a file nor a link to one; name another path"):
        store.checkout(*((put_tree(store, (b"a", mode, content)), "out") if "tree" in way else (blob, pipe)))
    assert os.lstat(pipe).st_ino == before.st_ino and os.listdir("out") == ["a"]


def test_a_link_that_leads_nowhere_is_replaced(store, workdir):
    (workdir / "a").symlink_to("gone")
    store.checkout(store.put_bytes(b"x"), "a")
    assert (workdir / "a").read_bytes() == b"x" and not (workdir / "gone").exists()
