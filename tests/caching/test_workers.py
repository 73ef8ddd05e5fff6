"""Cached functions in worker processes: what they store and count is there afterwards; they travel as
functions do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from scalable_cas import Store
from scalable_cas.storage.environment_files import is_as_left
from tests.support.processes import environment

POOL = """
from multiprocessing import Pool
from scalable_cas import cacheable

@cacheable
def double(i):
    return 2 * i

if __name__ == "__main__":
    with Pool(4) as pool:  # ends its workers with SIGTERM as soon as the last result is there
        print(sum(pool.map(double, range(200), chunksize=10)))
"""

TRAVEL = """
import pickle, subprocess, sys
import cloudpickle
from scalable_cas import cacheable

@cacheable
def plain(x):
    return x + 1

def make(k):
    @cacheable(_version=3, x=int)
    def scaled(x):
        return x * k
    return scaled

if __name__ == "__main__":
    scaled = make(7)
    here = [plain(1), scaled(2), plain.cache_key(1), scaled.cache_key(2)]
    program = (
        "import pickle, sys; plain, scaled = pickle.loads(sys.stdin.buffer.read());"
        "print([plain(1), scaled(2), plain.cache_key(1), scaled.cache_key(2)], plain.cache_info().hits)"
    )
    sent = cloudpickle.dumps((plain, scaled))
    there = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
    print(there.stdout.decode().strip() == f"{here} 1")
"""

EXECUTORS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from scalable_cas import cacheable

@cacheable
def square(i):
    return i * i

if __name__ == "__main__":
    for method in ("spawn", "fork", "forkserver"):
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            assert list(pool.map(square, range(5))) == [0, 1, 4, 9, 16]
    print(square.cache_info().entries)
"""


def script(workdir, run, text, name="s.py"):
    (workdir / name).write_text(text)
    done = run(name)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout.strip()


def report(run, *which):
    done = run("-m", "scalable_cas", "report", *which, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_pool_loses_no_result(workdir, run):
    assert script(workdir, run, POOL) == "39800"
    assert (report(run)["lookups"], report(run)["misses"]) == (200, 200)
    script(workdir, run, POOL)
    # Nothing ran again. Of all runs: hits that a worker counts in its last moments may be in no run's report.
    assert report(run)["misses"] == 200


def test_hits_in_a_pool_are_noted(workdir, run):
    """Also where its workers, which are ended without warning, do nothing else. Those of the last moments are not."""
    slowly = POOL.replace("pool.map(double,", "pool.map(slowly,").replace(
        "if __name__", "def slowly(i):\n    time.sleep(0.02)\n    return double(i)\n\nif __name__"
    )
    script(workdir, run, "import time" + slowly)
    with Store.open(workdir / ".scalable") as store:
        assert all(store.index.last_use(rowkey) == 0 for rowkey, _ in store.index.scan("refs"))
    script(workdir, run, "import time" + slowly)
    last = report(run, "--last")
    assert last["misses"] == 0
    assert last["hits"] >= 60
    with Store.open(workdir / ".scalable") as store:
        used = [rowkey for rowkey, _ in store.index.scan("refs") if store.index.last_use(rowkey)]
    assert len(used) == last["hits"]


def test_what_a_worker_noted_before_it_is_ended(workdir, run):
    script(workdir, run, POOL)
    script(
        workdir,
        run,
        POOL.partition("if __name__")[0]
        + """
import multiprocessing, time

def work(done):
    assert sum(map(double, range(200))) == 39800
    done.set()
    time.sleep(60)

if __name__ == "__main__":
    done = multiprocessing.Event()
    worker = multiprocessing.Process(target=work, args=(done,), daemon=True)
    worker.start()
    done.wait()
    time.sleep(1.5)
    worker.terminate()
    worker.join()
""",
    )
    index = workdir / ".scalable" / "index"
    assert is_as_left(str(index), os.stat(index / "data.mdb")), "the next user would have to check all of it"
    assert (report(run, "--last")["hits"], report(run, "--last")["misses"]) == (200, 0)


def test_wrappers_travel_by_value_with_their_identity(workdir, run):
    assert script(workdir, run, TRAVEL) == "True"


def test_executors_of_every_start_method_share_entries(workdir, run):
    assert script(workdir, run, EXECUTORS) == "5"
    assert report(run, "--last")["misses"] == 5


def test_a_script_whose_name_is_not_utf8_keeps_its_results(tmp_path):
    script = os.fsencode(tmp_path) + b"/caf\xe9.py"
    with open(script, "w") as file:
        file.write(
            "from scalable_cas import cacheable\n@cacheable\ndef f(n):\n    return n\nprint(f.is_cached(1), f(1))\n"
        )
    for expected in (b"False 1\n", b"True 1\n"):
        done = subprocess.run(
            [sys.executable, script], env=environment(tmp_path / "store"), capture_output=True
        )
        assert (done.stdout, done.stderr) == (expected, b"")
    done = subprocess.run(
        [sys.executable, "-m", "scalable_cas", "ls", "--json"],
        env=environment(tmp_path / "store"),
        capture_output=True,
        text=True,
    )
    assert [row["function"] for row in json.loads(done.stdout)] == ["caf\udce9.f"]
