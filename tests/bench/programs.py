"""The programs that the benchmark times, a process each: `python programs.py WHAT PEER FOLDER` prints JSON.

Every peer caches the same function. A time is the best of several passes: on a shared machine the rest is
noise.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import sys
import time

from timing import best


def record(i):
    return {"id": i, "name": "sample", "value": i * 0.5, "ok": True, "note": None}


def configured(name, config):
    return {"id": config["k0"], "name": name, "value": 0.5, "ok": True, "note": None}


def wrapped(peer, function, folder):
    if peer == "scalable-cas":
        from scalable_cas import cacheable

        os.environ["SCALABLE_CACHE_DIR"] = folder
        return cacheable(function)
    if peer == "diskcache":
        import diskcache

        return diskcache.Cache(folder).memoize()(function)
    if peer == "joblib":
        import joblib

        return joblib.Memory(folder, verbose=0).cache(function)
    if peer == "lmdb+pickle":  # the floor: no key, no check, no function identity
        return _lmdb(function, folder)
    if peer == "one file":
        return _files(function, folder)
    raise SystemExit(f"no peer {peer}")


def _lmdb(function, folder):
    import pickle

    import lmdb

    env = lmdb.open(folder, map_size=1 << 30, sync=False)

    def call(*args):
        key = pickle.dumps(args)
        with env.begin() as transaction:
            found = transaction.get(key)
        if found is not None:
            return pickle.loads(found)
        value = function(*args)
        with env.begin(write=True) as transaction:
            transaction.put(key, pickle.dumps(value))
        return value

    return call


def _files(function, folder):
    import pickle

    for i in range(256):
        os.makedirs(f"{folder}/{i:02x}")

    def call(i):
        path = f"{folder}/{i % 256:02x}/{i}"
        fd = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, pickle.dumps(function(i)))
        os.close(fd)
        os.rename(path + ".tmp", path)

    return call


def hits(peer, folder, count=10_000, passes=5):
    function = wrapped(peer, record, folder)
    order = list(range(count))
    for i in order:
        function(i)
    time.sleep(0.2)  # whatever writes behind the scenes has written
    random.Random(1).shuffle(order)

    def work():
        for i in order:
            function(i)

    return {"us": best(passes, work, count) * 1e6}


def config_hits(peer, folder):
    function = wrapped(peer, configured, folder)
    configs = [
        {f"k{k}": (n if k == 0 else k * 1.5 if k % 2 else f"text {k}") for k in range(20)} for n in range(500)
    ]
    for config in configs:
        function("run", config)
    time.sleep(0.2)

    def work():
        for config in configs:
            function("run", config)

    return {"us": best(9, work, len(configs)) * 1e6}


def puts(peer, folder):
    function = wrapped(peer, record, folder)
    function(-1)

    def work():
        for i in range(10_000):
            function(i)

    return {"us": best(1, work, 10_000) * 1e6}


def many(peer, folder):
    return {
        "us_1000": hits(peer, folder + "-small", 1_000, 20)["us"],
        "us_200000": hits(peer, folder + "-large", 200_000, 3)["us"],
    }


def first(peer, folder):
    """Import and one hit; the parent times the whole process."""
    function = wrapped(peer, record, folder)
    function(1)
    return {}


def bare(peer, folder):
    return {}


def _stampede_worker(peer, folder, log, barrier):
    def slow(k):
        with open(log, "ab") as file:
            file.write(b"x")
        time.sleep(0.1)
        return {"k": k}

    slow.__qualname__ = "slow"
    function = wrapped(peer, slow, folder)
    barrier.wait()
    for k in range(50):
        function(k)


def stampede(peer, folder):
    log = folder + ".log"
    barrier = multiprocessing.Barrier(9)
    workers = [
        multiprocessing.Process(target=_stampede_worker, args=(peer, folder, log, barrier)) for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return {"runs": os.path.getsize(log), "seconds": time.perf_counter() - start}


def _filler(peer, folder, start, barrier):
    function = wrapped(peer, record, folder)
    barrier.wait()
    for i in range(start, start + 2_000):
        function(i)


def parallel(peer, folder):
    barrier = multiprocessing.Barrier(9)
    workers = [
        multiprocessing.Process(target=_filler, args=(peer, folder, n * 2_000, barrier)) for n in range(8)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - start
    lost = None
    if peer == "scalable-cas":
        function = wrapped(peer, record, folder)
        lost = sum(not function.is_cached(i) for i in range(16_000))
    return {"per_second": 16_000 / seconds, "lost": lost}


def _numbers(kind, seed):
    """125 MB that compress, as an array's bytes."""
    import numpy as np

    rng, count = np.random.default_rng(seed), 15_625_000
    if kind == "counts":
        return rng.integers(0, 100_000, count).tobytes()
    if kind == "flags":
        return rng.integers(0, 2, 8 * count, dtype=np.int8).tobytes()
    return np.repeat(rng.normal(size=count // 16 + 1), 16)[:count].tobytes()  # "steps"


def verify(peer, folder):
    """2 GB of numbers of one kind in 16 results; beside it, what unpacking and hashing the same takes alone."""
    from concurrent.futures import ThreadPoolExecutor

    import zstandard
    from blake3 import blake3

    from scalable_cas.api import Store

    found = {}
    for kind in ("counts", "flags", "steps"):
        with Store.init(os.path.join(folder, kind)) as store:
            for n in range(16):
                store.put_bytes(_numbers(kind, n))
            start = time.perf_counter()
            outcome = store.verify()
            seconds = time.perf_counter() - start
        content = memoryview(_numbers(kind, 0))
        pack = zstandard.ZstdCompressor(3).compress
        frames = [pack(content[at : at + (64 << 10)]) for at in range(0, len(content), 64 << 10)]

        def alone(_, frames=frames):
            unpack, whole = zstandard.ZstdDecompressor().decompress, blake3()
            for frame in frames:
                whole.update(unpack(frame))

        with ThreadPoolExecutor(2) as pool:
            start = time.perf_counter()
            list(pool.map(alone, range(16)))
            bare = time.perf_counter() - start
        found[kind] = {
            "gb_per_second": outcome.bytes / seconds / 1e9,
            "gb": outcome.bytes / 1e9,
            "bare": 16 * len(content) / bare / 1e9,
            "ratio": len(content) / sum(map(len, frames)),
            "findings": len(outcome.findings),
        }
        shutil.rmtree(os.path.join(folder, kind))
    return found


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    what, peer, folder = sys.argv[1:]
    print(json.dumps(globals()[what](peer, folder)))
