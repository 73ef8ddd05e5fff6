"""What happens around a call that is not a plain hit: misses, options, async functions."""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.caching import session as sessions
from scalable_cas.caching.attached import ATTACHED, Attached
from scalable_cas.caching.drift import CodeGuard
from scalable_cas.caching.run import Run
from scalable_cas.errors import CodeChanged, StaleCodeWarning
from scalable_cas.format.record import Record, told_version
from scalable_cas.keys.call import seed_digest
from scalable_cas.store import lifecycle, saying
from scalable_cas.store.entry import MISS
from scalable_cas.store.flight import Flight, Waiting, computing, wait_bound
from scalable_cas.store.general import decode_checked_output, decode_mapped, decode_output, read_general
from scalable_cas.store.telemetry import Counters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scalable_cas.caching.options import Options
    from scalable_cas.caching.session import Session
    from scalable_cas.keys.call import CallKeyer
    from scalable_cas.store.core import StoreCore

BYPASS = "_cache_bypass"

#: Names behind ``_code="deps"`` that an entry keeps, 50 bytes each. More would be larger than most results.
MOST_REACHED = 60


class CachedFunction(Attached):
    """A function, how its calls are keyed, and what was asked for. One per decoration; carried by the
    wrapper.
    """

    def __init__(self, function: Callable[..., Any], keyer: CallKeyer, options: Options) -> None:
        self.function = function
        self.keyer = keyer
        self.bind = keyer.bind
        self.options = options
        self.session: Session | None = None
        self.counters = Counters()
        self.guard = CodeGuard(keyer)
        output = decode_checked_output if options.check_output else decode_output
        self._decode = output if options.output is not None else decode_mapped
        self._known_seconds: float | None = None
        self._packages: dict[str, str] | None = None
        self._said: set[str] = set()
        self._hinted: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedFunction, (self.function, self.keyer, self.options)

    @property
    def is_simple(self) -> bool:
        """Whether a hit needs no look at the options."""
        options = self.options
        own_way = options.output is not None or options.mapped
        return not options.void and not options.recompute and options.place is None and not own_way

    def attach(self, wrapper: Any) -> None:
        """Give the wrapper its functions."""
        for name in ATTACHED:
            setattr(wrapper, name, getattr(self, name))
        wrapper.__scalable_identity__ = self.keyer.told_identity
        wrapper.__scalable_keyer__ = self.keyer

    # --- sessions --------------------------------------------------------------------------------------

    def now(self) -> Session:
        """The session for a call now."""
        session = sessions.current() if self.options.place is None else sessions.explicit(self.options.place)
        if session.store is not None and self.session is not session:
            self.enter(session)
        return session

    def enter(self, session: Session) -> None:
        """Count in the store of this session from now on."""
        store = session.store
        if store is not None:
            before = self.session.store if self.session is not None else None
            try:
                if before is not store:
                    self.counters = store.notes.telemetry.counters(self.keyer.name)
                self.guard.watch(self.counters, session.on_code_change)
                self.session = session
            except Exception as error:  # noqa: BLE001 - the boundary again: the store was removed, and its place taken
                self.broken(error)

    def broken(self, error: Exception) -> Any:
        """A fault that nobody foresaw, or an error that was asked for: say so once, go on without a value."""
        if isinstance(error, (CodeChanged, StaleCodeWarning)):
            raise error
        if not lifecycle.is_ending():
            self.warn(f"{type(error).__name__}: {error}; the function runs without its cache")
        return MISS

    def revive(self, store: StoreCore) -> None:
        """If the store was removed under us, what is computed now goes into a new one."""
        try:
            store.revive()
        except Exception as error:  # noqa: BLE001 - the boundary again: without a store the function still runs
            self.broken(error)

    def warn(self, text: str) -> None:
        """One `CacheWarning` per text and wrapper."""
        if text not in self._said:
            self._said.add(text)
            saying.warn(f"{self.keyer.name}: {text}")

    def hint(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Say once of each argument that is the path of something on the disk that only its text counts."""
        for name in self.keyer.bare_paths(args, kwargs):
            if name not in self._hinted:
                self._hinted.add(name)
                self.warn(
                    f"argument {name!r} is a path, of which only the text counts, not what lies there: "
                    f"declare {name}=FileType or {name}=DirType, or {name}=ValueType if that is what you mean"
                )

    # --- calls -----------------------------------------------------------------------------------------

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call with every option looked at."""
        bypass = bool(kwargs.pop(BYPASS, False)) or self.options.recompute
        session = self.now()
        if self.options.void or session.store is None:
            return self.function(*args, **kwargs)
        key, used_args, used_kwargs, inputs, found = self.keyer.bind(args, kwargs, session.seed)
        rowkey = self.keyer.fnid + key
        if not bypass:
            value = self._read(session.store, rowkey)
            if value is not MISS:
                return value
            return self.miss(session, rowkey, used_args, used_kwargs, inputs, found)
        run = Run(self, session, rowkey, used_args, used_kwargs, inputs, found, replace=True)
        return run.finish(self.function(*used_args, **used_kwargs))

    def miss(
        self,
        session: Session,
        rowkey: bytes,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: Any,
        found: Any,
    ) -> Any:
        """Nothing is stored: wait for whoever computes this key, or compute it."""
        store = session.store
        assert store is not None
        flight, above = self._flight(store, rowkey, _thread()), computing.get()
        try:
            waiting = None
            while flight is not None and not flight.try_enter():
                waiting = waiting or self._waiting(flight, found)
                pause = waiting.pause()
                if pause is None:
                    flight = None
                    break
                clock.sleep(pause)
                value = self._read(store, rowkey)
                if value is not MISS:
                    return value
            # it may have been published between our look and our entering
            if flight is not None and (value := self._read(store, rowkey)) is not MISS:
                return value
            if session.remote is not None:
                value = self._from_remote(session, rowkey)
                if value is not MISS:
                    return value
            run = Run(self, session, rowkey, args, kwargs, inputs, found)
            computing.set((*above, rowkey))
            return run.finish(self.function(*args, **kwargs))
        finally:
            try:
                _leave(flight)
            except BaseException:  # Ctrl-C before it began, or another time out of it: once more does no harm
                _leave(flight)
                raise
            computing.set(above)

    async def call_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `call` and `miss`, for a coroutine function: waiting never blocks the event loop."""
        import asyncio

        bypass = bool(kwargs.pop(BYPASS, False)) or self.options.recompute
        session = self.now()
        store = session.store
        if self.options.void or store is None:
            return await self.function(*args, **kwargs)
        key, args, kwargs, inputs, found = self.keyer.bind(args, kwargs, session.seed)
        rowkey = self.keyer.fnid + key
        flight: Flight | None = None
        above = computing.get()
        try:
            if not bypass:
                value = self._read(store, rowkey)
                if value is not MISS:
                    return value
                task = _task()
                flight = self._flight(store, rowkey, task)
                waiting = None
                while flight is not None and not flight.try_enter():
                    waiting = waiting or self._waiting(flight, found)
                    pause = waiting.pause()
                    if pause is None:
                        flight = None
                        break
                    await asyncio.sleep(pause)
                    value = self._read(store, rowkey)
                    if value is not MISS:
                        return value
                if flight is not None and (value := self._read(store, rowkey)) is not MISS:
                    return value
                if session.remote is not None:
                    if task is not None:
                        value = await asyncio.to_thread(self._from_remote, session, rowkey)
                    else:
                        value = self._from_remote(session, rowkey)
                    if value is not MISS:
                        return value
            run = Run(self, session, rowkey, args, kwargs, inputs, found, replace=bypass)
            computing.set((*above, rowkey))
            return run.finish(await self.function(*args, **kwargs))
        finally:
            try:
                _leave(flight)
            except BaseException:  # as in `miss`
                _leave(flight)
                raise
            computing.set(above)

    def _waiting(self, flight: Flight, found: Any) -> Waiting:
        if found is not None:
            found.let_go()  # it may take long
        return flight.waiting(wait_bound(self._known_seconds))

    def _flight(self, store: StoreCore, rowkey: bytes, me: object) -> Flight | None:
        """The way to compute a key once, or to wait for others who do; None where nothing is stored, where
        this very key is computed further up already, and where the store cannot be used (it was closed, or
        removed with its parents).
        """
        try:
            flights = store.flights if self.options.store else None
            if flights is None or me is None:
                return None
            owner = flights.owner(rowkey)
            if owner is not None and (owner == me or rowkey in computing.get()):
                return None
            return Flight(flights, rowkey, me, store.writer.visible)
        except Exception as error:  # noqa: BLE001 - the boundary again
            self.broken(error)
            return None

    def _read(self, store: StoreCore, rowkey: bytes) -> Any:
        options = self.options
        try:
            if options.output is not None or options.mapped:
                return read_general(store, rowkey, self.counters, options.limit, self._decode)
            return store.read(rowkey, self.counters, options.limit)
        except Exception as error:  # noqa: BLE001 - the boundary of the hot path (decorator.py), for the calls that do not take it
            return self.broken(error)

    def _from_remote(self, session: Session, rowkey: bytes) -> Any:
        """The value that the remote has, brought here first; `MISS` if it has none, or cannot be used."""
        store, remote = session.store, session.remote
        if store is None or remote is None or not self.options.store:
            return MISS
        try:
            there = remote.fetch(rowkey, self._known_seconds)
        except Exception as error:  # noqa: BLE001 - the boundary again: the function runs without the remote
            self.broken(error)
            there = False
        store.say()
        return self._read(store, rowkey) if there else MISS

    def took(self, seconds: float) -> None:
        """Remember the longest run, which bounds how long others wait for one."""
        self._known_seconds = max(seconds, self._known_seconds or 0.0)

    def describe(
        self, rowkey: bytes, args: Any, kwargs: Any, seed: str | None, found: Any = None, inputs: Any = ()
    ) -> Record:
        """The record of a call, with all that explains it. ``found``, ``inputs``: by whoever made its key."""
        keyer = self.keyer
        parts, outlines = keyer.account(args, kwargs, found, inputs)
        record = Record(rowkey[8:], rowkey[:8], keyer.name, version=told_version(keyer.version), parts=parts)
        record.outlines = outlines
        record.seed = b"" if seed is None else seed_digest(seed)
        if self._packages is None:
            from scalable_cas.keys.identity import definition
            from scalable_cas.keys.packages import packages_of

            self._packages = packages_of(definition(self.function))
        record.packages = self._packages
        record.code = self.guard.forms()
        if keyer.code == "deps" and len(reached := keyer.reached()) <= MOST_REACHED:
            record.reached = reached
        return record


def _leave(flight: Flight | None) -> None:
    if flight is not None:
        flight.leave()


def _thread() -> int:
    import threading

    return threading.get_ident()


def _task() -> object:
    """The running task; None in a loop that is not asyncio's, whose tasks cannot be made to wait."""
    import asyncio

    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
