"""Which codec encodes a value, and the seam where other packages add theirs.

Safest first: bytes and text as they are, plain data and values of known libraries, then the codecs of other
packages, last pickle. A codec's name contains "pickle" exactly if decoding can run code; the store shows the
name to the user and decides by it what to do with entries that came from elsewhere.
"""

from __future__ import annotations

from scalable_cas.codecs import libraries, outputs, plain
from scalable_cas.codecs.encoded import Encoded
from scalable_cas.errors import (
    CacheWarning,
    MalformedObject,
    NotStorable,
    ScalableCasError,
    UnknownCodec,
    UntrustedEntry,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    class Codec(Protocol):
        """One way to store values of some types. The contract:

        - `encode` returns `None` for a value that is not its own, fast; else what `decode` gives back as it
          was, of the same type, sharing no memory with the first. It raises `NotStorable` if nobody may store
          it.
        - Equal values give equal bytes, in every process.
        - `decode` with `trusted=False` runs no code that the bytes name, imports nothing that they name, and
          needs memory in proportion to them. A codec that cannot promise this has "pickle" in its name; its
          `decode` is then only called for trusted bytes.
        - `decode` raises `MalformedObject` for bytes that it did not write.
        - What a name's bytes mean never changes; a new form takes a new name.
        """

        @property
        def name(self) -> str:
            """1 to 64 characters of `a-z 0-9 . -`; not one of this package's own."""

        def encode(self, value: Any, /) -> Encoded | None:
            """Encode a value, or return `None` if it is not this codec's."""

        def decode(self, head: bytes | memoryview, buffers: Sequence[Any], /, *, trusted: bool) -> Any:
            """Decode a value."""


__all__ = ["GROUP", "Encoded", "decode", "encode", "register"]

GROUP = "scalable_cas.codecs"
_OWN_NAMES = frozenset({"bytes", "str", "plain", "pickle", *outputs.NAMES, *libraries.CODECS})

_registered: dict[str, Codec] = {}
_scanned = False


def encode(value: object) -> Encoded:
    """Encode a value with the safest codec that gives it back as it was.

    Raises:
        NotStorable: no codec does.
    """
    kind = type(value)
    if kind is bytes:
        return Encoded("bytes", b"", (value,))  # type: ignore[arg-type]
    if kind is str:
        return Encoded("str", b"", (value.encode("utf-8", "surrogatepass"),))  # type: ignore[attr-defined]
    encoded = plain.encode(value)
    if encoded is not None:
        return encoded
    for codec in _others().values():
        try:
            encoded = codec.encode(value)
        except NotStorable:
            raise
        except Exception as error:
            # Broad with reason: a codec of another package meets values of any class. See pickled.encode.
            raise NotStorable(kind.__qualname__, f"codec {codec.name!r} failed") from error
        if encoded is not None:
            if encoded.codec != codec.name:  # then nobody could decode it
                raise NotStorable(kind.__qualname__, f"codec {codec.name!r} calls it {encoded.codec!r}")
            return encoded
    from scalable_cas.codecs import pickled

    return pickled.encode(value)


def decode(
    codec: str, head: bytes | memoryview, buffers: Sequence[Any], *, trusted: bool, writable: bool = True
) -> Any:
    """Decode what `encode` made. `trusted` says that the bytes were made here or signed by somebody trusted.

    A writable buffer may become the memory of the value; one that is read-only is copied, unless
    `writable=False` lets arrays be read-only views.

    Raises:
        MalformedObject: the bytes are not such a value, or a class they need has gone or changed.
        UntrustedEntry: not trusted, and decoding could run code.
        UnknownCodec: no such codec is installed, or not the library whose value it is.
    """
    if codec == "plain":
        return plain.decode(head, buffers, trusted=trusted)
    if codec in libraries.CODECS:
        return plain.decode(head, buffers, trusted=trusted, codec=codec, writable=writable)
    if codec in {"bytes", "str"}:
        return _decode_raw(codec, head, buffers)
    if codec == "pickle":
        from scalable_cas.codecs import pickled

        return pickled.decode(head, buffers, trusted=trusted)
    other = _others().get(codec)
    if other is None:
        raise UnknownCodec(codec)
    if "pickle" in codec and not trusted:
        raise UntrustedEntry(f"a value of codec {codec!r}", "decoding it can run any code")
    try:
        return other.decode(head, buffers, trusted=trusted)
    except ScalableCasError:
        raise
    except Exception as error:
        # Broad with reason: code of another package, reading bytes that may be damaged. The value cannot be
        # had.
        raise MalformedObject(f"{codec} value", str(error) or type(error).__name__) from error


def register(codec: Codec) -> None:
    """Add a codec to this process. Packages declare theirs as an entry point of group `scalable_cas.codecs`
    instead: an object with the attributes of `Codec`, or a class to be called without arguments.

    Raises:
        ValueError: its name is not allowed, or taken by another codec.
    """
    name = check_name(codec.name)
    if _registered.setdefault(name, codec) is not codec:
        raise ValueError(f"there is a codec {name!r} already; choose another name")


def check_name(name: str) -> str:
    """Return the name of a codec of another package if it may be called so.

    Raises:
        ValueError: it may not.
    """
    text = name.replace(".", "").replace("-", "")
    if not (1 <= len(name) <= 64 and text.isascii() and text.isalnum() and name == name.lower()):
        raise ValueError(f"{name!r} cannot name a codec; use a-z, 0-9, dot and dash, at most 64 of them")
    if name in _OWN_NAMES:
        raise ValueError(f"there is a codec {name!r} already; choose another name")
    return name


def _others() -> dict[str, Codec]:
    """Return the codecs of other packages. They are looked for at the first value that is not plain: listing
    installed packages costs 24 ms.
    """
    global _scanned
    if not _scanned:
        from importlib.metadata import entry_points

        broken: list[str] = []
        # Two threads may both do this; the first of each name stays.
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
            try:
                found = point.load()
                codec: Codec = found() if isinstance(found, type) else found
                _registered.setdefault(check_name(codec.name), codec)
            except Exception as error:  # noqa: BLE001
                # Broad with reason: code of another package. A call of the user's must not fail for it;
                # values are stored as if the package were not installed.
                broken.append(f"{point.name} ({type(error).__name__}: {error})")
        _scanned = True
        if broken:
            import warnings

            text = (
                f"left out codecs that cannot be loaded: {', '.join(broken)}; repair or remove their packages"
            )
            warnings.warn(text, CacheWarning, stacklevel=2)
    return _registered


def _decode_raw(codec: str, head: bytes | memoryview, buffers: Sequence[Any]) -> bytes | str:
    if len(head) or len(buffers) != 1:
        raise MalformedObject(f"{codec} value", "it is one buffer and no head")
    if codec == "bytes":
        return buffers[0] if type(buffers[0]) is bytes else bytes(buffers[0])
    try:
        return str(buffers[0], "utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise MalformedObject("str value", "it is not UTF-8") from error
