"""Commands run in this process, in a working directory of their own, and a store there to look into."""

from __future__ import annotations

import io
import json
import sys
from typing import NamedTuple

import pytest

from scalable_cas import Store
from scalable_cas.cli.main import main

from .filling import put


class Done(NamedTuple):
    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cas(workdir, capfdbinary, monkeypatch):
    """Run one command and return how it ended and what it printed."""

    def run(*arguments, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        code = main([str(argument) for argument in arguments])
        sys.stdout.flush()
        said = capfdbinary.readouterr()
        return Done(code, said.out, said.err.decode())

    return run


@pytest.fixture
def path(workdir):
    """Where the store of a command run here is."""
    return workdir / ".scalable"


@pytest.fixture
def filled(path):
    """A store with four entries of three functions: keys by the name of the call."""
    with Store.init(path) as store:
        return {
            "small": put(store, "model.run", "small", {"a": 1}, seconds=2.0, age=3_000_000_000),
            "text": put(store, "model.run", "text", "Dear Ada,\n", seconds=60.0, age=2_000_000_000),
            "large": put(store, "report.draw", "large", b"\0" * 5000, seconds=0.25, age=1_000_000_000),
            "pickled": put(store, "model.Grid.run", "pickled", len, seconds=0.001),
        }


@pytest.fixture
def objects(path, filled):
    """Object ids in hex by the name of the call."""
    with Store.open(path) as store:
        keys = {key: name for name, key in filled.items()}
        return {keys[entry.key]: entry.record.oid.hex() for entry in store.entries()}
