"""Real servers for the tests of remotes: started at the first test that wants one, ended with the session.

REMOTE_SERVERS says which (default `moto swift`; `tox -e remotes` has all). One that cannot start is a skip
that says why.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from secrets import token_hex

import pytest

from scalable_cas.remotes.base import open_remote
from tests.support.servers import CannotStart, server

WANTED = os.environ.get("REMOTE_SERVERS", "moto swift").split()
PLACES = ["file", *(f"s3 {name}" for name in WANTED), *(["gs moto"] if "moto" in WANTED else [])]


@pytest.fixture(scope="session")
def started():
    """A function from a server's name to the running server."""
    running, refused = {}, {}
    with ExitStack() as stack:

        def get(name):
            if name in refused:
                pytest.skip(refused[name])
            if name not in running:
                try:
                    running[name] = stack.enter_context(server(name))
                except CannotStart as error:
                    refused[name] = f"{name} cannot start here: {error}"
                    pytest.skip(refused[name])
            return running[name]

        yield get


@pytest.fixture
def use(started, monkeypatch):
    """A function from a server's name to (the server, the URL of a new bucket); boto3's chain leads to the server."""

    def get(name, scheme="s3"):
        found = started(name)
        for variable, value in found.environment.items():
            monkeypatch.setenv(variable, value)
        bucket = f"b{token_hex(8)}"
        found.make_bucket(bucket)
        return found, f"{scheme}://{bucket}/some/prefix"

    return get


@pytest.fixture
def moto(use):
    return use("moto" if "moto" in WANTED else WANTED[0])


@pytest.fixture(params=PLACES)
def place(request):
    return request.param


@pytest.fixture
def opener(place, use, tmp_path):
    """What opens the remote of one place, as the conformance suite wants it."""
    if place == "file":
        return lambda: open_remote(f"file://{tmp_path}/remote/here")
    scheme, name = place.split()
    _, url = use(name, scheme)
    return lambda: open_remote(url)


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
