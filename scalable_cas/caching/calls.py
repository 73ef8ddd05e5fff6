"""What happens around a call that is not a plain hit: misses, options, async functions, and the functions
attached to a wrapper.
"""

from __future__ import annotations

from collections import namedtuple

from scalable_cas import clock
from scalable_cas.caching import session as sessions
from scalable_cas.caching.drift import REFUSED, CodeGuard
from scalable_cas.caching.run import Run
from scalable_cas.codecs.outputs import NAMES as OUTPUTS
from scalable_cas.errors import CodeChanged, ScalableCasError, StaleCodeWarning
from scalable_cas.format.record import Record
from scalable_cas.keys.call import seed_digest
from scalable_cas.store import saying
from scalable_cas.store.flight import Waiting, wait_bound
from scalable_cas.store.general import decode_checked_output, decode_mapped, decode_output, read_general
from scalable_cas.store.reader import MISS
from scalable_cas.store.telemetry import Counters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NamedTuple

    from scalable_cas.caching.options import Options
    from scalable_cas.caching.session import Session
    from scalable_cas.keys.call import CallKeyer
    from scalable_cas.ops.explain import Explanation
    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.flight import Flights

BYPASS = "_cache_bypass"

if TYPE_CHECKING:

    class CacheInfo(NamedTuple):
        """``hits``, ``misses`` of this process; ``entries``, ``size`` (bytes) of a function in the store."""

        hits: int
        misses: int
        entries: int
        size: int

else:
    # typing costs 5 ms to import
    CacheInfo = namedtuple("CacheInfo", ("hits", "misses", "entries", "size"))  # noqa: PYI024

#: Names behind ``_code="deps"`` that an entry keeps, 50 bytes each. More would be larger than most results.
MOST_REACHED = 60

#: Why an entry is not used by a wrapper that promises files.
LACKS_FILES = "it was stored without its files, by a wrapper that does not say return_type"

ATTACHED = ("cache_key", "is_cached", "cache_info", "cache_clear", "cache_forget", "explain")


