"""Golden values of pandas, Arrow and polars: expression -> the libraries that it needs, as alias -> module. Only
ever added to. Helper functions here may be used in the expressions.
"""

from __future__ import annotations

VALUES: dict[str, dict[str, str]] = {}
