"""The codec "pickle": everything else, by cloudpickle with protocol 5. Decoding it can run any code.

Three things are ours. Large buffers (arrays) leave the stream without a copy and come back in memory that is
writable exactly where it was. Classes and functions of the user's script travel under the script's canonical
name, so that `isinstance(result, MyClass)` holds after a hit however the script is run. And what pickle or
cloudpickle would take but give back as something else is refused.
"""

from __future__ import annotations

import io
import pickle
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType

from scalable_cas.codecs.encoded import OUT_OF_BAND, Encoded
from scalable_cas.codecs.rebuilding import WRITTEN_IN_C, forgets, is_given_back, is_made_anew, may_forget
from scalable_cas.errors import MalformedObject, NotStorable, UntrustedEntry
from scalable_cas.modules import MAIN_NAMES, canonical_module, loaded_module, main_module, resolve_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cloudpickle import Pickler

NAME = "pickle"
_PROTOCOL = 5  # the first with out-of-band buffers; every supported Python has it

_READ_ONLY, _WRITABLE = b"\x00", b"\x01"
#: Formats of numbers to which a view of bytes can be cast.
_NUMBERS = frozenset("hHiIlLqQefd")

#: Builtin types that cloudpickle would rebuild as something else: a memoryview as bytes, a view of a dict as
#: one of another dict. By name, because `collections` need not be loaded for the views of an OrderedDict.
_REBUILT_OTHERWISE = frozenset(
    {"memoryview", "dict_keys", "dict_values", "dict_items", "odict_keys", "odict_values", "odict_items"}
)
_WEAK = frozenset({"weakref", "_weakref", "_weakrefset"})
_BYTES_IN_MEMORY = (io.BytesIO, io.StringIO)


def encode(value: object) -> Encoded:
    """Encode a value. Buffers are views of the value's own memory.

    Raises:
        NotStorable: it would not come back as it was, or its pickling failed.
    """
    stream = io.BytesIO()
    buffers: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND:
            return True
        form = memoryview(buffer).format
        # numbers stay numbers, so that the store may compress them as such
        buffers.append(view.cast(form) if form in _NUMBERS else view)  # type: ignore[call-overload]
        return False

    try:
        _pickler_class()(stream, protocol=_PROTOCOL, buffer_callback=keep_inside).dump(value)
    except NotStorable:
        raise
    except Exception as error:
        # Broad with reason: pickling calls `__reduce__` and `__getstate__` of any class, which can raise
        # anything. A failure to store must not become a failure of the function whose result this is.
        raise NotStorable(type(value).__qualname__, f"it cannot be pickled ({_told(error)})") from error
    stream.write(b"".join(_READ_ONLY if view.readonly else _WRITABLE for view in buffers))
    return Encoded(NAME, stream.getvalue(), tuple(buffers))


def decode(head: bytes | memoryview, buffers: Sequence[Any], *, trusted: bool) -> Any:
    """Decode a value. A buffer handed in that is writable becomes the value's own memory where the value's
    was writable; any other is copied for it. Read-only memory is used as it is.

    Raises:
        UntrustedEntry: not trusted.
        MalformedObject: unpickling failed, for instance because a class has gone.
    """
    if not trusted:
        raise UntrustedEntry("a pickled value", "decoding it can run any code")
    end = len(head) - len(buffers)
    if end < 0:
        raise MalformedObject("pickled value", "it has more buffers than it describes")
    flags = bytes(head[end:])
    memory = [
        bytearray(buffer) if flags[at : at + 1] == _WRITABLE and memoryview(buffer).readonly else buffer
        for at, buffer in enumerate(buffers)
    ]
    try:
        return _Unpickler(io.BytesIO(head[:end]), buffers=memory).load()
    except (Exception, SystemExit) as error:
        # Broad with reason: unpickling imports modules and calls what the stream names, so anything can come
        # out, also the SystemExit of a script without a `__main__` guard. The value cannot be had; that is a
        # miss.
        raise MalformedObject("pickled value", _told(error)) from error


def find_by_name(module: str, qualname: str) -> Any:
    """Return a class or function of a script. Streams name this function; it must stay where it is.

    Raises:
        LookupError: the script has no such name any more.
    """
    found: Any = main_module(module)
    if found is None or not _has(found, qualname):
        # While the script itself runs it is never imported a second time: that would run it again from the
        # top.
        found = sys.modules.get(module) if found is not None else resolve_module(module)
    for name in qualname.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise LookupError(f"{module} has no {qualname}") from None
    return found


def _has(module: ModuleType, qualname: str) -> bool:
    return hasattr(module, qualname.partition(".")[0])


