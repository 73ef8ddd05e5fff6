"""Why a type cannot be part of a key, in words for the user. Types and reasons only, never values."""

from __future__ import annotations

# Where a value of a type comes from, by `module.qualname` of the type or of one of its bases. Names, so that
# nothing is imported.
_STREAM = "reading it moves it on, and a hit would not"
_RANDOM = "a hit would not advance this generator of random numbers; pass a seed"
_SYNC = "holds no value"
_MORE = "a subclass may hold more than its array; pass the plain array, or register_key the class"
_FRAME = "a subclass may hold more than its frame; pass the plain frame, or register_key the class"
_FOREIGN = "only its own library knows what it holds; convert it, or register_key the class"
_GROUPS = "is a step of a computation; pass the frame"
_WIDTH = "its width and its padding differ between machines; convert it to float64 or complex128"
_REASONS = {
    "builtins.generator": _STREAM,
    "builtins.async_generator": _STREAM,
    "builtins.coroutine": "can be awaited only once",
    "builtins.module": "a module is code, not a value",
    "builtins.frame": "is a part of a running program",
    "builtins.traceback": "is a part of a running program",
    "weakref.ReferenceType": "what it refers to may go at any time",
    "weakref.ProxyType": "what it refers to may go at any time",
    "_io._IOBase": "an open file is a position, not a content; pass its path and declare it FileType",
    "socket.socket": "a connection holds no value",
    "_socket.socket": "a connection holds no value",
    "subprocess.Popen": "a running process holds no value",
    "random.Random": _RANDOM,
    "_random.Random": _RANDOM,
    "numpy.random._generator.Generator": _RANDOM,
    "numpy.random.mtrand.RandomState": _RANDOM,
    "numpy.random.bit_generator.BitGenerator": _RANDOM,
    "torch._C.Generator": _RANDOM,
    "numpy.longdouble": _WIDTH,
    "numpy.clongdouble": _WIDTH,
    "numpy.ndarray": _MORE,
    "torch.Tensor": _MORE,
    "torch.nn.modules.module.Module": "a module is code and weights; pass its state_dict()",
    # pandas says its public names since version 3
    **dict.fromkeys(("pandas.DataFrame", "pandas.Series", "pandas.Index"), _FRAME),
    **dict.fromkeys(("pandas.core.frame.DataFrame", "pandas.core.series.Series"), _FRAME),
    **dict.fromkeys(("pandas.core.indexes.base.Index", "polars.dataframe.frame.DataFrame"), _FRAME),
    **dict.fromkeys(("pyarrow.lib._Tabular", "polars.series.series.Series"), _FRAME),
    "pandas.api.extensions.ExtensionArray": _FOREIGN,
    "pandas.api.extensions.ExtensionDtype": _FOREIGN,
    "pandas.core.arrays.base.ExtensionArray": _FOREIGN,
    "pandas.core.dtypes.base.ExtensionDtype": _FOREIGN,
    "pandas.core.groupby.groupby.BaseGroupBy": _GROUPS,
    "polars.lazyframe.frame.LazyFrame": "a plan of a computation, not a value; pass .collect()",
    "polars.expr.expr.Expr": "an expression is a step of a computation; pass what it is made from",
    "pyarrow.lib.RecordBatchReader": _STREAM,
    "pyarrow.lib.NativeFile": _STREAM,
    "pyarrow._dataset.Dataset": "is where data lies, not the data; pass .to_table()",
    "contextvars.Context": "is a part of a running program",
    "contextvars.ContextVar": "is a part of a running program",
    "_contextvars.ContextVar": "is a part of a running program",
}

# What synchronises, reports or runs: no result depends on it. As an argument it is refused all the same (the
# user should see that it is there); as a captured variable it is left out.
_WITHOUT_VALUE = {
    *("_thread.lock", "_thread.RLock", "_thread._local", "_thread.LockType"),
    *(
        "threading.Thread",
        "threading.Event",
        "threading.Condition",
        "threading.Semaphore",
        "threading.Barrier",
    ),
    *("threading.local", "threading._RLock", "logging.Logger", "logging.LoggerAdapter", "logging.Handler"),
    *("asyncio.locks.Lock", "asyncio.locks.Event", "asyncio.locks.Condition", "asyncio.locks.Semaphore"),
    *("asyncio.locks.Barrier", "asyncio.events.AbstractEventLoop", "concurrent.futures._base.Executor"),
    *("multiprocessing.synchronize.SemLock", "multiprocessing.synchronize.Event"),
    *("multiprocessing.synchronize.Condition", "multiprocessing.process.BaseProcess"),
    *("multiprocessing.managers.EventProxy", "multiprocessing.managers.AcquirerProxy"),
    *("multiprocessing.managers.BarrierProxy", "multiprocessing.managers.ConditionProxy"),
}


def full_name(kind: type) -> str:
    """``module.qualname`` of a type, as its own attributes say."""
    return f"{kind.__module__}.{kind.__qualname__}"


def without_value(kind: type) -> bool:
    """Whether values of this type only synchronise, report or run."""
    return any(full_name(base) in _WITHOUT_VALUE for base in kind.__mro__)


def is_random(kind: type) -> bool:
    """Whether values of this type are generators of random numbers."""
    return any(_REASONS.get(full_name(base)) == _RANDOM for base in kind.__mro__)


def has_reason(kind: type) -> bool:
    """Whether this file knows why values of this type are refused; then no rule may take them apart."""
    return (
        kind is object
        or without_value(kind)
        or any(full_name(base) in _REASONS or "__next__" in vars(base) for base in kind.__mro__)
    )


def reason_for(kind: type) -> str:
    """One clause that says why a value of this type is refused."""
    name = full_name(kind).removeprefix("builtins.")
    if kind is object:
        return "a bare object() is equal to nothing but itself"
    if without_value(kind):
        return f"type {name} {_SYNC}"
    for base in kind.__mro__:
        reason = _REASONS.get(full_name(base))
        if reason is not None:
            return f"type {name}: {reason}"
    if any("__next__" in vars(base) for base in kind.__mro__):
        return f"type {name}: {_STREAM}"
    return f"type {name} has no encoding that is the same everywhere"
