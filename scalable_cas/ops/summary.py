"""A store in a dozen numbers, and what lies in `objects/`: counted from the files, which are what counts."""

from __future__ import annotations

import os

from scalable_cas import clock
from scalable_cas.format.layout import FORMAT_VERSION, QUARANTINE, TMP
from scalable_cas.ops.selection import stored_functions
from scalable_cas.storage import drafts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from scalable_cas.store.core import StoreCore

#: Unfinished files of processes that are alive count as left over after a day: no single write takes so long.
DRAFT_SECONDS = 24 * 3600
_BLOCK = 512  # bytes; the unit of st_blocks, whatever the file system's own blocks are


class Files:
    """Some files: how many there are and the ``bytes`` that they take on the disk."""

    __slots__ = ("bytes", "count")

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self.count = 0
        self.bytes = 0
        for path in paths:
            try:
                self.add(os.lstat(path))
            except FileNotFoundError:  # removed while we count
                continue

    def add(self, seen: os.stat_result) -> None:
        """Count one file."""
        self.count += 1
        self.bytes += seen.st_blocks * _BLOCK


def loose_files(store: StoreCore) -> Files:
    """The files of objects that have one of their own."""
    return Files(map(store.objects.loose.path, store.objects.loose.names()))


def pack_files(store: StoreCore) -> Files:
    """The packs."""
    return Files(map(store.objects.packs.path, store.objects.packs.names()))


def packed_objects(store: StoreCore) -> int:
    """How many objects lie in packs; one that lies in two counts twice, as with git."""
    tables = map(store.objects.packs.table, store.objects.packs.names())
    return sum(len(table) for table in tables if table is not None)


def garbage(store: StoreCore) -> Files:
    """The files among the objects that are none, and those that killed processes left unfinished."""
    return Files([*store.objects.strangers(), *leftovers(store)])


def leftovers(store: StoreCore) -> list[str]:
    """What killed processes left unfinished."""
    return drafts.leftovers(
        f"{store.root}/{TMP}", clock.now_ns() / 1e9 - DRAFT_SECONDS, local=not store.index_is_local
    )


def quarantined(root: str) -> list[str]:
    """The damaged files that were set aside in the store at ``root``."""
    folder = f"{root}/{QUARANTINE}"
    try:
        return sorted(f"{folder}/{name}" for name in os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def summarise(store: StoreCore) -> dict[str, Any]:
    """What `status` shows. ``bytes`` is what the objects take on the disk."""
    store.writer.flush()
    loose, packs = loose_files(store), pack_files(store)
    return {
        "format": FORMAT_VERSION,
        "id": store.format.store_id.hex(),
        "entries": store.index.count("refs"),
        "functions": len(stored_functions(store)),
        "objects": sum(1 for _ in store.objects.names()),
        "bytes": loose.bytes + packs.bytes,
        "pins": store.index.count("pins"),
        "sync": store.settings.get("sync"),
        "read_only": store.read_only,
        "index": store.index_path,
        "segments": len(store.journal.segments()),
        "leftovers": len(leftovers(store)),
        "quarantined": len(quarantined(store.root)),
    }
