"""Checks of what surrounds a store: its place, rights, disk, index, clock, versions and settings. Nothing is
changed.

Each check is a function that yields its findings, so that one that cannot be made does not keep the others
from being made.
"""

from __future__ import annotations

import os
import stat
import sys

from scalable_cas import clock, config
from scalable_cas.errors import ConfigError, ScalableCasError, StoreNotFound
from scalable_cas.format.layout import FORMAT_FILE, JOURNAL, TMP
from scalable_cas.ops.summary import Files, quarantined
from scalable_cas.ops.unique import REMEDIES, unique_arguments
from scalable_cas.storage import netfs
from scalable_cas.storage.drafts import leftovers
from scalable_cas.store.core import StoreCore
from scalable_cas.store.trust import trust_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from scalable_cas.config import Place

OK, NOTE, WRONG = "ok", "note", "wrong"

PACKAGES = ("blake3", "click", "cloudpickle", "cryptography", "lmdb", "msgpack", "PyYAML", "zstandard")
VARIABLES = (
    "SCALABLE_CACHE",
    "SCALABLE_CACHE_DIR",
    "SCALABLE_INDEX_DIR",
    "SCALABLE_SEED",
    "SCALABLE_TELEMETRY",
)
OLDEST, NEWEST = (3, 11), (3, 13)
#: Under this much free space a cache is about to stop storing; both in bytes.
LITTLE_SPACE, NO_SPACE = 1 << 30, 64 << 20
LITTLE_INODES = 10_000
#: 2024-01-01: no store is older than this program. A clock before it is a board without a battery.
EARLIEST = 1_704_067_200 * 10**9
#: Clocks of the machines that share a folder differ by seconds; an hour ahead (ns) is no such difference.
AHEAD = 3600 * 10**9
DAY = 24 * 3600


class Check:
    """One finding: ``name`` of what was looked at, ``state`` (OK, NOTE or WRONG), ``detail``, and the
    ``remedy`` or "".
    """

    __slots__ = ("detail", "name", "remedy", "state")

    def __init__(self, name: str, state: str, detail: str, remedy: str = "") -> None:
        self.name = name
        self.state = state
        self.detail = detail
        self.remedy = remedy


def examine(find: Callable[[], Place], variables: Mapping[str, str]) -> list[Check]:
    """Make every check. ``find`` tells where the store is; ``variables`` are those of the environment that
    concern us.
    """
    found = [*_python(), *_packages(), *_variables(variables), *_user_key(), *_trust()]
    try:
        place = find()
    except ConfigError as error:
        return [
            *found,
            Check("scalable.yaml", WRONG, str(error), "mend the file; until then functions run uncached"),
        ]
    said = f"name {place.project.name or '-'}" if place.project is not None else "none is in use"
    found.append(Check("scalable.yaml", OK, said))
    if not os.path.isfile(f"{place.path}/{FORMAT_FILE}"):
        remedy = "run `scalable-cas init`, or call a decorated function"
        return [
            *found,
            Check("store", WRONG, f"none at {place.path} ({place.source})", remedy),
            *_disk(_existing(place.path)),
        ]
    found.append(Check("store", OK, f"{place.path} ({place.source})"))
    for check in (_rights, _disk, _network, _drafts, _damage, _clock, _open):
        found.extend(check(place.path))
    return found


def _existing(path: str) -> str:
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _python() -> Iterator[Check]:
    version = sys.version.split()[0]
    if sys.version_info[:2] < OLDEST:
        yield Check("python", WRONG, version, f"use Python {OLDEST[0]}.{OLDEST[1]} or later")
    elif sys.version_info[:2] > NEWEST:
        yield Check("python", NOTE, f"{version}; tested up to {NEWEST[0]}.{NEWEST[1]}")
    else:
        yield Check("python", OK, version)


