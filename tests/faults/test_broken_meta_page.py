"""A write of LMDB's meta page that fails once: afterwards LMDB refuses everything in this process, until it is opened anew."""

from __future__ import annotations

import lmdb
import pytest

from scalable_cas.caching.session import current
from tests.concurrency.functions import quick, value
from tests.support import strace
from tests.support.processes import ROOT, command, environment
from tests.support.stores import assert_whole, forget_open_stores, quiet

PROGRAM = """
import warnings
warnings.simplefilter("ignore")
from tests.concurrency.functions import quick, value
for n in range(6):
    assert quick(n, _cache_bypass=True) == value(n)
hits = quick.cache_info().hits
assert quick(5) == value(5)
assert quick.cache_info().hits == hits + 1, "the cache is back"
print(sum(map(quick.is_cached, range(6))))
"""


@pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not())
def test_the_cache_comes_back_in_the_same_process(store_path, tmp_path):
    import subprocess

    quick(100)
    forget_open_stores()
    log = tmp_path / "log"
    meta = [
        p
        for p in strace.points(PROGRAM, store=store_path, log=log)
        if p.name == "pwrite64" and "data.mdb" in p.what and ", 120, " in p.what
    ]
    assert len(meta) >= 6
    point = meta[2]
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", f"inject=pwrite64:error=EIO:when={point.number}", *command(PROGRAM)],
        cwd=ROOT, env=environment(store_path), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4
    assert_whole(store_path)


def test_whatever_lmdb_says_a_call_returns(store_path, monkeypatch):
    """Errors where a look-up begins: each is answered by running the function, and by opening anew if need be."""
    assert quick(1) == value(1)
    environment_ = current().store.index.environment
    for error in (
        lmdb.PanicError,
        lmdb.CorruptedError,
        lmdb.PageNotFoundError,
        lmdb.BadRslotError,
        lmdb.ReadersFullError,
    ):
        original = environment_._begin_read

        def fail(error=error):
            raise error("injected")

        with quiet():
            environment_._begin_read = fail
            assert quick(2, _cache_bypass=True) == value(2)
            assert quick(1) == value(1)
            if current().store.index.environment is environment_:
                environment_._begin_read = original
            else:
                environment_ = current().store.index.environment
    with quiet():
        assert quick(1) == value(1)
        forget_open_stores()
    assert_whole(store_path)
