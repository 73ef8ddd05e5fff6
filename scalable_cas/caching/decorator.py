"""`@cacheable`, and the path of a hit: the function `wrapper` in `_wrap` is all of it.

A call is bound and hashed (`keys`), looked up and decoded (`store.reader`), and returned. Whatever is not a
hit goes on in `calls.py`.
"""

from __future__ import annotations

from functools import wraps

from scalable_cas.caching.calls import BYPASS, CachedFunction
from scalable_cas.caching.drift import note_decorated
from scalable_cas.caching.options import Options, is_coroutine, refuse_generators
from scalable_cas.caching.session import current
from scalable_cas.keys.call import CallKeyer
from scalable_cas.store.entry import MISS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta
    from os import PathLike
    from typing import Any, ParamSpec, Protocol, TypeVar, overload

    from scalable_cas.caching.attached import CacheInfo
    from scalable_cas.ops.explain import Explanation
    from scalable_cas.store.core import StoreCore

    P = ParamSpec("P")
    R = TypeVar("R")

    class Cached(Protocol[P, R]):
        """A decorated function: its own signature, and what the cache adds (documented in calls.py)."""

        __name__: str
        __qualname__: str
        __wrapped__: Callable[P, R]

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...  # noqa: D102
        def __get__(self, instance: Any, owner: type | None = None) -> Any: ...
        def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str: ...  # noqa: D102
        def is_cached(self, *args: P.args, **kwargs: P.kwargs) -> bool: ...  # noqa: D102
        def cache_info(self) -> CacheInfo: ...  # noqa: D102
        def cache_clear(self) -> int: ...  # noqa: D102
        def cache_forget(self, *args: P.args, **kwargs: P.kwargs) -> bool: ...  # noqa: D102
        def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation: ...  # noqa: D102

    @overload
    def cacheable(  # type: ignore[overload-overlap]  # a class is callable too, but is a type of result here
        return_type: type[Any] | None = None,
        *,
        void: bool = False,
        check_output: bool = False,
        recompute: bool = False,
        store: bool = True,
        _version: str | int | None = None,
        _code: str | None = None,
        _ignore: Iterable[str] = (),
        _ttl: float | timedelta | None = None,
        _cache_if: Callable[[Any], object] | None = None,
        _mmap: str | None = None,
        _store: StoreCore | str | PathLike[str] | None = None,
        _arg_types: Mapping[str, Any] | None = None,
        **arg_types: Any,
    ) -> Callable[[Callable[P, R]], Cached[P, R]]: ...
    @overload
    def cacheable(return_type: Callable[P, R], /) -> Cached[P, R]: ...
    def cacheable(*args: Any, **kwargs: Any) -> Any: ...  # noqa: D103

else:  # the overloads above are what a type checker sees; this takes every form

    def cacheable(
        return_type: Any = None,
        *,
        void: bool = False,
        check_output: bool = False,
        recompute: bool = False,
        store: bool = True,
        _version: str | int | None = None,
        _code: str | None = None,
        _ignore: Iterable[str] = (),
        _ttl: float | timedelta | None = None,
        _cache_if: Callable[[Any], object] | None = None,
        _mmap: str | None = None,
        _store: StoreCore | str | PathLike[str] | None = None,
        _arg_types: Mapping[str, Any] | None = None,
        **arg_types: Any,
    ) -> Any:
        """Store a function's results, and return them when it is called again with the same arguments.

        Use it bare, called, or with options: ``@cacheable``, ``@cacheable()``, ``@cacheable(ValueType)``,
        ``@cacheable(return_type=dict, scenario_id=int)``.

        Args:
            return_type: the type of the result: a Python type (another result is returned but not stored) or
                `ValueType` for any. `FileType` or `DirType` (or a list, tuple or dict of one of them): the
                function returns paths; what lies there is stored, and a hit puts it back where it is missing
                or differs.
            void: the function is run for its side effect: never cached.
            check_output: a hit reads what is at an output path also where its stat looks unchanged.
            recompute: always run, and replace what is stored.
            store: False looks up but writes nothing.
            _version: str or int, part of the key.
            _code: None, the function's name stands for its code; ``"self"``, its code is part of the key;
                ``"deps"``, so is that of every function of the user's own modules that it reaches.
            _ignore: names of arguments left out of the key.
            _ttl: seconds or a timedelta; an older entry is a miss.
            _cache_if: a predicate on the result; where it is false the result is returned and not stored.
            _mmap: ``"r"``: arrays of 64 KiB and more come back as read-only memory maps of the store.
            _store: a `Store` or a path; by default the store is found as the documentation of configuration
                says.
            _arg_types: declared types of arguments whose names collide with an option.
            **arg_types: how to hash an argument: ``int``, ``float``, ``bool``, ``str``, ``bytes`` (converted
                without loss), any class, a wrapper type such as `FileType`.

        Raises:
            TypeError: at decoration, for an unknown argument name, an option of the wrong type, or a
                generator function.
        """
        options = Options(
            return_type=None,
            void=void,
            check_output=check_output,
            recompute=recompute,
            store=store,
            ttl=_ttl,
            cache_if=_cache_if,
            mmap=_mmap,
            place=_store,
        )
        keying = {
            "version": _version,
            "code": _code,
            "ignore": (_ignore,) if isinstance(_ignore, str) else tuple(_ignore),
            "arg_types": {**arg_types, **(_arg_types or {})},
        }
        is_type = return_type is None or isinstance(return_type, type) or hasattr(return_type, "__origin__")
        if not is_type and (callable(return_type) or isinstance(return_type, (classmethod, staticmethod))):
            return _decorate(return_type, options, keying)
        options.declare(return_type)
        return lambda function: _decorate(function, options, keying)


def _decorate(function: Any, options: Options, keying: dict[str, Any]) -> Any:
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(_decorate(function.__func__, options, keying))
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"cacheable decorates functions, not {type(function).__name__}")
    refuse_generators(function)
    keyer = CallKeyer(function, **keying)
    note_decorated(keyer)
    return _wrap(CachedFunction(function, keyer, options))


def _wrap(cached: CachedFunction) -> Any:
    # What a wrapper closes over must survive cloudpickle, which pickles the functions of a script by value.
    function, fnid, limit = cached.function, cached.keyer.fnid, cached.options.limit
    simple = cached.is_simple  # no option that changes what a hit is

    if is_coroutine(function):

        @wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await cached.call_async(args, kwargs)

    elif not simple:

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return cached.call(args, kwargs)

    else:

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            session = current()
            if session.store is None or (kwargs and BYPASS in kwargs):
                return cached.call(args, kwargs)
            if cached.session is not session:
                cached.enter(session)
            key, used_args, used_kwargs, inputs, found = cached.bind(args, kwargs, session.seed)
            try:
                value = session.store.read(fnid + key, cached.counters, limit)
            except Exception as error:  # noqa: BLE001 - the one boundary that keeps a broken cache from breaking a program (I6); the function runs instead
                value = cached.broken(error)
            if value is not MISS:
                return value
            return cached.miss(session, fnid + key, used_args, used_kwargs, inputs, found)

    cached.attach(wrapper)
    return wrapper
