"""Push and pull through a network that misbehaves: they end, what they did is right, and a second run completes it."""

from __future__ import annotations

import random
from contextlib import suppress
from secrets import token_hex

import pytest

from scalable_cas import Store
from scalable_cas.errors import RemoteError
from scalable_cas.ops.transfer.remote_check import verify_remote
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas.testing.faults import Fault, FaultProxy

from .people import MISS, fill, keys, noise, read

KINDS = ("drop", "lost", "truncate", "reset", "corrupt", "status 503", "status 500", "status 409")


@pytest.fixture
def proxied(servers, monkeypatch):
    """A proxy in front of a server, and the URL of an empty place behind it."""
    moto = servers("moto")
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{token_hex(8)}"
    moto.make_bucket(bucket)
    with FaultProxy(moto.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        yield proxy, f"s3://{bucket}/x"


def fault(text):
    kind, _, status = text.partition(" ")
    return Fault(kind, status=int(status or 503))


def results(store):
    expected = {n: {"n": n, "data": noise(500, n)} for n in range(8)}
    expected |= {"middle": noise(90_000), "large": noise((8 << 20) + 1)}
    for name, value in expected.items():
        fill(store, "m.f", name, value=value, seconds=0.001)
    return expected


def check(store, expected):
    for name, value in expected.items():
        found = read(store, "m.f", name)
        assert found is MISS or found == value
    assert store.verify().findings == []


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_network_does_nothing_is_wrong_and_a_second_run_completes_it(
    ada, bob, proxied, seed, tmp_path
):
    proxy, url = proxied
    expected, chance = results(ada), random.Random(seed)

    def script(method, target, number):
        return fault(chance.choice(KINDS)) if chance.random() < 0.3 else None

    proxy.use(script)
    for _ in range(2):
        with suppress(RemoteError):
            ada.push(url)
        with suppress(RemoteError):
            if ada.pull(url):
                bob.pull(url)
        check(bob, expected)
    proxy.use([])
    ada.push(url)
    bob.pull(url)
    ada.push(url)  # what a body that was damaged on its way made Bob take for damage there
    check(bob, expected)
    assert len(keys(bob)) == len(expected)
    with open_repository(ada, url) as repository:
        assert verify_remote(repository).findings == []
    with Store.init(tmp_path / "eve") as eve:
        assert eve.pull(url).entries == len(expected)


def test_a_body_that_is_damaged_on_its_way_is_not_believed(ada, bob, proxied):
    proxy, url = proxied
    expected = results(ada)
    ada.push(url)
    proxy.use([Fault("corrupt", method="GET", path="*.pack", times=None)])
    done = bob.pull(url)
    assert 0 < len(done.lost) < len(expected)  # one bit of each answer
    check(bob, expected)
    proxy.use([])
    assert bob.pull(url).entries == len(done.lost)
    check(bob, expected)
