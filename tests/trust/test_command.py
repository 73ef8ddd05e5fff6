"""`trust`: the list, the user's own key, and the files that hold them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scalable_cas.storage import signing
from scalable_cas.store.trust import TrustList, trust_list
from tests.cli.conftest import cas as cas  # noqa: PLC0414 - a fixture
from tests.conftest import ROOT

from .segments import ALICE, MALLORY
from .segments import verify as reference_verify


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "config/scalable-cas"


KEY = signing.key_text(ALICE.public)


def test_show_key_prints_one_line_and_makes_the_key_once(cas, home):
    first, second = cas("trust", "show-key"), cas("trust", "show-key")
    assert first.code == 0
    assert first.out == second.out
    (line,) = first.lines
    assert line.startswith("ed25519:")
    assert len(line) == len("ed25519:") + 44
    assert (home / "signing.key").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o077 == 0


def test_trust_needs_no_store_and_makes_none(cas, home, workdir):
    for arguments in (["show-key"], ["list"], ["add", KEY], ["remove", KEY]):
        assert cas("trust", *arguments).code == 0
    assert os.listdir(workdir) == []


def test_add_list_remove(cas, home):
    assert cas("trust", "list", "--json").json == []
    done = cas("trust", "add", KEY, "--name", "Alice in Oslo")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"trusted from now on: {KEY} Alice in Oslo\n"
    assert cas("trust", "add", KEY).err.startswith("trusted already")
    assert cas("trust", "add", signing.key_text(MALLORY.public)).code == 0
    own = cas("trust", "show-key").out.strip()
    assert cas("trust", "list", "--json").json == [
        {"key": own, "name": "", "own": True},
        {"key": KEY, "name": "Alice in Oslo", "own": False},
        {"key": signing.key_text(MALLORY.public), "name": "", "own": False},
    ]
    assert cas("trust", "list").lines[1] == f"{KEY} Alice in Oslo"
    assert cas("trust", "remove", "Alice in Oslo").code == 0
    assert cas("trust", "remove", KEY).code == 1
    assert cas("trust", "remove", " ").code == 2  # no name of the one key that has none
    assert cas("trust", "remove", signing.key_text(MALLORY.public)).code == 0
    assert [row["own"] for row in cas("trust", "list", "--json").json] == [True]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "ed25519:",
        "ed25519:AAAA",
        KEY[:-1],
        KEY + "=",
        KEY.replace("ed25519", "rsa"),
        KEY.removeprefix("ed25519:"),
        "ed25519:" + "!" * 44,
        "ed25519:" + "A" * 42 + "B=",  # the same bytes as A…A=, written otherwise
        KEY + "\ned25519:" + "A" * 43 + "=",
    ],
)
def test_what_is_no_key_is_wrong_usage(cas, home, bad):
    done = cas("trust", "add", bad)
    assert done.code == 2
    assert not (home / "trusted").exists()


@pytest.mark.parametrize("name", ["two\nlines", "x" * 101, "bell\a"])
def test_a_name_is_one_short_line(cas, home, name):
    assert cas("trust", "add", KEY, "--name", name).code == 2
    assert not (home / "trusted").exists()


def test_ones_own_key_need_not_be_added(cas, home):
    own = cas("trust", "show-key").out.strip()
    assert "your own" in cas("trust", "add", own).err
    assert cas("trust", "remove", own).code == 1


# --- the files ----------------------------------------------------------------------------------------------


def test_a_running_process_sees_every_change(home):
    trusted = trust_list()
    assert not trusted.trusts(ALICE.public)
    other = TrustList(str(home))
    other.add(ALICE.public, "alice")
    assert trusted.trusts(ALICE.public)
    assert not trusted.trusts(MALLORY.public)
    other.add(MALLORY.public, "")
    assert trusted.trusts(MALLORY.public)
    other.remove({ALICE.public})
    assert not trusted.trusts(ALICE.public)
    os.unlink(home / "trusted")
    assert not trusted.trusts(MALLORY.public)
    own = signing.signing_key((str(home),))
    assert trusted.trusts(own.public)


def test_nobody_and_nothing_are_not_trusted(home):
    trusted = trust_list()
    trusted.add(ALICE.public, "")
    for signer in (b"", bytes(32), ALICE.public[:31], KEY.encode()):
        assert not trusted.trusts(signer)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_list_that_others_may_write_names_nobody(cas, home, mode):
    cas("trust", "add", KEY)
    os.chmod(home / "trusted", mode)
    assert not trust_list().trusts(ALICE.public)
    assert "chmod 600" in trust_list().fault
    done = cas("trust", "list")
    assert done.code == 1
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "line", [b"ed25519:short", b"\xff\xfe", b"rsa:AAAA", b"ed25519:" + b"A" * 42 + b"B="]
)
def test_a_list_with_a_line_that_is_no_key_names_nobody_and_is_not_overwritten(cas, home, line):
    cas("trust", "add", KEY)
    content = (home / "trusted").read_bytes() + line + b"\n"
    (home / "trusted").write_bytes(content)
    assert not trust_list().trusts(ALICE.public)
    done = cas("trust", "add", signing.key_text(MALLORY.public))
    assert done.code == 1
    assert "line 3" in done.err
    assert (home / "trusted").read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_key_file_that_others_may_read_is_refused_with_one_line_and_kept(cas, home, mode):
    cas("trust", "show-key")
    before = (home / "signing.key").read_bytes()
    os.chmod(home / "signing.key", mode)
    done = cas("trust", "show-key")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "chmod 600" in done.err
    assert (home / "signing.key").read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_another_user_is_refused(cas, home):
    cas("trust", "show-key")
    os.chown(home / "signing.key", 12345, -1)
    assert "another user" in cas("trust", "show-key").err


@pytest.mark.parametrize("content", [b"", b"x", b"# other\nprivate ed25519:\npublic x\n", b"a" * 5000])
def test_a_damaged_key_file_is_refused_and_kept(cas, home, content):
    home.mkdir(parents=True)
    (home / "signing.key").write_bytes(content)
    os.chmod(home / "signing.key", 0o600)
    done = cas("trust", "show-key")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert (home / "signing.key").read_bytes() == content


def test_a_key_file_that_is_a_link_is_refused(cas, home, tmp_path):
    home.mkdir(parents=True)
    (home / "signing.key").symlink_to(tmp_path / "elsewhere")
    assert cas("trust", "show-key").code == 1
    assert not (tmp_path / "elsewhere").exists()


def test_a_list_may_be_a_link_to_a_file_of_ones_own(cas, home, tmp_path):
    cas("trust", "add", KEY)
    os.rename(home / "trusted", tmp_path / "kept elsewhere")
    (home / "trusted").symlink_to(tmp_path / "kept elsewhere")
    assert trust_list().trusts(ALICE.public)
    os.chmod(tmp_path / "kept elsewhere", 0o666)
    assert not trust_list().trusts(ALICE.public)


def test_many_processes_that_need_a_key_at_once_get_one(home):
    code = "from scalable_cas.cli.main import main; main(['trust', 'show-key'])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1


def test_asking_for_ones_own_key_does_not_load_cryptography(cas, home):
    cas("trust", "show-key")
    code = (
        "import sys; from scalable_cas.store.trust import trust_list, own_key;"
        "assert trust_list().trusts(own_key().public); assert 'cryptography' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0


def test_doctor_tells_of_a_list_that_is_not_used(cas, home):
    cas("trust", "add", KEY)
    assert "1 in the list" in cas("doctor").out
    os.chmod(home / "trusted", 0o666)
    done = cas("doctor", "--json")
    assert done.code == 1
    (check,) = (check for check in done.json if check["check"] == "trust")
    assert check["state"] == "wrong"
    assert "chmod 600" in check["detail"]


# --- signatures -----------------------------------------------------------------------------------------------


def test_signatures_are_those_of_the_standard(home):
    mine = signing.signing_key((str(home),))
    digest = b"d" * 32
    signature = mine.sign(digest)
    assert reference_verify(mine.public, digest, signature)
    assert signing.verify(mine.public, digest, signature)
    assert signing.verify(ALICE.public, digest, ALICE.sign(digest))
    for public, message, made in [
        (ALICE.public, digest, signature),
        (mine.public, b"e" * 32, signature),
        (mine.public, digest, signature[:-1]),
        (mine.public, digest, bytes(64)),
        (mine.public, digest, signature[:-1] + bytes([signature[-1] ^ 1])),
        (b"\xff" * 32, digest, signature),
        (bytes(32), digest, signature),
    ]:
        assert not signing.verify(public, message, made)


def test_rfc_8032_test_1():
    """The first vector of RFC 8032, section 7.1."""
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    signature = (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )
    assert signing.SigningKey(seed, public).sign(b"").hex() == signature
    assert signing.verify(public, b"", bytes.fromhex(signature))


def test_a_key_never_shows_its_secret(home):
    mine = signing.signing_key((str(home),))
    assert mine._seed.hex() not in repr(mine)
    assert repr(mine) == f"SigningKey({signing.key_text(mine.public)})"


def test_a_user_without_a_home_gets_a_key_of_this_node(home, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    mine = signing.signing_key((f"{tmp_path}/file/config", str(tmp_path / "node")))
    places = f"{tmp_path}/home", str(tmp_path / "node")
    assert [key.public for key in signing.find_keys(places)] == [mine.public]
    at_home = signing.signing_key(places)  # that of the node goes with its temporary folder
    assert at_home.public != mine.public
    assert [key.public for key in signing.find_keys(places)] == [at_home.public, mine.public]
    from scalable_cas.errors import StoreReadOnly

    with pytest.raises(StoreReadOnly, match="XDG_CONFIG_HOME"):
        signing.signing_key((f"{tmp_path}/file/config",))
