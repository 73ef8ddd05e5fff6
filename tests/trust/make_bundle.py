"""`python -m tests.trust.make_bundle FILE` makes the golden bundle. Only run for a new version of the format:
that *old* bundles are read is what it proves.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from blake3 import blake3

from scalable_cas.codecs.base import encode
from scalable_cas.codecs.encoded import Encoded
from scalable_cas.format.record import Record
from scalable_cas.ops import bundling
from scalable_cas.store.core import StoreCore

from .segments import ALICE

GOLDEN = Path(__file__).parents[2] / "fixtures/bundle-v1.bundle"
VALUES = {
    "plain": {"name": "alpha", "rows": [1, 2.5, None, True, (1, 2)]},
    "text": "gr\u00fc\u00dfe " * 200,
    "bytes": blake3(b"golden").digest(5000),
    "none": None,
}


def main(path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CONFIG_HOME"] = folder
        bundling.BIG = 100  # so that it has an object of its own: the first that is longer and not small
        with StoreCore(f"{folder}/store", create=True) as store, open(path, "wb") as file:
            for number, (name, value) in enumerate(VALUES.items()):
                record = Record(
                    bytes([number + 1]) * 32,
                    b"golden00",
                    f"golden.{name}",
                    created=10**18 + number,
                    seconds=0.25,
                )
                store.save(record, encode(value), replace=True)
            record = Record(b"\x77" * 32, b"golden00", "golden.buffers", created=10**18, seconds=0.25)
            # a pickle that does nothing, with a buffer of its own
            store.save(record, Encoded("pickle", b"\x80\x05N.\x00", (b"buffer" * 100,)), replace=True)
            bundling.write_bundle(store, bundling.plan_bundle(store), file.write, ALICE)


if __name__ == "__main__":
    main(sys.argv[1])
