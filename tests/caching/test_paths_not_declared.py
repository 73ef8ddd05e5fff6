"""A path that is not declared is only a text. Whoever may have meant the file is told so, once."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from scalable_cas.caching import DirType, FileType, ValueType, cacheable
from tests.support.stores import recorded


@pytest.fixture(autouse=True)
def _files(workdir, monkeypatch):
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))
    for name in ("one", "two"):
        (workdir / name).write_text(name)


def size(p, q=0, *rest, **more):
    return str(p)


def said(function, *calls):
    with recorded() as texts:
        for args, kwargs in calls:
            function(*args, **kwargs)
    return texts


def test_it_is_said_once_of_each_argument():
    function = cacheable(size)
    texts = said(function, *(((Path(name),), {}) for name in ("one", "one", "two")))
    assert len(texts) == 1
    assert "argument 'p' is a path, of which only the text counts" in texts[0]
    for remedy in ("p=FileType", "p=DirType", "p=ValueType"):
        assert remedy in texts[0]
    texts = said(function, ((1, Path("one")), {}), ((1, 2, 3), {"key": Path("two")}), ((1, 2, Path(".")), {}))
    assert [text.split("'")[1] for text in texts] == ["q", "key", "rest"]


@pytest.mark.parametrize("value", ["one", PurePath("one"), Path("nowhere"), [Path("one")]])
def test_of_what_is_no_path_of_a_file_nothing_is_said(value):
    assert said(cacheable(size), ((value,), {})) == []


@pytest.mark.parametrize("declared", [FileType, DirType, ValueType, Path])
def test_whoever_declared_it_has_thought_of_it(declared):
    value = Path("." if declared is DirType else "one")
    options = {"_arg_types": {"p": declared}, "_store": "../elsewhere"}
    assert said(cacheable(**options)(size), ((value,), {})) == []
    assert said(cacheable(_ignore=("p",))(size), ((value,), {})) == []


def test_a_hit_says_nothing():
    assert len(said(cacheable(size), ((Path("one"),), {}))) == 1
    assert said(cacheable(size), ((Path("one"),), {})) == []  # another wrapper: as in the next process
