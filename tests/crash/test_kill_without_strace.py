"""The same kills where there is no ptrace: before every change that storage/fs.py makes. LMDB's own writes are left to strace."""

from __future__ import annotations

import pytest

from tests.support import scenarios
from tests.support.processes import run

#: For the default run: one of each kind of work.
SOME = ("first", "duplicate", "overwrite", "clear", "collect", "reopen", "configure")


def sweep(name, tmp_path, monkeypatch):
    template = tmp_path / "template"
    before = [
        line for line in run("tests.support.scenarios", "prepare", name, store=template).split("\n") if line
    ]
    ends = run("tests.support.sweeps", name, "kill", template, tmp_path / "points", seconds=170).split("\n")[
        :-1
    ]
    wrong = []
    for line in ends:
        number, status = line.split()
        assert status in ("-9", "99"), (line, (tmp_path / "points" / number / "warned").read_text())
        store = tmp_path / "points" / number / "store"
        monkeypatch.setenv("SCALABLE_CACHE_DIR", str(store))
        said = (tmp_path / "points" / number / "said").read_text().splitlines()
        wrong += [
            f"{name}, killed before change {number}: {text}"
            for text in scenarios.check(str(store), name, before, said)
        ]
    print(f"{name}: {len(ends)} points")
    assert not wrong, "\n".join(wrong)
    assert len(ends) > 1, "the program changes nothing"


@pytest.mark.parametrize("name", SOME)
def test_every_change_of_files(name, tmp_path, monkeypatch):
    sweep(name, tmp_path, monkeypatch)


@pytest.mark.crash
@pytest.mark.parametrize("name", sorted(set(scenarios.PROGRAMS) - set(SOME)))
def test_every_change_of_files_of_the_longer_programs(name, tmp_path, monkeypatch):
    sweep(name, tmp_path, monkeypatch)
