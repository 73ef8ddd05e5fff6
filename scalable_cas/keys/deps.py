"""What a function reaches in the user's own code: ``_code="deps"``.

From the names that a function's code uses, resolved in its globals, its closure and its imports, on to the
functions, classes and constants behind them, and from those on. It ends at code that is not the user's: the
standard library, installed packages. The outcome is a hash over a sorted list of (name, fingerprint), so
neither order nor cycles matter.

Names are resolved as they are now. So what was looked at is remembered (which name, in which namespace, was
which object), and each call compares identities: a helper that a notebook's cell defines anew, a constant
that is assigned anew, are seen. What can be changed in place (a dict, an instance) is encoded anew at each
call instead. Names are not followed through data flow: any name that the code mentions counts, which errs
towards a miss.

Globals are used like captured variables: those that a function uses only for effect (``runs.append(x)``) are
left out, see effects.py.
"""

from __future__ import annotations

import sys

from blake3 import blake3

from scalable_cas.errors import InputChanged, MissingInput
from scalable_cas.modules import canonical_module

from .encode import encode
from .identity import METHOD, cached_identity, class_name, function_name, is_cached, module_of
from .nodes import Refused
from .own import is_user_class, is_user_file, is_user_module, layers
from .reached import Names, contents_of, inside, names_of
from .standing import held_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType, ModuleType
    from typing import Any

_FUNCTION, _MODULE = type(lambda: None), type(sys)
_CODE = frozenset((_FUNCTION, _MODULE, type(len), staticmethod, classmethod, property, METHOD))
_ABSENT: Any = object()
_ATOMS = frozenset((type(None), bool, int, float, complex, str, bytes, type(...)))
_UNKNOWN = b""  # a value that has no encoding


