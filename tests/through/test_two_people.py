"""What one person computed, everyone has."""

from __future__ import annotations

import signal
import time

import pytest


@pytest.fixture(params=["file", "s3"])
def url(request, place):
    return place if request.param == "file" else request.getfixturevalue("moto")[1]


def test_a_result_of_one_is_a_hit_of_the_other(person, url):
    ada, bob = person("ada", url), person("bob", url)
    out, err = ada.run("print(square(7), len(large(20)))")
    assert (ada.ran(), err) == (["square 7", "large 20"], "")
    again, err = bob.run("print(square(7), len(large(20)))")
    assert (again, bob.ran(), err) == (out, [], "")
    bob.run("square(7)")  # from his own store by now
    assert bob.ran() == []


def test_a_project_file_names_the_remote(person, place):
    ada, bob, cyd = (person(name, "") for name in ("ada", "bob", "cyd"))
    for who, line in ((ada, "remote"), (bob, "local_cache"), (cyd, "remote")):
        (who.folder / "work" / "scalable.yaml").write_text(f"project:\n  {line}: {place}\n")
    ada.run("square(7)")
    bob.run("square(7)")
    assert (bob.ran(), bob.store.is_dir()) == ([], True)
    pulled = cyd.command("pull")  # `origin`, where no remote is called so
    assert pulled.returncode == 0, pulled.stderr
    cyd.extra["SCALABLE_CACHE_REMOTE"] = "file:///nowhere/at/all"
    cyd.run("square(7)")
    assert cyd.ran() == []


@pytest.mark.parametrize(
    "text, said",
    [
        ("remote: shared/cache", "write file:///"),
        ("remote: s3://key:secret@bucket/x", "leave the credentials out"),
        ("remote: ftp://host/x", "nothing installed knows ftp://"),
        ("remote: file:///a\n  local_cache: file:///b", "name two remotes"),
    ],
)
def test_a_remote_that_cannot_be_is_said_once_and_the_function_runs(person, text, said):
    ada = person("ada", "")
    (ada.folder / "work" / "scalable.yaml").write_text(f"project:\n  {text}\n")
    out, err = ada.run("print(square(7)['square'], square(7)['square'])")
    assert out == "49 49\n"
    assert err.count("CacheWarning") == 1
    assert said in err
    assert "secret" not in err


def test_a_pickled_result_comes_only_from_a_trusted_signer(person, place):
    ada, bob = person("ada", place), person("bob", place)
    ada.run("opaque(1)")
    _, err = bob.run("opaque(1), opaque(1); print(opaque.is_cached(2))")
    assert bob.ran() == ["opaque 1"]
    assert err.count("CacheWarning") == 1
    assert "scalable-cas trust add ed25519:" in err
    assert not list((bob.store / "objects").rglob("*.pack"))
    cyd = person("cyd", place)
    key = ada.command("trust", "show-key").stdout.strip()
    assert cyd.command("trust", "add", key).returncode == 0
    _, err = cyd.run("print(opaque.is_cached(1)); opaque(1)")
    assert (cyd.ran(), err) == ([], "")


def test_coroutines_read_and_write_through(person, place):
    ada, bob = person("ada", place), person("bob", place)
    code = "import asyncio; print(asyncio.run(later(1)))"
    assert ada.run(code)[0] == bob.run(code)[0] == "2\n"
    assert (ada.ran(), bob.ran()) == (["later 1"], [])


def test_is_cached_looks_there_too(person, place):
    person("ada", place).run("square(7)")
    bob = person("bob", place)
    out, _ = bob.run("print(square.is_cached(7), square.is_cached(8))")
    assert (out, bob.ran()) == ("True False\n", [])


def test_explain_says_what_is_cached_says(person, place):
    ada, bob = person("ada", place), person("bob", place)
    ada.run("square(7)")
    out, _ = bob.run("told = square.explain(7); print(told.hit, told); print(square.explain(8).hit)")
    assert out == "True pipeline.square: stored: this call is in the remote; a call fetches it\nFalse\n"
    assert bob.ran() == []


def test_what_is_too_old_there_is_not_cached(person, place):
    ada, bob = person("ada", place), person("bob", place)
    ada.run("square(7)")
    for seconds, cached in ((3600, True), (1e-9, False)):
        brief = f"f = cacheable(_ttl={seconds})(square.__wrapped__)"
        assert bob.run(f"{brief}; print(f.is_cached(7), f.explain(7).hit)")[0] == f"{cached} {cached}\n"


def test_what_other_code_made_there_is_not_cached_where_it_is_not_to_be_used(person, place):
    ada, bob = person("ada", place), person("bob", place)
    ada.run("square(7)")
    module = bob.folder / "work" / "pipeline.py"
    module.write_text(module.read_text().replace("n * n}", "n * n, 'cube': n ** 3}"))
    asked = "print(square.is_cached(7), square.explain(7).hit)"
    for mode, said in (("warn", "True True\n"), ("recompute", "False False\n")):
        (bob.folder / "work" / "scalable.yaml").write_text(f"project:\n  on_code_change: {mode}\n")
        assert bob.run(asked)[0] == said
    bob.run("square(7)")
    assert bob.ran() == ["square 7"]


def test_nothing_is_looked_up_or_sent_without_store(person, place):
    person("ada", place).run("square(7)")
    bob = person("bob", place)
    bob.run("from scalable_cas import cacheable; cacheable(store=False)(square.__wrapped__)(7)")
    assert bob.ran() == ["square 7"]


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_workers_read_and_write_through(person, place, how):
    ada, bob = person("ada", place), person("bob", place)
    pool = (
        "from concurrent.futures import ProcessPoolExecutor as P; from multiprocessing import get_context as c\n"
        f"if __name__ == '__main__':\n  with P(3, c('{how}')) as p: print(sum(x['square'] for x in p.map(square, range(9))))"
    )
    for who in (ada, bob):
        (who.folder / "work" / "main.py").write_text(f"from pipeline import square\n{pool}")
        out, err = who.run(
            "import subprocess, sys; print(subprocess.check_output([sys.executable, 'main.py']))"
        )
        assert "204" in out, err
    assert len(ada.ran()) == 9
    assert bob.ran() == []


def test_what_a_killed_program_stored_is_sent_by_the_next(person, place):
    ada, bob = person("ada", place), person("bob", place)
    process = ada.start("square(7); time.sleep(0.3); print('stored', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "stored\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ada.run("square(8)")
    bob.run("square(7), square(8)")
    assert bob.ran() == []


def test_what_took_long_is_sent_at_once(person, place):
    ada, bob = person("ada", place), person("bob", place)
    code = "import scalable_cas.ops.through as t; t.LONG = 0.2\n@cacheable\ndef slow(n): note('slow'); time.sleep(0.3); return n\n"
    (ada.folder / "work" / "slow.py").write_text(f"from pipeline import *\n{code}")
    (bob.folder / "work" / "slow.py").write_text(f"from pipeline import *\n{code}")
    process = ada.start("from slow import slow; slow(1); print('stored', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "stored\n"
    until = time.monotonic() + 20
    while bob.ran_file.exists() or bob.run("from slow import slow; print(slow.is_cached(1))")[0] != "True\n":
        assert time.monotonic() < until
    process.kill()
    process.communicate()


def test_what_is_computed_after_the_remote_was_switched_off_is_not_sent(person, place):
    ada, bob = person("ada", place), person("bob", place)
    ada.run("square(1); del os.environ['SCALABLE_CACHE_REMOTE']; square(2)")
    bob.run("square(1), square(2)")
    assert bob.ran() == ["square 2"]
