"""A hit on an entry that other code made: what is said, and what ``project.on_code_change`` does about it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path

import pytest

from scalable_cas import CacheWarning, StaleCodeWarning, Store, cacheable
from scalable_cas.caching import drift, session
from scalable_cas.errors import CodeChanged
from scalable_cas.format import rows

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import json, sys, warnings
from scalable_cas import ScalableCasError, StaleCodeWarning, cacheable

runs = []

def offset():
    return 0

@cacheable
def f(x):
    runs.append(x)
    return x * 2 + offset()

if __name__ == "__main__":
    said, error, values = [], None, []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cached = f.is_cached(1)
        hit = f.explain(1).hit
        try:
            values = [f(1), f(1), f(2)]
        except ScalableCasError as raised:
            error = [type(raised).__name__, str(raised)]
    said = [[type(w.message).__name__, str(w.message), w.filename] for w in caught]
    print(json.dumps({"values": values, "runs": runs, "said": said, "error": error, "cached": cached, "hit": hit}))
"""
EDIT = ("x * 2", "x * 3")
NOTHING = {
    "comment": ("    runs.append(x)", "    # a comment\n    runs.append(x)  # another"),
    "docstring": ("    runs.append(x)", '    """What it does."""\n    runs.append(x)'),
    "annotation": ("def f(x):", "def f(x: int) -> int:"),
    "layout": ("x * 2", "( x*2 )"),
    "place in the file": ("def offset():", "class Other:\n    pass\n\n\ndef offset():"),
    "a helper": ("return 0", "return 0 + 0"),
}


