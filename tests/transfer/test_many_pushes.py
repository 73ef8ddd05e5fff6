"""A remote that was pushed to many times: joined segments, readers meanwhile, and what is left behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from blake3 import blake3

from scalable_cas import Store
from scalable_cas.errors import RemoteDenied
from scalable_cas.format import joined as joins
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import segment as segments
from scalable_cas.ops.transfer import compaction
from scalable_cas.ops.transfer.compaction import MOST_LOOSE, compact
from scalable_cas.ops.transfer.remote_check import verify_remote
from scalable_cas.ops.transfer.remote_gc import UnreadableSegments, plan_remote_gc
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas.remotes.files import FileRemote
from tests.support.stores import flip, overwrite

from .people import fill, keys

PUSHES = 80


@pytest.fixture
def pushed(ada, place):
    for n in range(PUSHES):
        fill(ada, "m.f", n, seconds=0.001)
        ada.push(place.url)
    return place


def test_a_remote_pushed_to_often_is_read_in_a_few_requests_for_its_segments(ada, bob, pushed):
    assert len(pushed.segments()) <= MOST_LOOSE
    assert len(pushed.files("*.join")) <= 3
    with open_repository(bob, pushed.url) as repository:
        repository.refresh()
        assert repository.remote.traffic.requests <= MOST_LOOSE + 10
        assert sum(1 for _ in repository.view.entries()) == PUSHES
        assert verify_remote(repository).findings == []
    assert bob.pull(pushed.url).entries == PUSHES
    assert keys(bob) == keys(ada)


def test_joining_again_and_again_keeps_the_number_of_files_small_and_every_entry(
    ada, bob, place, monkeypatch
):
    monkeypatch.setattr(compaction, "MOST_LOOSE", 2)
    for n in range(40):
        fill(ada, "m.f", n, seconds=0.001)
        ada.push(place.url)
    assert len(place.segments()) <= 3
    assert len(place.files("*.join")) <= 5  # log2(40 / 3), and one more
    assert bob.pull(place.url).entries == 40
    assert ada.push(place.url).requests == 2


def test_who_may_not_delete_joins_all_the_same_and_readers_read_what_is_joined(ada, bob, place, monkeypatch):
    monkeypatch.setattr(compaction, "MOST_LOOSE", 2)

    def refuse(self, names):
        raise RemoteDenied(self.url, "", "this key may not delete")

    monkeypatch.setattr("scalable_cas.remotes.files.FileRemote.delete", refuse)
    for n in range(20):
        fill(ada, "m.f", n, seconds=0.001)
        ada.push(place.url)
    made = len(place.segments()) - 20  # those of joined packs
    before = len(place.files("*.join"))
    assert 0 < made <= before <= 6  # ever more are joined at a time: 3, 3, 4, 5
    assert ada.push(place.url).requests == 2  # what is joined is not joined again
    assert len(place.files("*.join")) == before
    with open_repository(bob, place.url) as repository:
        repository.refresh()
        # format, list, each joined file, and the few that are in none
        assert repository.remote.traffic.requests <= 2 + before + before + 1
        assert sum(1 for _ in repository.view.entries()) == 20


def test_a_reader_in_the_midst_of_it_lists_again(ada, bob, place, monkeypatch):
    for n in range(5):
        fill(ada, "m.f", n, seconds=0.001)
        ada.push(place.url)
    with open_repository(bob, place.url) as reader, open_repository(ada, place.url) as writer:
        source = reader.source()
        seen = source.listing

        def list_then_join(known):
            found = seen(known)
            if place.segments():
                assert compact(writer).removed == 6  # one says where the objects of the five are now
            return found

        source.listing = list_then_join
        assert reader.view.refresh(source) == 6
        assert not place.segments()
        assert sum(1 for _ in reader.view.entries()) == 5
        assert reader.refresh() == 0


def test_two_who_join_at_once_harm_nobody(ada, bob, place, tmp_path, monkeypatch):
    for n in range(5):
        fill(ada, "m.f", n, seconds=0.001)
        ada.push(place.url)
    met, put = Barrier(2, timeout=30), FileRemote.put

    def together(self, name, data, **how):
        if name.startswith("segments/joined"):
            met.wait()  # both have read everything before either removes anything
            written.append(bytes(data))
        return put(self, name, data, **how)

    written: list[bytes] = []
    with open_repository(ada, place.url) as one, open_repository(bob, place.url) as two:
        one.refresh()
        fill(ada, "m.f", "later", seconds=0.001)
        monkeypatch.setattr(FileRemote, "put", together)
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(compact, (one, two)))
    assert [item.segments for item in done] == [6, 6]  # the five, and one for the joined pack
    assert len(written) == 2
    monkeypatch.undo()
    ada.push(place.url)
    with Store.init(tmp_path / "eve") as eve:
        assert eve.pull(place.url).entries == 6


def test_a_joined_file_that_is_damaged_is_put_back_by_the_next_push(ada, pushed):
    from tests.support.stores import flip

    path = pushed.files("*.join")[0]
    content = path.read_bytes()
    for at in (3, 70, len(content) - 5):
        flip(path, at)
        with open_repository(ada, pushed.url) as repository:
            assert verify_remote(repository).findings
        ada.push(pushed.url)
        assert path.read_bytes() == content


@pytest.mark.parametrize("damage", ["short", "flipped"])
def test_a_joined_file_that_is_there_and_damaged_is_written_again_before_others_go(
    ada, bob, place, monkeypatch, damage
):
    for n in range(6):
        fill(ada, "m.f", n, seconds=0.001)
        ada.push(place.url)
    with monkeypatch.context() as patch:  # who joined was killed before he removed the others
        patch.setattr(FileRemote, "delete", lambda self, names: None)
        with open_repository(ada, place.url) as repository:
            compact(repository)
    (joined,) = place.files("*.join")
    whole = joined.read_bytes()
    if damage == "short":
        overwrite(joined, whole[:50])
    else:
        flip(joined, 100)
    with open_repository(bob, place.url) as repository:
        compact(repository)
    assert place.segments() == []
    assert joined.read_bytes() == whole
    with Store.init(place.folder.parent / "eve") as eve:
        assert eve.pull(place.url).entries == 6


def test_no_joined_file_has_more_segments_than_one_may(ada, bob, place, monkeypatch):
    monkeypatch.setattr(joins, "MOST_SEGMENTS", 12)
    monkeypatch.setattr(compaction, "MOST_LOOSE", 2)
    for n in range(30):
        fill(ada, "m.f", n, seconds=0.001)
        ada.push(place.url)
    monkeypatch.setattr(compaction, "MOST_LOOSE", 1000)
    for n in range(30, 50):
        fill(ada, "m.f", n, seconds=0.001)
        ada.push(place.url)
    for _ in range(3):
        with open_repository(ada, place.url) as repository:
            compact(repository, thorough=True)
    sizes = [
        len(joins.unpack_table(file.read_bytes(), file.stat().st_size)) for file in place.files("*.join")
    ]
    assert max(sizes) <= 12
    assert len(sizes) < 25
    assert len(place.segments()) <= 2
    assert bob.pull(place.url).entries == 50


def forge(place, files):
    """What an enemy who may only write adds: a joined file with empty segments under the numbers of others."""
    data = (place.folder / "format.json").read_bytes()
    remote_id = layout.unpack_format(data, place.url).remote_id
    parts = {}
    for file in files:
        number = layout.segment_number(file.relative_to(place.folder).as_posix())
        parts[number] = segments.pack(segments.Segment(remote_id, b"", number, 10**18, (), ()), None)
    made = joins.pack(parts)
    path = place.folder / layout.joined_name(blake3(made).digest())
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(made)
    return path


def test_a_joined_file_with_other_segments_makes_nobody_remove_those_of_others(ada, bob, place, tmp_path):
    for n in range(3):
        fill(ada, "m.f", n)
        ada.push(place.url)
    before = place.segments()
    false = forge(place, before)
    bob.pull(place.url)  # he learns what the false file says
    with open_repository(bob, place.url) as repository:
        with pytest.raises(UnreadableSegments):
            plan_remote_gc(repository, 0)
        found = {finding.subject.rpartition("/")[2] for finding in verify_remote(repository).findings}
        assert found == {path.name for path in (false, *before)}
    for n in range(MOST_LOOSE + 1):  # he joins what he knows, the false ones with it
        fill(bob, "m.g", n)
        bob.push(place.url)
    assert place.files("*.join") != [false]
    assert set(before) <= set(place.segments())
    for path in place.files("*.join"):  # somebody removes what is false
        path.unlink()
    bob.push(place.url)
    with Store.init(tmp_path / "eve") as eve:
        eve.pull(place.url)
        assert keys(ada) | keys(bob) <= keys(eve)
    bob.pull(place.url)
    assert keys(ada) <= keys(bob)


def test_a_joined_file_goes_only_where_the_new_one_has_its_very_segments(ada, bob, place):
    for n in range(MOST_LOOSE + 1):
        fill(ada, "m.f", n)
        ada.push(place.url)
    (true,) = place.files("*.join")
    numbers = joins.unpack_table(true.read_bytes(), true.stat().st_size)
    names = [place.folder / layout.segment_name(0, part.number) for part in numbers]
    more = [place.folder / layout.segment_name(0, bytes([n]) * 16) for n in range(2)]
    forge(place, [*names[1:], *more])
    for n in range(2 * MOST_LOOSE + 2):  # he knows most of them from the larger one, and joins both
        fill(bob, "m.g", n)
        bob.push(place.url)
    assert true.exists()
