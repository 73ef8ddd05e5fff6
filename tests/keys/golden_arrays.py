"""Golden values of numpy, scipy, xarray, torch, attrs and pydantic: expression -> the libraries that it needs, as alias -> module. Only
ever added to. Helper functions here may be used in the expressions.
"""

from __future__ import annotations

VALUES: dict[str, dict[str, str]] = {}
