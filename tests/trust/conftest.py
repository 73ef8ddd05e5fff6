"""Two users with a configuration folder and a store each, in one process."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest

from scalable_cas import Store
from scalable_cas.codecs.base import encode
from scalable_cas.format.record import Record, origin_of, unpack
from scalable_cas.ops.closure import children
from scalable_cas.storage import signing
from scalable_cas.store.ingest import Arrivals, ingest
from scalable_cas.store.telemetry import Counters

KEY = b"k" * 32
FUNCTION = b"function"


class User:
    """Somebody with a home of his own: the environment is his once he opens his store, or with `be`."""

    def __init__(self, name, folder, patch):
        self.home = folder / name
        self.config = self.home / "config/scalable-cas"
        self._patch = patch
        self.path = self.home / "store"
        self.key = signing.signing_key((str(self.config),))
        self.origin = origin_of(self.key.public)
        self.be()

    def be(self):
        self._patch.setenv("XDG_CONFIG_HOME", str(self.home / "config"))
        self._patch.setenv("TMPDIR", str(self.home))
        return self

    def open(self):
        self.be()
        return Store(self.path, create=True)


@pytest.fixture
def alice(tmp_path, monkeypatch):
    return User("alice", tmp_path, monkeypatch)


@pytest.fixture
def bob(tmp_path, monkeypatch):
    return User("bob", tmp_path, monkeypatch)


def save(store, value, key=KEY, created=10**18, function="module.function"):
    """Store `value` as a result of this user's."""
    record = Record(key, FUNCTION, function, created=created, seconds=0.5)
    store.save(record, encode(value), replace=True)
    store.flush()
    return record


def sent(store):
    """All that a store would send: packed records, and its objects in their encoded form."""
    store.flush()
    records = [data for _, data in store.index.scan("records")]
    return SimpleNamespace(
        records=records, objects=[(oid, store.objects.encoded(oid)) for oid in store.objects.names()]
    )


def take(store, cargo, origin, records=None):
    """Ingest it, as a pull does after it has checked the signature."""
    arrivals = Arrivals(store)
    arrivals.put(cargo.objects)
    found = [(unpack(data), origin) for data in (cargo.records if records is None else records)]
    return ingest(store, found, arrivals, functools.partial(children, store.objects))


def read(store, key=KEY):
    return store.read(FUNCTION + key, Counters(), None)
