"""Names: 32 raw bytes inside the program, 64 hex digits at its edges.

An ``ObjectId`` is the BLAKE3-256 of an object's content, a ``CallKey`` that of a call. Both are plain
``bytes``: they are index keys and hash inputs without conversion. A type checker keeps them apart; at run
time they cost nothing.
"""

from __future__ import annotations

from scalable_cas.errors import NotAnId

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NewType

    ObjectId = NewType("ObjectId", bytes)
    CallKey = NewType("CallKey", bytes)
else:
    ObjectId = CallKey = bytes  # a call of `bytes` on exact bytes returns the same object

ID_BYTES = 32
HEX_DIGITS = 64
SHORTEST_PREFIX = 4  # as git: fewer digits are nearly always ambiguous, and a typing mistake
_HEX = frozenset("0123456789abcdef")


def is_hex(text: str) -> bool:
    """Whether ``text`` is made of lower-case hex digits only (and at least one)."""
    return bool(text) and _HEX.issuperset(text)


def parse_id(text: str) -> bytes:
    """Return the 32 bytes behind 64 hex digits, in either case.

    Raises:
        NotAnId: it is not exactly 64 hex digits.
    """
    if not isinstance(text, str):
        raise NotAnId(text, "is not an id: give its hex digits as a str")
    lowered = text.strip().lower()
    if len(lowered) != HEX_DIGITS or not is_hex(lowered):
        raise NotAnId(text, f"is not an id of {HEX_DIGITS} hex digits")
    return bytes.fromhex(lowered)


def prefix_bounds(prefix: str) -> tuple[bytes, bytes]:
    """The smallest and the largest id that start with a hex ``prefix``, both included.

    Raises:
        NotAnId: not hex, too long, or shorter than ``SHORTEST_PREFIX`` digits.
    """
    if not isinstance(prefix, str):
        raise NotAnId(prefix, "is not an id: give its hex digits as a str")
    lowered = prefix.strip().lower()
    if not is_hex(lowered) or len(lowered) > HEX_DIGITS:
        raise NotAnId(prefix, "is not an abbreviated id (hex digits)")
    if len(lowered) < SHORTEST_PREFIX:
        raise NotAnId(prefix, f"is too short; give at least {SHORTEST_PREFIX} digits")
    return bytes.fromhex(lowered.ljust(HEX_DIGITS, "0")), bytes.fromhex(lowered.ljust(HEX_DIGITS, "f"))
