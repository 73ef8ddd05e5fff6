"""Stores of every release so far: each must read back, be rebuilt from its files, and verify clean."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scalable_cas.errors import CacheWarning
from scalable_cas.ops.verify import verify
from scalable_cas.store.core import StoreCore
from scalable_cas.store.entry import MISS
from scalable_cas.store.telemetry import Counters

GOLDEN = sorted((Path(__file__).parents[2] / "fixtures/format-v1").glob("*/manifest.json"))


@pytest.fixture(params=GOLDEN, ids=[path.parent.name for path in GOLDEN])
def golden(request, tmp_path, monkeypatch):
    """A copy of a golden store, its manifest, and its writer's key where the program looks for it."""
    folder = request.param.parent
    shutil.copytree(folder / "store", tmp_path / "store")
    for name in ("tmp", "objects", "journal"):
        (tmp_path / "store" / name).mkdir(exist_ok=True)
    keys = tmp_path / "config/scalable-cas"
    keys.mkdir(parents=True)
    shutil.copy(folder / "local.key", keys / "local.key")
    (keys / "local.key").chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return StoreCore(tmp_path / "store"), json.loads(request.param.read_text())


def test_every_entry_and_object_of_a_golden_store_comes_back(golden):
    store, manifest = golden
    with store:
        for name, entry in manifest["entries"].items():
            value = store.read(bytes.fromhex(entry["rowkey"]), Counters(), None)
            assert repr(value) == entry["repr"], name
            record = store.index.record(bytes.fromhex(entry["rowkey"]))
            assert (record.codec, record.oid.hex(), record.function) == (
                entry["codec"],
                entry["oid"],
                f"golden.{name}",
            )
        assert store.read(bytes.fromhex(manifest["forgotten"]), Counters(), None) is MISS
        for oid, expected in manifest["objects"].items():
            _, content = store.get_object(bytes.fromhex(oid))
            assert (len(content), bytes(content[:20]).decode()) == (expected["size"], expected["start"])
        assert verify(store).findings == []


def test_without_the_writers_key_nothing_runs_code_and_plain_data_comes_back(golden, tmp_path):
    store, manifest = golden
    store.close()
    (tmp_path / "config/scalable-cas/local.key").unlink()
    shutil.rmtree(tmp_path / "store/index")
    with StoreCore(tmp_path / "store", heal=True) as again:
        for name, entry in manifest["entries"].items():
            value = again.read(bytes.fromhex(entry["rowkey"]), Counters(), None)
            if "pickle" in entry["codec"]:
                assert value is MISS
                with pytest.warns(CacheWarning, match="adopt"):
                    again.say()
            else:
                assert repr(value) == entry["repr"], name
