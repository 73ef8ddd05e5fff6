"""Plain types of the standard library outside builtins, down and up again; dates and times are in `times.py`.

None of their modules is imported above: a value of such a type can only exist if its module is loaded, so the
way down knows them by name and checks the name in `sys.modules`; the way up imports the module inside the
function that needs it (as `import x`: `from x import y` costs 1 µs at each call, seven times as much).
"""

from __future__ import annotations

import sys

from scalable_cas.codecs import tags, times
from scalable_cas.codecs.lowering import mapping
from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseLeaf, RaiseNode


#: What a defaultdict may call: these run no code of anybody's.
_FACTORIES = {
    kind.__name__: kind
    for kind in (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple)
}
_FACTORY_NAMES = {kind: name for name, kind in _FACTORIES.items()}

#: Type codes of `array.array` whose items are numbers of known size. Not "u" and "w": their size depends on
#: the machine.
_ARRAY_CODES = frozenset("bBhHiIlLqQfd")
_PATHS = ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")
_SAFETIES = {b"\x00": 0, b"\xff": -1}  # values of uuid.SafeUUID; "unknown", the usual one, is not written

#: Bits of a fraction's parts. Fraction() reduces in time quadratic to this (1 ms here), which foreign bytes
#: must not choose.
_FRACTION_BITS = 1 << 16


def lower_for(kind: type) -> Lower | None:
    """Return the way down for exactly this type, or `None` if it is not one of ours."""
    function = _LOWER.get((kind.__module__, kind.__qualname__))
    if function is not None and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind:
        return function
    # Not to be found under its own name in `builtins`.
    return _mapping_proxy if kind is type(type.__dict__) else None


# --- numbers and names --------------------------------------------------------------------------------------


def _decimal(state: Lowering, value: Any) -> Any:
    # The text has sign, every digit, the exponent, the kind and payload of a NaN. Only its "e" depends on the
    # context.
    return state.leaf(tags.DECIMAL, str(value).upper().encode())


def _raise_decimal(_reader: Reader, data: bytes) -> Any:
    import decimal

    text = data.decode("ascii")
    value = decimal.Decimal(text)
    if str(value).upper() != text:  # also the NaN that a context without traps makes of any text
        raise ValueError("not the text of a decimal")
    return value


def _fraction(state: Lowering, value: Any) -> Any:
    parts = (value.numerator, value.denominator)
    if max(map(int.bit_length, parts)) > _FRACTION_BITS:
        raise NotPlain("a fraction of very large numbers")
    return state.marked(tags.FRACTION, *state.each(parts))


def _raise_fraction(_reader: Reader, items: list[Any]) -> Any:
    import fractions

    numerator, denominator = items
    _exactly(numerator, int)
    _exactly(denominator, int)
    if max(numerator.bit_length(), denominator.bit_length()) > _FRACTION_BITS:
        raise ValueError("a fraction of very large numbers")
    return fractions.Fraction(numerator, denominator)


def _uuid(state: Lowering, value: Any) -> Any:
    safety = value.is_safe.value
    return state.leaf(tags.UUID, value.bytes + (b"" if safety is None else bytes([safety & 0xFF])))


def _raise_uuid(_reader: Reader, data: bytes) -> Any:
    import uuid

    if len(data) == 16:
        return uuid.UUID(bytes=data)
    return uuid.UUID(bytes=data[:16], is_safe=uuid.SafeUUID(_SAFETIES[data[16:]]))


def _path(state: Lowering, value: Any) -> Any:
    kind, text = type(value), str(value)
    again = kind(text)
    if str(again) != text or again.parts != value.parts:
        raise NotPlain("a path that its text does not give back")
    return state.leaf(tags.PATH, bytes([_PATHS.index(kind.__name__)]) + text.encode("utf-8", "surrogatepass"))


def _raise_path(_reader: Reader, data: bytes) -> Any:
    import pathlib

    kind = getattr(pathlib, _PATHS[data[0]])
    return kind(data[1:].decode("utf-8", "surrogatepass"))


# --- containers ---------------------------------------------------------------------------------------------


def _without_attributes(value: Any) -> None:
    if vars(value):
        raise NotPlain("a dict with attributes of its own")


def _as_dict(state: Lowering, value: Any) -> Any:
    state.once(value)
    return mapping(state, dict(value))  # a copy: msgpack refuses a subclass of dict


def _ordered_dict(state: Lowering, value: Any) -> Any:
    _without_attributes(value)
    return state.marked(tags.ORDERED_DICT, _as_dict(state, value))


def _raise_ordered_dict(_reader: Reader, items: list[Any]) -> Any:
    import collections

    return collections.OrderedDict(_one_dict(items))


def _default_dict(state: Lowering, value: Any) -> Any:
    factory = value.default_factory
    if factory is not None and factory not in _FACTORY_NAMES:
        raise NotPlain("a defaultdict that calls something of its own")
    name = None if factory is None else _FACTORY_NAMES[factory]
    return state.marked(tags.DEFAULT_DICT, name, _as_dict(state, value))


