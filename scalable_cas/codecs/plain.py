"""The codec "plain": data of Python's own types as msgpack with tags, exact in type and value, decoded
without code.

docs/reference/values-v1.md gives the bytes. A head without tags is plain msgpack; `TAGGED` before it says
that it has some. A hit on ordinary data (dicts, lists, text, numbers) is therefore one call of msgpack's C
unpacker.
"""

from __future__ import annotations

from msgpack import unpackb

from scalable_cas.codecs import libraries
from scalable_cas.codecs.encoded import Encoded
from scalable_cas.codecs.lowering import LEAVES, Lowering, pack
from scalable_cas.codecs.tags import TAGGED, Twice
from scalable_cas.errors import MalformedObject, MissingLibrary, ScalableCasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from scalable_cas.codecs.lifting import Reader

NAME = "plain"

_TAGGED_PREFIX = bytes([TAGGED])

_reader: type[Reader] | None = None


def encode(value: object) -> Encoded | None:
    """Encode a value, or return `None` if another codec has to: it is of other types, or has mutable objects
    that contain themselves, or is nested deeper than `MAX_DEPTH`.
    """
    try:
        try:
            if type(value) is dict and _all_leaves(value) and _all_leaves(value.values()):
                return Encoded(
                    NAME, pack(value)
                )  # the usual small result: no walk, nothing in it can occur twice
            return _encode(value, wide=False)
        except OverflowError:
            return _encode(value, wide=True)
    except Exception:  # noqa: BLE001
        # Broad with reason: the walk reads objects and classes of the user's, which can be broken in any way,
        # in a function that has succeeded. Usual are NotPlain; ValueError for a part too large for msgpack;
        # RecursionError where the caller is deep already; RuntimeError where another thread changes the
        # value. The general codec stores the value or refuses it with a reason.
        return None


def _all_leaves(items: Iterable[object]) -> bool:
    return LEAVES.issuperset(map(type, items))


def _encode(value: object, *, wide: bool) -> Encoded:
    buffers: list[bytes | memoryview] = []
    state = Lowering(buffers, wide=wide)
    try:
        tree = state.lower(value)
    except Twice:
        from scalable_cas.codecs.sharing import lower_shared  # rare

        buffers = []
        tree, state = lower_shared(value, buffers, wide=wide)
    head = pack(tree)
    name = libraries.codec_of(type(value)) if state.libraries else NAME
    return Encoded(name, _TAGGED_PREFIX + head if state.tagged else head, tuple(buffers))


def unpack(head: bytes | memoryview) -> Any:
    """Decode the head of a trusted value without buffers: the hit path.

    Raises:
        MalformedObject: as `decode`.
    """
    try:
        if head[0] != TAGGED:
            return unpackb(head, strict_map_key=False, unicode_errors="surrogatepass", ext_hook=_no_tag)
    except (ValueError, TypeError, LookupError, MemoryError) as error:
        raise _malformed(error) from error
    return decode(head, (), trusted=True)


def decode(
    head: bytes | memoryview,
    buffers: Sequence[Any],
    *,
    trusted: bool,
    codec: str = NAME,
    writable: bool = True,
) -> Any:
    """Decode a value.

    With `trusted=False` no code of a class or module is run and nothing is imported but the standard
    library's own modules of plain types. `codec` names the codec of a library, or `data`: then values of the
    known libraries are read too. With `writable=False` arrays may be read-only views of the buffers.

    Raises:
        MalformedObject: the bytes are not such a value, or a class that they name has gone or changed.
        UntrustedEntry: not trusted, and decoding would import or run code.
        MissingLibrary: a library whose value this is, or holds, is not installed.
    """
    global _reader
    if _reader is None:
        # Heads without tags do not need it. Kept: an import costs 1 µs at each call even when it is done.
        from scalable_cas.codecs.lifting import Reader

        _reader = Reader
    tagged = len(head) > 0 and head[0] == TAGGED
    try:
        reader = _reader(buffers, trusted=trusted, libraries=codec != NAME, writable=writable)
        value = reader.read(head[1:] if tagged else head)
    except ScalableCasError:
        raise
    except ImportError as error:
        if codec != NAME and error.name:
            raise MissingLibrary(error.name) from error
        raise _malformed(error, codec) from error
    except Exception as error:
        # Broad with reason: hashing a trusted key runs the user's code, and foreign bytes reach the
        # constructors of dozens of types, each with errors of its own (zoneinfo alone has four). All of them
        # mean: not a value we wrote.
        raise _malformed(error, codec) from error
    if codec != NAME and (not reader.found or libraries.codec_of(type(value)) != codec):
        raise MalformedObject(f"{codec} value", "it is a value of another codec")
    return value


def _no_tag(_code: int, _data: bytes) -> object:
    raise ValueError("a tag in a value without tags")


def _malformed(error: Exception, codec: str = NAME) -> MalformedObject:
    return MalformedObject(f"{codec} value", str(error) or type(error).__name__)
