"""What tests of push and pull do: fill stores, look into a remote in a folder, compare."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scalable_cas.codecs.base import encode
from scalable_cas.store.entry import MISS
from scalable_cas.store.telemetry import Counters
from tests.cli.filling import digest, record

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = object()


class Place:
    """A remote in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"file://{folder}"

    def files(self, pattern: str = "*") -> list[Path]:
        """Its files, in order."""
        return sorted(path for path in self.folder.rglob(pattern) if path.is_file())

    def names(self) -> list[str]:
        """Their names."""
        return [path.relative_to(self.folder).as_posix() for path in self.files()]

    def segments(self) -> list[Path]:
        """The segments that lie by themselves."""
        return self.files("*.seg")


def fill(store, function: str, *calls: object, value=DEFAULT, **how) -> list[str]:
    """Store a result for each call of a function; returns the call keys."""
    keys = []
    for call in calls:
        made = record(function, str(call), **how)
        store.save(made, encode({"call": call, "of": function} if value is DEFAULT else value))
        keys.append(made.key.hex())
    store.flush()
    return keys


def read(store, function: str, call: object) -> object:
    """The stored result of a call, as a hit gives it, or MISS."""
    rowkey = digest(function, 8) + digest(f"{function} {call}")
    return store.read(rowkey, Counters(), None)


def keys(store) -> set[str]:
    """The call keys of a store."""
    return {entry.key for entry in store.entries()}


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress, the same for the same arguments."""
    import hashlib

    return hashlib.shake_256(seed.to_bytes(8, "big")).digest(size)


def numbers(seed: int = 0):
    """An array that is kept in one piece, and travels as a file of its own."""
    import numpy as np

    return np.frombuffer(noise(33 << 20, seed), "u8")


def values(seed: int = 0) -> dict[str, object]:
    """Results of every way in which one is kept: in a row, small, middle, large, with buffers, pickled."""
    import array

    found: dict[str, object] = {
        "tiny": {"n": seed},
        "none": None,
        "text": "grüße " * 40 + str(seed),
        "small": {"rows": [[i, f"row {i} {seed}"] for i in range(300)]},
        "middle": noise(200_000, seed),
        "buffers": {"a": array.array("d", [seed, 1.0]), "b": 3},
        "large": noise((8 << 20) + 1, seed),
        "pickled": os.path.join,
    }
    return found


__all__ = ["MISS", "Place", "fill", "keys", "noise", "numbers", "read", "values"]
