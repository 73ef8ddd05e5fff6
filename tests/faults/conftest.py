from __future__ import annotations

import pytest

from tests.support.stores import forget_open_stores


@pytest.fixture
def store_path(tmp_path, monkeypatch):
    path = tmp_path / "store"
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(path))
    return path


@pytest.fixture(autouse=True)
def _closed():
    yield
    forget_open_stores()
