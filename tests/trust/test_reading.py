"""Whether an entry that came from elsewhere is decoded: asked when it is read, and never to run code for
somebody who is not trusted.
"""

from __future__ import annotations

import os
import pickle
import sys

import pytest

from scalable_cas import Store, cacheable
from scalable_cas.codecs import plain
from scalable_cas.codecs.encoded import Encoded
from scalable_cas.config import Settings
from scalable_cas.errors import MalformedObject, UntrustedEntry
from scalable_cas.format import rows
from scalable_cas.format.record import Record
from scalable_cas.store import reader, trust
from scalable_cas.store.entry import MISS
from scalable_cas.store.outputs import save_output
from scalable_cas.store.rebuild import fill_index
from scalable_cas.store.trust import trust_list
from tests.support.stores import quiet, recorded

from .conftest import FUNCTION, KEY, read, save, sent, take


class Touch:
    """Decoding this makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def attack(store, mark, key=KEY):
    record = Record(key, FUNCTION, "module.function", created=10**18, seconds=1.0)
    store.save(record, Encoded("pickle", pickle.dumps(Touch(mark), protocol=5), ()), replace=True)
    store.flush()
    return sent(store)


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "code ran"


@pytest.fixture
def bomb(alice, mark):
    with alice.open() as store:
        return attack(store, mark)


def test_the_attack_works_where_its_maker_is_trusted(bomb, alice, bob, mark):
    """Else the tests below would prove nothing."""
    with bob.open() as store:
        take(store, bomb, alice.origin)
        trust_list().add(alice.key.public, "alice")
        read(store)
        assert mark.exists()


def test_a_frame_of_polars_of_somebody_who_is_not_trusted_is_neither_read_nor_called_stored(alice, bob):
    pl = pytest.importorskip("polars")
    with alice.open() as store:
        save(store, pl.DataFrame({"a": [1, 2]}))
        things = sent(store)
    with bob.open() as store:
        take(store, things, alice.origin)
        with quiet():
            assert read(store) is MISS
            store.say()
        assert not store.contains(FUNCTION + KEY)
        trust_list().add(alice.key.public, "alice")
        assert store.contains(FUNCTION + KEY)
        assert read(store).equals(pl.DataFrame({"a": [1, 2]}))


@pytest.mark.parametrize("signed", [True, False])
def test_a_pickle_of_somebody_who_is_not_trusted_is_a_miss_with_one_line(bomb, alice, bob, mark, signed):
    origin = alice.origin if signed else "unsigned"
    with bob.open() as store:
        take(store, bomb, origin)
        with recorded() as texts:
            for _ in range(3):
                assert read(store) is MISS
                store.say()
        assert not mark.exists()
        assert not store.contains(FUNCTION + KEY)
        (text,) = texts
        assert "\n" not in text
        assert KEY.hex() in text
        assert "module.function" in text
        assert (f"`scalable-cas trust add {alice.origin}`" in text) is signed


def test_a_thousand_entries_of_one_signer_are_one_line(alice, bob):
    with alice.open() as store:
        for number in range(20):
            save(store, len, bytes([number + 1]) * 32)
        cargo = sent(store)
    with bob.open() as store:
        take(store, cargo, alice.origin)
        with recorded() as texts:
            for number in range(20):
                assert read(store, bytes([number + 1]) * 32) is MISS
            store.say()
        assert len(texts) == 1


def test_trust_counts_at_once_and_can_be_taken_back(alice, bob):
    with alice.open() as store:
        save(store, len)
        cargo = sent(store)
    with quiet(), bob.open() as store:
        take(store, cargo, alice.origin)
        assert read(store) is MISS
        trust_list().add(alice.key.public, "alice")
        assert read(store) is len
        assert store.contains(FUNCTION + KEY)
        trust_list().remove({alice.key.public})
        assert read(store) is MISS
        trust_list().add(alice.key.public, "alice")
        assert read(store) is len
        fill_index(store.index, store.journal, store.objects)
        assert read(store) is len
        fill_index(store.index, store.journal, store.objects, adopt=True)
        trust_list().remove({alice.key.public})
        assert read(store) is MISS  # adopting is for what has no signer


def test_ones_own_signature_is_trusted_without_a_list(alice):
    with alice.open() as store:
        save(store, len)
        cargo = sent(store)
        store.forget([FUNCTION + KEY])
        take(store, cargo, alice.origin)
        assert read(store) is len
        (row,) = (row for _, row in store.index.scan("refs"))
        assert row[rows.FLAGS_AT] & rows.FOREIGN


def test_plain_data_comes_from_anybody(alice, bob):
    with alice.open() as store:
        save(store, {"a": (1, 2, {3})})
        cargo = sent(store)
    with bob.open() as store:
        for origin in ("unsigned", alice.origin):
            take(store, cargo, origin)
            with recorded() as texts:
                assert read(store) == {"a": (1, 2, {3})}
                store.say()
            assert texts == []
            store.forget([FUNCTION + KEY])


SMALL = [None, 7, ["text"], [], {"a": [1.5, None, True], "b": b"x"}, (1, {2}), 1 << 80, {(1, 2): 3}]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("value", SMALL, ids=repr)
def test_small_plain_data_from_elsewhere_takes_the_quick_way(alice, bob, monkeypatch, value, signed):
    with alice.open() as store:
        save(store, value)
        cargo = sent(store)
    with bob.open() as store:
        take(store, cargo, alice.origin if signed else "unsigned")
        monkeypatch.setattr(reader, "read_row", None)
        for _ in range(3):
            found = read(store)
            assert (type(found), found) == (type(value), value)


#: heads of plain values that only their own maker may have decoded, or nobody
STRANGE = {
    "a key that is no plain one": b"\x81\x90\x01",
    "a key twice": b"\x82\xa1a\x01\xa1a\x02",
    "a time of msgpack's own": b"\xd6\xff\x00\x00\x00\x01",
    "such a time in a map": b"\x81\xa1a\xd6\xff\x00\x00\x00\x01",
    "a tag where none was announced": b"\xc7\x02\x01\x01\x00",
    "nothing": b"",
    "cut short": b"\x92\x01",
}


@pytest.mark.parametrize("head", STRANGE.values(), ids=STRANGE)
def test_the_quick_way_decodes_nothing_that_the_rules_for_strangers_refuse(alice, bob, head):
    record = Record(KEY, FUNCTION, "module.function", created=10**18, seconds=1.0)
    with alice.open() as store:
        store.save(record, Encoded("plain", head, ()), replace=True)
        cargo = sent(store)
    try:
        plain.decode(head, (), trusted=False)
    except MalformedObject:
        refused = True
    else:
        refused = False
    with quiet(), bob.open() as store:
        take(store, cargo, alice.origin)
        for _ in range(3):
            assert (read(store) is MISS) is refused


def test_a_class_that_is_gone_is_not_imported_again_by_the_quick_way(alice, bob, tmp_path, monkeypatch):
    """At the first hit its module was loaded."""
    (tmp_path / "passing.py").write_text(
        "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import passing

    with alice.open() as store:
        save(store, passing.Point(1))
        cargo = sent(store)
    with bob.open() as store:
        take(store, cargo, alice.origin)
        assert read(store) == passing.Point(1)
        del sys.modules["passing"]
        with recorded() as texts:
            assert read(store) is MISS
            store.say()
        assert f"`scalable-cas trust add {alice.origin}`" in texts[0]
        assert "passing" not in sys.modules
        trust_list().add(alice.key.public, "")
        assert read(store).x == 1
    sys.modules.pop("passing", None)


def test_a_changed_row_from_elsewhere_is_a_miss(alice, bob):
    with alice.open() as store:
        save(store, {"a": 1})
        cargo = sent(store)
    with quiet(), bob.open() as store:
        take(store, cargo, alice.origin)
        assert read(store) == {"a": 1}
        ((key, row),) = store.index.scan("refs")
        for at in (rows.FLAGS_AT, rows.REF_FIXED + 20, len(row) - 1):
            changed = row[:at] + bytes([row[at] ^ 2]) + row[at + 1 :]
            store.index.write(lambda changes, changed=changed: changes.put_sorted("refs", {key: changed}))
            assert read(store) is MISS


@pytest.mark.parametrize("origin", ["unsigned", "a stranger", "a friend"])
def test_require_signed_wants_a_trusted_signer_for_plain_data_too(alice, bob, origin):
    with alice.open() as store:
        save(store, {"a": 1})
        cargo = sent(store)
    with bob.open() as store:
        store.settings = Settings({"require_signed": True})
        save(store, "mine", b"m" * 32)
        take(store, cargo, "unsigned" if origin == "unsigned" else alice.origin)
        if origin == "a friend":
            trust_list().add(alice.key.public, "alice")
        with recorded() as texts:
            found = read(store)
            assert read(store) == found  # not remembered as one that may be read
            store.say()
        if origin == "a friend":
            assert (found, texts) == ({"a": 1}, [])
        else:
            assert found is MISS
            assert "require_signed" in texts[0]
        assert read(store, b"m" * 32) == "mine"


def test_a_class_of_a_module_that_is_not_imported_is_not_imported_for_a_stranger(
    alice, bob, tmp_path, monkeypatch
):
    (tmp_path / "evil.py").write_text(
        f"import os, dataclasses\nos.makedirs({str(tmp_path / 'ran')!r}, exist_ok=True)\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import evil

    with alice.open() as store:
        record = save(store, evil.Point(1))
        assert record.codec == "plain"
        cargo = sent(store)
    sys.modules.pop("evil")
    (tmp_path / "ran").rmdir()
    with bob.open() as store:
        take(store, cargo, alice.origin)
        with recorded() as texts:
            assert read(store) is MISS
            store.say()
        assert not (tmp_path / "ran").exists()
        assert f"`scalable-cas trust add {alice.origin}`" in texts[0]
        trust_list().add(alice.key.public, "")
        assert read(store).x == 1
    sys.modules.pop("evil", None)


def test_an_untrusted_value_that_would_take_too_much_memory_is_refused_before_it_is_read(
    alice, bob, monkeypatch
):
    with alice.open() as store:
        save(store, b"x" * 5000)
        save(store, ["y" * 5000], b"l" * 32)
        cargo = sent(store)
    with quiet(), bob.open() as store:
        take(store, cargo, alice.origin)
        monkeypatch.setattr(trust, "LARGEST_UNTRUSTED", 4000)
        for key in (KEY, b"l" * 32):
            assert read(store, key) is MISS
        trust_list().add(alice.key.public, "")
        assert read(store) == b"x" * 5000


def test_a_value_under_another_codecs_name_runs_no_code(alice, bob, mark, bomb):
    """The record says plain; its value says pickle."""
    from scalable_cas.format.record import unpack

    record = unpack(bomb.records[0])
    for codec in ("plain", "str", "bytes", "no-such-codec"):
        record.codec = codec
        with quiet(), bob.open() as store:
            take(store, bomb, "unsigned", [record.pack()])
            assert read(store) is MISS
            assert not mark.exists()
            store.forget([FUNCTION + KEY])


def test_a_miss_runs_the_function_and_its_result_stays_over_the_next_pull(alice, bob, monkeypatch):
    """The whole way: a decorated call."""

    def compute(n):
        return complex

    with alice.open() as store:
        cacheable(_store=store)(compute)(1)
        store.flush()
        cargo = sent(store)
    with bob.open() as store:
        take(store, cargo, alice.origin)
        mine = cacheable(_store=store)(compute)
        assert not mine.is_cached(1)
        told = mine.explain(1)
        assert not told.hit
        assert f"trust add {alice.origin}" in told.reason
        with recorded() as texts:
            assert mine(1) is complex
        assert len(texts) == 1
        assert mine(1) is complex
        assert mine.cache_info().hits == 1
        assert take(store, cargo, alice.origin).known == 1
        assert mine.is_cached(1)


# --- the folder of somebody else ------------------------------------------------------------------------------


def test_a_store_of_somebody_else_cannot_name_a_trusted_signer(alice, bob, mark):
    """Mallory's store has, in its journal and index, the record of a pull signed by Alice. Nothing was."""
    mallory = alice
    with mallory.open() as store:
        cargo = attack(store, mark)
        store.forget([FUNCTION + KEY])
        take(store, cargo, bob.origin)  # he writes whom he likes
    bob.be()
    with quiet(), Store(mallory.path, heal=True) as store:
        assert read(store) is MISS
        assert not mark.exists()
        fill_index(store.index, store.journal, store.objects)
        assert read(store) is MISS
        assert not mark.exists()