class _Unpickler(pickle.Unpickler):
    """Looks a class of the running script up in the running script, also if it was stored by a program that
    had imported it under its name.
    """

    def find_class(self, module: str, name: str, /) -> Any:
        main = main_module(module)
        return super().find_class(module, name) if main is None else find_by_name(module, name)


_built: type[Pickler] | None = None


def _pickler_class() -> type[Pickler]:
    """Return the pickler, made at first use: cloudpickle costs 25 ms to import, and decoding does not need
    it.
    """
    global _built
    if _built is None:
        import functools

        import cloudpickle

        by_name = (type, FunctionType, BuiltinFunctionType, type(functools.cache(len)))

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
            saw_function = False

            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                self.ordinary: set[type] = set()  # types whose instances need no further look

            def reducer_override(self, obj: Any) -> Any:
                # Called for every object but None, bools, numbers, text, bytes and exact builtin containers.
                kind = type(obj)
                if kind in self.ordinary:
                    return NotImplemented
                if isinstance(obj, by_name):
                    name = _script_name(obj)
                    if name is not None:
                        return find_by_name, name
                    # A function that travels by value brings the modules it uses, by name.
                    self.saw_function = self.saw_function or isinstance(obj, FunctionType)
                    return super().reducer_override(obj)
                _refuse_type(kind)
                _refuse_object(obj, modules_too=not self.saw_function)
                if _is_array(kind):
                    from scalable_cas.codecs.arrays import reduced as reduced_array

                    own = reduced_array(obj)
                    return super().reducer_override(obj) if own is None else own
                reduced = super().reducer_override(obj)
                if reduced is NotImplemented and not _differs_by_object(kind):
                    self.ordinary.add(kind)
                return reduced

        _built = Pickler
    return _built


def _script_name(found: Any) -> tuple[str, str] | None:
    """Return canonical module and qualified name of an object of the script, if they find it."""
    if getattr(found, "__module__", None) not in MAIN_NAMES:
        return None
    module = canonical_module(found.__module__)
    if module in MAIN_NAMES:
        return None  # no file that another process could import
    home: Any = loaded_module(module)
    for name in found.__qualname__.split("."):
        home = getattr(home, name, None)
    return (module, found.__qualname__) if home is found else None


def _refuse_type(kind: type) -> None:
    """Refuse types that pickle or cloudpickle would take and give back as something else.

    Raises:
        NotStorable: `kind` is one of them.
    """
    reason = None
    builtin = kind.__module__ == "builtins"
    if kind is object:
        reason = "a bare object() has nothing but its identity"
    elif (builtin and kind.__qualname__ in _REBUILT_OTHERWISE) or kind.__module__ in _WEAK:
        reason = "it depends on another object that stays behind"
    elif issubclass(kind, io.IOBase) and kind not in _BYTES_IN_MEMORY:
        reason = "an open file stays with this process"
    elif hasattr(kind, "__next__") and kind.__flags__ & WRITTEN_IN_C and kind not in _BYTES_IN_MEMORY:
        reason = "an iterator is used up by its first reader; return a list"
    if reason is not None:
        raise NotStorable(kind.__qualname__, reason)


def _refuse_object(obj: Any, *, modules_too: bool) -> None:
    """Refuse single objects of types that are otherwise stored.

    Raises:
        NotStorable: pickle would lose something of `obj`.
    """
    reason = None
    if isinstance(obj, ModuleType) and (modules_too or sys.modules.get(obj.__name__) is not obj):
        reason = "a module is code, not a value"
    elif isinstance(obj, BaseException) and (obj.__traceback__ or obj.__cause__ or obj.__context__):
        reason = "a raised exception has a traceback or a cause, which pickle drops"
    elif may_forget(type(obj)) and forgets(obj):
        reason = "pickle drops the attributes that were added to it, or their tie to it"
    elif is_made_anew(type(obj)) and not is_given_back(obj, pickle.dumps):
        reason = "pickle would give back another, or none; give its class a __reduce__ method"
    elif _is_tensor(type(obj)):
        from scalable_cas.codecs import tensors

        reason = tensors.lost_by_pickle(obj)
    if reason is not None:
        raise NotStorable(type(obj).__qualname__, reason)


def _differs_by_object(kind: type) -> bool:
    """Whether `_refuse_object` may say another thing of the next object of this type."""
    if issubclass(kind, (ModuleType, BaseException)) or _is_tensor(kind):
        return True
    return may_forget(kind) or is_made_anew(kind)


def _is_array(kind: type) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(kind, getattr(numpy, "ndarray", ()))


def _is_tensor(kind: type) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and issubclass(kind, getattr(torch, "Tensor", ()))


def _told(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
