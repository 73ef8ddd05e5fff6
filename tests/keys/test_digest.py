"""Large buffers on several threads: the plain BLAKE3, one pool for each encoding, and none in a fork."""

from __future__ import annotations

import os
import threading

import pytest
from blake3 import blake3

from scalable_cas.keys import digest
from scalable_cas.keys.digest import LARGE
from scalable_cas.keys.encode import encode
from scalable_cas.keys.nodes import Walk
from scalable_cas.keys.tags import encode_bytes


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(digest.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(digest, "_home", 0)


def running():
    """Threads of this process."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads"))


@pytest.mark.usefixtures("two_threads")
def test_the_hasher_of_a_walk_starts_anew_each_time_and_keeps_its_pool():
    walk, data = Walk([]), b"a" * LARGE
    first = walk.hasher(LARGE)
    first.update(b"left over")
    second = walk.hasher(LARGE)
    assert second is first
    assert second.update(data).digest() == blake3(data).digest()
    assert walk.hasher(LARGE - 1) is not first


@pytest.mark.usefixtures("two_threads")
def test_the_threads_of_an_encoding_end_with_it():
    np = pytest.importorskip("numpy")
    before, columns = running(), [np.arange(LARGE // 8) + i for i in range(3)]
    encode(columns)
    for _ in range(100):
        if running() <= before:
            break
        threading.Event().wait(0.02)
    assert running() <= before


@pytest.mark.usefixtures("two_threads")
def test_a_thread_that_is_not_the_main_one_gets_no_pool():
    found = []
    thread = threading.Thread(target=lambda: found.append(digest.threads()))
    thread.start()
    thread.join()
    assert (found, digest.threads()) == ([1], 2)


class Forking:
    """Forks in the middle of its own encoding, if asked to; both processes go on with it."""

    forks, child = False, None

    def __scalable_key__(self):
        if self.forks:
            type(self).child = os.fork()
        return "here"


@pytest.mark.usefixtures("two_threads")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # that there are threads is what is tested
def test_a_fork_in_the_middle_of_an_encoding_does_not_wait_for_threads_that_it_has_not(monkeypatch):
    np = pytest.importorskip("numpy")
    value = [np.arange(LARGE // 8), Forking(), np.arange(LARGE // 8) + 1]
    expected, found = encode(value), b""
    monkeypatch.setattr(Forking, "forks", True)
    try:
        found = encode(value)
    finally:
        if Forking.child == 0:
            os._exit(0 if found == expected else 1)
    for _ in range(3000):  # a minute: for a machine that is busy with other tests
        pid, status = os.waitpid(Forking.child, os.WNOHANG)
        if pid:
            break
        threading.Event().wait(0.02)
    else:
        os.kill(Forking.child, 9)
        os.waitpid(Forking.child, 0)
    assert (pid, os.waitstatus_to_exitcode(status), found) == (Forking.child, 0, expected)


def test_bytes_of_every_size_are_the_plain_digest():
    for size in (1025, LARGE - 1, LARGE, LARGE + 1):
        data = b"x" * size
        assert encode_bytes(data)[9:] == blake3(data).digest()
