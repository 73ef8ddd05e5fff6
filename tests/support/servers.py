"""Real S3 servers for the tests, each in a folder of its own and on free ports; nothing is left running.

- `moto`: of the test extra. Does conditional writes right; checks neither credentials nor checksums.
- `swift`: OpenStack Swift with s3api, in an environment of its own that is built at first use (10 s). Strict
  about signatures and checksums; its conditional writes are right but not atomic in a race; knows no If-Match.
- `ceph`: a Ceph of one (mon, osd, radosgw), from Debian's packages, which are installed if that is possible.
  Conditional writes right and atomic; a condition on the end of a multipart upload is ignored.

`python -m tests.support.servers moto|swift|ceph` starts one for a person, and prints how to reach it;
`python -m tests.support.servers install ceph` only installs what it needs, with any Python and before ours is set up.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".tox" / "servers"  # what they need, beside the environments of tox
SWIFT = "2.38.3"
PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
REGION = "us-east-1"


class CannotStart(Exception):
    """A server cannot run here. The text says why."""


class Server(NamedTuple):
    name: str
    url: str
    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 needs to find it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self):
        """A plain boto3 client, for what the tests arrange and look at beside our own code."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name=REGION,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"total_max_attempts": 5, "mode": "standard"},
            ),
        )

    def make_bucket(self, name: str) -> None:
        client = self.client()
        client.create_bucket(Bucket=name)
        client.close()


# --- moto --------------------------------------------------------------------------------------------------


@contextmanager
def moto(folder: Path):
    try:
        import moto.server  # noqa: F401
    except ImportError as error:
        raise CannotStart(f"moto[server] is not installed: {error}") from error
    (port,) = free_ports(1)
    with ExitStack() as stack:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        stack.enter_context(running(command, folder / "moto.log"))
        wait_for(f"http://127.0.0.1:{port}/", folder / "moto.log")
        yield Server("moto", f"http://127.0.0.1:{port}", "testing", "testing")


# --- OpenStack Swift ---------------------------------------------------------------------------------------

_PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = {user}
swift_dir = {etc}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
"""
_FILTERS = ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "slo", "dlo", "symlink")
_NODE = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = {user}
swift_dir = {etc}
devices = {devices}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_HASHES = "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n[storage-policy:0]\nname = Policy-0\ndefault = yes\n"


@contextmanager
def swift(folder: Path):
    probe = folder / "attributes"
    probe.touch()
    try:
        os.setxattr(probe, "user.swift", b"x")
    except OSError as error:
        raise CannotStart(f"{folder} has no extended attributes ({error.strerror})") from error
    commands = swift_environment()
    etc, devices = folder / "etc", folder / "node"
    (devices / "d1").mkdir(parents=True)
    etc.mkdir()
    names = ("account", "container", "object")
    ports = free_ports(4)
    words = {"user": getpass.getuser(), "etc": etc, "devices": devices}
    (etc / "swift.conf").write_text(_HASHES)
    for kind, port in zip(names, ports, strict=False):
        (etc / f"{kind}.conf").write_text(_NODE.format(kind=kind, port=port, **words))
        builder = [commands / "swift-ring-builder", f"{kind}.builder"]
        for step in (["create", "4", "1", "0"], ["add", f"r1z1-127.0.0.1:{port}/d1", "1"], ["rebalance"]):
            done = subprocess.run([*builder, *step], cwd=etc, capture_output=True, text=True)
            if done.returncode > 1:  # 1 is "done, with a warning"
                raise CannotStart(f"swift-ring-builder: {done.stdout}{done.stderr}")
    text = _PROXY.format(port=ports[3], **words)
    text += "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in _FILTERS)
    (etc / "proxy.conf").write_text(text)
    with ExitStack() as stack:
        for kind in (*names, "proxy"):
            command = [commands / f"swift-{kind}-server", etc / f"{kind}.conf"]
            stack.enter_context(running(command, folder / f"{kind}.log", SWIFT_DIR=str(etc)))
        wait_for(f"http://127.0.0.1:{ports[3]}/healthcheck", folder / "proxy.log", status=200)
        yield Server("swift", f"http://127.0.0.1:{ports[3]}", "test:tester", "testing")


def swift_environment() -> Path:
    """The folder of Swift's commands, in an environment of its own beside those of tox."""
    place = PLACE / f"swift-{SWIFT}"
    with one_at_a_time("swift"):
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            for command in (
                [sys.executable, "-m", "venv", place],
                [place / "bin" / "python", "-m", "pip", "install", "-q", f"swift=={SWIFT}", "setuptools<81"],
            ):
                bounded(command, "no environment for Swift")
            (place / "complete").touch()
    return place / "bin"


# --- Ceph --------------------------------------------------------------------------------------------------

_CEPH = """\
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
public_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
bluestore_block_size = 8589934592
run_dir = {folder}
log_file = {folder}/$name.log
osd_class_dir = {classes}
paxos_propose_interval = 0.05
mon_data = {folder}/mon
osd_data = {folder}/osd
[client]
keyring = /dev/null
ms_mon_client_mode = crc
rgw_data = {folder}
rgw_rados_pool_pg_num_min = 1
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
"""


