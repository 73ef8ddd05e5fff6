"""Push and pull beside what else carries files to a bucket, as whole commands, against one local server, in one run:
`pytest -m bench -s -o faulthandler_timeout=3000 tests/bench/test_transfer_peers.py`. A peer that is not installed is left out, and named.
"""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from secrets import token_hex

import pytest

from .transfer_peers import PEERS

pytestmark = pytest.mark.bench


@pytest.fixture
def place(servers, monkeypatch):
    """A started server and an empty bucket in it."""
    started = servers("moto")
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{token_hex(8)}"
    started.make_bucket(bucket)
    return started, bucket


@pytest.mark.parametrize(
    ("count", "size", "rounds", "slow"),
    [
        (10_000, 1024, 2, ("boto3", "rclone", "dvc", "aws s3 sync")),
        (20, 50_000_000, 3, ("dvc", "aws s3 sync")),
    ],
)
def test_beside_peers(count, size, rounds, slow, tmp_path, place):
    """``slow``: those that are measured once."""
    started, bucket = place
    source = tmp_path / "source"
    source.mkdir()
    for number in range(count):
        (source / f"{number:05}").write_bytes(os.urandom(size))
    endpoint = started.url
    missing = [name for name, peer in PEERS.items() if shutil.which(peer.command) is None]
    peers = {
        name: peer(source, endpoint, bucket, tmp_path / name)
        for name, peer in PEERS.items()
        if name not in missing
    }
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for name, peer in peers.items():
            if number and name in slow:
                continue
            for what, work in (("push", peer.push), ("again", peer.push_again), ("pull", peer.pull)):
                since = time.perf_counter()
                partial(work, number)()
                found.setdefault((name, what), []).append(time.perf_counter() - since)
            peer.check(number)
            peer.clear(number)
    print(f"\n{count:,} files of {size:,} bytes, s, each round")
    for (name, what), seconds in found.items():
        print(f"  {name:13} {what:6} " + "  ".join(f"{second:6.2f}" for second in seconds))
    for name in missing:
        print(f"  {name} is not installed")
