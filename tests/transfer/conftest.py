"""Two people and a place between them."""

from __future__ import annotations

import pytest

from scalable_cas import Store

from .people import Place


@pytest.fixture
def place(tmp_path):
    """A remote in a folder."""
    return Place(tmp_path / "remote")


@pytest.fixture
def ada(tmp_path):
    """Her store."""
    with Store.init(tmp_path / "ada") as store:
        yield store


@pytest.fixture
def bob(tmp_path):
    """His store."""
    with Store.init(tmp_path / "bob") as store:
        yield store
