from __future__ import annotations

import pytest

from tests.support.stores import forget_open_stores


class Runs:
    """The runs that cached functions noted."""

    def __init__(self, path):
        self.path = path

    def lines(self) -> list[str]:
        return self.path.read_text().split("\n")[:-1] if self.path.exists() else []


@pytest.fixture
def store_path(tmp_path, monkeypatch):
    path = tmp_path / "store"
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(path))
    return path


@pytest.fixture
def runs(tmp_path, monkeypatch):
    path = tmp_path / "runs"
    monkeypatch.setenv("RUNS", str(path))
    return Runs(path)


@pytest.fixture
def gate(tmp_path, monkeypatch):
    path = tmp_path / "gate"
    monkeypatch.setenv("GATE", str(path))
    return path


@pytest.fixture(autouse=True)
def _closed():
    """No store stays open from one test to the next."""
    yield
    forget_open_stores()
