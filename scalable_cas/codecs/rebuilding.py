"""Whether pickle gives an object back as it was.

An object of a subclass of a builtin, or of an exception, is not copied by unpickling: it is made anew by the
class's own code. An exception is called with its `args`, a subclass of float with its number, a subclass of
dict is filled item by item. Where that code converts what it is given, or asks for more, another value comes
back, or none at all; and pickle says nothing. So one such object is made on trial before it is stored.
"""

from __future__ import annotations

import copyreg
import sys
from collections import OrderedDict, deque
from types import FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_PROTOCOL = 5  # that of pickled.py
#: Py_TPFLAGS_IMMUTABLETYPE: no class of a `class` statement has it, every builtin one has.
WRITTEN_IN_C = 1 << 8
#: Classes that pickle as a call with their own data, and forget what a subclass or a user of Counter added.
_FORGETFUL = frozenset(
    {
        *("collections.Counter", "datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta"),
        *("decimal.Decimal", "fractions.Fraction", "pathlib.PurePath", "pathlib._local.PurePath"),
        *("collections.defaultdict", "numpy.ndarray"),
    }
)
#: Attributes that numpy keeps in instances of its own subclasses.
_OF_NUMPY = frozenset(("_getitem", "_mmap", "filename", "offset", "mode"))
_WAYS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
#: What unpickling calls besides the class itself: with these a class that is filled may change its items.
_FILLING = ("append", "extend", "__setitem__")


def reduction_owner(kind: type) -> type:
    """The class whose method says how instances of `kind` are pickled."""
    names = ("__reduce_ex__", "__reduce__")
    return next(found for found in kind.__mro__ if any(name in vars(found) for name in names))


def may_forget(kind: type) -> bool:
    """Whether instances are pickled by a method that knows of no further attributes."""
    known = _name(reduction_owner(kind)) in _FORGETFUL or _library_of(kind) is not None
    return known or _may_be_its_own_dict(kind)


def forgets(obj: Any) -> bool:
    """Whether an instance, of a class that `may_forget`, has such attributes."""
    kind = type(obj)
    look = _library_of(kind)
    if look is not None:
        return look(obj)
    space = getattr(obj, "__dict__", None)
    if _may_be_its_own_dict(kind):
        return space is obj
    own = {*(space or ())}
    return not own <= _OF_NUMPY if _name(reduction_owner(kind)) == "numpy.ndarray" else bool(own)


def _library_of(kind: type) -> Callable[[Any], bool] | None:
    """What tells whether an instance of a library's class has more than the library itself pickles."""
    for module, name, look in (
        ("pandas.core.generic", "NDFrame", _frame_has_more),
        ("pandas.core.indexes.base", "Index", _index_has_more),
        ("polars", "DataFrame", _polars_has_more),
        ("polars", "Series", _polars_has_more),
        ("numpy.ma", "MaskedArray", _masked_has_more),
    ):
        base: Any = getattr(sys.modules.get(module), name, None)
        if base is not None and issubclass(kind, base):
            library = module.partition(".")[0]
            ways = [found for found in kind.__mro__ for way in _WAYS if way in vars(found)]
            return look if ways[0].__module__.partition(".")[0] == library else None
    return None


def _frame_has_more(obj: Any) -> bool:
    from scalable_cas.codecs.indexes import added

    kept = {*getattr(type(obj), "_metadata", ())}
    return not added(obj) <= kept or ("_name" in vars(obj) and "_name" not in kept)


def _index_has_more(obj: Any) -> bool:
    from scalable_cas.codecs.indexes import added

    return bool(added(obj))


def _polars_has_more(obj: Any) -> bool:
    from scalable_cas.codecs.polars import added

    return bool(added(obj))


def _masked_has_more(obj: Any) -> bool:
    from scalable_cas.codecs.arrays import has_notes

    kept = type(obj) is sys.modules["numpy.ma"].MaskedArray  # arrays.reduced sees to it
    return has_notes(obj) or (bool(vars(obj).get("_hardmask")) and not kept)


