"""Programs that carry a folder to a bucket and back, as their users run them: what `test_transfer_peers` times.

Each has `push(number)`, `push_again(number)` and `pull(number)`, for a place of its own for each round. Ours is given
stores with the same content as results.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from scalable_cas import Store
from scalable_cas.codecs.base import encode
from tests.cli.filling import record

if TYPE_CHECKING:
    from pathlib import Path


def run(*command: object, cwd: Path | None = None, **more: str) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}"


class Peer:
    """A program, a folder of files to carry, a bucket, and a folder of its own."""

    command = ""

    def __init__(self, source: Path, endpoint: str, bucket: str, folder: Path) -> None:
        self.source, self.endpoint, self.bucket, self.folder = source, endpoint, bucket, folder
        folder.mkdir(parents=True)
        self.prepare()

    def prepare(self) -> None:
        """What a user does once."""

    def push(self, number: int) -> None:
        """Send all to an empty place."""
        raise NotImplementedError

    def push_again(self, number: int) -> None:
        """The same with nothing new."""
        self.push(number)

    def pull(self, number: int) -> None:
        """Bring all to an empty folder."""
        raise NotImplementedError

    def got(self, number: int) -> Path:
        """Where `pull` leaves it."""
        return self.folder / f"got{number}"

    def check(self, number: int) -> None:
        """Assert that all is there."""
        there = sum(1 for file in self.got(number).rglob("*") if file.is_file())
        assert there == len(list(self.source.iterdir()))

    def clear(self, number: int) -> None:
        """Remove what `pull` brought."""
        shutil.rmtree(self.got(number))


class Ours(Peer):
    command = sys.executable
    _cas = (sys.executable, "-m", "scalable_cas")

    def prepare(self):
        with Store.init(self.folder / "ada") as store:
            for number, file in enumerate(sorted(self.source.iterdir())):
                store.save(record("m.f", str(number), seconds=0.001), encode(file.read_bytes()))

    def push(self, number):
        run(
            *self._cas,
            "push",
            f"s3://{self.bucket}/ours{number}",
            SCALABLE_CACHE_DIR=str(self.folder / "ada"),
        )

    def pull(self, number):
        Store.init(self.got(number)).close()
        run(*self._cas, "pull", f"s3://{self.bucket}/ours{number}", SCALABLE_CACHE_DIR=str(self.got(number)))

    def check(self, number):
        with Store.open(self.got(number)) as store:
            assert sum(1 for _ in store.entries()) == len(list(self.source.iterdir()))


class Rclone(Peer):
    command = "rclone"
    #: As fast as it gets here; its defaults are 4 and 8.
    _tuned = ("--transfers", "16", "--checkers", "32", "--s3-no-check-bucket", "--s3-disable-checksum")

    def _at(self, number):
        return f":s3,provider=Other,env_auth=true,endpoint='{self.endpoint}':{self.bucket}/rclone{number}"

    def push(self, number):
        run("rclone", "--config", "/dev/null", "copy", self.source, self._at(number), *self._tuned)

    def pull(self, number):
        run("rclone", "--config", "/dev/null", "copy", self._at(number), self.got(number), *self._tuned)


class Aws(Peer):
    command = "aws"

    def _sync(self, source, target):
        run("aws", "--endpoint-url", self.endpoint, "s3", "sync", "--only-show-errors", source, target)

    def push(self, number):
        self._sync(self.source, f"s3://{self.bucket}/aws{number}")

    def pull(self, number):
        self._sync(f"s3://{self.bucket}/aws{number}", self.got(number))


class Restic(Peer):
    command = "restic"

    def _restic(self, number, *command, cwd=None):
        at = f"s3:{self.endpoint}/{self.bucket}/restic{number}"
        run(
            "restic",
            "-r",
            at,
            *command,
            cwd=cwd,
            RESTIC_PASSWORD="x",
            RESTIC_CACHE_DIR=str(self.folder / "cache"),
        )

    def push(self, number):
        self._restic(number, "init")
        self.push_again(number)

    def push_again(self, number):
        self._restic(number, "backup", ".", cwd=self.source)

    def pull(self, number):
        self._restic(number, "restore", "latest", "--target", self.got(number))


class Dvc(Peer):
    command = "dvc"

    def prepare(self):
        work = self.folder / "work"
        shutil.copytree(self.source, work / "data")
        run("dvc", "init", "--no-scm", "-q", cwd=work)
        run("dvc", "add", "-q", "data", cwd=work)

    def push(self, number):
        work = self.folder / "work"
        run("dvc", "remote", "add", "-q", "-f", "-d", "there", f"s3://{self.bucket}/dvc{number}", cwd=work)
        run("dvc", "remote", "modify", "-q", "there", "endpointurl", self.endpoint, cwd=work)
        self.push_again(number)

    def push_again(self, number):
        run("dvc", "push", "-q", "-j", "16", cwd=self.folder / "work")

    def pull(self, number):
        shutil.copytree(
            self.folder / "work" / ".dvc", self.got(number) / ".dvc", ignore=lambda *_: ["cache", "tmp"]
        )
        shutil.copy(self.folder / "work" / "data.dvc", self.got(number))
        run("dvc", "pull", "-q", "-j", "16", cwd=self.got(number))

    def check(self, number):
        assert len(list((self.got(number) / "data").iterdir())) == len(list(self.source.iterdir()))


class Boto3(Peer):
    """boto3 as bare as it gets: a transfer of each file, some at a time. In this process, with no start-up."""

    command = sys.executable

    def prepare(self):
        import boto3

        self._client = boto3.client("s3", endpoint_url=self.endpoint)

    def _each(self, work):
        from concurrent.futures import ThreadPoolExecutor

        from scalable_cas.ops.transfer.parallel import JOBS

        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(work, sorted(file.name for file in self.source.iterdir())))

    def push(self, number):
        self._each(
            lambda name: self._client.upload_file(
                str(self.source / name), self.bucket, f"boto{number}/{name}"
            )
        )

    def pull(self, number):
        self.got(number).mkdir()
        self._each(
            lambda name: self._client.download_file(
                self.bucket, f"boto{number}/{name}", str(self.got(number) / name)
            )
        )


PEERS = {
    "scalable-cas": Ours,
    "boto3": Boto3,
    "rclone": Rclone,
    "restic": Restic,
    "aws s3 sync": Aws,
    "dvc": Dvc,
}
