"""Warnings that point at the user's line, however many of our frames lie between."""

from __future__ import annotations

import os
import sys

from scalable_cas.errors import CacheWarning

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def warn(text: str, category: type[CacheWarning] = CacheWarning) -> None:
    """Emit a warning for the nearest caller outside this package."""
    import warnings

    level = 1
    frame = sys._getframe(0)  # noqa: SLF001 - the documented way; `warnings` itself counts frames with it
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
        level += 1
    warnings.warn(text, category, stacklevel=level)
