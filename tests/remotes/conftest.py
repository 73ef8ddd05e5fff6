"""The places that tests of remotes run on. REMOTE_SERVERS says which servers (default `moto swift`; CI has `ceph` too).
One that cannot start is a skip that says why.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from secrets import token_hex

import pytest

from scalable_cas.remotes.base import Limits, Settings, open_remote

WANTED = os.environ.get("REMOTE_SERVERS", "moto swift").split()


def on(name):
    """A parameter for a place. Swift and Ceph are several processes each: one worker runs all that is asked of one."""
    server = name.split()[-1]
    return pytest.param(name, marks=pytest.mark.xdist_group(server) if server in ("swift", "ceph") else ())


#: For what is right or wrong, not early or late: 200 deletions in a request took Swift 10 s on an overloaded machine.
PATIENT = Settings(Limits(connect=30, read=60, total=150, slowest=1 << 10))
PLACES = ["file", *(f"s3 {name}" for name in WANTED), *(["gs moto"] if "moto" in WANTED else [])]


@pytest.fixture
def use(servers, monkeypatch):
    """A function from a server's name to (the server, the URL of a new bucket); boto3's chain leads to the server."""

    def get(name, scheme="s3"):
        found = servers(name)
        for variable, value in found.environment.items():
            monkeypatch.setenv(variable, value)
        bucket = f"b{token_hex(8)}"
        found.make_bucket(bucket)
        return found, f"{scheme}://{bucket}/some/prefix"

    return get


@pytest.fixture
def moto(use):
    return use("moto" if "moto" in WANTED else WANTED[0])


@pytest.fixture(params=map(on, PLACES))
def place(request):
    return request.param


@pytest.fixture
def opener(place, use, tmp_path):
    """What opens the remote of one place, as the conformance suite wants it."""
    if place == "file":
        return lambda: open_remote(f"file://{tmp_path}/remote/here")
    scheme, name = place.split()
    _, url = use(name, scheme)
    return lambda: open_remote(url, settings=PATIENT)


@pytest.fixture
def seconds():
    """A context that fails if its block takes longer."""

    @contextmanager
    def within(limit):
        start = time.monotonic()
        yield
        took = time.monotonic() - start
        assert took < limit, f"{took:.1f} s"

    return within
