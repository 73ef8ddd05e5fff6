"""Names and abbreviations: what fits once is meant, everything else is an error that says why."""

from __future__ import annotations

import pytest

from scalable_cas import Store
from scalable_cas.errors import AmbiguousPrefix, NothingFound
from scalable_cas.ops.selection import (
    AmbiguousName,
    select_any,
    select_entry,
    select_function,
    select_object,
    select_pin,
    stored_functions,
)
from tests.cli.filling import digest, put


@pytest.fixture
def store(tmp_path):
    with Store.init(tmp_path / "store") as store:
        yield store


def test_a_function_by_any_ending_on_a_dot(store):
    put(store, "package.model.Grid.run", "x")
    for name in ("package.model.Grid.run", "model.Grid.run", "Grid.run", "run"):
        assert select_function(store, name) == {digest("package.model.Grid.run", 8): "package.model.Grid.run"}
    for name in ("un", "Grid.ru", ".run", "", "Run", "package", "*"):
        with pytest.raises(NothingFound):
            select_function(store, name)


def test_a_full_name_wins_over_endings(store):
    for function in ("run", "a.run", "b.run", "c.a.run"):
        put(store, function, "x")
    assert set(select_function(store, "run").values()) == {"run"}
    assert set(select_function(store, "a.run").values()) == {"a.run"}
    assert set(select_function(store, "c.a.run").values()) == {"c.a.run"}


def test_functions_whose_entries_are_gone_do_not_count(store):
    put(store, "a.run", "x")
    put(store, "b.run", "x")
    with pytest.raises(AmbiguousName) as caught:
        select_function(store, "run")
    assert caught.value.matches == ("a.run", "b.run")
    store.forget([key for key, _ in store.index.scan("refs", digest("a.run", 8))])
    assert set(select_function(store, "run").values()) == {"b.run"}
    assert set(stored_functions(store).values()) == {"b.run"}


def test_a_long_list_of_candidates_is_cut(store):
    for number in range(9):
        put(store, f"m{number}.run", "x")
    with pytest.raises(AmbiguousName, match=r"m4[.]run, …; give more"):
        select_function(store, "run")


@pytest.mark.parametrize("digits", [4, 5, 8, 63, 64])
def test_an_entry_by_its_first_digits(store, digits):
    keys = [put(store, f"m.f{number % 3}", str(number)) for number in range(20)]
    for key in keys:
        assert select_entry(store, key[:digits])[8:].hex() == key
        assert select_entry(store, f" {key[:digits].upper()} ")[8:].hex() == key


def test_an_odd_digit_counts(store):
    first = put(store, "m.f", "1", key=bytes.fromhex("abcd10" + "00" * 29))
    second = put(store, "m.g", "2", key=bytes.fromhex("abcd1f" + "ff" * 29))
    with pytest.raises(AmbiguousPrefix) as caught:
        select_entry(store, "abcd1")
    assert set(caught.value.matches) == {first, second}
    assert select_entry(store, "abcd10")[8:].hex() == first
    assert select_entry(store, "abcd1f")[8:].hex() == second
    with pytest.raises(NothingFound):
        select_entry(store, "abcd2")


@pytest.mark.parametrize("prefix", ["", "abc", "wxyz", "0x1234", "ab cd", "a" * 65])
def test_what_is_no_id(store, prefix):
    for select in (select_entry, select_object, select_any, select_pin):
        with pytest.raises(ValueError, match="digits"):
            select(store, prefix)


def test_objects_are_those_of_the_files(store):
    oid = store.put_bytes(b"content")
    assert select_object(store, oid[:4]) == bytes.fromhex(oid)
    store.objects.loose.delete(bytes.fromhex(oid))
    assert select_object(store, oid[:4]) is None
    assert select_object(store, oid) is None


def test_an_entry_that_is_not_written_yet_is_found(store):
    from scalable_cas.codecs.base import encode
    from tests.cli.filling import record

    made = record("m.f", "x", seconds=0.0)
    store.save(made, encode(1))
    assert select_entry(store, made.key.hex()[:8]) == made.rowkey


def test_pins_are_found_whether_or_not_they_are_stored(store):
    key = digest("m.f", 8) + digest("gone")
    store.index.write(lambda changes: changes.pin(key))
    assert select_pin(store, digest("gone").hex()[:6]) == key
    with pytest.raises(NothingFound):
        select_pin(store, "0" * 8)
