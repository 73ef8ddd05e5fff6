"""Cached functions that worker processes import, and what they leave behind: one line in a file for each run."""

from __future__ import annotations

import os
import time

from scalable_cas import cacheable


def note(text: object) -> None:
    """One line in the file named by RUNS. Appends of one line are whole."""
    fd = os.open(os.environ["RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)


def value(n: int) -> dict:
    return {"n": n, "text": f"value {n}", "square": n * n, "bytes": bytes([n % 256]) * (n % 40)}


@cacheable
def slow(n):
    note(n)
    time.sleep(0.1)
    return value(n)


@cacheable
def quick(n):
    return value(n)


@cacheable
def large(n):
    return {"n": n, "blob": bytes([n % 256]) * 5000, "text": f"{n}" * 1000}


@cacheable
def gated(n):
    """Runs until the file named by GATE is there."""
    note(f"{n} {os.getpid()}")
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.005)
    return value(n)
