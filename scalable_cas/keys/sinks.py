"""Which values only take something in: a variable that is used for effect is left out of the key if its value
is such a one.

``calls.append(x)`` tells nothing about the list, and ``kernel.run(x, out)`` everything about the kernel. The
names of methods do not tell the two apart, the types do: those of this module are known to keep what they
are given, or to pass it on to the outside, and to change nothing else. Whatever is not known here counts.
"""

from __future__ import annotations

import sys

from .identity import METHOD
from .refusals import full_name, is_random, without_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .effects import Path, Role

_BUILTIN, _MODULE = type(len), type(sys)
_SLOT = type(vars(type("", (), {"__slots__": ("slot",)}))["slot"])
_UNKNOWN: Any = object()

_STREAM = frozenset(("write", "writelines", "flush", "seek", "truncate", "close"))
_QUEUE = frozenset(("put", "put_nowait", "task_done", "join", "close", "join_thread"))
_LIST = frozenset(("append", "extend", "insert", "clear", "reverse"))
_SET = frozenset(("add", "update", "discard", "clear"))
_DICT = frozenset(("update", "setdefault", "clear"))

# The methods that only take something in, by the exact type. ``pop`` and ``remove`` are not here: they raise
# or not by what is there, which the function may catch. Nor is ``sort``, which calls what it is given.
_METHODS = {
    "builtins.list": _LIST,
    "builtins.bytearray": _LIST,
    "array.array": _LIST,
    "collections.deque": _LIST | {"appendleft", "extendleft", "rotate"},
    "builtins.set": _SET,
    "builtins.dict": _DICT,
    "collections.OrderedDict": _DICT | {"move_to_end"},
    "collections.defaultdict": _DICT,
    "collections.Counter": _DICT | {"subtract"},
    **dict.fromkeys(("queue.Queue", "queue.LifoQueue", "queue.PriorityQueue", "_queue.SimpleQueue"), _QUEUE),
    **dict.fromkeys(("asyncio.queues.Queue", "multiprocessing.queues.Queue"), _QUEUE),
    **dict.fromkeys(("multiprocessing.queues.SimpleQueue", "multiprocessing.queues.JoinableQueue"), _QUEUE),
    "tempfile._TemporaryFileWrapper": _STREAM,
}
_CONTAINERS = frozenset(name for name, methods in _METHODS.items() if not methods & {"put", "write"})
_TARGETS = _CONTAINERS | {"numpy.ndarray"}  # of ``buffer[0] = x``

# What ``+=`` changes or replaces without a call of anything that a user wrote.
_ADDED = _TARGETS | {
    *(
        f"builtins.{name}"
        for name in ("NoneType", "bool", "int", "float", "complex", "str", "bytes", "tuple")
    ),
    *("builtins.frozenset", "decimal.Decimal", "fractions.Fraction"),
    *("datetime.datetime", "datetime.date", "datetime.timedelta"),
    *(f"numpy.{name}" for name in ("bool", "int64", "int32", "uint64", "float64", "float32", "complex128")),
}

# By a base: subclasses of users are not among them, which may do anything.
_STREAMS = "_io._IOBase"
_SHARED = "multiprocessing.sharedctypes.SynchronizedBase"  # multiprocessing.Value and Array
_PROGRESS = frozenset(("tqdm.std.tqdm", "rich.progress.Progress"))

_idle_types: dict[type, bool] = {}
_random_types: dict[type, bool] = {}
_MOST = 10_000


def counts(role: Role, value: object) -> bool:
    """Whether a variable can influence the result, by how it is used and by what it is now."""
    kind = type(value)
    if is_idle(kind):
        return False
    if role is None or _remembered(_random_types, kind, is_random):
        return True
    return not all(_only_takes(value, use) for use in role)


def is_idle(kind: type) -> bool:
    """Whether a captured value of this type is left out: it synchronises, reports or runs, and holds no
    value. A subclass that the user wrote may hold one.
    """
    return _remembered(_idle_types, kind, _is_idle)


def _is_idle(kind: type) -> bool:
    if not without_value(kind):
        return False
    from .own import is_user_class

    return not is_user_class(kind)


