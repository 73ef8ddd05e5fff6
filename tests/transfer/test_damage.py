"""Damage in a remote: noticed by pull and by `verify --remote`, never a wrong value, and mended by the next push."""

from __future__ import annotations

import os
import random

import pytest
from blake3 import blake3

from scalable_cas import Store
from scalable_cas.errors import RemoteError, StoreVersionError
from scalable_cas.format import joined
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import segment as segments
from scalable_cas.format.header import RAW
from scalable_cas.format.kinds import BLOB
from scalable_cas.format.segment import LATEST, ObjectPlace, Segment
from scalable_cas.ops.transfer import remote_check
from scalable_cas.ops.transfer.committing import commit
from scalable_cas.ops.transfer.compaction import compact
from scalable_cas.ops.transfer.remote_check import verify_remote
from scalable_cas.ops.transfer.remote_gc import UnreadableSegments, plan_remote_gc
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas.ops.transfer.setting_aside import repair_segments
from scalable_cas.remotes.files import FileRemote
from tests.support.stores import flip, overwrite, quiet

from .people import MISS, Place, fill, keys, noise, numbers, read, values

SEEDED = 7


def verified(store, url):
    """What `verify --remote` finds."""
    with open_repository(store, url) as repository:
        return verify_remote(repository).findings


@pytest.fixture
def filled(ada, place):
    """Ada's results, pushed in two pushes."""
    names = values()
    for name, value in names.items():
        fill(ada, "m.f", name, value=value)
        if name == "small":
            ada.push(place.url)
    ada.push(place.url)
    return names


def check_values(store, expected) -> int:
    """No value is a wrong one; returns how many are there."""
    there = 0
    with quiet():
        for name, value in expected.items():
            found = read(store, "m.f", name)
            assert found is MISS or found == value, name
            there += found is not MISS
    return there


def test_a_whole_remote_has_no_findings(ada, filled, place):
    assert verified(ada, place.url) == []


