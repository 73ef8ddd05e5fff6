"""Push and pull beside bare boto3, against one local server, in one run: `pytest -m bench -s tests/bench/test_transfer.py`.

Nothing here fails by time; numbers of requests are asserted, and that everything arrived.
"""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from secrets import token_hex

import pytest

from scalable_cas import Store
from scalable_cas.codecs.base import encode
from scalable_cas.ops.transfer.parallel import JOBS
from tests.cli.filling import record

pytestmark = pytest.mark.bench
ROUNDS = 3


@pytest.fixture
def started(servers):
    return servers("moto")


@pytest.fixture
def bucket(started, monkeypatch):
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    name = f"b{token_hex(8)}"
    started.make_bucket(name)
    return name


def fill(store, count: int, size: int) -> None:
    for n in range(count):
        store.save(record("m.f", str(n), seconds=0.001), encode(os.urandom(size)))
    store.flush()


def timed(work) -> tuple[float, object]:
    since = time.perf_counter()
    done = work()
    return time.perf_counter() - since, done


def each(pool, work, count: int) -> None:
    """Have `work` done for each number."""
    list(pool.map(work, range(count)))


def test_ten_thousand_small_results(tmp_path, bucket):
    found: dict[str, list[float]] = {"push": [], "push, nothing new": [], "pull": []}
    with Store.init(tmp_path / "ada") as ada:
        fill(ada, 10_000, 1024)
        for turn in range(ROUNDS):
            url = f"s3://{bucket}/{turn}"
            with Store.init(tmp_path / f"bob{turn}") as bob:
                for name, store, work in (
                    ("push", ada, "push"),
                    ("push, nothing new", ada, "push"),
                    ("pull", bob, "pull"),
                ):
                    seconds, done = timed(partial(getattr(store, work), url))
                    found[name].append(seconds)
                    assert done.requests <= 40, name
                    if turn == 0:
                        print(f"{name}: {done.requests} requests")
                assert sum(1 for _ in bob.entries()) == 10_000
    print("\n10,000 results of 1 KiB, s, best of", ROUNDS)
    for name, seconds in found.items():
        print(f"  {name:20} {min(seconds):.2f}")


def test_nothing_new_among_a_hundred_thousand(tmp_path, bucket):
    with Store.init(tmp_path / "ada") as ada:
        for n in range(100_000):
            ada.save(record(f"m.f{n % 10}", str(n), seconds=0.001), encode({"n": n}))
        ada.flush()
        ada.push(f"s3://{bucket}/x")
        times = []
        for _ in range(ROUNDS):
            seconds, done = timed(partial(ada.push, f"s3://{bucket}/x"))
            times.append(seconds)
            assert done.requests <= 20
            assert done.present == 100_000
    print(f"\npush with nothing new, 100,000 entries: {min(times):.2f} s, {done.requests} requests")


def numbers(n: int) -> object:
    """An array of 40 MB whose numbers hardly compress."""
    numpy = pytest.importorskip("numpy")
    return numpy.random.default_rng(n).standard_normal(5_000_000)


@pytest.mark.parametrize("kind", ["bytes of 50 MB", "arrays of 40 MB"])
def test_twenty_large_results_beside_boto3(tmp_path, bucket, started, kind):
    """boto3 carries the same bytes as one file for each result."""
    client = started.client()
    found: dict[str, list[float]] = {"boto3 push": [], "push": [], "boto3 pull": [], "pull": []}
    sources = [tmp_path / f"source{n}" for n in range(20)]
    with Store.init(tmp_path / "ada") as ada:
        for n, source in enumerate(sources):
            value = os.urandom(50_000_000) if kind.startswith("bytes") else numbers(n)
            source.write_bytes(value)
            ada.save(record("m.f", str(n), seconds=0.001), encode(value))
        ada.flush()
        for turn in range(ROUNDS):
            url, folder = f"s3://{bucket}/{turn}", tmp_path / f"bare{turn}"
            folder.mkdir()
            with Store.init(tmp_path / f"bob{turn}") as bob, ThreadPoolExecutor(JOBS) as pool:

                def up(number, pool=pool, turn=turn):
                    client.upload_file(str(sources[number]), bucket, f"bare{turn}/{number}")

                def down(number, folder=folder, turn=turn):
                    client.download_file(bucket, f"bare{turn}/{number}", str(folder / str(number)))

                for name, work in (
                    ("boto3 push", partial(each, pool, up, len(sources))),
                    ("push", partial(ada.push, url)),
                    ("boto3 pull", partial(each, pool, down, len(sources))),
                    ("pull", partial(bob.pull, url)),
                ):
                    found[name].append(timed(work)[0])
                assert sum(1 for _ in bob.entries()) == 20
            shutil.rmtree(folder)
            shutil.rmtree(tmp_path / f"bob{turn}")
    best = {name: min(seconds) for name, seconds in found.items()}
    print(f"\n20 {kind}, s, best of", ROUNDS)
    for way in ("push", "pull"):
        ratios = sorted(ours / bare for ours, bare in zip(found[way], found[f"boto3 {way}"], strict=True))
        print(
            f"  {way}: {best[way]:.2f}, boto3 {best[f'boto3 {way}']:.2f}; {ratios[0]:.2f} to {ratios[-1]:.2f}x"
        )
    client.close()


def test_a_fresh_reader_after_many_pushes(tmp_path, bucket):
    """Each push is one of its own; joining segments keeps the requests of a reader few."""
    pushes, url = 300, f"s3://{bucket}/x"
    with Store.init(tmp_path / "ada") as ada:
        each_push = []
        for n in range(pushes):
            ada.save(record("m.f", str(n), seconds=0.001), encode({"n": n}))
            ada.flush()
            each_push.append(ada.push(url).requests)
    with Store.init(tmp_path / "bob") as bob:
        seconds, done = timed(partial(bob.pull, url))
        assert sum(1 for _ in bob.entries()) == pushes
    print(
        f"\n{pushes} pushes of {sum(each_push) / pushes:.1f} requests ({max(each_push)} at most); a fresh reader of "
        f"all: {done.requests} requests, {seconds:.2f} s"
    )