class CachedFunction:
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
        flights, me = self._flights(store, rowkey, _thread())
        if flights is not None:
            waiting = None
            while not flights.try_enter(rowkey, me):
                waiting = waiting or self._waiting(flights, rowkey, found)
                pause = waiting.pause()
                if pause is None:
                    flights = None
                    break
                clock.sleep(pause)
                value = self._read(store, rowkey)
                if value is not MISS:
                    return value
            else:
                value = self._read_again(store, rowkey, flights)
                if value is not MISS:
                    return value
        try:
            run = Run(self, session, rowkey, args, kwargs, inputs, found)
            result = self.function(*args, **kwargs)
        except BaseException:
            if flights is not None:
                flights.leave(rowkey)
            raise
        return run.finish(result, flights)

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
        flights: Flights | None = None
        if not bypass:
            value = self._read(store, rowkey)
            if value is not MISS:
                return value
            flights, me = self._flights(store, rowkey, asyncio.current_task())
            waiting = None
            while flights is not None and not flights.try_enter(rowkey, me):
                waiting = waiting or self._waiting(flights, rowkey, found)
                pause = waiting.pause()
                if pause is None:
                    flights = None
                    break
                await asyncio.sleep(pause)
                value = self._read(store, rowkey)
                if value is not MISS:
                    return value
            if flights is not None and (value := self._read_again(store, rowkey, flights)) is not MISS:
                return value
        try:
            run = Run(self, session, rowkey, args, kwargs, inputs, found, replace=bypass)
            result = await self.function(*args, **kwargs)
        except BaseException:
            if flights is not None:
                flights.leave(rowkey)
            raise
        return run.finish(result, flights)

    def _waiting(self, flights: Flights, rowkey: bytes, found: Any) -> Waiting:
        if found is not None:
            found.let_go()  # it may take long
        return Waiting(flights, rowkey, wait_bound(self._known_seconds))

    def _flights(self, store: StoreCore, rowkey: bytes, me: object) -> tuple[Flights | None, object]:
        """Where to wait for others of this key, and as whom; None where nothing is stored, where ``me``
        computes this very key already, and where the store cannot be used (it was closed, or removed with its
        parents).
        """
        try:
            flights = store.flights if self.options.store else None
        except Exception as error:  # noqa: BLE001 - the boundary again
            self.broken(error)
            flights = None
        if flights is not None and flights.owner(rowkey) == me:
            flights = None
        return flights, me

    def _read(self, store: StoreCore, rowkey: bytes) -> Any:
        options = self.options
        try:
            if options.output is not None or options.mapped:
                return read_general(store, rowkey, self.counters, options.limit, self._decode)
            return store.read(rowkey, self.counters, options.limit)
        except Exception as error:  # noqa: BLE001 - the boundary of the hot path (decorator.py), for the calls that do not take it
            return self.broken(error)

    def _read_again(self, store: StoreCore, rowkey: bytes, flights: Flights) -> Any:
        """After we entered, which we undo if there is a value: it may have been published since our look."""
        value: Any = None  # also if it raises
        try:
            value = self._read(store, rowkey)
            return value
        finally:
            if value is not MISS:
                flights.leave(rowkey)

    def took(self, seconds: float) -> None:
        """Remember the longest run, which bounds how long others wait for one."""
        self._known_seconds = max(seconds, self._known_seconds or 0.0)

    # --- attached to the wrapper -----------------------------------------------------------------------

    def _open(self) -> StoreCore | None:
        store = self.now().store
        try:
            if store is not None and not store.is_alive():
                store.reopen()
        except (ScalableCasError, OSError) as error:
            self.broken(error)
            return None
        return store

    def _rowkey(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        return self.keyer.fnid + self.keyer.bind(args, kwargs, self.now().seed)[0]

    def cache_key(self, *args: Any, **kwargs: Any) -> str:
        """The call key, 64 hex digits."""
        return self._rowkey(args, kwargs)[8:].hex()

    def is_cached(self, *args: Any, **kwargs: Any) -> bool:
        """Whether the call would be a hit; runs nothing."""
        rowkey = self._rowkey(args, kwargs)
        store = self._open()
        try:
            there = not self.options.void and self.guard.has(store, rowkey, self.options.limit)
            return there and not self._lacks_files(store, rowkey)
        except (ScalableCasError, OSError) as error:
            self.broken(error)
            return False

    def cache_info(self) -> CacheInfo:
        """Hits and misses of this process, entries and bytes of this function in the store."""
        from scalable_cas.ops.usage import function_usage

        store = self._open()
        entries, size = (0, 0) if store is None else function_usage(store, self.keyer.fnid)
        return CacheInfo(self.counters.hits, self.counters.misses, entries, size)

    def cache_clear(self) -> int:
        """Forget every entry of this function, all versions; returns how many."""
        store = self._open()
        if store is None:
            return 0
        store.flush()
        fnid = self.keyer.fnid
        return store.forget([rowkey for rowkey, _ in store.index.scan("refs", fnid)], whole=[fnid])

    def cache_forget(self, *args: Any, **kwargs: Any) -> bool:
        """Forget one entry; returns whether there was one."""
        rowkey = self._rowkey(args, kwargs)
        store = self._open()
        return store is not None and store.forget([rowkey]) == 1

    def explain(self, *args: Any, **kwargs: Any) -> Explanation:
        """Whether the call is stored, and if not, in which arguments it differs from the nearest call that
        is.
        """
        from scalable_cas.ops.explain import Explanation, call_of, explain

        session = self.now()
        key, args, kwargs, inputs, found = self.keyer.bind(args, kwargs, session.seed)
        rowkey = self.keyer.fnid + key
        store = self._open()
        if store is not None and self.guard.refuses(store, rowkey):
            return Explanation(self.keyer.name, hit=False, reason=REFUSED, differs=[])
        if store is not None and self._lacks_files(store, rowkey):
            return Explanation(self.keyer.name, hit=False, reason=LACKS_FILES, differs=[])
        call = call_of(self.describe(rowkey, args, kwargs, session.seed, found, inputs))
        cached = not self.options.void
        return explain(store, self.keyer.name, rowkey, call, self.options.limit, cached=cached)

    def _lacks_files(self, store: StoreCore | None, rowkey: bytes) -> bool:
        """Whether an entry was stored by a wrapper that does not know that the function returns paths."""
        if self.options.output is None or store is None:
            return False
        store.flush()
        record = store.index.record(rowkey)
        return record is not None and record.codec not in OUTPUTS

    def describe(
        self, rowkey: bytes, args: Any, kwargs: Any, seed: str | None, found: Any = None, inputs: Any = ()
    ) -> Record:
        """The record of a call, with all that explains it. ``found``, ``inputs``: by whoever made its key."""
        keyer = self.keyer
        parts, outlines = keyer.account(args, kwargs, found, inputs)
        record = Record(rowkey[8:], rowkey[:8], keyer.name, version=keyer.version, parts=parts)
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


def _thread() -> int:
    import threading

    return threading.get_ident()
