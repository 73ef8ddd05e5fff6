"""Opening, checking and damaging stores in tests."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from pathlib import Path

from scalable_cas import Store
from scalable_cas.caching import session
from scalable_cas.errors import CacheWarning
from scalable_cas.store.flight import FILES
from scalable_cas.store.lifecycle import close_all


def forget_open_stores() -> None:
    """Close every open store of this process, so that the next call opens its own anew, as a new process would."""
    close_all()
    session._forget()


def findings(path) -> list[str]:
    """What `verify` finds in the store at `path`, as text; opened and closed for it."""
    with Store.open(path) as store:
        return sorted(map(repr, store.verify().findings))


def assert_whole(path) -> None:
    """Nothing is wrong with the store."""
    assert findings(path) == []


def entry_keys(path, function: str | None = None) -> set[str]:
    """The call keys of all entries."""
    with Store.open(path) as store:
        return {entry.key for entry in store.entries(function)}


def object_files(path) -> list[Path]:
    """The files of all loose objects, in order."""
    return sorted(file for file in Path(path, "objects").glob("??/*") if len(file.name) == 62)


def pack_files(path) -> list[Path]:
    """The files of all packs, in order."""
    return sorted(Path(path, "objects/pack").glob("*.pack"))


def leftovers(path) -> list[str]:
    """What lies in the store that no description of the format knows: unfinished files, mostly."""
    known = {
        "format",
        "config.json",
        ".gitignore",
        "CACHEDIR.TAG",
        "README",
        "objects",
        "journal",
        "index",
        "tmp",
    }
    index = {"data.mdb", "lock.mdb", "users.lock", "flight.lock", "stamp"}
    index |= {f"flight.lock.{n}" for n in range(1, FILES)}
    root = Path(path)
    found = [name for name in os.listdir(root) if name not in known | {"quarantine", "index.lock"}]
    found += [f"tmp/{name}" for name in os.listdir(root / "tmp") if name != "ballast"]
    if (root / "index").exists():
        found += [f"index/{name}" for name in os.listdir(root / "index") if name not in index]
    found += [f"journal/{name}" for name in os.listdir(root / "journal") if not name.endswith(".seg")]
    objects = {file.relative_to(root).as_posix() for file in [*object_files(root), *pack_files(root)]}
    there = {f.relative_to(root).as_posix() for f in root.glob("objects/*/*")}
    return sorted(found + list(there - objects))


def overwrite(path, content: bytes) -> None:
    """Write a file in place, also one without write permission: what a broken disk or a person does."""
    mode = os.stat(path).st_mode
    os.chmod(path, 0o600)
    Path(path).write_bytes(content)
    os.chmod(path, mode)


def flip(path, at: int, bit: int = 0) -> None:
    """Invert one bit of a file."""
    content = bytearray(Path(path).read_bytes())
    content[at] ^= 1 << bit
    overwrite(path, content)


@contextmanager
def quiet():
    """Where a fault is expected, so is one `CacheWarning`; how many there are is another test's matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        yield


@contextmanager
def recorded():
    """The texts of the `CacheWarning`s given meanwhile."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CacheWarning)
        yield texts
    texts.extend(str(item.message) for item in caught if issubclass(item.category, CacheWarning))
