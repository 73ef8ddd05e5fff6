"""Results in chunks: what comes in large pieces is checked, packed and proved in the threads that fetch it."""

from __future__ import annotations

import pytest

from scalable_cas import Store
from scalable_cas.errors import RemoteError, StoreReadOnly
from scalable_cas.format import header
from scalable_cas.format.pack import HEAD_BYTES, read_table
from scalable_cas.ops.transfer import fetching
from scalable_cas.remotes.files import FileRemote
from scalable_cas.storage import fs
from tests.support.stores import flip, overwrite, pack_files, quiet

from .people import MISS, fill, keys, noise, read

SIZE = 10 << 20


@pytest.fixture
def pushed(ada, place):
    """Three results of 10 MiB, the chunks of each in a pack of its own."""
    found = {n: noise(SIZE, n) for n in range(3)}
    for n, value in found.items():
        fill(ada, "m.f", n, value=value)
        ada.push(place.url)
    return found


def chunk_packs(place):
    return [path for path in place.files("*.pack") if path.stat().st_size > SIZE // 2]


def check_whole(store, expected, lost=()):
    with quiet():
        for n, value in expected.items():
            assert read(store, "m.f", n) == (MISS if n in lost else value), n
    assert store.verify().findings == []


def test_lists_lie_apart_from_chunks_which_keep_their_order(place, pushed):
    large = chunk_packs(place)
    assert len(large) == 3
    for path in large:
        data = path.read_bytes()
        members = sorted(read_table(data), key=lambda member: member.offset)
        heads = [header.unpack(data[member.offset : member.offset + 64]) for member in members]
        assert header.CHUNKED not in {head.coding for head in heads}
        content = b"".join(data[m.offset + 64 : m.offset + m.length] for m in members)
        assert content in pushed.values()


def test_each_piece_becomes_a_pack_as_it_was(bob, place, pushed):
    before = len(place.files("*.pack"))
    done = bob.pull(place.url)
    assert (done.entries, done.lost) == (3, ())
    assert done.requests == 2 + 3 + before  # format.json, the listing, the segments
    names = {path.name for path in chunk_packs(place)}
    assert names <= {path.name for path in pack_files(bob.root)}
    check_whole(bob, pushed)


def test_one_damaged_byte_anywhere_in_a_piece_is_noticed_and_costs_what_it_hits(place, pushed, tmp_path, ada):
    path = chunk_packs(place)[1]
    content = path.read_bytes()
    table = sorted(read_table(content), key=lambda member: member.offset)
    (hit,) = [n for n, value in pushed.items() if value[:1000] in content]
    first, middle, last = table[0], table[len(table) // 2], table[-1]
    for member, at in (
        (first, HEAD_BYTES),
        (first, HEAD_BYTES + 30),
        (middle, middle.offset + 100),
        (middle, middle.offset + middle.length - 1),
        (last, last.offset + last.length - 1),
        (None, 3),
        (None, last.offset + last.length + 5),
        (None, len(content) - 1),
    ):
        flip(path, at)
        with Store.init(tmp_path / f"eve{at}") as eve:
            done = eve.pull(place.url)
            assert [(item.oid, item.function) for item in done.lost] == (
                [(member.oid, "m.f")] if member is not None else []
            ), at
            check_whole(eve, pushed, {hit} if member is not None else ())
        overwrite(path, content)


def test_a_piece_that_ends_early_costs_what_is_missing(bob, place, pushed):
    path = chunk_packs(place)[0]
    content = path.read_bytes()
    (hit,) = [n for n, value in pushed.items() if value[:1000] in content]
    overwrite(path, content[: SIZE // 2])
    assert len(bob.pull(place.url).lost) == 1
    check_whole(bob, pushed, {hit})


def test_chunks_that_are_here_are_neither_fetched_nor_stored_again(bob, place, pushed):
    fill(bob, "m.f", "own", value=pushed[1][: SIZE // 2] + noise(1 << 20, 9))
    chunks = sum(path.stat().st_size for path in pack_files(bob.root))
    done = bob.pull(place.url)
    assert (done.entries, done.lost) == (3, ())
    assert done.bytes < 3 * SIZE - SIZE // 3
    assert sum(path.stat().st_size for path in pack_files(bob.root)) < chunks + 3 * SIZE - SIZE // 3
    check_whole(bob, pushed)


def test_a_pull_that_fails_keeps_what_is_complete(bob, place, pushed, monkeypatch):
    get_into, asked = FileRemote.get_into, []

    def failing(self, name, target, *, offset=0):
        asked.append(name)
        if len(asked) > 1:
            raise RemoteError(self.url, name, "the line is cut", retryable=True)
        return get_into(self, name, target, offset=offset)

    with monkeypatch.context() as patch:
        patch.setattr(FileRemote, "get_into", failing)
        with pytest.raises(RemoteError, match="the line is cut"):
            bob.pull(place.url, jobs=1)
    assert len(keys(bob)) == 1
    assert bob.verify().findings == []
    done = bob.pull(place.url)
    assert (done.present, done.entries) == (1, 2)
    assert done.bytes < 2 * SIZE + (1 << 20)
    check_whole(bob, pushed)


def test_a_disk_that_refuses_to_flush_ends_the_pull_before_an_entry_is_named(bob, place, pushed, monkeypatch):
    def refused(paths):
        raise StoreReadOnly(paths[0], "the disk is broken")

    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_paths", refused)
        with pytest.raises(StoreReadOnly):
            bob.pull(place.url)
    assert keys(bob) == set()
    assert bob.pull(place.url).entries == 3
    check_whole(bob, pushed)


def test_small_pieces_and_large_ones_make_the_same_store(place, pushed, tmp_path, monkeypatch):
    found = []
    for name, least in (("large", fetching.PACK_BYTES), ("small", 1 << 30)):
        monkeypatch.setattr(fetching, "PACK_BYTES", least)
        with Store.init(tmp_path / name) as store:
            store.pull(place.url)
            check_whole(store, pushed)
            found.append((keys(store), set(store.objects.names())))
    assert found[0] == found[1]
