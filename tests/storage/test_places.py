"""Where things may lie: network file systems, the user's key, the index on this node."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

from scalable_cas import Store
from scalable_cas.errors import StoreReadOnly
from scalable_cas.storage.netfs import network_type
from scalable_cas.storage.secret import user_secret
from tests.support.processes import command, environment

MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw
31 30 0:41 / /home/me/scratch rw - tmpfs tmpfs rw
32 22 0:42 / /lustre rw - lustre mgs@tcp:/fs rw
33 22 0:43 / /mnt/with\040space rw - cifs //server/share rw
34 22 0:44 / /sshfs rw - fuse.sshfs me@server: rw
35 32 0:45 / /lustre rw - ext4 /dev/vdb rw
"""


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/home/me/project", "nfs4"),
        ("/home", "nfs4"),
        ("/homework", None),
        ("/home/me/scratch/x", None),
        ("/lustre/x", None),  # the later mount covers the earlier
        ("/mnt/with space/x", "cifs"),
        ("/sshfs/x", "fuse.sshfs"),
        ("/var/x", None),
    ],
)
def test_the_file_system_of_a_path(tmp_path, path, kind):
    (tmp_path / "mountinfo").write_text(MOUNTS.strip() + "\n")
    assert network_type(path, str(tmp_path / "mountinfo")) == kind


def test_without_mountinfo_everything_is_local():
    assert network_type("/x", "/nowhere/mountinfo") is None


def test_the_index_goes_where_the_user_says_and_results_outlive_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALABLE_INDEX_DIR", str(tmp_path / "node"))
    with Store.init(tmp_path / "s") as store:
        oid = store.put_bytes(b"content")
        assert store.index_is_local
        assert not (tmp_path / "s/index").exists()
        assert os.listdir(tmp_path / "node")
    monkeypatch.setenv("SCALABLE_INDEX_DIR", str(tmp_path / "another node"))
    with Store.open(tmp_path / "s") as store:
        assert store.get_bytes(oid) == b"content"
        assert store.index.object_row(bytes.fromhex(oid)) is None or store.index_is_local


def test_the_key_is_private_made_once_and_not_taken_from_others(tmp_path):
    folder, other = str(tmp_path / "config"), str(tmp_path / "fallback")
    secret = user_secret(folder, other)
    assert len(secret) == 32
    assert user_secret(folder, other) == secret
    assert stat.S_IMODE(os.stat(f"{folder}/local.key").st_mode) == 0o600
    assert not os.path.exists(other)
    os.chmod(f"{folder}/local.key", 0o644)  # readable by others: not used
    assert user_secret(folder, other) != secret
    os.unlink(f"{folder}/local.key")
    os.symlink(f"{other}/local.key", f"{folder}/local.key")  # planted: not followed
    assert user_secret(folder, other) == user_secret(other, other)


def test_a_key_that_can_be_kept_nowhere_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreReadOnly, match="XDG_CONFIG_HOME"):
        user_secret(str(tmp_path / "file/a"), str(tmp_path / "file/b"))


BYTES = """
import os
from scalable_cas import Store, cacheable
from scalable_cas.storage.netfs import network_type
f = cacheable(lambda x: x + 1)
assert (f(1), f(1), f.cache_info()[:2]) == (2, 2, (1, 1))
with Store.discover() as store:
    assert store.verify().findings == []
    print(os.fsencode(store.root))
print(network_type(os.getcwd(), "mountinfo"))
"""


@pytest.mark.parametrize("name", [b"p\xff", "\u00e9".encode()])
@pytest.mark.parametrize("utf8", ["0", "1"])
def test_a_folder_whose_name_is_not_text(tmp_path, name, utf8):
    folder = os.fsencode(tmp_path) + b"/" + name
    os.mkdir(folder)
    with open(folder + b"/mountinfo", "wb") as file:
        file.write(b"22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:40 / " + folder + b" rw - nfs4 s:/ rw\n")
    env = environment(LC_ALL="C", PYTHONUTF8=utf8, PYTHONCOERCECLOCALE="0")
    done = subprocess.run(command(BYTES), cwd=folder, env=env, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{folder + b'/.scalable'!r}\nnfs4\n"