@pytest.fixture
def program(run, workdir, monkeypatch):
    """Run the program, edited or not, under a policy; what it reports."""
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))

    def start(edit=None, policy=None, python=None):
        (workdir / "main.py").write_text(PROGRAM if edit is None else PROGRAM.replace(*edit))
        (workdir / "scalable.yaml").unlink(missing_ok=True)
        if policy is not None:
            (workdir / "scalable.yaml").write_text(f"project:\n  on_code_change: {policy}\n")
        if python is None:
            done = run("main.py", PYTHONDONTWRITEBYTECODE="1")
        else:
            env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(
                [python, "main.py"], cwd=workdir, env=env, capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return start


def test_a_changed_function_is_warned_about_once(program, workdir):
    assert program()["said"] == []
    found = program(EDIT)
    assert (found["values"], found["runs"]) == ([2, 2, 4], [])
    ((kind, text, place),) = found["said"]
    assert kind == "StaleCodeWarning"
    assert place == str(workdir / "main.py")
    for word in ("main.f", "_version", '_code="self"', "on_code_change"):
        assert word in text
    assert found["cached"] and found["hit"]
    assert len(program(EDIT)["said"]) == 1  # again in the next process


@pytest.mark.parametrize("edit", NOTHING.values(), ids=NOTHING.keys())
def test_what_means_nothing_is_not_warned_about(program, edit):
    program()
    for policy in ("warn", "error"):
        found = program(edit, policy)
        assert (found["said"], found["runs"], found["error"]) == ([], [], None)


def test_recompute_replaces(program):
    program()
    found = program(EDIT, "recompute")
    assert (found["values"], found["runs"], found["said"]) == ([3, 3, 6], [1, 2], [])
    assert not found["cached"]
    assert not found["hit"]
    found = program(EDIT, "recompute")
    assert (found["values"], found["runs"]) == ([3, 3, 6], [])
    assert found["cached"]


def test_error_refuses_before_the_function_runs(program):
    program()
    found = program(EDIT, "error")
    assert (found["values"], found["runs"]) == ([], [])
    assert found["error"][0] == "CodeChanged"
    assert "main.f" in found["error"][1]
    assert not found["cached"]
    assert program(None, "error")["values"] == [2, 2, 4]


def test_ignore_says_nothing(program):
    program()
    found = program(EDIT, "ignore")
    assert (found["values"], found["said"], found["runs"]) == ([2, 2, 4], [], [])


def test_a_wrong_value_costs_the_cache_and_one_warning(program, run, workdir):
    program()
    found = program(EDIT, "sometimes")
    assert found["values"] == [3, 3, 6]
    ((kind, text, _),) = found["said"]
    assert kind == "CacheWarning"
    assert "on_code_change" in text
    assert "warn, recompute, error, ignore" in text


def test_the_setting_counts_wherever_the_store_is(run, workdir, monkeypatch):
    monkeypatch.delenv("SCALABLE_CACHE_DIR", raising=False)
    (workdir / "scalable.yaml").write_text("project:\n  local_cache: ./c\n  on_code_change: recompute\n")
    (workdir / "deeper").mkdir()
    for text, values in ((PROGRAM, [2, 2, 4]), (PROGRAM.replace(*EDIT), [3, 3, 6])):
        (workdir / "main.py").write_text(text)
        done = run("main.py", PYTHONDONTWRITEBYTECODE="1")
        assert json.loads(done.stdout)["values"] == values


def others():
    """Other versions of Python that can run us, as far as they are on the path."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = (shutil.which(f"python{version}") for version in ("3.11", "3.12", "3.13") if version != here)
    return [path for path in found if path and _usable(path)]


def _usable(path):
    program = "import blake3, lmdb, msgpack, zstandard"
    return subprocess.run([path, "-c", program], capture_output=True, check=False).returncode == 0


def test_another_python_is_no_other_code(program):
    pythons = others()
    if not pythons:
        pytest.skip("no other version of Python with the dependencies")
    program()
    for python in pythons:
        assert program(None, "error", python)["values"] == [2, 2, 4]
        assert program(EDIT, "error", python)["error"][0] == "CodeChanged"


# --- in one process ----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _fresh(workdir, monkeypatch):
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "cache"))
    monkeypatch.setattr(drift, "_said", set())
    monkeypatch.setattr(drift, "_decorated", {})
    monkeypatch.setattr(session, "_project", None)
    monkeypatch.setattr(session, "_session", None)


def load(workdir, text, name="module.py"):
    """A module that is run from a file."""
    path = workdir / name
    path.write_text("from scalable_cas import cacheable\nruns = []\n" + text)
    module = types.ModuleType("module")
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    return module


BEFORE = "@cacheable\ndef f(x):\n    runs.append(x)\n    return x + 1\n"
AFTER = BEFORE.replace("+ 1", "- 1")


def changed(workdir, before=BEFORE, after=AFTER):
    """The function as it is after an edit, in what acts as another process."""
    old = load(workdir, before)
    assert old.f(1) in (2, 0)
    drift._decorated.clear()
    return load(workdir, after)


def test_a_warning_that_is_an_error_reaches_the_caller(workdir):
    module = changed(workdir)
    with pytest.raises(StaleCodeWarning, match="module"):
        module.f(1)


def test_bypass_replaces_and_ends_the_warning(workdir):
    module = changed(workdir)
    assert module.f(1, _cache_bypass=True) == 0
    assert module.f(1) == 0
    assert module.runs == [1]


@pytest.mark.parametrize("code", ["self", "deps"])
def test_code_in_the_key_needs_no_warning(workdir, code):
    option = f"@cacheable(_code={code!r})\n"
    module = changed(workdir, BEFORE.replace("@cacheable\n", option), AFTER.replace("@cacheable\n", option))
    assert module.f(1) == 0
    assert module.f(1) == 0
    assert module.runs == [1]
    assert module.f.cache_clear() == 2  # the entries of every code


def test_an_async_function(workdir):
    before, after = (text.replace("def f", "async def f") for text in (BEFORE, AFTER))
    old = load(workdir, before)
    assert asyncio.run(old.f(1)) == 2
    drift._decorated.clear()
    module = load(workdir, after)
    with pytest.warns(StaleCodeWarning, match="module"):
        assert asyncio.run(module.f(1)) == 2
    (workdir / "scalable.yaml").write_text("project:\n  on_code_change: error\n")
    session._project = session._session = None
    with pytest.raises(CodeChanged):
        asyncio.run(load(workdir, after.replace("x - 1", "x - 2")).f(1))


def test_a_rebuilt_index_knows_the_code(workdir):
    module = changed(workdir)
    with Store.open(workdir / "cache") as store:
        (before,) = [row for _, row in store.index.scan("refs")]
    session._stores.popitem()[1].close()
    shutil.rmtree(workdir / "cache" / "index")
    session._session = None
    with pytest.warns(CacheWarning) as caught:  # that the index was rebuilt, and that the code is another
        assert module.f(1) == 2
    assert [w.category for w in caught if "module.f" in str(w.message)] == [StaleCodeWarning]
    with Store.open(workdir / "cache") as store:
        (after,) = [row for _, row in store.index.scan("refs")]
        (record,) = [store.index.record(key) for key, _ in store.index.scan("refs")]
    assert rows.REF.unpack_from(after)[-1] == rows.REF.unpack_from(before)[-1] == rows.code_mark(record.code)
    assert [form.partition(":")[0][:3] for form in record.code] == ["bc-", "ast"]


def test_an_entry_without_a_known_code_is_no_other_code(workdir, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(drift.CodeGuard, "forms", lambda _: ())
        old = load(workdir, BEFORE)
        assert old.f(1) == 2
    drift._decorated.clear()
    assert load(workdir, AFTER).f(1) == 2


def test_two_functions_of_one_name_are_warned_about(workdir):
    with pytest.warns(StaleCodeWarning, match="decorated a second time"):
        load(workdir, BEFORE + AFTER)


def test_the_same_code_twice_is_not(workdir):
    load(workdir, BEFORE)
    load(workdir, BEFORE)
    load(workdir, "\n\n" + BEFORE.replace("    return", "    # why\n    return"))
    load(
        workdir,
        "def make(k):\n    @cacheable\n    def f(x):\n        return x + k\n    return f\nmake(1), make(2)\n",
    )


def test_a_warm_hit_reads_no_source_and_no_record(workdir, monkeypatch):
    module = load(workdir, BEFORE)
    module.f(1)
    module.f(1)
    from scalable_cas.keys import code
    from scalable_cas.storage.index import Index

    def never(*_):
        raise AssertionError("a warm hit looked at the code")

    monkeypatch.setattr(code, "_read", never)
    monkeypatch.setattr(code, "bytecode_fingerprint", never)
    monkeypatch.setattr(Index, "record", never)
    monkeypatch.setattr(drift.CodeGuard, "accepts", never)
    assert module.f(1) == 2


def test_threads_warn_once(workdir):
    module = changed(workdir)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=module.f, args=(1,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [w.category for w in caught] == [StaleCodeWarning]


def test_a_decorated_wrapper_counts_where_it_is_the_users(workdir):
    wrapper = "import functools\ndef deco(g):\n    @functools.wraps(g)\n    def w(x):\n        return {} * g(x)\n    return w\n"
    before = wrapper.format(1) + BEFORE.replace("@cacheable", "@cacheable\n@deco")
    module = changed(workdir, before, wrapper.format(2) + BEFORE.replace("@cacheable", "@cacheable\n@deco"))
    with pytest.warns(StaleCodeWarning):
        assert module.f(1) == 2


def test_it_is_a_cache_warning():
    assert issubclass(StaleCodeWarning, CacheWarning)
    assert cacheable(lambda x: x)(1) == 1
