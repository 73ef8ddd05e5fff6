"""The quick way to a call's key: for plain functions whose arguments need no conversion.

Each call of such a function has the same entries in the same order. So everything of the pre-image but the
values is made beforehand, once per seed, and a call is: pick the values, encode them, join, hash. At any
doubt the careful way (call.py) is asked instead; tests/keys/test_call.py compares the two.
"""

from __future__ import annotations

from blake3 import blake3

from .encode import encode, encode_quickly
from .nodes import GiveUp, Refused, Walk
from .tags import I_TAG, encode_str, pack_int
from .wrappers import file_part, quick_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .call import Account, Bind, Call, Encoded
    from .declared import Declared
    from .files import Token
    from .outline import Outline
    from .signature import Plain

# What is left to the careful way. RuntimeError: a dict that another thread changes, and RecursionError.
_DOUBTS = (GiveUp, Refused, RuntimeError)
_MOST_SEEDS = 100


class Quick:
    """What the quick way knows about a function beforehand.

    ``kept``: places of the parameters that are not ignored, in the order of their encoded names. ``exact``:
    place -> the type that a value must have to need no conversion. ``captured``: gives the entries of
    captured variables; None if there are none.
    """

    def __init__(
        self,
        parameters: Plain,
        ignore: frozenset[str],
        declared: dict[str, Declared],
        header: Callable[[str | None], bytes],
        captured: Callable[[Walk], list[Encoded]] | None,
    ) -> None:
        names = parameters.names
        self.parameters = parameters
        self.kept = sorted(
            (i for i, name in enumerate(names) if name not in ignore), key=lambda i: encode_str(names[i])
        )
        self.files = [i for i in self.kept if names[i] in declared and declared[names[i]].is_file]
        self.exact = {
            i: declared[names[i]].exact for i in self.kept if names[i] in declared and i not in self.files
        }
        self.kept_names = [names[i] for i in self.kept]
        self.labels = [b"a" + encode_str(name) for name in self.kept_names]
        self.header = header
        self.captured = captured
        self.templates: dict[str | None, list[bytes]] = {}
        self.outline: Callable[..., Outline] | None = None

    def possible(self) -> bool:
        """Whether a call can ever be quick. With ``*args`` or a declared folder there is more to do."""
        open_ended = self.parameters.rest is not None or self.parameters.keywords is not None
        return not open_ended and None not in self.exact.values()

    def account(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], found: Walk | None = None
    ) -> Account | None:
        """As `CallKeyer.account`; None at any doubt, and where files have to be looked at."""
        if self.files or self.captured is not None:
            return None
        values: Any = args
        if kwargs or len(args) != len(self.parameters.names):
            values = self.parameters.arrange(args, kwargs)
        if values is None:
            return None
        for place, wanted in self.exact.items():
            if type(values[place]) is not wanted and values[place] is not None:
                return None
        if self.outline is None:
            from .outline import outline  # not needed for a hit; the statement alone takes 0.7 µs

            self.outline = outline
        outline = self.outline
        kept = [values[i] for i in self.kept]
        try:
            if found is None:
                found = Walk()
                encoded = encode_quickly(kept, found)
            elif found.pieces is None:
                return None
            else:
                encoded = found.pieces[1::2]
            outlines = [outline(value, found) for value in kept]
        except _DOUBTS:
            return None
        parts = [
            ("a", name, blake3(data).digest()) for name, data in zip(self.kept_names, encoded, strict=True)
        ]
        return parts, outlines

    def entries(self, found: Walk) -> list[Encoded]:
        """The entries of a call that went the quick way."""
        assert found.pieces is not None
        encoded = zip(self.kept_names, found.pieces[1::2], strict=False)  # captured ones follow
        return [*(("a", name, data) for name, data in encoded), *found.entries]

    def template(self, seed: str | None) -> list[bytes]:
        """The pre-image with gaps for the values: header and first name, gap, second name, gap, …, end."""
        pieces = [b""] * (2 * len(self.labels) + 1)
        pieces[0 : 2 * len(self.labels) : 2] = self.labels
        pieces[0] = self.header(seed) + pieces[0]
        if len(self.templates) >= _MOST_SEEDS:
            self.templates.clear()
        self.templates[seed] = pieces
        return pieces

    def binder(self, careful: Bind, constant: bytes) -> Bind:
        """The ``bind`` of a function; ``careful`` is its other way, ``constant`` the key of the hash."""
        if self.files and len(self.parameters.names) == len(self.kept) == 1 and self.captured is None:
            return self._one_file(careful, constant)
        if self.files:
            return self._with_files(careful, constant)
        if len(self.parameters.names) == len(self.kept) == 1 and self.captured is None:
            return self._one(careful, constant)
        return self._many(careful, constant)

    def _one(self, careful: Bind, constant: bytes) -> Bind:
        """Of one parameter: no gaps to fill, and an int is written without any loop."""
        templates, template, exact = self.templates, self.template, self.exact.get(0)

        def bind(args: tuple[Any, ...], kwargs: dict[str, Any], seed: str | None) -> Call:
            if kwargs or len(args) != 1:
                return careful(args, kwargs, seed)
            (value,) = args
            kind = type(value)
            if exact is not None and kind is not exact and value is not None:
                return careful(args, kwargs, seed)
            start = (templates.get(seed) or template(seed))[0]
            if kind is int and -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
                return blake3(start + pack_int(I_TAG, value), key=constant).digest(), args, kwargs, (), None
            walk = Walk()
            try:
                (encoded,) = encode_quickly(args, walk)
            except _DOUBTS:
                return careful(args, kwargs, seed)
            walk.pieces = [start, encoded]
            return blake3(start + encoded, key=constant).digest(), args, kwargs, (), walk

        return bind

    def _known(self, values: Sequence[Any]) -> tuple[list[Any], list[tuple[int, bytes]], list[Token]]:
        """The values without those that are files, whose encodings come apart: (place, encoding).

        Raises:
            GiveUp: a file is not known by its stat. The quick way never reads one: the careful way might come
                after, and read it again.
        """
        values, parts, inputs = [*values], [], []
        for place in self.files:
            if values[place] is not None:
                token = quick_file(values[place])
                if token is None:
                    raise GiveUp
                inputs.append(token)
                parts.append((place, file_part(token)))
                values[place] = None
        return values, parts, inputs

    def _one_file(self, careful: Bind, constant: bytes) -> Bind:
        """Of one parameter, declared `FileType`."""
        templates, template = self.templates, self.template

        def bind(args: tuple[Any, ...], kwargs: dict[str, Any], seed: str | None) -> Call:
            token = quick_file(args[0]) if len(args) == 1 and not kwargs else None
            if token is None:
                return careful(args, kwargs, seed)
            walk = Walk()
            walk.pieces = pieces = [(templates.get(seed) or template(seed))[0], file_part(token)]
            return blake3(b"".join(pieces), key=constant).digest(), args, kwargs, (token,), walk

        return bind

    def _with_files(self, careful: Bind, constant: bytes) -> Bind:
        templates, template, captured = self.templates, self.template, self.captured
        count, known = len(self.parameters.names), self._known
        arrange, checks, pick = self.parameters.arrange, [*self.exact.items()], _picker(self.kept, count)
        gaps = {place: 2 * self.kept.index(place) + 1 for place in self.files}

        def bind(args: tuple[Any, ...], kwargs: dict[str, Any], seed: str | None) -> Call:
            values: Any = arrange(args, kwargs)
            if values is None:
                return careful(args, kwargs, seed)
            for place, wanted in checks:
                if type(values[place]) is not wanted and values[place] is not None:
                    return careful(args, kwargs, seed)
            walk = Walk()
            walk.pieces = pieces = (templates.get(seed) or template(seed))[:]
            try:
                values, parts, inputs = known(values)
                pieces[1::2] = encode_quickly(values if pick is None else pick(values), walk)
            except _DOUBTS:
                return careful(args, kwargs, seed)
            for place, part in parts:
                pieces[gaps[place]] = part
            if captured is not None:
                walk.inputs = inputs
                walk.entries = captured(walk)
                pieces += sorted(b"c" + encode(name) + data for _, name, data in walk.entries)
            return blake3(b"".join(pieces), key=constant).digest(), args, kwargs, tuple(inputs), walk

        return bind

    def _many(self, careful: Bind, constant: bytes) -> Bind:
        templates, template, captured = self.templates, self.template, self.captured
        count = len(self.parameters.names)
        positional = (
            count if self.parameters.positional == count else -1
        )  # -1: no number of args fits by itself
        arrange, checks, pick = self.parameters.arrange, [*self.exact.items()], _picker(self.kept, count)

        def bind(args: tuple[Any, ...], kwargs: dict[str, Any], seed: str | None) -> Call:
            values: Any = args
            if kwargs or len(args) != positional:
                values = arrange(args, kwargs)
                if values is None:
                    return careful(args, kwargs, seed)
            for place, wanted in checks:
                if type(values[place]) is not wanted and values[place] is not None:
                    return careful(args, kwargs, seed)
            walk = Walk()
            walk.pieces = pieces = (templates.get(seed) or template(seed))[:]
            try:
                pieces[1::2] = encode_quickly(values if pick is None else pick(values), walk)
            except _DOUBTS:
                return careful(args, kwargs, seed)
            if captured is not None:
                walk.inputs = []
                walk.entries = captured(walk)
                pieces += sorted(b"c" + encode(name) + data for _, name, data in walk.entries)
                if walk.inputs:
                    return careful(args, kwargs, seed)
            return blake3(b"".join(pieces), key=constant).digest(), args, kwargs, (), walk

        return bind


def _picker(kept: list[int], count: int) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
    """What puts values into the order of their names; None if they are in order and all are wanted."""
    if kept == [*range(count)]:
        return None
    if len(kept) < 2:  # itemgetter of one gives the item itself
        return lambda values: [values[i] for i in kept]
    from operator import itemgetter

    return itemgetter(*kept)
