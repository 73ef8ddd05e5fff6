"""A remote that calls read and write through, and programs that do so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.remotes.conftest import moto, use  # noqa: F401

ROOT = Path(__file__).parents[2]

#: A pipeline's module: each run of a function is a line in ``ran``.
MODULE = """
import os, random, sys, time
from scalable_cas import cacheable

def note(what):
    with open(os.environ["RAN"], "a") as file:
        print(what, file=file)

@cacheable
def square(n):
    note(f"square {n}")
    return {"n": n, "square": n * n}

@cacheable
def opaque(n):
    note(f"opaque {n}")
    return {"n": n, "call": print}  # a function: pickled

@cacheable
def large(n):
    note(f"large {n}")
    return random.Random(n).randbytes(n << 20)

@cacheable
async def later(n):
    note(f"later {n}")
    return n + 1
"""


class Person:
    """Somebody with a folder, a home and a store of his own, who uses ``url`` as his remote."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        (folder / "work").mkdir(parents=True)
        (folder / "work" / "pipeline.py").write_text(MODULE)
        self.ran_file = folder / "ran"
        self.extra: dict[str, str] = {}

    @property
    def store(self) -> Path:
        return self.folder / "work" / ".scalable"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": "",
            "TMPDIR": str(self.folder),  # where somebody without a home has his key
            "PYTHONPATH": str(ROOT),
            "RAN": str(self.ran_file),
            "SCALABLE_CACHE_REMOTE": self.url,
            **self.extra,
        }

    def start(self, code: str) -> subprocess.Popen[str]:
        """Begin a program that has all of the pipeline in scope."""
        return subprocess.Popen(
            [sys.executable, "-c", f"from pipeline import *\n{code}"],
            cwd=self.folder / "work",
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> tuple[str, str]:
        """What such a program prints, and what it says on stderr."""
        process = self.start(code)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out, err

    def ran(self) -> list[str]:
        """What was computed so far, since this was asked last."""
        found = self.ran_file.read_text().splitlines() if self.ran_file.exists() else []
        self.ran_file.unlink(missing_ok=True)
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scalable_cas", *arguments],
            cwd=self.folder / "work",
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def person(tmp_path):
    """Makes somebody of a name, who uses a URL."""
    return lambda name, url: Person(tmp_path / name, url)


@pytest.fixture
def place(tmp_path):
    """The URL of a remote in a folder."""
    return f"file://{tmp_path}/remote"
