"""A remote as push and pull use it: the place, its id, the local view of what it holds, and the names under
which a store knows its remotes.
"""

from __future__ import annotations

import os

from scalable_cas import clock, config
from scalable_cas.errors import (
    ConfigError,
    MalformedObject,
    NothingFound,
    RemoteError,
    RemoteFileMissing,
    UntrustedEntry,
)
from scalable_cas.format import layout as store_layout
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import segment as segments
from scalable_cas.ops.transfer.parallel import JOBS, Crew
from scalable_cas.ops.transfer.segments import Source
from scalable_cas.ops.transfer.view import View
from scalable_cas.remotes.base import Settings, open_remote, parse_url
from scalable_cas.storage import fs, signing
from scalable_cas.store.vacancy import FOLDERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from scalable_cas.remotes.base import Limits, Remote
    from scalable_cas.store.core import StoreCore

#: The remote that push and pull mean where none is named.
DEFAULT = "origin"


class Repository:
    """An open remote with its view; a context manager. ``remote_id`` is that of its ``format.json``;
    ``absent``: it has none, nothing was ever pushed there; ``since``: when it was opened, of the monotonic
    clock.
    """

    def __init__(
        self,
        store: StoreCore,
        remote: Remote,
        remote_format: layout.RemoteFormat | None,
        jobs: int,
        since: float,
    ) -> None:
        self.store = store
        self.remote = remote
        self.url = remote.url
        self.absent = remote_format is None
        self.format = remote_format or layout.RemoteFormat(bytes(16))
        self.remote_id = self.format.remote_id
        self.since = since
        self.crew = Crew(jobs)
        self.flushing = Crew(1)  # waits for the disk, while others receive
        self.rooms: list[memoryview] = []  # memory for what is received; no thread uses it at the moment
        self.view = View(store, remote.url, self.remote_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.crew.__exit__()
        self.flushing.__exit__()
        self.remote.close()

    def source(self) -> Source:
        """Its segments, to be listed and read anew."""
        return Source(self.remote, self.remote_id, signing.verify, self.crew)

    def refresh(self) -> int:
        """Bring the view up to date; returns the number of segments that were new.

        Raises:
            RemoteError: the remote could not be read. StoreReadOnly, StoreBusy: the index cannot be written.
        """
        return 0 if self.absent else self.view.refresh(self.source())

    def copy(self, number: bytes) -> bytes | None:
        """The bytes of a segment that was read from it or written to it, whose signature was checked then;
        None if they are not here as they were.
        """
        for data in self.view.copies(number):
            try:  # a row of the index has no checksum of its own
                found = segments.unpack(data, remote_id=self.remote_id, verify=None)
            except (MalformedObject, UntrustedEntry):
                continue
            if found.nonce == number:
                return data
        return None


def open_repository(
    store: StoreCore,
    name: str = DEFAULT,
    *,
    jobs: int | None = None,
    create: bool = False,
    plan: bool = False,
    limits: Limits | None = None,
) -> Repository:
    """Open the remote that ``store`` knows as ``name``; ``name`` may also be a URL. ``create`` makes it a
    remote if it is an empty place; ``plan`` leaves it one, and takes it for a remote without entries, to say
    what a push would do. ``limits``: how long it may take; by default, as long as for a command.

    Raises:
        ConfigError: no remote is called so, or a store is there.
        NothingFound: nothing was ever pushed there, and neither ``create`` nor ``plan`` is true.
        RemoteError: it cannot be reached. StoreVersionError: it has a newer format.
    """
    since = clock.monotonic()
    settings = Settings() if limits is None else Settings(limits)
    url = name if "://" in name else url_of(store.root, name)
    refuse_store(url)
    remote = open_remote(url, settings=settings)
    try:
        try:
            found = _format(remote, create=create)
        except NothingFound:
            if not plan:
                raise
            found = None
        return Repository(store, remote, found, jobs or JOBS, since)
    except BaseException:
        remote.close()
        raise


def _format(remote: Remote, *, create: bool) -> layout.RemoteFormat:
    """Which remote it is. Two programs that find it empty make one of it: the file is written only where none
    is, and read back.
    """
    for attempt in range(2):
        try:
            data = remote.get(layout.FORMAT_NAME, largest=layout.FORMAT_BYTES)
        except RemoteFileMissing as error:
            if not create:
                raise NothingFound(f"nothing was pushed to {remote.url} yet") from error
            if attempt:
                raise
            made = layout.RemoteFormat(os.urandom(16))
            if remote.put(layout.FORMAT_NAME, made.pack()):
                return made
            continue
        try:
            found = layout.unpack_format(data, remote.url)
        except MalformedObject as error:
            raise RemoteError(remote.url, layout.FORMAT_NAME, error.reason) from error
        found.check("read", remote.url)
        return found
    raise RemoteError(remote.url, layout.FORMAT_NAME, "it cannot be made")


def refuse_store(url: str) -> None:
    """Refuse the folder of a store as a remote, and those that it keeps its own files in: the two would take
    each other's for their own.

    Raises:
        ConfigError: the URL leads to one.
    """
    if not url.lower().startswith("file:"):
        return
    folder, below = "/" + parse_url(url).path.rstrip("/"), ""
    marks = store_layout.FORMAT_FILE, store_layout.OBJECTS
    while folder:
        is_store = all(os.path.exists(f"{folder}/{name}") for name in marks)
        if is_store and (not below or below in FOLDERS):
            remedy = f"`scalable-cas --store {folder} push URL` sends what this store has"
            raise ConfigError(
                url, f"is a store, or a part of one; a remote is a folder of its own, to push to: {remedy}"
            )
        folder, _, below = folder.rpartition("/")


# --- the remotes that a store knows ------------------------------------------------------------------------


def remotes_of(root: str) -> dict[str, str]:
    """Name to URL, of the remotes that the store at ``root`` knows.

    Raises:
        ConfigError: its settings are broken.
    """
    path = f"{root}/{store_layout.CONFIG_FILE}"
    try:
        with open(path, "rb") as file:
            return dict(sorted(config.unpack_settings(file.read(), path).remotes.items()))
    except FileNotFoundError:
        return {}


def url_of(root: str, name: str) -> str:
    """The URL of a remote.

    Raises:
        ConfigError: no remote is called so.
    """
    known = remotes_of(root)
    if name not in known and name == DEFAULT and (through := reading_through()) is not None:
        return through  # what calls read and write through needs no second name
    if name not in known:
        if set(name) & set("/:\\"):
            where = f"for a folder write file://{os.path.abspath(name)}"
            raise ConfigError(
                name, f"neither the name of a remote nor a URL such as s3://bucket/prefix; {where}"
            )
        there = f"there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
        raise ConfigError(
            name, f"no remote is called so, {there}; `scalable-cas remote add {name} URL` adds it"
        )
    return known[name]


def reading_through() -> str | None:
    """The URL of the remote that calls read and write through, if there is one."""
    return config.Environ().remote or config.nearest_project().remote


def add_remote(root: str, name: str, url: str) -> None:
    """Remember a remote.

    Raises:
        ConfigError: the name or the URL is impossible, or the name is taken.
    """

    def change(known: dict[str, str]) -> None:
        if name in known:
            raise ConfigError(
                name, f"is {known[name]} already; `scalable-cas remote remove {name}` forgets that"
            )
        known[name] = url

    _change(root, change)


def remove_remote(root: str, name: str) -> None:
    """Forget a remote; what lies there stays.

    Raises:
        ConfigError: no remote is called so.
    """
    url = url_of(root, name)
    if name not in remotes_of(root):
        where = "SCALABLE_CACHE_REMOTE" if config.Environ().remote else "scalable.yaml"
        raise ConfigError(name, f"is {url}, which {where} names; take it out of there to forget it")
    _change(root, lambda known: known.pop(name) and None)


def _change(root: str, change: Callable[[dict[str, str]], object]) -> None:
    path = f"{root}/{store_layout.CONFIG_FILE}"
    known = remotes_of(root)
    change(known)
    try:
        with open(path, "rb") as file:
            settings = config.unpack_settings(file.read(), path)
    except FileNotFoundError:
        settings = config.Settings()
    settings = config.Settings({**settings.values, config.REMOTES: known}, path)
    fs.replace(f"{root}/{store_layout.TMP}", path, config.pack_settings(settings))
