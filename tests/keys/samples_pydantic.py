"""A pydantic model that golden keys are made of. What is here never changes: its names are in those keys."""

from __future__ import annotations

import pydantic


class Grid(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    rows: int = 1
    name: str = "grid"
    _state: int = pydantic.PrivateAttr(default=3)
