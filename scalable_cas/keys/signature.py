"""How arguments become named entries: for plain functions from their code object, for odd callables by
``inspect``.

An entry is (section, name, place, value). Sections: "a" a named parameter, "v" positional ones beyond them,
"k" keywords beyond them, "p" positional ones of a wrapper, under the names of what it wraps. The place says
where the value came from, so that a converted value can be put back: an index into args, a keyword, or None
for a default.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from collections.abc import Mapping, Sequence
    from typing import Any

    Entry = tuple[str, object, int | str | None, Any]  # section, name, place, value
    Arguments = tuple[Sequence[Any], Mapping[str, Any]]

MISSING: Any = type("_Missing", (), {"__slots__": (), "__repr__": lambda _: "MISSING"})()
_FUNCTION = type(lambda: None)


class WrongCall(Exception):
    """The arguments do not fit the parameters."""


class Plain:
    """The parameters of a plain function, read once: its defaults are those at decoration.

    ``names``: parameters that take one value, positional ones first. ``by_keyword``: index of those that can
    be named.
    """

    def __init__(self, function: Any) -> None:
        code = function.__code__
        positional = code.co_argcount
        count = positional + code.co_kwonlyargcount
        self.names: tuple[str, ...] = code.co_varnames[:count]
        self.positional = positional
        self.by_keyword = {name: i for i, name in enumerate(self.names) if i >= code.co_posonlyargcount}
        rest = [*code.co_varnames[count:]]
        self.rest: str | None = rest.pop(0) if code.co_flags & 0x04 else None  # CO_VARARGS
        self.keywords: str | None = rest.pop(0) if code.co_flags & 0x08 else None  # CO_VARKEYWORDS
        self.defaults: list[Any] = [MISSING] * count
        for i, value in enumerate(reversed(function.__defaults__ or ())):
            self.defaults[positional - 1 - i] = value
        for name, value in (function.__kwdefaults__ or {}).items():
            if name in self.names:  # anybody may write anything into __kwdefaults__; Python looks up by name
                self.defaults[self.names.index(name)] = value

    def known(self, name: str) -> bool:
        """Whether a declared or ignored name can ever mean anything."""
        return name in self.names or name in (self.rest, self.keywords) or self.keywords is not None

    def defaults_by_name(self) -> dict[str, Any]:
        """The defaults of those parameters that have one."""
        pairs = zip(self.names, self.defaults, strict=True)
        return {name: value for name, value in pairs if value is not MISSING}

    def arrange(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any] | None:
        """One value per name, with defaults; None where the call is wrong or has values beyond the names."""
        if len(args) > self.positional:
            return None
        values = self.defaults[:]
        values[: len(args)] = args
        by_keyword = self.by_keyword
        for name, value in kwargs.items():
            place = by_keyword.get(name)
            if place is None or place < len(args):
                return None
            values[place] = value
        for value in values:  # not `in`, which would compare the values themselves, and so run their code
            if value is MISSING:
                return None
        return values

    def give(self, args: list[Any], kwargs: dict[str, Any], name: str, value: object) -> None:
        """Add a value to the arguments of a call that leaves this parameter to its default."""
        if name in self.by_keyword:
            kwargs[name] = value
        else:  # those before it are positional only too
            args += self.defaults[len(args) : self.names.index(name)]
            args.append(value)

    def entries(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Entry]:
        """All entries of a call.

        Raises:
            WrongCall: the arguments do not fit.
        """
        named = min(len(args), self.positional)
        if named < len(args) and self.rest is None:
            raise WrongCall
        found: dict[int, Entry] = {i: ("a", self.names[i], i, args[i]) for i in range(named)}
        beyond: list[Entry] = [("v", self.rest, i, args[i]) for i in range(named, len(args))]
        for name, value in kwargs.items():
            place = self.by_keyword.get(str.__str__(name))  # Python too matches a subclass of str by its text
            if place is not None and place not in found:
                found[place] = ("a", self.names[place], name, value)
            elif place is None and self.keywords is not None:
                beyond.append(("k", name, name, value))
            else:
                raise WrongCall
        for i, default in enumerate(self.defaults):
            if i not in found:
                if default is MISSING:
                    raise WrongCall
                found[i] = ("a", self.names[i], None, default)
        return [*found.values(), *beyond]


def stub_of(function: Any, parameters: Plain) -> Any:
    """A function with the name and parameters of a plain one, and an empty body.

    Called with wrong arguments it raises what the real one would, in Python's own words, and cannot run
    anything. (``inspect`` has other words, and on 3.13 accepts calls that Python does not.)
    """
    code = function.__code__
    pieces = []
    for i, name in enumerate(parameters.names):
        if i == parameters.positional:
            pieces.append(f"*{parameters.rest or ''}")
        pieces.append(name if parameters.defaults[i] is MISSING else f"{name}=None")
        if i == code.co_posonlyargcount - 1:
            pieces.append("/")
    if parameters.rest is not None and parameters.positional == len(parameters.names):
        pieces.append(f"*{parameters.rest}")
    if parameters.keywords is not None:
        pieces.append(f"**{parameters.keywords}")
    space: dict[str, Any] = {}
    exec(f"def stub({', '.join(pieces)}): pass", space)  # noqa: S102 (the names of a compiled function's parameters)
    stub = space["stub"]
    stub.__qualname__ = function.__qualname__
    return stub


class Inspected:
    """Any other callable, by ``inspect.signature``: slower, and right for partials, callables in C, and
    instances.
    """

    def __init__(self, function: Any) -> None:
        import functools

        bound: Arguments = ((), {})
        while isinstance(function, functools.partial):
            bound = ((*function.args, *bound[0]), {**function.keywords, **bound[1]})
            function = function.func
        self.bound = bound
        self.signature = _signature(function)
        self.names = () if self.signature is None else tuple(self.signature.parameters)

    def known(self, name: str) -> bool:
        """Whether a declared or ignored name can ever mean anything."""
        if self.signature is None:
            return False  # it could not be found among positional arguments
        kinds = {parameter.kind for parameter in self.signature.parameters.values()}
        return name in self.signature.parameters or any(kind.name == "VAR_KEYWORD" for kind in kinds)

    def defaults_by_name(self) -> dict[str, Any]:
        """The defaults of those parameters that have one."""
        parameters = () if self.signature is None else self.signature.parameters.values()
        return {item.name: item.default for item in parameters if item.default is not item.empty}

    def entries(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Entry]:
        """All entries of a call, those that a partial holds included.

        Raises:
            WrongCall: the arguments do not fit.
        """
        first, held = self.bound
        if self.signature is None:  # a function in C that tells nothing: positions and keywords as they are
            every = [*enumerate(first, -len(first)), *enumerate(args)]
            return [("v", "args", i if i >= 0 else None, value) for i, value in every] + [
                ("k", name, name if name in kwargs else None, value)
                for name, value in {**held, **kwargs}.items()
            ]
        # Bind places instead of values, so that inspect neither copies nor compares the values.
        places: list[Any] = [*range(-len(first), len(args))]
        try:
            bound = self.signature.bind(*places, **{name: name for name in {**held, **kwargs}})
        except TypeError as error:
            raise WrongCall from error
        found: list[Entry] = []
        for name, parameter in self.signature.parameters.items():
            if name not in bound.arguments:
                if parameter.default is not parameter.empty:
                    found.append(("a", name, None, parameter.default))
                continue
            taken = bound.arguments[name]
            if parameter.kind.name == "VAR_POSITIONAL":
                found += [("v", name, *self._value(place, args, kwargs)) for place in taken]
            elif parameter.kind.name == "VAR_KEYWORD":
                found += [("k", key, *self._value(place, args, kwargs)) for key, place in taken.items()]
            else:
                found.append(("a", name, *self._value(taken, args, kwargs)))
        return found

    def _value(
        self, place: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[int | str | None, Any]:
        first, held = self.bound
        if isinstance(place, int):
            return (place, args[place]) if place >= 0 else (None, first[place + len(first)])
        return (place, kwargs[place]) if place in kwargs else (None, held[place])


def _signature(function: Any) -> inspect.Signature | None:
    import inspect

    try:
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None


class Wrapped:
    """A wrapper ``(*args, **kwargs)`` round a function whose parameters are known (``functools.wraps``).

    The wrapper may tell ``f(1)`` from ``f(x=1)``, so these must stay two keys. But users declare and ignore
    by the names of the inner function. So values keep how they were passed ("p" or "k") and take the inner
    names; defaults of the inner function that were not passed are entries of their own, so that an edit of a
    default shows. Where the inner function would not take these arguments (the wrapper adds or removes some),
    only positions and keywords are known.
    """

    def __init__(self, outer: Plain | Inspected, inner: Plain) -> None:
        self.outer = outer
        self.inner = inner
        self.names = inner.names

    def named(self, entries: Sequence[Entry]) -> bool:
        """Whether the entries of a call bear the names of the inner function."""
        return not any(section == "v" and name != self.inner.rest for section, name, *_ in entries)

    def known(self, name: str) -> bool:
        """Whether a declared or ignored name can ever mean anything."""
        return self.outer.known(name) or self.inner.known(name)

    def defaults_by_name(self) -> dict[str, Any]:
        """The defaults of those parameters that have one."""
        return {**self.outer.defaults_by_name(), **self.inner.defaults_by_name()}

    def entries(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Entry]:
        """All entries of a call.

        Raises:
            WrongCall: the arguments do not fit the wrapper itself.
        """
        own = self.outer.entries(args, kwargs)
        if len(own) != len(args) + len(kwargs) or any(section == "a" for section, *_ in own):
            return own
        try:
            inner = self.inner.entries(args, kwargs)
        except WrongCall:
            return own
        renamed: list[Entry] = []
        for section, name, place, value in inner:
            if place is not None and section == "a":
                section = "p" if isinstance(place, int) else "k"  # noqa: PLW2901
            renamed.append((section, name, place, value))
        return renamed


def parameters_of(function: Any) -> Plain | Inspected | Wrapped:
    """The right reader of a callable's parameters."""
    is_plain = isinstance(function, _FUNCTION)
    own = Plain(function) if is_plain else Inspected(function)
    open_ended = (
        own.rest is not None or own.keywords is not None if isinstance(own, Plain) else own.signature is None
    )
    inner = function
    while open_ended and (below := getattr(inner, "__wrapped__", None)) is not None and below is not function:
        inner = below
    if inner is not function and isinstance(inner, _FUNCTION):
        return Wrapped(own, Plain(inner))
    return own
