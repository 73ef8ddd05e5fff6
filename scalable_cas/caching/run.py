"""One run of a function: what is noted before it, and what becomes of its result."""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.codecs.base import encode
from scalable_cas.errors import NotStorable, StoreReadOnly
from scalable_cas.format.record import Record
from scalable_cas.keys.files import inputs_unchanged
from scalable_cas.store.general import save_mapped, save_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.caching.calls import CachedFunction
    from scalable_cas.caching.session import Session


class Run:
    """One run of the function: its record is begun before, from the arguments as they are then, and finished
    after.
    """

    __slots__ = ("_cached", "_inputs", "_record", "_remote", "_replace", "_since", "_store")

    def __init__(
        self,
        cached: CachedFunction,
        session: Session,
        rowkey: bytes,
        args: Any,
        kwargs: Any,
        inputs: Any,
        found: Any,
        *,
        replace: bool = False,
    ) -> None:
        assert session.store is not None
        self._cached = cached
        self._store = session.store
        self._remote = session.remote
        cached.revive(session.store)
        self._inputs = inputs
        self._replace = replace
        cached.counters.misses += 1
        cached.hint(args, kwargs)
        # now, not after the run: the function may change its arguments
        if cached.options.store:
            self._record = cached.describe(rowkey, args, kwargs, session.seed, found, inputs)
        else:
            self._record = Record(rowkey[8:], rowkey[:8], cached.keyer.name)
        if found is not None:
            found.let_go()  # the function may need the memory
        self._record.ttl = cached.options.limit or 0
        self._since = clock.perf_counter()

    def finish(self, result: Any) -> Any:
        """Store the result if it is to be stored; return it in any case."""
        record, cached, store = self._record, self._cached, self._store
        record.seconds = clock.perf_counter() - self._since
        record.created = clock.now_ns()
        cached.counters.spent += record.seconds
        cached.took(record.seconds)
        try:
            if self._wanted(result):
                options = cached.options
                if options.output is not None:
                    many = options.result is not None
                    save_output(store, record, options.output, result, many=many, replace=self._replace)
                elif options.mapped:
                    result = save_mapped(store, record, result, replace=self._replace)
                else:
                    store.save(record, encode(result), replace=self._replace)
                if self._remote is not None:
                    self._remote.stored(record.seconds)
        except NotStorable as error:
            cached.warn(f"{error}; it is returned")
        except (StoreReadOnly, OSError) as error:  # a full disk: one cause, whoever meets it
            store.trouble(error, "; results are returned, but not stored")
        except Exception as error:  # noqa: BLE001 - the second half of the boundary (decorator.py): what fails here is the cache, never the function
            cached.broken(error)
        store.say()
        return result

    def _wanted(self, result: Any) -> bool:
        options, cached = self._cached.options, self._cached
        if not options.store:
            return False
        if options.result is not None and result is not None and not isinstance(result, options.result):
            found, declared = type(result).__name__, options.result.__name__
            cached.warn(
                f"the result is a {found}, not the declared {declared}; it is returned but not stored"
            )
            return False
        if self._inputs and (changed := inputs_unchanged(self._inputs)) is not None:
            cached.warn(
                f"the input {changed!r} changed while the function ran; the result is returned but not stored"
            )
            return False
        return options.cache_if is None or bool(options.cache_if(result))
