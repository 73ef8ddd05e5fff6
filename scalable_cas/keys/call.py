"""From a call to its key. A ``CallKeyer`` is made per decorated function; its ``bind`` is part of every hit.

    key      = keyed BLAKE3(K, header ‖ entries)
    header   = E(recipe) ‖ E(seed) ‖ identity
    identity = E(name) ‖ E(version) ‖ E(code)

Entries are (section, name, value) in the order of their bytes; docs/reference/key-v1.md has the whole recipe.
There are two ways to one key. The *quick* one serves plain functions whose arguments need no conversion:
names are encoded beforehand, and only values are left to do. The *careful* one does everything else, and is
what the quick one falls back to at any doubt.
"""

from __future__ import annotations

import os
import sys

from blake3 import blake3

from scalable_cas.errors import MissingInput, UnhashableArgument

from .codeof import CodeOf
from .declared import Declared, Mismatch, type_name
from .encode import encode
from .identity import capturing_layers, definition, known_as_of, owner_of
from .nodes import Refused, Walk
from .quick import Quick
from .signature import Plain, Wrapped, WrongCall, parameters_of, stub_of
from .tags import NONE, RECIPE, call_key_constant, encode_int, encode_str, typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from .files import Token
    from .outline import Outline
    from .signature import Entry

    # key, args, kwargs, inputs, what was found on the way
    Call = tuple[bytes, tuple[Any, ...], dict[str, Any], tuple[Token, ...], Walk | None]
    Bind = Callable[[tuple[Any, ...], dict[str, Any], str | None], Call]
    Account = tuple[list[tuple[str, str, bytes]], list[Outline]]  # parts and outlines of a record
    Encoded = tuple[str, object, bytes]  # section, name, encoding of the value

_FUNCTION = type(lambda: None)
_K = call_key_constant()


