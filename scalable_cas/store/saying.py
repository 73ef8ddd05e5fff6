"""Warnings that point at the user's line, however many of our frames lie between."""

from __future__ import annotations

import os
import sys

from scalable_cas.errors import (
    CacheWarning,
    ObjectNotFound,
    ObjectUnreadable,
    StoreReadOnly,
    UntrustedEntry,
)

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def cause_of(error: BaseException) -> str:
    """What a fault of the cache is about: two of one cause are told once."""
    if isinstance(error, ObjectNotFound):  # whoever removes ``objects/`` removes thousands
        return "missing"
    if isinstance(error, UntrustedEntry) and error.cause:  # a signer may have made as many
        return error.cause
    if isinstance(
        error, (StoreReadOnly, ObjectUnreadable)
    ):  # a full disk refuses every file, each by its name
        return f"{type(error).__name__}:{error.reason}"
    if isinstance(error, OSError) and error.strerror:
        return f"OSError:{error.strerror}"
    oid: str = getattr(error, "oid", "")
    return oid or f"{type(error).__name__}:{getattr(error, 'path', '') or error}"


def warn(text: str, category: type[CacheWarning] = CacheWarning) -> None:
    """Emit a warning for the nearest caller outside this package."""
    import warnings

    level = 1
    frame = sys._getframe(0)  # noqa: SLF001 - the documented way; `warnings` itself counts frames with it
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
        level += 1
    warnings.warn(text, category, stacklevel=level)
