"""Which store a call uses: found at the first call, kept until the environment says otherwise.

A later ``chdir`` does not move the store, a later change of ``SCALABLE_CACHE_DIR`` is seen at the next call.
A store that cannot be used costs one `CacheWarning`; the program goes on without it, and the place is tried
again after a second, so that a long-lived notebook recovers when its ``scalable.yaml`` is mended.
"""

from __future__ import annotations

import os

from scalable_cas import clock, config
from scalable_cas.errors import ScalableCasError, StoreBusy
from scalable_cas.keys.stats import memory
from scalable_cas.store import core, lifecycle, saying

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.ops.through import Through

_RETRY = 1.0  # seconds after which an unusable place is looked at again
_RETRY_BUSY = 60.0  # the same for one that a stopped process keeps locked: each look costs 5 s of waiting


class Session:
    """A store (or None, if there is none to be used), the seed, whether the cache is switched off, what a hit
    does about changed code, and the remote that is read and written through, if any.
    """

    __slots__ = ("expires", "off", "on_code_change", "remote", "seed", "store")

    def __init__(
        self, store: core.StoreCore | None, seed: str | None, *, off: bool, expires: float = float("inf")
    ) -> None:
        self.store = store
        self.seed = seed
        self.off = off
        self.expires = expires
        self.on_code_change = config.CODE_CHANGES[0]
        self.remote: Through | None = None


_state: Any = None
_session: Session | None = None
_stores: dict[str, core.StoreCore] = {}
_default_path: str | None = None  # found at the first call without SCALABLE_CACHE_DIR
_project: config.Project | None = None  # found with it
_explicit: dict[tuple[Any, str], Session] = {}
_said: set[str] = set()
_NOWHERE = object()
_files_of: Any = None  # the store in whose index digests of input files are remembered


def current() -> Session:
    """The session for a call now. Half a microsecond unless something changed."""
    global _state, _session
    state = config.environment_state()
    session = _session
    if session is None or state != _state or session.expires < clock.monotonic():
        session = _session = _make(config.Environ(), None)
        _state = state
    return session


def explicit(place: str | core.StoreCore) -> Session:
    """The session for a decorator with ``_store=``: a path or an open store."""
    if isinstance(place, core.StoreCore):
        _remember_files(place)
        return _make(config.Environ(), place)
    key = (config.environment_state(), place)
    found = _explicit.get(key)
    if found is None or found.expires < clock.monotonic():
        found = _explicit[key] = _make(config.Environ(), place)
    return found


def _make(environ: config.Environ, path: str | core.StoreCore | None) -> Session:
    global _default_path, _project
    if environ.off:
        return Session(None, environ.seed, off=True)
    try:
        _project = _project or config.nearest_project()
        url = environ.remote or _project.remote
        if path is None:
            if environ.cache_dir is not None:
                path = config.find_place(environ).path
            else:
                path = _default_path = _default_path or config.find_place(environ).path
        store = open_store(path, environ) if isinstance(path, str) else path
        store.outbox = b""  # set again by the remote, if there is one: another may have been meant before
        remote = _through(store, url) if url is not None else None
    except (ScalableCasError, OSError) as error:
        warn_once(error)
        retry = _RETRY_BUSY if isinstance(error, StoreBusy) else _RETRY
        return Session(None, environ.seed, off=False, expires=clock.monotonic() + retry)
    session = Session(store, environ.seed, off=False)
    session.on_code_change = _project.on_code_change
    session.remote = remote
    return session


def _through(store: core.StoreCore, url: str) -> Through | None:
    """The remote of a store; None, after one warning, if the URL is none or the store cannot be written."""
    from scalable_cas.ops.through import attach

    try:
        return attach(store, url)
    except ScalableCasError as error:
        warn_once(error, "the remote is not used")
        return None


def open_store(path: str, environ: config.Environ) -> core.StoreCore:
    """The store at ``path``, opened once per process and index place; made if there is none.

    Raises:
        ScalableCasError: it cannot be used.
    """
    key = f"{os.path.abspath(path)}\0{environ.index_dir}\0{environ.telemetry}\0{environ.stat_cache}"
    store = _stores.get(key)
    if store is None or not store.is_open:
        store = _stores[key] = core.StoreCore(path, create=True, heal=True)
    _remember_files(store)
    return store


def _remember_files(store: core.StoreCore) -> None:
    """Have digests of input files remembered in this store from now on: the last one that was opened, for
    what a file contains does not depend on a store. If one store of a process has that switched off, no file
    is taken for known in this process.
    """
    global _files_of
    if _files_of is store or _files_of is _NOWHERE or not store.is_open:
        return
    try:
        rows = store.known_files
    except (ScalableCasError, OSError):  # a forked child opens it here; who uses it next says what is wrong
        return
    _files_of = store if rows is not None else _NOWHERE
    memory.attach(rows)


def warn_once(error: BaseException, then: str = "the function runs without its cache") -> None:
    """One `CacheWarning` per cause and process."""
    text = str(error)
    if text not in _said:
        _said.add(text)
        saying.warn(f"{text}; {then}")


def _forget() -> None:
    """In a forked child: nothing is open here."""
    global _state, _session, _files_of
    _state = _session = _files_of = None
    _stores.clear()
    _explicit.clear()
    memory.attach(None)


lifecycle.on_fork(_forget)
