"""Two people, one bucket: Ada computes, Bob has her results, and neither waits for the other.

    python examples/two_people.py [FOLDER]

It runs offline: the bucket is on a test server that runs in this process (`pip install 'moto[server]'`). With
a bucket of your own, set SCALABLE_CACHE_REMOTE=s3://bucket/prefix, and leave out `Bucket`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STUDY = '''\
"""How far a ball flies, for many angles."""

import math
import sys
import time

from scalable_cas import cacheable


@cacheable
def distance(angle: int, speed: float = 30.0) -> dict:
    time.sleep(0.2)  # minutes, in real life
    x = y = 0.0
    vx, vy = speed * math.cos(math.radians(angle)), speed * math.sin(math.radians(angle))
    while y >= 0.0:
        drag = 0.01 * math.hypot(vx, vy)
        vx, vy = vx - drag * vx * 0.001, vy - (9.81 + drag * vy) * 0.001
        x, y = x + vx * 0.001, y + vy * 0.001
    return {"angle": angle, "metres": round(x, 1)}


if __name__ == "__main__":
    best = max((distance(int(angle)) for angle in sys.argv[1:]), key=lambda found: found["metres"])
    print(f"best angle: {best['angle']} degrees, {best['metres']} m")
'''


class Bucket:
    """A bucket on a server in this process."""

    name = "team"

    def __enter__(self) -> dict[str, str]:
        """What the environment of a program must say to find it."""
        import logging

        import boto3

        try:
            from moto.server import ThreadedMotoServer
        except ImportError:
            sys.exit("This example needs a test server: pip install 'moto[server]'")

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it prints each request
        self._server = ThreadedMotoServer(port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        found = {
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        os.environ.update(found)
        boto3.client("s3").create_bucket(Bucket=self.name)
        return found | {"SCALABLE_CACHE_REMOTE": f"s3://{self.name}/scalable-cache"}

    def __exit__(self, *exc: object) -> None:
        self._server.stop()


def person(folder: Path, environment: dict[str, str], *angles: int) -> None:
    """Somebody with a home and a store of his own runs the study."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.py").write_text(STUDY)
    env = {**os.environ, **environment, "HOME": str(folder), "XDG_CONFIG_HOME": ""}
    print(f"{folder.name} asks for {len(angles)} angles:", flush=True)
    subprocess.run([sys.executable, "study.py", *map(str, angles)], cwd=folder, env=env, check=True)
    subprocess.run(
        [sys.executable, "-m", "scalable_cas", "report", "--last"], cwd=folder, env=env, check=True
    )


def main(folder: Path) -> None:
    """Ada, Bob, and Ada again, who has what Bob added."""
    with Bucket() as environment:
        person(folder / "ada", environment, *range(20, 60, 4))
        person(folder / "bob", environment, *range(20, 60, 2))
        person(folder / "ada", environment, *range(20, 60, 2))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "two-people").absolute())
