"""Make the golden store of a release: `python tests/format/make_golden.py FOLDER [packed|chunked]`. Only run for a new
release; what is in fixtures/ is never made anew, because reading *old* stores is what it proves.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from array import array
from pathlib import Path

from scalable_cas import clock
from scalable_cas.codecs.base import encode
from scalable_cas.format.kinds import object_id
from scalable_cas.format.record import Record
from scalable_cas.store import writer
from scalable_cas.store.core import StoreCore

VALUES = {
    "plain": {"name": "alpha", "rows": [1, 2.5, None, True, (1, 2)], "big": 2**200, "zero": -0.0},
    "none": None,
    "bytes": b"\x00\x01raw",
    "text": "gr\u00fc\u00dfe " * 200,
    "large": {"table": [[i, i * i, f"row {i}"] for i in range(500)]},
    "pickled": complex,
}


def large_objects(store) -> dict[str, dict[str, object]]:
    """Blobs in chunks: text, and numbers that are shuffled."""
    text = "".join(f"{i // 9} {i % 7} temperature\n" for i in range(60_000)).encode()
    numbers = array("q", (i * 3 for i in range(140_000))).tobytes()
    found = {}
    for content, item in ((text + text[5000:], 1), (numbers, 8)):
        oid = object_id(1, content)
        placed = store.objects.put_all([(1, oid, content, item)], sync=True, least=2)
        assert len(placed) > 10
        found[oid.hex()] = {"size": len(content), "start": content[:20].decode()}
    return found


def main(folder: Path, *, chunked: bool = False) -> None:
    config = folder / "config"
    os.environ["XDG_CONFIG_HOME"] = str(config)
    os.environ["SCALABLE_TELEMETRY"] = "0"
    store = StoreCore(folder / "store", create=True)
    store.writer._committed = clock.monotonic()
    manifest = {"entries": {}, "objects": {}}
    for number, (name, value) in enumerate(VALUES.items()):
        record = Record(
            bytes([number + 1]) * 32,
            b"golden00",
            f"golden.{name}",
            created=10**18 + number,
            seconds=0.25,
            version=number,
        )
        store.save(record, encode(value))
        manifest["entries"][name] = {
            "rowkey": record.rowkey.hex(),
            "codec": record.codec,
            "oid": record.oid.hex(),
            "repr": repr(value),
        }
    forgotten = Record(b"\x77" * 32, b"golden00", "golden.forgotten", created=10**18, seconds=0.1)
    store.save(forgotten, encode("gone"))
    store.forget([forgotten.rowkey])
    manifest["forgotten"] = forgotten.rowkey.hex()
    for content in (b"", b"hello, hello, hello", b"temperature\n" * 500):
        oid = store.put_object(1, content)
        manifest["objects"][oid.hex()] = {"size": len(content), "start": content[:20].decode()}
    if chunked:
        manifest["objects"].update(large_objects(store))
    store.close()
    shutil.rmtree(folder / "store/index")
    (folder / "store/.gitignore").unlink()  # it would keep the fixture out of this repository
    (folder / "local.key").write_bytes((config / "scalable-cas/local.key").read_bytes())
    shutil.rmtree(config)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[2:] == ["packed"]:  # all results in one pack: one commit, at the end
        writer.PACK_LEAST, writer.INTERVAL, writer.THREAD_INTERVAL = 1, 1000.0, 1000.0
    main(Path(sys.argv[1]).resolve(), chunked=sys.argv[2:] == ["chunked"])