class CallKeyer:
    """Makes the keys of one function.

    ``name``: ``module.qualname``, for people. ``fnid``: 8 bytes that name the function in the index, the same
    for all its versions. ``identity``: the bytes by which the function is known where it is itself an
    argument (``__scalable_identity__``).

    Defaults are those at decoration: a later assignment to ``__defaults__`` is not seen.

    ``bind(args, kwargs, seed)`` gives (key, what the function must receive as args and as kwargs, tokens of
    the input files that were read, what ``account`` takes so as not to hash all of it once more). It raises
    what the function itself would where the arguments do not fit, ``UnhashableArgument``, ``MissingInput``,
    ``InputChanged``, and ``TypeError`` for a value that is not of
    its declared type. ``known_as`` and ``own_code`` are for unpickling only.

    Raises:
        TypeError: an unknown name in ``ignore`` or ``arg_types``, a type that cannot be declared, a
            ``version`` that is neither str nor int.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        version: str | int | None = None,
        code: str | None = None,
        ignore: Iterable[str] = (),
        arg_types: Mapping[str, object],
        known_as: tuple[str, str | None] | None = None,
        own_code: str | None = None,
    ) -> None:
        if type(version) not in (str, int, type(None)):
            raise TypeError(f"_version must be a str or an int, got {type(version).__name__}")
        if code is not None and (type(code) is not str or code not in ("self", "deps")):
            raise TypeError(f'_code must be None, "self" or "deps", not {code!r}')
        self.function = function
        self.version = version
        self.code = code
        self.ignore = frozenset((ignore,) if isinstance(ignore, str) else ignore)
        self.arg_types = dict(arg_types)
        # On a worker that unpickles us, the function may have another __main__ behind it: what was found at
        # decoration stays.
        self._known_as = known_as or known_as_of(function)
        encoded_name, known_code = encode_str(self._known_as[0]), _optional(self._known_as[1])
        self.name = self._known_as[0].lstrip(":").replace(":", ".", 1)
        self.fnid = blake3(encoded_name + known_code).digest()[:8]
        self._known_bytes = encoded_name + encode(version), known_code
        self._source = CodeOf(function, code, own_code)
        self.parameters = parameters_of(function)
        self._owner = owner_of(function)
        self._layers = capturing_layers(function)
        self._watched: list[tuple[str, Callable[[], dict[str, object]], object]] | None = None
        self._check_names()
        self._declared = {name: Declared(declared) for name, declared in self.arg_types.items()}
        self._by_name = not (self.ignore | self._declared.keys()).isdisjoint(self.parameters.names)
        self.bind: Bind = self._careful
        self._quick: Quick | None = None
        if isinstance(self.parameters, Plain) and self._owner is None:
            captured = self._captured if self._layers else None
            quick = Quick(self.parameters, self.ignore, self._declared, self.header, captured)
            if quick.possible():
                self.bind = quick.binder(self._careful, _K)
                self._quick = quick
                if code == "deps":
                    self.bind = self._watching(quick)

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"version": self.version, "code": self.code, "ignore": self.ignore}
        own = self._source.now() if self.code == "self" else None
        return _rebuild, (self.function, options, self.arg_types, self._known_as, own)

    @property
    def identity(self) -> bytes:
        """The bytes by which the function is known, its code included as far as that is part of the key."""
        start, known_code = self._known_bytes
        return start + (known_code if self.code is None else _optional(self._source.now()))

    @property
    def told_identity(self) -> bytes | Callable[[], bytes]:
        """The identity, or what gives it: the code is looked at when it is first asked for."""
        return self.identity if self.code is None else self.current_identity

    def current_identity(self) -> bytes:
        """The identity now."""
        return self.identity

    @property
    def definition(self) -> Any:
        """The plain function inside."""
        return definition(self.function)

    def reached(self) -> dict[str, bytes]:
        """The code and constants behind ``_code="deps"``: name -> a short digest, for explanations."""
        return self._source.reached()

    @property
    def code_in_key(self) -> bool:
        """Whether another code is another key anyway: by ``_code``, or because the name says nothing."""
        return self.code is not None or self._known_as[1] is not None

    def _watching(self, quick: Quick) -> Bind:
        """The ``bind`` of a function whose code is looked at in every call. What was prepared for one state
        of the code is never used for another: each has its own.
        """
        state: list[tuple[str | None, Bind] | None] = [None]

        def bind(args: tuple[Any, ...], kwargs: dict[str, Any], seed: str | None) -> Call:
            now = self._source.now()
            known = state[0]
            if known is None or known[0] != now:
                header = self._header_of(now)
                captured = self._captured if self._layers else None
                again = Quick(quick.parameters, self.ignore, self._declared, header, captured)
                known = state[0] = (now, again.binder(self._careful, _K))
            return known[1](args, kwargs, seed)

        return bind

    def _header_of(self, code: str | None) -> Callable[[str | None], bytes]:
        start = self._known_bytes[0] + _optional(code)
        return lambda seed: encode_int(RECIPE) + _optional(seed) + start

    def _check_names(self) -> None:
        captured = {name for layer in self._layers for name in layer.__code__.co_freevars}
        for name in (*self.arg_types, *self.ignore):
            if not isinstance(name, str):
                raise TypeError(f"{self.name}: an argument's name must be a str, got {type(name).__name__}")
            if not self.parameters.known(name) and not (name in self.ignore and name in captured):
                raise TypeError(f"{self.name} has no argument {name!r}")

    def account(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        found: Walk | None = None,
        inputs: Sequence[Token] = (),
    ) -> Account:
        """What the record of a call keeps of its arguments: (section, name, BLAKE3 of the encoding) of each
        entry of the key, and in the same order what explains a difference (outline.py). ``found`` and
        ``inputs``: what ``bind`` gave for this call, so that nothing large is hashed and no file read twice.
        """
        quick = self._quick
        account = quick.account(args, kwargs, found) if quick is not None else None
        if account is not None:
            return account
        if found is None:
            found = Walk([], before=inputs)
            self._encode_entries(args, kwargs, found)
        encoded = found.entries if quick is None or found.pieces is None else quick.entries(found)
        found.inputs, found.before = [], inputs or found.inputs or ()  # of files inside arguments too
        outlines = self._outlines(args, kwargs, found)
        parts = [(section, f"{name}", blake3(data).digest()) for section, name, data in encoded]
        return parts, [outlines.get(part[:2], [0, None]) for part in parts]

    def _outlines(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], walk: Walk
    ) -> dict[tuple[str, str], Outline]:
        from .outline import outline

        found: dict[tuple[str, str], Outline] = {}
        rest: list[object] = []
        for section, name, place, value in self._entries(args, kwargs):
            if name not in self.ignore:
                _, hashed = self._converted(name, section, value, is_default=place is None)
                if section == "v":
                    rest.append(hashed)
                else:
                    found[section, f"{name}"] = outline(hashed, walk)
        if rest:
            found["v", f"{getattr(self.parameters, 'rest', None)}"] = outline(tuple(rest), walk)
        for name, value in self.captured():
            found["c", name] = outline(value, walk)
        return found

    def bare_paths(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        """Names of undeclared arguments that are ``pathlib`` paths of something on the disk: only their text
        is in the key.
        """
        pathlib = sys.modules.get("pathlib")
        if pathlib is None or not any(isinstance(value, pathlib.Path) for value in (*args, *kwargs.values())):
            return []
        return [
            f"{name}"
            for section, name, _, value in self._entries(args, kwargs)
            if isinstance(value, pathlib.Path)
            and name not in self.ignore
            and self._converter(name, section) is None
            and os.path.exists(value)
        ]

    def header(self, seed: str | None) -> bytes:
        """The start of every pre-image of this function."""
        return encode_int(RECIPE) + _optional(seed) + self.identity

    # --- the careful way -----------------------------------------------------------------------------------

    def _careful(self, args: tuple[Any, ...], kwargs: dict[str, Any], seed: str | None) -> Call:
        inputs: list[Token] = []
        walk = Walk(inputs)
        encoded, args, kwargs = self._encode_entries(args, kwargs, walk)
        entries = sorted(section.encode() + encode(name) + data for section, name, data in encoded)
        key = blake3(self.header(seed) + b"".join(entries), key=_K).digest()
        return key, args, kwargs, tuple(inputs), walk

    def _encode_entries(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], walk: Walk
    ) -> tuple[list[Encoded], tuple[Any, ...], dict[str, Any]]:
        """All entries, and what the function must receive. Input files that were read are in the walk."""
        new_args, new_kwargs = [*args], {**kwargs}
        encoded: list[Encoded] = []
        rest: list[object] = []
        rest_name: object = None
        for section, name, place, value in self._entries(args, kwargs):
            if name in self.ignore:
                continue
            passed, hashed = self._converted(name, section, value, is_default=place is None)
            if passed is not value:
                if isinstance(place, int):
                    new_args[place] = passed
                elif place is not None:
                    new_kwargs[place] = passed
                elif isinstance(self.parameters, Plain):
                    self.parameters.give(new_args, new_kwargs, f"{name}", passed)
            if section == "v":
                rest_name = name
                rest.append(hashed)
            else:
                data = self._encoded(name, hashed, walk, is_default=place is None)
                encoded.append((section, name, data))
        if rest:
            encoded.append(("v", rest_name, self._encoded(rest_name, tuple(rest), walk)))
        encoded += self._captured(walk)
        walk.entries = encoded
        return encoded, tuple(new_args), new_kwargs

    def _entries(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Entry]:
        parameters = self.parameters
        try:
            entries = parameters.entries(args, kwargs)
        except WrongCall as wrong:
            own = parameters.outer if isinstance(parameters, Wrapped) else parameters
            # What is wrong only Python says in Python's words.
            speaker: Any = stub_of(self.function, own) if isinstance(own, Plain) else self.function
            speaker(*args, **kwargs)
            raise TypeError(f"{self.name}: these arguments fit no parameters") from wrong
        if isinstance(parameters, Wrapped) and self._by_name and not parameters.named(entries):
            raise TypeError(
                f"{self.name}: these arguments do not fit the function inside its decorator, "
                "so it is not clear which of them are declared or ignored"
            )
        return entries

    def _converter(self, name: object, section: str) -> Declared | None:
        declared = self._declared.get(name) if type(name) is str else None
        if declared is None:
            keywords = getattr(self.parameters, "keywords", None)
            declared = self._declared.get(keywords) if section == "k" and keywords else None
        return declared

    def _converted(self, name: object, section: str, value: Any, *, is_default: bool) -> tuple[Any, object]:
        """What the function receives, and what is hashed."""
        declared = self._converter(name, section)
        if declared is None:
            return value, value
        try:
            passed, hashed = declared.convert(value)
        except Mismatch as error:
            got = f"{type_name(type(value))} that {error}" if error.args else type_name(type(value))
            raise TypeError(
                f"{self.name}: argument {name!r} is declared {declared.text}, got {got}"
            ) from error
        if is_default and passed is not value and not isinstance(self.parameters, Plain):
            return value, value  # the function will see the default as it is, so that is what counts
        return passed, hashed

    def _encoded(
        self,
        name: object,
        value: object,
        walk: Walk,
        *,
        is_default: bool = False,
        place: str = "",
    ) -> bytes:
        try:
            return encode(value, walk)
        except MissingInput as error:
            error.argument = f"{self.name}: argument {f'{place}{name}'!r}"
            raise
        except Refused as error:
            if is_default and not error.path:
                return typed("default", (encode(name),))  # a sentinel, such as object(): its place says all
            path, declare = f"{place}{name}{error.path}", not (place or error.structural)
            raise UnhashableArgument(self.name, f"{name}", path, error.reason, declare=declare) from error

    # --- captured variables --------------------------------------------------------------------------------

    def _captured(self, walk: Walk) -> list[Encoded]:
        """What the function is bound to (section "b"), and captured variables that count ("c")."""
        own = self._owner
        encoded: list[Encoded] = [] if own is None else [("b", "self", self._encoded("self", own, walk))]
        for label, value in self.captured():
            data = self._encoded(label.partition("@")[0], value, walk, place="captured ")
            encoded.append(("c", label, data))
        return encoded

    def captured(self) -> Iterator[tuple[str, object]]:
        """Name and value now of each captured variable that counts; ``@1``, … after those of decorators."""
        if not self._layers:
            return
        # at the first call, not at decoration: reading the source takes milliseconds
        if self._watched is None:
            from .captured import readers_of

            self._watched = readers_of(self._layers, self.ignore)
        for suffix, read, inner in self._watched:
            for name, value in read().items():
                # What a decorator wraps is the function itself: its name is in the header.
                if value is not inner:
                    yield name + suffix, value


def seed_digest(seed: str) -> bytes:
    """Which seed it was (8 bytes), for explanations: the seed itself may be meant as a secret."""
    digest: bytes = blake3(encode_str(seed), key=_K).digest(8)
    return digest


def _optional(text: str | None) -> bytes:
    return NONE if text is None else encode_str(text)


def _rebuild(
    function: Callable[..., Any],
    options: dict[str, Any],
    arg_types: dict[str, object],
    known_as: tuple[str, str | None],
    own_code: str | None,
) -> CallKeyer:
    return CallKeyer(function, **options, arg_types=arg_types, known_as=known_as, own_code=own_code)