def _raise_default_dict(_reader: Reader, items: list[Any]) -> Any:
    import collections

    name = items.pop(0)
    _exactly(name, str, type(None))
    return collections.defaultdict(None if name is None else _FACTORIES[name], _one_dict(items))


def _counter(state: Lowering, value: Any) -> Any:
    _without_attributes(value)
    return state.marked(tags.COUNTER, _as_dict(state, value))


def _raise_counter(_reader: Reader, items: list[Any]) -> Any:
    import collections

    counter: collections.Counter[Any] = collections.Counter()
    dict.update(counter, _one_dict(items))  # Counter's own would count, and add
    return counter


def _deque(state: Lowering, value: Any) -> Any:
    state.once(value)
    return state.marked(tags.DEQUE, *state.each((value.maxlen, *value)))


def _raise_deque(_reader: Reader, items: list[Any]) -> Any:
    import collections

    maxlen = items.pop(0)
    _exactly(maxlen, int, type(None))
    if maxlen is not None and len(items) > maxlen:
        raise ValueError("a deque longer than its maximum")
    return collections.deque(items, maxlen)


def _namespace(state: Lowering, value: Any) -> Any:
    state.once(value)
    attributes = vars(value)
    if any(type(name) is not str for name in attributes):
        raise NotPlain("a namespace with names that are not text")
    # Noted, not lowered as a dict that others could refer to: the namespace will have another one.
    state.once(attributes)
    return state.marked(tags.NAMESPACE, mapping(state, attributes))


def _raise_namespace(_reader: Reader, items: list[Any]) -> Any:
    import types

    return types.SimpleNamespace(**_one_dict(items))


def _mapping_proxy(state: Lowering, value: Any) -> Any:
    import gc

    # The dict itself, not a copy: if the value holds it too, a change of it shows in the proxy.
    (viewed,) = gc.get_referents(value)
    if type(viewed) is not dict:
        raise NotPlain("a view of a mapping that is not a dict")
    return state.marked(tags.MAPPING_PROXY, state.lower(viewed))


def _raise_mapping_proxy(_reader: Reader, items: list[Any]) -> Any:
    import types

    return types.MappingProxyType(_one_dict(items))


def _array(state: Lowering, value: Any) -> Any:
    state.once(value)
    if value.typecode not in _ARRAY_CODES:
        raise NotPlain("an array of characters")
    if sys.byteorder == "big":
        value = value[:]
        value.byteswap()
    return state.marked(tags.ARRAY, value.typecode, value.itemsize, state.lower(value.tobytes()))


def _raise_array(_reader: Reader, items: list[Any]) -> Any:
    import array

    code, size, data = items
    _exactly(code, str)
    _exactly(size, int)
    _exactly(data, bytes)
    if code not in _ARRAY_CODES:
        raise ValueError("not a type code of an array")
    value = array.array(code)
    if value.itemsize != size:
        raise ValueError("an array whose items have another size on this machine")
    value.frombytes(data)
    if sys.byteorder == "big":
        value.byteswap()
    return value


def _one_dict(items: list[Any]) -> dict[Any, Any]:
    (found,) = items
    _exactly(found, dict)
    return found  # type: ignore[no-any-return]


def _exactly(item: Any, *kinds: type) -> None:
    """Check a part before it is compared or hashed: an instance of a user's class would run code then."""
    if type(item) not in kinds:
        raise TypeError(f"a part of type {type(item).__name__} where none may be")


#: By module and qualified name of the type. pathlib's concrete classes moved to `pathlib._local` in Python
#: 3.13.
_LOWER: dict[tuple[str, str], Lower] = {
    **times.LOWER,
    ("decimal", "Decimal"): _decimal,
    ("fractions", "Fraction"): _fraction,
    ("uuid", "UUID"): _uuid,
    **{(module, name): _path for module in ("pathlib", "pathlib._local") for name in _PATHS},
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "defaultdict"): _default_dict,
    ("collections", "Counter"): _counter,
    ("collections", "deque"): _deque,
    ("types", "SimpleNamespace"): _namespace,
    ("array", "array"): _array,
}

LEAVES: dict[int, RaiseLeaf] = {
    **times.LEAVES,
    tags.DECIMAL: _raise_decimal,
    tags.UUID: _raise_uuid,
    tags.PATH: _raise_path,
}

NODES: dict[int, RaiseNode] = {
    **times.NODES,
    tags.FRACTION: _raise_fraction,
    tags.ORDERED_DICT: _raise_ordered_dict,
    tags.DEFAULT_DICT: _raise_default_dict,
    tags.COUNTER: _raise_counter,
    tags.DEQUE: _raise_deque,
    tags.NAMESPACE: _raise_namespace,
    tags.MAPPING_PROXY: _raise_mapping_proxy,
    tags.ARRAY: _raise_array,
}