@contextmanager
def ceph(folder: Path):
    install_ceph()
    classes = next(Path("/usr/lib").glob("*/rados-classes"), None)
    if classes is None:
        raise CannotStart("the classes of rados are not where Debian puts them")
    fsid = "11111111-2222-3333-4444-555555555555"
    port, v1, v2 = free_ports(3)
    (folder / "mon").mkdir()
    (folder / "osd").mkdir()
    config = folder / "ceph.conf"
    config.write_text(_CEPH.format(fsid=fsid, v1=v1, v2=v2, port=port, folder=folder, classes=classes))
    env = {"CEPH_CONF": str(config)}

    def do(*command: str) -> str:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise CannotStart(f"{' '.join(command[:3])}: {done.stderr[-300:]}")
        return done.stdout

    addresses = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
    do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, "monmap")
    do("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap")
    with ExitStack() as stack:
        stack.enter_context(running(["ceph-mon", "-f", "-i", "a"], folder / "mon.out", **env))
        do("ceph", "osd", "create", fsid)
        do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", fsid)
        stack.enter_context(running(["ceph-osd", "-f", "-i", "0"], folder / "osd.out", **env))
        patiently(lambda: "1 up" in do("ceph", "osd", "stat"), "the osd of Ceph does not come up")
        do(
            *"radosgw-admin user create --uid=t --display-name=t --access-key=AKIATEST123 --secret=secretsecret".split()
        )
        stack.enter_context(running(["radosgw", "-f", "--id", "admin"], folder / "rgw.out", **env))
        wait_for(f"http://127.0.0.1:{port}/", folder / "rgw.out")
        yield Server("ceph", f"http://127.0.0.1:{port}", "AKIATEST123", "secretsecret")


def install_ceph() -> None:
    """Install Debian's packages, unless they are there. What downloads has a limit of time; what installs is never cut off."""
    with one_at_a_time("ceph"):
        if all(shutil.which(name) for name in PACKAGES):
            return
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise CannotStart(f"install the Debian packages {', '.join(PACKAGES)}")
        packages = ["--no-install-recommends", "-qy", *PACKAGES]
        fetch = ["apt-get", "install", "--download-only", *packages]
        try:
            bounded(fetch, "Ceph cannot be fetched")
        except CannotStart:  # the lists of packages are old, or not there
            bounded(["apt-get", "update", "-q"], "Ceph cannot be fetched")
            bounded(fetch, "Ceph cannot be fetched")
        bounded(["apt-get", "install", *packages], "Ceph cannot be installed", seconds=None)


# --- what all need -----------------------------------------------------------------------------------------

SERVERS = {"moto": moto, "swift": swift, "ceph": ceph}


@contextmanager
def server(name: str):
    """Run one in a temporary folder.

    Raises:
        CannotStart: it cannot run here.
    """
    # not below a test's own folder: the names of sockets may have 107 bytes
    folder = tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True)
    with folder, SERVERS[name](Path(folder.name)) as started:
        yield started


def bounded(command, complaint: str, seconds: float | None = 120) -> None:
    """Run a command of the set-up.

    Raises:
        CannotStart: it fails, or takes longer: `complaint`, and the end of what it said.
    """
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise CannotStart(f"{complaint}: not done after {seconds} s") from None
    if done.returncode:
        raise CannotStart(f"{complaint}: {(done.stderr or done.stdout)[-300:]}")


@contextmanager
def one_at_a_time(name: str, seconds: float = 120):
    """Two test processes, or what CI installs beside them, do not set up the same server at once.

    Raises:
        CannotStart: another process is still not done after so many seconds.
    """
    PLACE.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    with (PLACE / f"{name}.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise CannotStart(f"another process is still setting it up after {seconds} s") from None
                time.sleep(0.1)
        yield


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on. All are held at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def running(command, log: Path, **env: str):
    """A process that ends with this block: SIGTERM, and SIGKILL to its group after 2 s: nothing in it is kept. It gets SIGTERM from the kernel if this process is killed."""
    bound = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    with log.open("wb") as out:
        child = subprocess.Popen(
            [*bound, *map(str, command)],
            cwd=log.parent,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(2)
        except subprocess.TimeoutExpired:
            pass
        with suppress(ProcessLookupError):  # workers of it, also where it ended by itself
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def patiently(ready, complaint: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise CannotStart(complaint)
        time.sleep(0.05)


def wait_for(url: str, log: Path, status: int | None = None) -> None:
    """Wait until a server answers, with that status if one is given."""

    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return status in (None, answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return status is None and error.code < 500
        except OSError:
            return False

    try:
        patiently(answers, f"{url} does not answer")
    except CannotStart as error:
        raise CannotStart(f"{error}: {log.read_text(errors='replace')[-500:]}") from None


def main(name: str) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with server(name) as started:
            started.make_bucket("bucket")
            for variable, value in started.environment.items():
                print(f"export {variable}={value}")
            print(f"# {name} has the bucket s3://bucket; Ctrl-C stops it", flush=True)
            signal.pause()
    except CannotStart as error:
        print(f"{name} cannot start here: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def install() -> int:
    try:
        install_ceph()
    except CannotStart as error:
        print(f"ceph cannot start here: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["install", "ceph"]:
        sys.exit(install())
    if len(sys.argv) == 2 and sys.argv[1] in SERVERS:
        sys.exit(main(sys.argv[1]))
    sys.exit(f"usage: python -m tests.support.servers {'|'.join(SERVERS)}, or install ceph")
