"""The functions attached to a wrapper: `f.cache_key`, `f.is_cached` and the others of CONTRACT 2."""

from __future__ import annotations

from collections import namedtuple
from types import FunctionType

from scalable_cas import clock
from scalable_cas.caching.drift import REFUSED
from scalable_cas.codecs.outputs import NAMES as OUTPUTS
from scalable_cas.errors import ScalableCasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NamedTuple

    from scalable_cas.caching.drift import CodeGuard
    from scalable_cas.caching.options import Options
    from scalable_cas.caching.session import Session
    from scalable_cas.format.record import Record
    from scalable_cas.keys.call import CallKeyer
    from scalable_cas.ops.explain import Explanation
    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.telemetry import Counters

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

#: Why an entry is not used by a wrapper that promises files.
LACKS_FILES = "it was stored without its files, by a wrapper that does not say return_type"
#: Why a call that is not stored here is a hit all the same.
ELSEWHERE = "this call is in the remote; a call fetches it"

ATTACHED = ("cache_key", "is_cached", "cache_info", "cache_clear", "cache_forget", "explain")


class Attached:
    """What `CachedFunction` gives to its wrapper."""

    if TYPE_CHECKING:
        function: Callable[..., Any]
        keyer: CallKeyer
        options: Options
        counters: Counters
        guard: CodeGuard

        def now(self) -> Session: ...  # noqa: D102
        def broken(self, error: Exception) -> Any: ...  # noqa: D102
        def describe(  # noqa: D102
            self, rowkey: bytes, args: Any, kwargs: Any, seed: str | None, found: Any, inputs: Any
        ) -> Record: ...

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
        refuse_unbound(self.function, args)
        return self.keyer.fnid + self.keyer.bind(args, kwargs, self.now().seed)[0]

    def cache_key(self, *args: Any, **kwargs: Any) -> str:
        """The call key, 64 hex digits."""
        return self._rowkey(args, kwargs)[8:].hex()

    def is_cached(self, *args: Any, **kwargs: Any) -> bool:
        """Whether the call would be a hit; runs nothing."""
        rowkey = self._rowkey(args, kwargs)
        store = self._open()
        try:
            if self.options.void or self.guard.has(store, rowkey, self.options.limit):
                return not self.options.void and not self._lacks_files(store, rowkey)
        except (ScalableCasError, OSError) as error:
            self.broken(error)
            return False
        return self._is_elsewhere(rowkey)

    def _is_elsewhere(self, rowkey: bytes) -> bool:
        """Whether a call that is not stored here would be brought from the remote."""
        remote = self.now().remote
        try:
            return remote is not None and self.options.store and remote.knows(rowkey, self._is_usable)
        except (ScalableCasError, OSError) as error:
            self.broken(error)
            return False

    def _is_usable(self, record: Record) -> bool:
        """Whether an entry of elsewhere would be a hit once it is here."""
        limit = self.options.limit
        too_old = limit is not None and clock.now_ns() - record.created > limit
        lacks_files = self.options.output is not None and record.codec not in OUTPUTS
        return not (too_old or lacks_files or self.guard.refuses_code(record.code))

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
        """Whether the call is stored, here or in the remote that is read through, and if not, in which
        arguments it differs from the nearest call that is.
        """
        from scalable_cas.ops.explain import Explanation, call_of, explain

        refuse_unbound(self.function, args)
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
        told = explain(store, self.keyer.name, rowkey, call, self.options.limit, cached=cached)
        if cached and not told.hit and self._is_elsewhere(rowkey):
            return Explanation(self.keyer.name, hit=True, reason=ELSEWHERE, differs=[])
        return told

    def _lacks_files(self, store: StoreCore | None, rowkey: bytes) -> bool:
        """Whether an entry was stored by a wrapper that does not know that the function returns paths."""
        if self.options.output is None or store is None:
            return False
        store.flush()
        record = store.index.record(rowkey)
        return record is not None and record.codec not in OUTPUTS


def refuse_unbound(function: Any, args: tuple[Any, ...]) -> None:
    """See to it that the first argument of a method is an object of its class, or its class.

    ``obj.m.is_cached(2)`` reaches the same function as ``K.m.is_cached(2)``: Python looks an attribute of a
    bound method up in the function, which does not learn of ``obj``. What could carry it would have to be
    made at each call of the method. So the object is to be given, and 2 must not be taken for it.

    Raises:
        TypeError: it is not.
    """
    owner, name, first = _method(function)
    if not owner or not args:
        return
    given = args[0]
    classes = type(given).__mro__ + (given.__mro__ if issubclass(type(given), type) else ())
    # a method may also stand in a class under which it was not defined
    if not any(cls.__qualname__ == owner or name in vars(cls) for cls in classes):
        short = owner.rpartition(".")[2]
        raise TypeError(
            f"{owner}.{name}: what is attached to a method does not know what it was reached through; "
            f"give {first} too, as in {short}.{name}.is_cached({first}, ...)"
        )


def _method(function: Any) -> tuple[str, str, str]:
    """Class, name and first parameter of a method, as far as its names tell; empty for other functions,
    static methods, and what is bound already.
    """
    while type(function) is FunctionType:
        if (inner := vars(function).get("__wrapped__")) is not None:
            function = inner
            continue
        owner, _, name = function.__qualname__.rpartition(".")
        code = function.__code__
        first = code.co_varnames[0] if code.co_argcount else ""
        if owner and not owner.endswith("<locals>") and first in ("self", "cls"):
            return owner, name, first
        break
    return "", "", ""
