"""Large and small files to and from one local S3 server, ours beside bare boto3, in one run.

python -m tests.bench.remotes [moto|swift|ceph] [FILES] [MEGABYTES] [ROUNDS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from scalable_cas.remotes.base import Settings, open_remote
from tests.support.servers import server


def best(rounds, work):
    """Seconds of the fastest round, for each of the named pieces of work; they alternate."""
    seconds = dict.fromkeys(work, float("inf"))
    for turn in range(rounds):
        for name, action in work.items():
            start = time.perf_counter()
            action(turn)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def measure(name="ceph", files=20, megabytes=50, rounds=3):
    """`{what: (our seconds, boto3's)}`."""
    found = {}
    with server(name) as started, tempfile.TemporaryDirectory() as folder:
        os.environ.update(started.environment)
        started.make_bucket("bench")
        import boto3

        boto = boto3.client("s3")  # as bare as it gets
        remote = open_remote("s3://bench/ours", settings=Settings(conditional=True))
        sources = []
        for number in range(files):
            sources.append(f"{folder}/{number}")
            Path(sources[-1]).write_bytes(os.urandom(megabytes << 20))

        def our_push(turn):
            for number, path in enumerate(sources):
                remote.put_file(f"{turn}/{number}", path)

        def boto_push(turn):
            for number, path in enumerate(sources):
                boto.upload_file(path, "bench", f"boto/{turn}/{number}")

        def our_pull(turn):
            for number in range(files):
                remote.get_file(f"0/{number}", f"{folder}/got", largest=1 << 40)
                os.unlink(f"{folder}/got")

        def boto_pull(turn):
            for number in range(files):
                boto.download_file("bench", f"boto/0/{number}", f"{folder}/got")
                os.unlink(f"{folder}/got")

        small = os.urandom(1024)

        def our_small_puts(turn):
            for number in range(200):
                remote.put(f"small/{turn}/{number}", small)

        def boto_small_puts(turn):
            for number in range(200):
                boto.put_object(Bucket="bench", Key=f"small/{turn}/{number}", Body=small)

        def our_small_gets(turn):
            for number in range(200):
                remote.get(f"small/0/{number}", largest=1024)

        def boto_small_gets(turn):
            for number in range(200):
                boto.get_object(Bucket="bench", Key=f"small/0/{number}")["Body"].read()

        remote.put("warm", b"")
        boto.head_object(Bucket="bench", Key="ours/warm")
        for what, ours, theirs in (
            ("push", our_push, boto_push),
            ("pull", our_pull, boto_pull),
            ("200 small puts", our_small_puts, boto_small_puts),
            ("200 small gets", our_small_gets, boto_small_gets),
        ):
            seconds = best(rounds, {"ours": ours, "boto3": theirs})
            found[what] = (seconds["ours"], seconds["boto3"])
        remote.close()
    return found


if __name__ == "__main__":
    name, *numbers = sys.argv[1:] or ["ceph"]
    for what, (ours, theirs) in measure(name, *map(int, numbers)).items():
        print(f"{name}: {what}: {ours:.2f} s, boto3 {theirs:.2f} s, ratio {ours / theirs:.2f}")
