"""Every kind of remote keeps the contract, on every server that there is."""

from __future__ import annotations

import os
from itertools import count

import pytest

from scalable_cas.remotes.base import RemoteFile
from scalable_cas.testing.remotes import ATOMIC, CHECKS, check_remote


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_remote_keeps_the_contract(check, opener, tmp_path):
    folder = tmp_path / "local"
    folder.mkdir()
    check(opener, str(folder))


@pytest.mark.parametrize("check", ATOMIC, ids=lambda check: check.__name__)
def test_conditional_writes_are_atomic(check, opener, place, tmp_path):
    if "swift" in place:
        pytest.skip("Swift's conditional writes let two win of a race: right, not atomic")
    check(opener, str(tmp_path))


class Wrong:
    """A remote with one defect."""

    def __init__(self, inner, **wrong):
        self._inner = inner
        self._wrong = wrong

    def __getattr__(self, name):
        return self._wrong.get(name, getattr(self._inner, name))


def defects(remote):
    """What people get wrong, each as a method that takes the place of the right one."""
    yield "replaces", {"put": lambda name, data, exclusive=True: remote.put(name, data, exclusive=False)}
    yield "always makes", {"put": lambda *a, **k: remote.put(*a, **k) or True}
    yield "no largest", {"get": lambda name, largest, **k: remote.get(name, largest=1 << 40, **k)}
    yield (
        "no offset",
        {"get": lambda name, largest, offset=0, length=None: remote.get(name, largest=1 << 40)[:length]},
    )
    yield "missing is empty", {"size": lambda name: remote.size(name) or 0}
    yield "no order", {"list": lambda *a, **k: reversed(list(remote.list(*a, **k)))}
    yield "no after", {"list": lambda prefix, after="": remote.list(prefix)}
    yield "one page", {"list": lambda *a, **k: iter(list(remote.list(*a, **k))[:1000])}
    yield "sizes", {"list": lambda *a, **k: (RemoteFile(f.name, 0) for f in remote.list(*a, **k))}
    yield "keeps", {"delete": lambda names: remote.delete(list(names)[:1])}
    numbers = count()
    yield (
        "flips",
        {
            "get": lambda *a, **k: (
                bytes(b ^ 1 for b in remote.get(*a, **k)) if next(numbers) == 3 else remote.get(*a, **k)
            )
        },
    )
    yield "probe", {"probe": lambda: remote.put("probe/left", b"") and remote.probe()}


@pytest.mark.parametrize("number", range(12))
def test_the_suite_finds_a_defect(number, tmp_path):
    from scalable_cas.remotes.base import open_remote

    remote = open_remote(f"file://{tmp_path}/remote")
    name, wrong = list(defects(remote))[number]
    with pytest.raises(AssertionError, match=r"^[a-z_]+: "):
        check_remote(lambda: Wrong(remote, **wrong), str(tmp_path / "local"))
    assert name


def test_the_suite_leaves_nothing_in_the_place(tmp_path):
    from scalable_cas.remotes.base import open_remote

    check_remote(lambda: open_remote(f"file://{tmp_path}/remote"), str(tmp_path / "local"))
    assert [files for _, _, files in os.walk(tmp_path / "remote") if files] == []
