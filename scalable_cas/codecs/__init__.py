"""Values to bytes and back, each by the safest codec that gives it back as it was."""

from __future__ import annotations

from scalable_cas.codecs.base import Encoded, decode, encode, register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.codecs.base import Codec as Codec  # a Protocol: only type checkers need it

__all__ = ["Encoded", "decode", "encode", "register"]
