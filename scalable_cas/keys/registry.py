"""Which handler encodes a type: the tables, the lazy handlers of libraries, and ``register_key``.

A type is looked up once per process, in this order: a fixed encoding of the type itself,
``__scalable_identity__`` (a cached function) or ``__scalable_key__`` on the class, ``register_key`` (exact
type, then the MRO), the table of its library, the families of objects.py, refusal.
"""

from __future__ import annotations

from .nodes import ATTRS, DONE, ITEMS, PAIRS, SET, Computing, Fields, Raw, Structural, Viewed
from .tags import (
    FALSE,
    NONE,
    TRUE,
    encode_bytes,
    encode_complex,
    encode_float,
    encode_int,
    encode_str,
    typed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from .nodes import Decompose, Leaf, Node, Walk

    T = TypeVar("T")
    Handlers = tuple[dict[type, Leaf], dict[type, Decompose]]


# The types of the recipe itself. They cannot be registered over: every nested value would change its meaning.
FIXED_LEAVES: dict[type, Leaf] = {
    type(None): lambda _: NONE,
    bool: lambda value: TRUE if value else FALSE,
    int: encode_int,
    float: encode_float,
    complex: encode_complex,
    str: encode_str,
    bytes: encode_bytes,
    bytearray: lambda value: b"y" + encode_bytes(value),
    type(...): lambda _: typed("singleton", (encode_str("Ellipsis"),)),
    type(NotImplemented): lambda _: typed("singleton", (encode_str("NotImplemented"),)),
    Raw: lambda value: value.data,
}
# `[*…]` of an exact builtin type copies in one step under the GIL: the deep engine must not meet a container
# that changes.
FIXED_NODES: dict[type, Decompose] = {
    list: lambda value, _: (b"l", ITEMS, value),
    tuple: lambda value, _: (b"t", ITEMS, value),
    dict: lambda value, _: (b"d", PAIRS, [*value.items()]),
    set: lambda value, _: (b"e", SET, [*value]),
    frozenset: lambda value, _: (b"z", SET, [*value]),
    Fields: lambda value, _: (b"d", ATTRS, [*value.items()]),
    Viewed: lambda value, walk: value.node(value.value, walk),
    # the engines treat these two themselves, before they ask
    Structural: lambda value, _: (b"", ITEMS, (value.value,)),
    Computing: lambda value, _: (b"", ITEMS, (value.value,)),
}

# What is known so far, per exact type. Grows with the types that are met; emptied when absurdly many (classes
# made at run time).
LEAVES: dict[type, Leaf] = dict(FIXED_LEAVES)
NODES: dict[type, Decompose] = dict(FIXED_NODES)
_MOST_TYPES = 20_000

# The same for classes whose metaclass has an ``__eq__`` of its own: id -> the class, its handler.
_by_identity: dict[int, tuple[type, Leaf | None, Decompose | None]] = {}

_registered: dict[type, Callable[[Any], object]] = {}

# The seam for libraries: name of a module (a type's ``__module__``, or its first part) -> name of the
# function of scalable_cas.keys that gives the handlers of its types, as "module:function". It is called when
# the first type of that module is met, so the library is loaded already and nothing is imported for its sake.
# None: types of this library are refused until there is a handler; no family rule may guess from their
# attributes.
LIBRARIES: dict[str, str | None] = {
    "builtins": "stdlib:builtin_handlers",
    "types": "stdlib:types_handlers",
    "array": "stdlib:array_handlers",
    "collections": "stdlib:collections_handlers",
    "datetime": "stdlib:datetime_handlers",
    "zoneinfo": "stdlib:zoneinfo_handlers",
    "decimal": "stdlib:decimal_handlers",
    "fractions": "stdlib:fractions_handlers",
    "ipaddress": "stdlib:ipaddress_handlers",
    "pathlib": "stdlib:pathlib_handlers",
    "re": "stdlib:re_handlers",
    "uuid": "stdlib:uuid_handlers",
    "functools": "callables:functools_handlers",
    "operator": "callables:operator_handlers",
    "typing": "callables:typing_handlers",
    "numpy": "arrays:numpy_handlers",
    # what numpy loads only at first need, in 50 ms
    "numpy.char": "arrays:char_handlers",
    **dict.fromkeys(("numpy.ma", "numpy.ma.core"), "masked:masked_handlers"),
    **dict.fromkeys(
        (
            *("numpy.polynomial.polynomial", "numpy.polynomial.chebyshev", "numpy.polynomial.legendre"),
            *("numpy.polynomial.hermite", "numpy.polynomial.hermite_e", "numpy.polynomial.laguerre"),
        ),
        "arrays:polynomial_handlers",
    ),
    "pandas": "frames:pandas_handlers",
    "pyarrow": "arrow:arrow_handlers",
    "polars": "polars:polars_handlers",
    "xarray": "xarrays:xarray_handlers",
    "scipy": "sparse:scipy_handlers",
    "torch": "tensors:torch_handlers",
}
# Libraries whose types hold state that Python does not see, or that their attributes do not tell. What they
# have no handler for is refused, and so is a subclass of any of their types: it may hold more than its base.
CLOSED = frozenset(("numpy", "pandas", "polars", "pyarrow", "scipy", "torch", "xarray"))
_loaded: dict[str, Handlers] = {}


def library_handlers(module: object) -> Handlers | None:
    """The handlers for types of ``module``; an empty pair if it has none, None if its types are refused for
    now.
    """
    if not isinstance(module, str):
        return {}, {}
    root = module.partition(".")[0]
    name = LIBRARIES.get(module, LIBRARIES.get(root, ""))
    if name is None:
        return None
    if not name:
        return {}, {}
    if name not in _loaded:
        from importlib import import_module

        place, _, function = name.partition(":")
        _loaded[name] = getattr(import_module(f"{__package__}.{place}"), function)()
    return _loaded[name]


def resolve(kind: type) -> None:
    """Put the handler of ``kind`` into ``LEAVES`` or ``NODES``."""
    from .objects import handler_of

    if len(NODES) + len(LEAVES) + len(_by_identity) > _MOST_TYPES:
        _forget()
    if type(kind).__eq__ is not type.__eq__:  # its metaclass may call other classes equal
        NODES[kind] = _of_this_class
        return
    leaf, node = handler_of(kind, _registered)
    if leaf is not None:
        LEAVES[kind] = leaf
    else:
        assert node is not None
        NODES[kind] = node


def _of_this_class(value: Any, walk: Walk) -> Node:
    """An instance of a class that cannot be told from others by ``==``."""
    from .objects import handler_of

    kind = type(value)
    known = _by_identity.get(id(kind))
    if known is None:
        known = _by_identity[id(kind)] = (kind, *handler_of(kind, _registered))
    _, leaf, node = known
    if leaf is not None:
        return leaf(value), DONE, ()
    assert node is not None
    return node(value, walk)


def register_key(kind: type[T], function: Callable[[T], object]) -> None:
    """Say what identifies an instance of ``kind`` in a key: ``function(instance)`` returns a value that has
    an encoding.

    It applies to subclasses too, unless one of them is registered itself. The class is part of the key, so
    equal returns of two classes are two keys. Registering again replaces. A class of one's own needs no
    registration: give it a ``__scalable_key__(self)`` method.

    Raises:
        TypeError: ``kind`` is not a class, is a type of the recipe (``int``, ``dict``, …), or ``function`` is
        not callable.
    """
    if not isinstance(kind, type):
        raise TypeError(f"register_key needs a class, got {type(kind).__name__}")
    if kind in FIXED_LEAVES or kind in FIXED_NODES or kind is object:
        raise TypeError(f"{kind.__name__} cannot be registered: its encoding is fixed")
    if not callable(function):
        raise TypeError(f"register_key needs a function, got {type(function).__name__}")
    _registered[kind] = function
    _forget()


def _forget() -> None:
    """Back to the fixed types. A thread that is looking something up resolves it anew at worst."""
    _by_identity.clear()
    for table, fixed in ((LEAVES, FIXED_LEAVES), (NODES, FIXED_NODES)):
        for kind in [*table]:
            if kind not in fixed:
                table.pop(kind, None)
