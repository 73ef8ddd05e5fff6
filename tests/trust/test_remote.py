"""Several people at one remote, of whom some are trusted: whose results a reader gets."""

from __future__ import annotations

import pytest

from scalable_cas.config import Settings
from scalable_cas.store import trust
from scalable_cas.store.entry import MISS
from scalable_cas.store.trust import trust_list
from tests.support.stores import recorded

from .conftest import FUNCTION, KEY, User, read, save

OLD, NEW = 10**18, 11 * 10**17


@pytest.fixture
def eve(tmp_path, monkeypatch):
    return User("eve", tmp_path, monkeypatch)


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/remote"


def push(user, url, value, created=OLD):
    with user.open() as store:
        if value is not None:
            save(store, value, created=created)
        return store.push(url)


def trusts(user, *others):
    """Whom a user trusts from now on."""
    user.be()
    trust_list().remove(set(trust_list().entries()))
    for other in others:
        trust_list().add(trust.signer_of_origin(other.origin), other.home.name)


@pytest.mark.parametrize("times", [(OLD, NEW), (NEW, OLD)], ids=["enemy is younger", "enemy is older"])
@pytest.mark.parametrize("first", ["alice", "eve"])
@pytest.mark.parametrize("require_signed", [False, True])
def test_a_strangers_result_hides_none_of_a_trusted_signer(
    alice, bob, eve, url, times, first, require_signed
):
    for name in sorted(("alice", "eve"), key=lambda name: name != first):
        user, created = (alice, times[0]) if name == "alice" else (eve, times[1])
        assert push(user, url, f"of {name}", created).entries == 1
    trusts(bob, alice)
    with bob.open() as store:
        store.settings = Settings({"require_signed": require_signed})
        assert store.pull(url).entries == 1
        assert read(store) == "of alice"
        assert store.pull(url).entries == 0


def test_who_is_trusted_later_takes_the_place_of_a_stranger(alice, bob, eve, url):
    push(alice, url, "of alice", OLD)
    push(eve, url, "of eve", NEW)
    with bob.open() as store:
        store.pull(url)
        assert read(store) == "of eve"  # plain data of strangers, of which the youngest counts
        trusts(bob, alice)
        assert store.pull(url).entries == 1
        assert read(store) == "of alice"
        trusts(bob, eve)
        assert store.pull(url).entries == 1
        assert read(store) == "of eve"


def test_the_same_result_is_sent_again_by_who_made_it_too(alice, bob, eve, url):
    """A third one may trust only him."""
    value = print  # a pickle
    assert push(eve, url, value).entries == 1
    with recorded(), bob.open() as store:
        store.pull(url)
        assert read(store) is MISS
    assert push(alice, url, value, NEW).entries == 1
    assert push(alice, url, None).entries == 0
    trusts(bob, alice)
    with bob.open() as store:
        assert store.pull(url).entries == 1
        assert read(store) is print
        assert store.push(url).entries == 0  # what he has from others he does not sign again


def test_what_would_be_refused_is_not_fetched(alice, bob, eve, url):
    push(alice, url, "of alice", OLD)
    with bob.open() as store:
        store.pull(url)
        push(eve, url, "of eve" * 1000, NEW)
        bob.be()
        done = store.pull(url)
        assert (done.entries, done.present) == (0, 1)  # of two strangers the first stays
        assert store.pull(url).requests == 2


def test_nobody_signs_what_a_stranger_sent(alice, bob, eve, url, tmp_path):
    """Else a stranger's result would be one of his for those who trust him, and want signatures."""
    other, another = f"file://{tmp_path}/other", f"file://{tmp_path}/another"
    push(eve, url, "of eve")
    with bob.open() as store:
        store.pull(url)
        assert read(store) == "of eve"  # plain data
        done = store.push(other)
        assert (done.entries, done.withheld) == (1, 0)
        assert store.push(other).entries == 0
    trusts(alice, bob)
    with recorded() as warned, alice.open() as store:
        assert store.pull(other).entries == 1
        assert read(store) == "of eve"
        store.settings = Settings({"require_signed": True})
        assert read(store) is MISS
        assert store.index.record(FUNCTION + KEY).origin == "unsigned"
    assert ["nobody signed it" in text for text in warned] == [True]
    trusts(bob, eve)
    with bob.open() as store:
        assert store.push(another).entries == 1
    trusts(alice, bob)
    with alice.open() as store:
        store.settings = Settings({"require_signed": True})
        assert store.pull(another).entries == 1
        assert read(store) == "of eve"


def test_who_has_a_new_key_sends_nothing_again(alice, url):
    """As in CI, on a fresh machine with the store of the last run."""
    assert push(alice, url, "of alice").entries == 1
    (alice.config / "signing.key").unlink()
    assert push(alice, url, None).entries == 0