def positions(path, content: bytes) -> list[int]:
    """Both ends, and some in between."""
    at = {0, 7, len(content) // 2, len(content) - 1}
    return sorted(at | {random.Random(SEEDED).randrange(len(content)) for _ in range(2)})


def test_a_flipped_bit_anywhere_is_noticed_by_verify_and_by_pull_and_mended_by_push(
    ada, filled, place, tmp_path
):
    for number, path in enumerate(place.files()):
        content = path.read_bytes()
        for at in positions(path, content):
            flip(path, at, bit=at % 8)
            where = f"{path.relative_to(place.folder)} at {at}"
            with Store.init(tmp_path / f"eve{number}-{at}") as eve:
                if path.name == "format.json":
                    with pytest.raises((RemoteError, StoreVersionError)):
                        eve.pull(place.url)
                    overwrite(path, content)
                    continue
                done = eve.pull(place.url)
                table_only = path.suffix == ".pack" and done.entries == len(filled)
                assert done.lost or done.faults or table_only, where
                assert check_values(eve, filled) == done.entries
                assert eve.verify().findings == []
            findings = verified(ada, place.url)
            assert findings, where
            ada.push(place.url)
            assert path.read_bytes() == content, where
            assert verified(ada, place.url) == [], where


@pytest.mark.parametrize("how", ["gone", "empty", "short", "longer"])
def test_a_file_that_is_gone_or_of_another_length_is_noticed_and_mended(ada, filled, place, tmp_path, how):
    for number, path in enumerate(p for p in place.files() if p.name != "format.json"):
        content = path.read_bytes()
        if how == "gone":
            path.unlink()
        else:
            overwrite(path, {"empty": b"", "short": content[:-1], "longer": content + b"x"}[how])
        with Store.init(tmp_path / f"eve{number}") as eve:
            eve.pull(place.url)
            check_values(eve, filled)
        segment_gone = how == "gone" and path.suffix == ".seg"
        assert verified(ada, place.url) or segment_gone, path  # what it held nobody knows
        ada.push(place.url)
        assert verified(ada, place.url) == [], path
        with Store.init(tmp_path / f"bob{number}") as bob:
            bob.pull(place.url)
            assert check_values(bob, filled) == len(filled), path


def test_packs_too_long_for_memory_are_checked_in_pieces(ada, filled, place, monkeypatch):
    monkeypatch.setattr(remote_check, "WHOLE", 0)
    assert verified(ada, place.url) == []
    for path in place.files("*.pack"):
        content = path.read_bytes()
        for damaged in (
            b"",
            content[:-1],
            content + b"x",
            *(flipped(content, at) for at in positions(path, content)),
        ):
            overwrite(path, damaged)
            assert verified(ada, place.url), path
        path.unlink()
        assert {finding.kind for finding in verified(ada, place.url)} == {"missing"}
        path.write_bytes(content)
    assert verified(ada, place.url) == []


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_no_memory_is_taken_for_what_a_stranger_says_of_a_packs_length(ada, filled, place, monkeypatch):
    asked, get = [], FileRemote.get

    def spy(self, name, *, largest, **more):
        asked.append(largest)
        return get(self, name, largest=largest, **more)

    monkeypatch.setattr(FileRemote, "get", spy)
    (pack, *_) = place.files("*.pack")
    holder = bytes.fromhex(pack.stem)
    with open_repository(ada, place.url) as repository:
        for length in (100, 1 << 40):
            commit(repository, [], [ObjectPlace(os.urandom(32), BLOB, RAW, 36, holder, 1 << 40, length)])
    assert [finding.kind for finding in verified(ada, place.url)] == ["corrupt", "corrupt"]
    assert max(asked) <= remote_check.WHOLE


def test_packs_checked_in_pieces_take_few_requests(ada, place, monkeypatch):
    fill(ada, "m.f", *range(300))
    ada.push(place.url)
    monkeypatch.setattr(remote_check, "WHOLE", 0)
    with open_repository(ada, place.url) as repository:
        checked = verify_remote(repository)
        assert checked.findings == []
        assert checked.objects >= 300
        assert checked.requests < 20


def test_a_finding_names_the_object_and_the_entries_that_need_it(ada, place):
    (key,) = fill(ada, "m.f", 1, value=numbers())
    ada.push(place.url)
    (big,) = [path for path in place.files() if "/big/" in str(path)]
    flip(big, 5 << 20)
    (finding,) = verified(ada, place.url)
    assert (finding.kind, finding.subject) == ("corrupt", big.name)
    assert finding.affects == (f"m.f {key}",)
    big.unlink()
    (finding,) = verified(ada, place.url)
    assert finding.kind == "missing"


def test_what_a_pull_found_damaged_is_sent_again_by_the_next_push_of_who_has_it(ada, bob, place):
    fill(ada, "m.f", *range(5))
    ada.push(place.url)
    fill(bob, "m.f", *range(5))  # he has computed the same
    fill(bob, "m.f", "his own")
    (pack,) = place.files("*.pack")
    flip(pack, 100)
    bob.forget([e.record.rowkey for e in bob.entries() if e.record.parts[0][2] == entry_part(0)])
    bob.gc()
    with quiet():
        bob.pull(place.url)
    assert verified(ada, place.url)
    ada.push(place.url)
    assert verified(ada, place.url) == []


def entry_part(call):
    from tests.cli.filling import digest

    return digest(str(call))


def test_a_copy_at_another_place_serves(ada, bob, place, tmp_path):
    """Two pushed the same object at once, in different packs; one of the packs is damaged."""
    shared = noise(30_000)
    fill(ada, "m.f", "a", value=shared)
    fill(bob, "m.f", "b", value=shared)
    fill(bob, "m.f", "c", value=noise(30_000, 1))
    with open_repository(bob, place.url, create=True) as repository:  # he looks before she pushes
        from scalable_cas.ops.transfer.push import push
        from scalable_cas.ops.transfer.push_plan import plan_push

        plan = plan_push(repository)
        ada.push(place.url)
        push(repository, plan)
    packs = place.files("*.pack")
    assert len(packs) == 2
    for pack in packs:
        content = pack.read_bytes()
        start = content.find(shared[:64])
        flip(pack, start)
        with Store.init(tmp_path / pack.name) as eve:
            done = eve.pull(place.url)
            assert done.entries == 3
            assert done.lost == ()
            assert read(eve, "m.f", "a") == read(eve, "m.f", "b") == shared
        assert verified(ada, place.url) == []
        overwrite(pack, content)


def test_a_segment_of_another_remote_is_refused(ada, bob, place, tmp_path):
    fill(ada, "m.f", 1)
    ada.push(place.url)
    other = tmp_path / "other"
    fill(bob, "m.g", 1)
    bob.push(f"file://{other}")
    for path in [*other.rglob("*.seg"), *other.rglob("*.pack")]:
        target = place.folder / path.relative_to(other)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    with Store.init(tmp_path / "eve") as eve:
        done = eve.pull(place.url)
        assert done.entries == 1
        assert "another place" in done.faults[0][1]
        assert read(eve, "m.g", 1) is MISS


def test_a_segment_under_the_name_of_another_is_refused(ada, bob, place):
    fill(ada, "m.f", 1)
    ada.push(place.url)
    fill(ada, "m.f", 2)
    ada.push(place.url)
    first, second = place.segments()
    overwrite(first, second.read_bytes())
    done = bob.pull(place.url)
    assert done.entries == 1
    assert len(done.faults) == 1


def test_a_segment_that_somebody_removed_is_not_relied_on_any_more(ada, bob, place):
    fill(ada, "m.f", *range(3))
    ada.push(place.url)
    (segment,) = place.segments()
    segment.unlink()
    for pack in place.files("*.pack"):
        pack.unlink()
    assert ada.push(place.url).entries == 3
    assert bob.pull(place.url).entries == 3
    assert keys(bob) == keys(ada)


def test_a_damaged_segment_is_put_back_also_where_another_was_removed_since(ada, bob, place):
    for call in (1, 2):
        fill(ada, "m.f", call)
        ada.push(place.url)
    first, second = place.segments()
    content = first.read_bytes()
    flip(first, 100)
    second.unlink()  # so all that is known of the place is read anew, but the one cannot be read
    assert len(verified(ada, place.url)) == 1
    ada.push(place.url)
    assert first.read_bytes() == content
    assert verified(ada, place.url) == []
    assert bob.pull(place.url).entries == 2


def test_a_damaged_segment_is_put_back_by_who_knows_the_remote_by_another_address(ada, bob, place, tmp_path):
    for call in (1, 2):
        fill(ada, "m.f", call)
        ada.push(place.url)
    fill(ada, "m.f", 3)
    ada.push((tmp_path / "elsewhere").as_uri())  # another remote, of which there is a view too
    moved = Place(tmp_path / "moved")
    place.folder.rename(moved.folder)
    contents = [path.read_bytes() for path in moved.segments()]
    flip(moved.segments()[0], 100)
    assert [finding.kind for finding in verified(ada, moved.url)] == ["segment"]
    ada.push(moved.url)
    assert set(contents) <= {path.read_bytes() for path in moved.segments()}
    assert verified(ada, moved.url) == []
    done = bob.pull(moved.url)
    assert done.entries == 3
    assert not done.faults


# --- damage of which nobody has a copy --------------------------------------------------------------------------


def repaired(store, url):
    """What `verify --remote --repair` does."""
    with open_repository(store, url) as repository:
        verify_remote(repository)
        return repair_segments(repository)


def quarantined(place):
    return [path.read_bytes() for path in place.files() if "quarantine" in path.parts]


def test_a_damaged_segment_of_which_nobody_has_a_copy_is_set_aside(ada, bob, place):
    fill(ada, "m.f", 1)
    ada.push(place.url)
    fill(ada, "m.f", 2)
    ada.push(place.url)
    first, second = place.segments()
    whole = second.read_bytes()
    flip(first, 100)
    damaged = first.read_bytes()
    with open_repository(bob, place.url) as repository, pytest.raises(UnreadableSegments, match="--repair"):
        plan_remote_gc(repository)
    (done,) = repaired(bob, place.url)
    assert "set aside" in done
    assert place.segments() == [second]
    assert quarantined(place) == [damaged]
    assert second.read_bytes() == whole
    assert verified(bob, place.url) == []
    assert repaired(bob, place.url) == []
    with open_repository(bob, place.url) as repository:
        assert len(plan_remote_gc(repository).condemn) == 1
    assert ada.push(place.url).entries == 1
    assert bob.pull(place.url).entries == 2
    assert verified(bob, place.url) == []


def test_a_damaged_segment_of_which_there_is_a_copy_is_put_back_instead(ada, place):
    fill(ada, "m.f", 1)
    ada.push(place.url)
    (segment,) = place.segments()
    content = segment.read_bytes()
    flip(segment, 100)
    (done,) = repaired(ada, place.url)
    assert "put back" in done
    assert segment.read_bytes() == content
    assert quarantined(place) == []


@pytest.mark.parametrize("where", ["head", "table", "segment"])
def test_what_is_whole_of_a_damaged_joined_file_is_saved(ada, bob, place, tmp_path, where):
    for call in range(4):
        fill(ada, "m.f", call)
        ada.push(place.url)
    with open_repository(ada, place.url) as repository:
        compact(repository)
    (path,) = place.files("*.join")
    assert place.segments() == []
    parts = joined.unpack_table(path.read_bytes(), path.stat().st_size)
    flip(path, {"head": 20, "table": 70, "segment": parts[1].offset + 90}[where])
    repaired(bob, place.url)
    saved = len(parts) - 1 if where == "segment" else 0  # one of them has no entry, but where their pack lies
    assert len(place.segments()) == saved
    assert place.files("*.join") == []
    assert len(quarantined(place)) == 1
    assert verified(bob, place.url) == []
    with Store.init(tmp_path / "eve") as eve:
        assert eve.pull(place.url).entries in ((3, 4) if saved else (0,))
    ada.push(place.url)
    with Store.init(tmp_path / "eva") as eva:
        assert eva.pull(place.url).entries == 4


def test_what_is_not_damaged_but_refused_is_left(ada, bob, place, tmp_path):
    fill(ada, "m.f", 1)
    ada.push(place.url)
    fill(bob, "m.g", 1)
    other = Place(tmp_path / "other")
    bob.push(other.url)
    (foreign,) = other.segments()
    content = foreign.read_bytes()
    for name, changed in {"11" * 16: content, foreign.stem: content}.items():
        target = place.folder / "segments" / "00001" / f"{name}.seg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(changed)
    newer = bytearray(content)
    newer[8] = 1  # a feature that readers must know; its digest is right
    end = len(newer) - segments.SIGNATURE_BYTES - segments.DIGEST_BYTES
    newer[end : end + 32] = blake3(newer[:end], derive_key_context=segments.CONTEXT).digest()
    (place.folder / "segments" / "00001" / f"{'22' * 16}.seg").write_bytes(newer)
    before = {path: path.read_bytes() for path in place.segments()}
    assert len(verified(ada, place.url)) == 3
    (done,) = repaired(ada, place.url)  # the one under another's name is damaged by definition
    assert "11" * 16 in done
    before.pop(place.folder / "segments" / "00001" / f"{'11' * 16}.seg")
    assert {path: path.read_bytes() for path in place.segments()} == before
    assert len(verified(ada, place.url)) == 2


def test_a_segment_that_is_put_back_meanwhile_stays(ada, bob, place, monkeypatch):
    fill(ada, "m.f", 1)
    ada.push(place.url)
    (segment,) = place.segments()
    flip(segment, 100)
    put = FileRemote.put

    def put_and_mend(self, name, data, **how):
        done = put(self, name, data, **how)
        if name.startswith("quarantine/"):
            ada.push(place.url)
        return done

    assert len(verified(ada, place.url)) == 1
    monkeypatch.setattr(FileRemote, "put", put_and_mend)
    assert repaired(bob, place.url) == []
    assert verified(bob, place.url) == []
    assert bob.pull(place.url).entries == 1


def test_an_object_that_is_said_to_be_at_many_places_is_found_where_it_is(ada, bob, place):
    """An enemy who may only write adds one segment."""
    fill(ada, "m.f", 1, 2)
    fill(ada, "m.g", 1, value=numbers())
    ada.push(place.url)
    with open_repository(ada, place.url) as repository:
        repository.refresh()
        (data,) = repository.view.all_copies()
        there = segments.unpack(data, remote_id=None, verify=None).places
        false = [spot._replace(holder=bytes([n]) * 32, offset=64) for spot in there for n in range(1, 12)]
        made = Segment(repository.remote_id, b"", bytes(16), LATEST, (), tuple(false))
        repository.remote.put(layout.segment_name(0, bytes(16)), segments.pack(made, None))
    done = bob.pull(place.url)
    assert (done.entries, done.lost) == (3, ())
    assert read(bob, "m.f", 2) == {"call": 2, "of": "m.f"}
