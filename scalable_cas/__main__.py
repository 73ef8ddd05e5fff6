"""`python -m scalable_cas` is `scalable-cas`."""

from __future__ import annotations

import sys

from scalable_cas.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
