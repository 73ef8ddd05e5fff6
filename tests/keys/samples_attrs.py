"""An attrs class that golden keys are made of. What is here never changes: its names are in those keys."""

from __future__ import annotations

import attrs


@attrs.define
class Point:
    x: int
    y: int = 0
    note: str = attrs.field(default="", metadata={"cache_key": False})
