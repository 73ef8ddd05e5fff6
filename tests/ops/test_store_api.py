"""`scalable_cas.Store`, as a program uses it."""

from __future__ import annotations

import os

import pytest
from blake3 import blake3

from scalable_cas import Store
from scalable_cas.api import NotABlob
from scalable_cas.errors import (
    AmbiguousPrefix,
    CorruptObject,
    NotAnId,
    NothingFound,
    ObjectNotFound,
    ScalableCasError,
    StoreClosed,
    StoreNotFound,
)
from scalable_cas.ops.selection import AmbiguousName
from tests.cli.filling import put


@pytest.fixture
def store(tmp_path):
    with Store.init(tmp_path / "store") as store:
        yield store


def test_open_needs_a_store_and_init_makes_it(tmp_path):
    with pytest.raises(StoreNotFound):
        Store.open(tmp_path / "store")
    assert not (tmp_path / "store").exists()
    with Store.init(tmp_path / "store") as first:
        oid = first.put_bytes(b"x")
    with Store.init(tmp_path / "store") as second, Store.open(str(tmp_path / "store")) as third:
        assert second.get_bytes(oid) == third.get_bytes(oid) == b"x"


def test_discover_finds_what_a_call_from_there_would_use(workdir):
    with pytest.raises(StoreNotFound):
        Store.discover()
    (workdir / "below" / "deep").mkdir(parents=True)
    Store.init(workdir / ".scalable").close()
    with Store.discover() as here, Store.discover("below/deep") as below:
        assert here.root == below.root == str(workdir / ".scalable")


def test_a_closed_store_says_so(tmp_path):
    with Store.init(tmp_path / "store") as store:
        pass
    with pytest.raises(StoreClosed):
        store.put_bytes(b"x")


@pytest.mark.parametrize("content", [b"", b"x", b"abc" * 100_000])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_come_back_under_their_digest(store, content, kind):
    oid = store.put_bytes(kind(content))
    assert oid == blake3(content).hexdigest()
    assert store.put_bytes(content) == oid
    found = store.get_bytes(oid)
    assert type(found) is bytes
    assert found == content == store.get_bytes(oid[:10])
    assert store.exists(oid)
    info = store.stat(oid)
    assert (info.kind, info.size) == ("blob", len(content))
    assert 64 <= info.stored <= 64 + len(content)


def test_what_is_not_there(store):
    assert not store.exists("0" * 64)
    for ask in (store.get_bytes, store.stat):
        with pytest.raises(ObjectNotFound):
            ask("0" * 64)
        with pytest.raises(ValueError, match="digits"):
            ask("xyz")


def test_an_abbreviation_must_be_unique(store):
    seen: dict[str, bytes] = {}
    for number in range(2000):  # of 65,536 beginnings of four digits two are alike long before
        content = str(number).encode()
        oid = blake3(content).hexdigest()
        if oid[:4] in seen:
            break
        seen[oid[:4]] = content
    store.put_bytes(content)
    assert store.get_bytes(oid[:4]) == content
    store.put_bytes(seen[oid[:4]])
    with pytest.raises(AmbiguousPrefix):
        store.get_bytes(oid[:4])
    assert store.get_bytes(oid) == content


def test_only_blobs_are_bytes(store):
    put(store, "m.f", "x", {"a": 1})
    (entry,) = store.entries()
    with pytest.raises(NotABlob) as caught:
        store.get_bytes(entry.record.oid.hex())
    assert caught.value.kind == "value"
    assert store.stat(entry.record.oid.hex()).kind == "value"


def test_damage_is_never_returned(store):
    oid = store.put_bytes(b"content of some length")
    file = store.objects.loose.path(bytes.fromhex(oid))
    os.chmod(file, 0o600)
    with open(file, "r+b") as handle:
        handle.seek(70)
        handle.write(b"\xff")
    with pytest.raises(CorruptObject):
        store.get_bytes(oid)
    assert [finding.kind for finding in store.verify().findings] == ["corrupt"]


def test_entries(store):
    keys = {put(store, "a.run", "1"), put(store, "a.run", "2")}
    other = put(store, "b.draw", "1")
    assert {entry.key for entry in store.entries()} == keys | {other}
    assert {entry.key for entry in store.entries(function="run")} == keys
    assert list(store.entries(function="nothing")) == []
    put(store, "b.run", "1")
    with pytest.raises(AmbiguousName):
        store.entries(function="run")


def test_gc(store):
    keys = [put(store, "m.f", str(n), age=n * 10**9 + 1) for n in (5, 1)]
    loose = store.put_bytes(b"named by nothing")
    plan = store.gc(dry_run=True, keep_last=1)
    assert [item.rowkey[8:].hex() for item in plan.entries] == keys[:1]
    assert store.exists(loose)
    assert len(list(store.entries())) == 2
    result = store.gc(function="f", keep_last=1)
    assert result.entries == 1
    assert not store.exists(loose)
    assert [entry.key for entry in store.entries()] == keys[1:]
    assert store.verify().findings == []
    with pytest.raises(NothingFound):
        store.gc(function="nothing")
    with pytest.raises(TypeError):
        store.gc(oldest_than=1)


@pytest.mark.parametrize("wrong", ["zz", "abc", "0" * 65, b"abcd", None, 5])
def test_what_is_no_id_is_an_error_of_ours_and_a_value_error(store, wrong):
    for ask in (store.get_bytes, store.exists, store.stat):
        with pytest.raises(NotAnId, match=r"is not an|is too short") as caught:
            ask(wrong)
        assert isinstance(caught.value, ScalableCasError)
        assert isinstance(caught.value, ValueError)