def _remembered(known: dict[type, bool], kind: type, ask: Any) -> bool:
    answer = known.get(kind)
    if answer is None:
        if len(known) >= _MOST:
            known.clear()
        answer = known[kind] = ask(kind)
    return answer


def _only_takes(value: Any, use: Path) -> bool:
    """Whether this use of a value for effect can do nothing but put something into it."""
    step, rest = use[0], use[1:]
    if not rest:
        return _takes_itself(value, step)
    if step.startswith("."):
        name = step[1:]
        if rest[0] == "()":
            return _takes_call(value, name)
        if rest[0] in ("=", "+="):
            return _takes_attribute(value, name, added=rest[0] == "+=")
        part = _attribute(value, name)
        return part is not _UNKNOWN and _only_takes(part, rest)
    # An item. Which one is not known: all of them have to do.
    kind = full_name(type(value))
    if rest == ("=",):
        return kind in _TARGETS or _is_shared(type(value))
    if kind == "numpy.ndarray":
        return rest == ("+=",) and not value.dtype.hasobject
    if rest == ("+=",) and _is_shared(type(value)):
        return True
    if kind not in _CONTAINERS:
        return False
    items = [*value.values()] if isinstance(value, dict) else [*value]
    if rest == ("+=",):
        return all(full_name(item) in _ADDED for item in set(map(type, items)))
    return all(_only_takes(item, rest) for item in items)


def _takes_itself(value: Any, step: str) -> bool:
    kind = type(value)
    if step == "=":
        return True  # another value gets the name
    if step == "+=":
        return full_name(kind) in _ADDED
    if step == "with":
        return is_idle(kind) or _is_stream(kind)
    # Called by its own name: ``note = calls.append``.
    if kind is METHOD:
        return _takes_call(value.__self__, getattr(value.__func__, "__name__", ""))
    return kind is _BUILTIN and _takes_call(value.__self__, value.__name__)


def _takes_call(value: Any, name: str) -> bool:
    """Whether ``value.name(...)`` does nothing but put its arguments somewhere."""
    kind = type(value)
    if name in _METHODS.get(full_name(kind), ()) or is_idle(kind):
        return True
    if _is_stream(kind):
        return name in _STREAM
    if _is_shared(kind):
        return name == "get_lock"
    return _has_base(kind, _PROGRESS)


def _takes_attribute(value: Any, name: str, *, added: bool) -> bool:
    """Whether ``value.name = x`` only stores: no property, no hook of the class's own."""
    kind: Any = type(value)
    if is_idle(kind) or _is_shared(kind) or _has_base(kind, _PROGRESS):
        return True
    if kind.__setattr__ is not (type.__setattr__ if kind is type else object.__setattr__):
        return False
    if kind is not type:
        item = _in_class(kind, name)
        if type(item) is not _SLOT and hasattr(type(item), "__set__"):
            return False
    return not added or full_name(type(_attribute(value, name))) in _ADDED


def _attribute(value: Any, name: str) -> Any:
    """An attribute that is just stored, in the object or in its class, without a call of anybody's hook."""
    kind: Any = type(value)
    if kind is type:
        return _in_class(value, name)
    if kind is _MODULE:
        return vars(value).get(name, _UNKNOWN)
    if kind.__getattribute__ is not object.__getattribute__:
        return _UNKNOWN
    item = _in_class(kind, name)
    if type(item) is _SLOT:
        return getattr(value, name, _UNKNOWN)
    if hasattr(type(item), "__get__"):
        return _UNKNOWN
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        own = {}
    return own.get(name, item) if type(own) is dict else _UNKNOWN


def _in_class(kind: type, name: str) -> Any:
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), _UNKNOWN)


def _is_stream(kind: type) -> bool:
    return _has_base(kind, {_STREAMS})


def _is_shared(kind: type) -> bool:
    return _has_base(kind, {_SHARED})


def _has_base(kind: type, names: set[str] | frozenset[str]) -> bool:
    if not any(full_name(base) in names for base in kind.__mro__):
        return False
    from .own import is_user_class

    return not is_user_class(kind)