def test_mending_the_journal_of_somebody_else_does_not_make_it_ours(alice, bob, mark, bomb):
    bob.be()
    with quiet(), Store(alice.path, heal=True) as store:
        (segment,) = store.journal.segments()
        with open(segment, "r+b") as file:
            file.seek(70)
            file.write(b"\xff\xff")
        from scalable_cas.ops.verify import repair, verify

        repair(store, verify(store))
        fill_index(store.index, store.journal, store.objects)
        assert read(store) is MISS
        assert not mark.exists()
        done = fill_index(store.index, store.journal, store.objects, adopt=True)
        assert done.foreign == 0
        read(store)
        assert mark.exists()


def test_allows_says_it_in_one_line(alice, bob):
    with bob.open() as store:
        trust.allows(store, alice.origin, "plain")
        trust.allows(store, "unsigned", "bytes")
        trust.allows(store, bob.origin, "pickle")
        with pytest.raises(UntrustedEntry, match="trust add ed25519:"):
            trust.allows(store, alice.origin, "my-pickle", "abcd")
        with pytest.raises(UntrustedEntry, match="nobody signed it"):
            trust.allows(store, "unsigned", "pickle")


@pytest.mark.parametrize("name", ["numpy.py", "numbers.csv"])
def test_files_that_could_run_are_put_back_only_for_a_trusted_signer(alice, bob, tmp_path, monkeypatch, name):
    for folder in ("hers", "his"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "hers")
    with open(name, "w") as file:
        file.write("print('evil')")
    with alice.open() as store:
        save_output(store, Record(KEY, FUNCTION, "module.function"), "file", name, many=False)
        cargo = sent(store)
    monkeypatch.chdir(tmp_path / "his")
    with recorded() as warned, bob.open() as store:
        take(store, cargo, alice.origin)
        assert (read(store) is MISS) == name.endswith("py")
        assert os.path.exists(name) != name.endswith("py")
        trust_list().add(trust.signer_of_origin(alice.origin), "alice")
        assert read(store) == name
        assert os.path.exists(name)
        assert store.push(f"file://{tmp_path}/remote").entries == 1
    assert [("may run or import" in text) for text in warned] == [True] * name.endswith("py")