class Dependencies:
    """What one function reaches. `now` is part of each call."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._walk: Walk | None = None

    def now(self) -> str:
        """``deps:`` and 64 hex digits, for the code and the constants as they are now."""
        walk = self._walk
        if walk is None or walk.is_outdated():
            walk = self._walk = Walk(self._function)
        return walk.text

    def reached(self) -> dict[str, bytes]:
        """Name -> a short digest of each function, class and constant that the last `now` found, for
        explanations.
        """
        entries = sorted(self._walk.entries) if self._walk is not None else []
        found: dict[str, bytes] = {}
        for name, data in entries:
            found[name] = blake3(found.get(name, b"") + data).digest(8)
        return found


class Walk:
    """One walk over everything that is reached from a function; ``text`` is its outcome,
    made of ``entries``, (name, fingerprint) each.
    """

    def __init__(self, function: Any) -> None:
        self.entries: set[tuple[str, bytes]] = set()
        self._todo: list[tuple[str, Any, bool]] = []  # a list and no recursion: code is as deep as it likes
        self._seen: dict[int, object] = {}  # kept, so that the ids stay their own
        self._classes: set[int] = set()
        # what was looked at: (how to look again, name, what was there)
        self._looks: list[tuple[Callable[[str, Any], Any], str, object]] = []
        self._looked: set[tuple[int, str]] = set()
        self._functions: list[tuple[FunctionType, object, object]] = []
        self._changeable: list[tuple[object, bytes]] = []
        own = layers(function)
        for layer in own:
            self._seen[id(layer)] = layer
        for layer in own:
            self._function(layer, is_root=True)
        receiver = getattr(function, "__self__", None) if own else None
        kind = (
            receiver if isinstance(receiver, type) else type(receiver if receiver is not None else function)
        )
        if is_user_class(kind):  # a bound method, an object that can be called
            self._class(kind)
        while self._todo:
            name, value, counts = self._todo.pop()
            self._look_into(name, value, counts=counts)
        self.text = "deps:" + blake3(encode(sorted(self.entries))).hexdigest()

    def is_outdated(self) -> bool:
        """Whether anything that was looked at is something else now."""
        for look, name, was in self._looks:
            if look(name, _ABSENT) is not was:
                return True
        for function, code, defaults in self._functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return True
        return any(_encoded(value) != was for value, was in self._changeable)

    # --- values ------------------------------------------------------------------------------------------

    def visit(self, name: str, value: Any, *, counts: bool = True) -> None:
        """Take what a name stands for into account; ``counts`` is false for values that are in the key
        otherwise.
        """
        kind = type(value)
        if kind in _ATOMS:
            if counts:
                self.entries.add((name, _encoded(value)))
            return
        if counts:
            counts = not self._constant(name, value)
        if id(value) not in self._seen:
            self._seen[id(value)] = value
            self._todo.append((name, value, counts))

    def _look_into(self, name: str, value: Any, *, counts: bool) -> None:
        """Go on from something that was visited; ``counts`` if its parts are not in its own entry."""
        kind = type(value)
        if kind is _FUNCTION:
            if is_cached(value):
                self._cached(value)
            elif is_user_file(value.__code__.co_filename):
                self._function(value)
            elif "__wrapped__" in vars(value):
                self.visit(name, value.__wrapped__)
                self._registry(name, vars(value).get("registry"))
        elif issubclass(kind, type):  # isinstance would ask a proxy what it stands for
            if is_user_class(value):
                self._class(value)
        elif kind is not _MODULE:
            is_users = is_user_class(kind)
            for label, part in inside(value, is_users=is_users):
                # the state of an object without an encoding does not count: it may well change at each call
                self.visit(f"{name}.{label}", part, counts=counts and not is_users)
            if is_users:
                self._class(kind)

    def _cached(self, wrapper: Any) -> None:
        """A cached function: its own mode says what counts. One that counts what it reaches is walked with
        the rest, so that two that reach each other have an end.
        """
        keyer = getattr(wrapper.__scalable_identity__, "__self__", None)
        if keyer is None or keyer.code != "deps":
            name = function_name(wrapper)
            self.entries.add((name, cached_identity(wrapper) or b""))
            if held_by(wrapper):
                data = _encoded(wrapper)
                self.entries.add((f"{name} holds", data))
                self._changeable.append((wrapper, data))
            return
        self.entries.add((function_name(wrapper), encode(keyer.version)))
        for layer in layers(keyer.function):
            self.visit(keyer.name, layer)

    def _registry(self, name: str, registry: Any) -> None:
        """The functions that ``singledispatch`` chooses from."""
        if type(registry) is type(vars(type)):
            known: list[Any] = [*registry.items()]
            for kind, function in known:
                self.visit(f"{name} for {class_name(kind)}", function)
            self._looks.append(
                (
                    lambda *_: (
                        None if [*map(id, registry.values())] == [id(item) for _, item in known] else _ABSENT
                    ),
                    name,
                    None,
                )
            )

    def _constant(self, name: str, value: Any) -> bool:
        """Note the value of a name, if it has one: functions, classes and what wraps them are looked into
        instead.
        """
        kind = type(value)
        if issubclass(kind, type) or kind in _CODE or kind.__module__ == "functools":
            return False
        data = _encoded(value)
        if data is _UNKNOWN:
            return False
        self.entries.add((name, data))
        if not _is_fixed(value):
            self._changeable.append((value, data))
        return True

    # --- functions -----------------------------------------------------------------------------------------

    def _function(self, function: FunctionType, *, is_root: bool = False) -> None:
        from .captured import attributes_of_function, values_of, watched_cells
        from .code import fingerprint

        self._functions.append((function, function.__code__, function.__defaults__))
        name = function_name(function)
        self.entries.add((name, encode(fingerprint(function))))
        names = names_of(function)
        if not is_root:  # those of the function itself are arguments
            for number, default in enumerate(function.__defaults__ or ()):
                self.visit(f"{name} default {number}", default)
            for key, default in (function.__kwdefaults__ or {}).items():
                self.visit(f"{name} default {key}", default)
        for attribute, item in attributes_of_function(function).items():
            self._looks.append((vars(function).get, attribute, vars(function).get(attribute, _ABSENT)))
            self.visit(f"{name}.{attribute}", item)
        cells = watched_cells(function)
        values = values_of(cells)
        for variable, _, cell in cells:
            if variable in values:
                look = _cell(cell)
                value = look(variable, _ABSENT)
                if type(value) is _MODULE:
                    self._module(value, names)
                elif value is not _ABSENT:
                    self.visit(f"{name} captured {variable}", value, counts=not is_root)
                if not is_root or callable(value):
                    self._looks.append((look, variable, value))
        owner = self._owner(function)
        if owner is not None:
            self._class(owner)
        self._globals(function, names)
        for module, wanted in names.imports:
            self._import(function, module, wanted, names)

    def _globals(self, function: FunctionType, names: Names) -> None:
        space = function.__globals__
        home = module_of(function)
        for name in names.globals:
            if name in space and not names.counts(name, space[name]):
                self._looks.append((_unless_left_out(space, names), name, None))
                continue  # it may be another object after every call
            value = self._look(space, name)
            if value is _ABSENT:
                continue  # a builtin, or a name that is assigned later
            if type(value) is _MODULE:
                self._module(value, names, whole=name in names.handed_on)
            else:
                self.visit(f"{home}:{name}", value)

    def _look(self, space: Any, name: str) -> Any:
        value = space.get(name, _ABSENT)
        if (id(space), name) not in self._looked:
            self._looked.add((id(space), name))
            self._looks.append((space.get, name, value))
        return value

    @staticmethod
    def _owner(function: FunctionType) -> type | None:
        """The user's class that a method stands in, by its qualified name: it calls its neighbours through
        ``self``.
        """
        path = function.__qualname__.rpartition(".")[0].split(".")
        found: Any = function.__globals__.get(path[0])
        for name in path[1:]:
            found = vars(found).get(name) if issubclass(type(found), type) else None
        return found if issubclass(type(found), type) and is_user_class(found) else None

    # --- modules -------------------------------------------------------------------------------------------

    def _module(self, module: ModuleType, names: Names, *, whole: bool = False) -> None:
        """The attributes of a user's module that the code mentions; all of one that it hands on."""
        if not is_user_module(module):
            return
        space = vars(module)
        home = _home(module)
        every = [name for name in [*space] if not name.startswith("__")] if whole else ()
        for name in dict.fromkeys((*names.attributes, "__getattr__", *every)):
            if name in space:
                value = self._look(space, name)
                if type(value) is not _MODULE:
                    self.visit(f"{home}:{name}", value)
                elif id(value) not in self._seen:
                    self._seen[id(value)] = value
                    self._module(value, names)
                    del self._seen[id(value)]

    def _import(self, function: FunctionType, module: str, wanted: tuple[str, ...], names: Names) -> None:
        """An import inside a function. A user's module is imported, as the function itself is about to do;
        others are not, since a hit may never need them.
        """
        from .reached import user_module

        found = user_module(module, function.__globals__)
        if found is None:
            return
        for name in wanted:
            value = self._look(vars(found), name)
            if value is _ABSENT:
                value = user_module(f"{found.__name__}.{name}", function.__globals__) or _ABSENT
            if type(value) is _MODULE:
                self._module(value, names)
            elif value is not _ABSENT:
                self.visit(f"{_home(found)}:{name}", value)
        if not wanted:
            self._module(found, names)

    # --- classes -------------------------------------------------------------------------------------------

    def _class(self, kind: type) -> None:
        """A user's class: its methods, its attributes, and its user bases."""
        for base in kind.__mro__:
            if id(base) in self._classes or not is_user_class(base):
                continue
            self._classes.add(id(base))
            name = class_name(base)
            self.entries.add((name, encode([class_name(above) for above in base.__bases__])))
            for attribute, item, counts in contents_of(base):
                self._looks.append((vars(base).get, attribute, vars(base).get(attribute, _ABSENT)))
                self.visit(f"{name}.{attribute}", item, counts=counts)
        meta = type(kind)
        if is_user_class(meta):
            self._class(meta)


def _home(module: ModuleType) -> str:
    return canonical_module(module.__name__, vars(module).get("__file__"))


def _unless_left_out(space: dict[str, Any], names: Names) -> Callable[[str, Any], Any]:
    """A look at a global that did not count: None as long as that is so."""

    def look(name: str, absent: Any) -> Any:
        value = space.get(name, absent)
        return value if value is absent or names.counts(name, value) else None

    return look


def _cell(cell: Any) -> Callable[[str, Any], Any]:
    def look(_name: str, absent: Any) -> Any:
        try:
            return cell.cell_contents
        except ValueError:
            return absent

    return look


def _encoded(value: object) -> bytes:
    try:
        return encode(value)
    except (Refused, RecursionError, RuntimeError, MissingInput, InputChanged):
        return _UNKNOWN


def _is_fixed(value: Any) -> bool:
    """Whether a value cannot be changed in place."""
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return all(_is_fixed(item) for item in value)
    return kind in _ATOMS