def _may_be_its_own_dict(kind: type) -> bool:
    """Whether an instance may be the dict of its own attributes (``self.__dict__ = self``), which comes back
    as two.
    """
    own_way = reduction_owner(kind) is not object or hasattr(kind, "__setstate__")
    return issubclass(kind, dict) and kind is not dict and not own_way


def is_made_anew(kind: type) -> bool:
    """Whether unpickling runs code of the class itself with the object's data, by a rule that the class did
    not write.
    """
    owner = reduction_owner(kind)
    if not (owner.__flags__ & WRITTEN_IN_C or _name(owner) in _FORGETFUL) or kind in copyreg.dispatch_table:
        return False
    names = ["__new__"] if owner is object else ["__new__", "__init__"]
    if issubclass(kind, (list, dict, deque)):
        names += _FILLING
    own = kind.__mro__[: kind.__mro__.index(owner)]
    return any(_is_own_code(vars(found).get(name)) for found in own for name in names)


def _is_own_code(item: Any) -> bool:
    function = getattr(item, "__func__", item)  # `__new__` is a static method
    if not isinstance(function, FunctionType):
        return False
    # a namedtuple's own is made with it, and takes the fields as they are
    return not str(function.__globals__.get("__name__")).startswith("namedtuple_")


def is_given_back(obj: Any, dumps: Callable[[Any], bytes]) -> bool:
    """Make an object, of a class that `is_made_anew`, as unpickling does, and see that it is the same again.
    Its attributes are not looked at: they are set afterwards, and come back by themselves. Parts that are not
    the same objects are compared by `dumps`.
    """
    made: Any = obj.__reduce_ex__(_PROTOCOL)
    if type(made) is not tuple:
        return True
    parts: list[Any] = [*made, None, None, None]
    function, arguments, _state, items, pairs = parts[:5]
    if function not in (type(obj), copyreg.__newobj__, copyreg.__newobj_ex__):  # type: ignore[attr-defined]
        return True
    try:
        again = function(*arguments)
        if items is not None:
            again.extend([*items])
        for key, value in pairs or ():
            again[key] = value
        return type(again) is type(obj) and _same(obj, again, arguments, dumps)
    except Exception:  # noqa: BLE001
        # Broad with reason: code of the user's class, which unpickling would run too.
        return False


#: Of each builtin base the parts that make its value, taken without a method of the subclass.
_PARTS: dict[type, Callable[[Any], Iterable[Any]]] = {
    BaseException: lambda value: value.args,
    int: lambda value: (int.__index__(value),),
    float: lambda value: (float.hex(value),),
    complex: lambda value: (float.hex(value.real), float.hex(value.imag)),
    str: lambda value: (str.__str__(value),),
    bytes: lambda value: (b"".join((value,)),),
    bytearray: lambda value: (bytes(memoryview(value)),),
    list: list.__iter__,
    tuple: tuple.__iter__,
    deque: deque.__iter__,
    OrderedDict: lambda value: (part for pair in OrderedDict.items(value) for part in pair),
    dict: lambda value: (part for pair in dict.items(value) for part in pair),
    set: lambda value: sorted(set.__iter__(value), key=id),
    frozenset: lambda value: sorted(frozenset.__iter__(value), key=id),
}


def _same(left: Any, right: Any, arguments: Any, dumps: Callable[[Any], bytes]) -> bool:
    parts = next((_PARTS[base] for base in type(left).__mro__ if base in _PARTS), None)
    if parts is not None:
        ours, theirs = [*parts(left)], [*parts(right)]
    elif arguments[:1] == (type(left),):  # a plain object: all it has are attributes
        return True
    else:  # a date, a Decimal: what it is made of is its value
        ours, theirs = [*arguments], [*right.__reduce_ex__(_PROTOCOL)[1]]
    if len(ours) != len(theirs):
        return False
    pairs = zip(ours, theirs, strict=True)
    return all(a is b or (type(a) is type(b) and dumps(a) == dumps(b)) for a, b in pairs)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
