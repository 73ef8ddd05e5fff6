"""Pins outlive the index: they are in the journal, and a rebuilt index knows them."""

from __future__ import annotations

import shutil

from scalable_cas import Store
from scalable_cas.ops.gc import Policy, execute, plan_gc


def test_a_pin_survives_gc_the_loss_of_the_index_and_compaction(tmp_path):
    with Store.init(tmp_path / "s") as store:
        kept, gone, dropped = (
            bytes.fromhex(store.put_bytes(text)) for text in (b"kept", b"gone", b"dropped")
        )
        store.pin([kept, dropped])
        store.pin([dropped], pinned=False)
        for _ in range(20):  # segments of processes that have ended
            store.journal.close()
            store.pin([kept])
        execute(store, plan_gc(store, Policy()))
        assert store.exists(kept.hex())
        assert not store.exists(gone.hex())
        assert len(store.journal.segments()) < 20
    shutil.rmtree(tmp_path / "s/index")
    with Store.open(tmp_path / "s") as store:
        assert store.index.pins() == {kept}
        execute(store, plan_gc(store, Policy()))
        assert store.exists(kept.hex())
