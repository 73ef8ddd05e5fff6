"""What the benchmarks share: marks, and a program in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

US = "scalable-cas"
_HERE = Path(__file__).parent


def benchmark_beside(*peers):
    """The marks of a module that needs these packages."""
    import pytest

    missing = [name for name in peers if find_spec(name) is None]
    return [
        pytest.mark.bench,
        pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}; pip install '.[test,bench]'"),
    ]


def program(script, what, peer, folder):
    """What ``python SCRIPT WHAT PEER FOLDER`` printed."""
    env = {**os.environ, "PYTHONPATH": str(_HERE.parents[1]), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, _HERE / script, what, peer, folder],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
