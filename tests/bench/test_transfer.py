"""Push and pull beside bare boto3, against one local server, in one run: `pytest -m bench -s tests/bench/test_transfer.py`.

Nothing here fails by time; numbers of requests are asserted, and that everything arrived.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from secrets import token_hex

import pytest

from scalable_cas import Store
from scalable_cas.codecs.base import encode
from scalable_cas.ops.transfer.parallel import JOBS
from tests.cli.filling import record
from tests.support.servers import CannotStart, server

pytestmark = pytest.mark.bench
ROUNDS = 3


@pytest.fixture(scope="module")
def started():
    try:
        with server("moto") as found:
            yield found
    except CannotStart as error:
        pytest.skip(str(error))


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


def test_twenty_large_results_beside_boto3(tmp_path, bucket, started):
    client = started.client()
    found: dict[str, list[float]] = {"boto3 push": [], "push": [], "boto3 pull": [], "pull": []}
    with Store.init(tmp_path / "ada") as ada:
        fill(ada, 20, 50_000_000)
        paths = [ada.objects.loose.path(entry.record.oid) for entry in ada.entries()]
        for turn in range(ROUNDS):
            url, folder = f"s3://{bucket}/{turn}", tmp_path / f"bare{turn}"
            folder.mkdir()
            with Store.init(tmp_path / f"bob{turn}") as bob, ThreadPoolExecutor(JOBS) as pool:

                def up(number, pool=pool, turn=turn):
                    client.upload_file(paths[number], bucket, f"bare{turn}/{number}")

                def down(number, folder=folder, turn=turn):
                    client.download_file(bucket, f"bare{turn}/{number}", str(folder / str(number)))

                for name, work in (
                    ("boto3 push", partial(each, pool, up, len(paths))),
                    ("push", partial(ada.push, url)),
                    ("boto3 pull", partial(each, pool, down, len(paths))),
                    ("pull", partial(bob.pull, url)),
                ):
                    found[name].append(timed(work)[0])
                assert sum(1 for _ in bob.entries()) == 20
    best = {name: min(seconds) for name, seconds in found.items()}
    print("\n20 results of 50 MB, s, best of", ROUNDS)
    for way in ("push", "pull"):
        print(
            f"  {way}: {best[way]:.2f}, boto3 {best[f'boto3 {way}']:.2f}: {best[way] / best[f'boto3 {way}']:.2f}x"
        )
    client.close()
