"""What every test starts from: nobody's own configuration, one profile of hypothesis, a folder of its own
where one is asked for.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Variables through which a developer's own configuration, credentials or store could reach a test.
_LEAKS = ("SCALABLE_", "AWS_", "XDG_", "BOTO_")

# Tests are deterministic: the same examples each time, no limit of time on a shared machine, and no database
# of earlier failures. `tox -e deep` searches at random, and much longer.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", derandomize=True, database=None, max_examples=60, **_COMMON)
settings.register_profile("deep", max_examples=3000, print_blob=True, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config):
    """Compile the package once, also where PYTHONDONTWRITEBYTECODE is set: tests start thousands of processes, and each
    would compile what it imports again, which is three quarters of the time of a small program.
    """
    if not hasattr(config, "workerinput"):
        for folder in ("scalable_cas", "tests"):
            compileall.compile_dir(ROOT / folder, quiet=2)


@pytest.fixture(scope="session", autouse=True)
def _nobody(tmp_path_factory):
    """The environment of a user who has never used the cache; worker processes inherit it."""
    home = tmp_path_factory.mktemp("home")
    for folder in home.parents:  # a store is looked for upward
        if (folder / ".scalable").exists() or (folder / "scalable.yaml").exists():
            pytest.exit(f"tests would find the store or scalable.yaml in {folder}; move it, or set TMPDIR", 2)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_LEAKS):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        yield


@pytest.fixture(scope="session")
def servers():
    """A function from a server's name to the running server: started at the first test of all that wants it, ended with
    the session. One that cannot start is a skip that says why.
    """
    from tests.support.servers import CannotStart, server

    running, refused = {}, {}
    with ExitStack() as stack:

        def get(name):
            if name not in running and name not in refused:
                try:
                    running[name] = stack.enter_context(server(name))
                except CannotStart as error:
                    refused[name] = f"{name} cannot start here: {error}"
            if name in refused:
                pytest.skip(refused[name])
            return running[name]

        yield get


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A working directory of its own, which is also where `run` starts."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(workdir):
    """Run `python ARGS` in the working directory, as a user would, and return what came of it (text, both
    streams).
    """

    def start(*args, **env):
        return subprocess.run(
            [sys.executable, *map(str, args)],
            cwd=workdir,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return start


@pytest.fixture(scope="session")
def torch():
    """Imported here, not at collection: it takes seconds."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the import itself, which is not ours
        import torch

        return torch