def _packages() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check(
            "packages", WRONG, f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    else:
        yield Check("packages", OK, ", ".join(found))


def _variables(variables: Mapping[str, str]) -> Iterator[Check]:
    for name, value in sorted(variables.items()):
        if name not in VARIABLES:
            yield Check(name, NOTE, f"{value!r}; no such variable is known here", "look for a misspelling")
        elif name == "SCALABLE_CACHE" and config.Environ().off:
            yield Check(
                name,
                NOTE,
                f"{value!r}: decorated functions pass straight through",
                "unset it to use the cache",
            )
        else:
            yield Check(name, OK, repr(value))
    if not variables:
        yield Check("environment", OK, "no SCALABLE_ variable is set")


def _user_key() -> Iterator[Check]:
    path = f"{config.user_config_dir()}/local.key"
    try:
        seen = os.lstat(path)
    except FileNotFoundError:
        folder = _existing(os.path.dirname(path))
        fallback = f"{config.temporary_dir()}/scalable-cas-{os.geteuid()}/local.key"
        if os.path.exists(fallback):
            yield Check("user key", NOTE, f"{fallback}, where it may not last", f"move it to {path}")
        elif os.access(folder, os.W_OK):
            yield Check("user key", OK, f"{path}, to be made when a store is first opened")
        else:
            remedy = "set XDG_CONFIG_HOME to a folder of yours: a key in the temporary folder does not last"
            yield Check("user key", WRONG, f"{folder} cannot be written", remedy)
        return
    except OSError as error:
        yield Check("user key", WRONG, f"{path}: {error.strerror}", "make the folder yours")
        return
    if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
        yield Check(
            "user key",
            WRONG,
            f"{path} is not a file that only you can read",
            f"chown it to you and chmod 600 {path}",
        )
    else:
        yield Check("user key", OK, path)


def _trust() -> Iterator[Check]:
    trusted = trust_list()
    if trusted.fault:
        yield Check("trust", WRONG, trusted.fault, "until then nobody's pickles are used but your own")
    else:
        yield Check("trust", OK, f"{len(trusted.entries())} in the list")


def _rights(root: str) -> Iterator[Check]:
    seen = os.stat(root)
    if seen.st_uid == os.geteuid():
        yield Check("owner", OK, "you")
    else:
        yield Check(
            "owner",
            NOTE,
            f"user {seen.st_uid}, not you: values that need pickle are not used",
            "`scalable-cas reindex --adopt` if you trust it",
        )
    read_only = bool(os.statvfs(root).f_flag & os.ST_RDONLY)
    if read_only or not os.access(root, os.W_OK):
        why = "its file system is mounted read-only" if read_only else "you have no right to"
        yield Check(
            "writing",
            NOTE,
            f"{why}: hits are served, nothing new is stored",
            "point SCALABLE_CACHE_DIR to a folder of yours",
        )
    else:
        yield Check("writing", OK, "allowed")


def _disk(root: str) -> Iterator[Check]:
    seen = os.statvfs(root)
    free = seen.f_bavail * seen.f_frsize
    state = WRONG if free < NO_SPACE else NOTE if free < LITTLE_SPACE else OK
    yield Check(
        "free space",
        state,
        f"{free / 1e9:.1f} GB",
        "" if state == OK else "make room, or run `scalable-cas gc --max-size`",
    )
    if seen.f_files:  # btrfs and others make inodes as they need them, and say 0
        state = NOTE if seen.f_favail < LITTLE_INODES else OK
        yield Check(
            "free inodes",
            state,
            f"{seen.f_favail:,}",
            "" if state == OK else "remove files: each object is one",
        )


def _network(root: str) -> Iterator[Check]:
    kind = netfs.network_type(root)
    if kind is None:
        yield Check("file system", OK, "local")
    else:
        yield Check(
            "file system", NOTE, f"{kind}, a network file system: each machine keeps an index of its own"
        )


def _drafts(root: str) -> Iterator[Check]:
    local = netfs.network_type(root) is None
    found = leftovers(f"{root}/{TMP}", clock.now_ns() / 1e9 - DAY, local=local)
    if found:
        left = Files(found)
        yield Check(
            "unfinished files",
            NOTE,
            f"{left.count}, {left.bytes / 1e6:.1f} MB, from processes that were killed",
            "`scalable-cas gc` removes them",
        )
    else:
        yield Check("unfinished files", OK, "none")


def _damage(root: str) -> Iterator[Check]:
    found = quarantined(root)
    if found:
        remedy = f"check the disk; then remove them from {root}/quarantine"
        yield Check("quarantine", NOTE, f"damaged files that were set aside: {len(found)}", remedy)
    else:
        yield Check("quarantine", OK, "empty")


def _clock(root: str) -> Iterator[Check]:
    now = clock.now_ns()
    newest = 0
    for path in (root, f"{root}/{FORMAT_FILE}", f"{root}/{JOURNAL}", f"{root}/{TMP}"):
        try:
            newest = max(newest, os.stat(path).st_mtime_ns)
        except OSError:
            continue
    if now < EARLIEST:
        yield Check("clock", WRONG, f"it says {clock.iso(now)}", "set it: ages decide what gc drops")
    elif newest > now + AHEAD:
        detail = f"it says {clock.iso(now)}, and the store was changed at {clock.iso(newest)}"
        yield Check("clock", WRONG, detail, "set the clock of this machine, or of the one that wrote")
    else:
        yield Check("clock", OK, clock.iso(now))


def _open(root: str) -> Iterator[Check]:
    """The index is checked by opening it, and a fault of it is reported instead of being healed."""
    try:
        with StoreCore(root) as store:
            where = store.index_path
            kind = netfs.network_type(where)
            if kind is not None:
                remedy = "set SCALABLE_INDEX_DIR to a folder on this machine's own disk"
                yield Check("index", WRONG, f"{where} is on a network file system ({kind})", remedy)
            else:
                yield Check("index", OK, f"{where}, {store.index.count('refs'):,} entries")
            yield from _keys(store)
    except StoreNotFound:
        yield Check("index", NOTE, "the store was removed just now")
    except (ScalableCasError, OSError) as error:
        yield Check("index", WRONG, str(error), _remedy(error))


def _keys(store: StoreCore) -> Iterator[Check]:
    found = [*unique_arguments(store)]
    if not found:
        yield Check("keys", OK, "no argument looks as if it made every key unique")
    for function, argument, calls, kind in found:
        detail = f"{function}: {argument} is {kind}, another one in each of {calls:,} calls: nothing can hit"
        yield Check("keys", NOTE, detail, REMEDIES[kind])


def _remedy(error: Any) -> str:
    from scalable_cas.errors import FormatDamaged, IndexDamaged, StoreBusy, StoreVersionError

    if isinstance(error, FormatDamaged):
        return "move that file away; scalable-cas init"
    if isinstance(error, IndexDamaged):
        return "scalable-cas reindex"
    if isinstance(error, StoreVersionError):
        return "pip install --upgrade scalable-cas"
    if isinstance(error, StoreBusy):
        return "look for a stopped process that uses the store (ps, state T), and continue or end it"
    return "see the message"
