"""The bytes of the recipe: tags, leaf encodings and the size rule. docs/reference/key-v1.md says the same in
words.

Everything here is frozen by recipe 1. A change, however small, gives every stored entry another key, so it
needs a new recipe number and a new derive context.
"""

from __future__ import annotations

import struct

from blake3 import blake3

from .digest import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

RECIPE = 1
CONTEXT = "scalable_cas 2026-11 call-key v1"

# Longer than this, data and containers are represented by their BLAKE3 digest. It bounds every encoding
# (about 1 KiB), so memory stays flat for any size of value. 1 KiB is one BLAKE3 chunk: up to there a digest
# costs as much as the bytes themselves.
INLINE = 1024

NONE, TRUE, FALSE = b"N", b"T", b"F"
NAN_BYTES = bytes.fromhex("000000000000f87f")  # the one quiet NaN: inf-inf is -nan on x86 and +nan on ARM

pack_int = struct.Struct("<Bq").pack  # tag and value in one call: 0.1 µs less than concatenating
pack_float = struct.Struct("<Bd").pack
pack_length = struct.Struct("<BQ").pack
pack_u64 = struct.Struct("<Q").pack
pack_double = struct.Struct("<d").pack
struct_error = struct.error

I_TAG, F_TAG, S_TAG, B_TAG = ord("i"), ord("f"), ord("s"), ord("b")

# Encodings of short strings, because keys of dicts, field names and labels repeat. Bounded: emptied when
# full.
_short: dict[str, bytes] = {}
_SHORT_CHARS = 64
_SHORT_ENTRIES = 8192


def call_key_constant() -> bytes:
    """The 32-byte key K of the keyed BLAKE3 that makes call keys: ``derive_key(CONTEXT)`` of no material."""
    return blake3(b"", derive_key_context=CONTEXT).digest()


def encode_str(value: str) -> bytes:
    """Length and UTF-8 (surrogates pass through, nothing is normalised); above 1 KiB length and digest."""
    found = _short.get(value)
    if found is not None:
        return found
    try:
        data = value.encode()
    except UnicodeEncodeError:  # a lone surrogate, as in file names that are not UTF-8
        data = value.encode("utf-8", "surrogatepass")
    if len(data) > INLINE:
        return pack_length(ord("S"), len(data)) + blake3(data).digest()
    encoded = pack_length(S_TAG, len(data)) + data
    if len(value) <= _SHORT_CHARS:
        if len(_short) >= _SHORT_ENTRIES:
            _short.clear()
        _short[value] = encoded
    return encoded


def encode_bytes(value: bytes | bytearray | memoryview) -> bytes:
    """Length and bytes; above 1 KiB length and digest. A memoryview must be C-contiguous."""
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    if size > INLINE:
        return pack_length(ord("B"), size) + digest(value, size)
    return pack_length(B_TAG, size) + bytes(value)


def encode_int(value: int) -> bytes:
    """int64 as eight bytes; larger ones as minimal two's complement (never decimal text), above 1 KiB its
    digest.
    """
    try:
        return pack_int(I_TAG, value)
    except struct_error:
        magnitude = value if value >= 0 else ~value
        data = value.to_bytes(magnitude.bit_length() // 8 + 1, "little", signed=True)
        if len(data) > INLINE:
            return pack_length(ord("J"), len(data)) + blake3(data).digest()
        return pack_length(ord("j"), len(data)) + data


def encode_float(value: float) -> bytes:
    """Eight bytes; every NaN is one NaN; -0.0 stays."""
    # NaN is what differs from itself
    return pack_float(F_TAG, value) if value == value else b"f" + NAN_BYTES  # noqa: PLR0124


def encode_complex(value: complex) -> bytes:
    """The two float payloads."""
    return b"c" + encode_float(value.real)[1:] + encode_float(value.imag)[1:]


def finish(encoded: bytes) -> bytes:
    """The size rule for containers: at most 1 KiB stays as it is, more becomes ``H`` and the digest."""
    return encoded if len(encoded) <= INLINE else b"H" + blake3(encoded).digest()


def typed_prefix(kind: str) -> bytes:
    """Start of a typed object: tag and kind. The count of parts and the parts follow."""
    return b"o" + encode_str(kind)


def typed(kind: str, parts: Iterable[bytes]) -> bytes:
    """A whole typed object whose parts are already encoded."""
    encoded = list(parts)
    return finish(typed_prefix(kind) + pack_u64(len(encoded)) + b"".join(encoded))
