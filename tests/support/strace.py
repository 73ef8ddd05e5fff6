"""System calls that change files, one by one: found by tracing a program, and then killed or failed by strace."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from typing import NamedTuple

from .processes import ROOT, command, environment

#: Every call that changes a file system or makes such a change durable. `openat` counts where it can create.
MUTATING = (
    "openat,creat,write,writev,pwrite64,pwritev,pwritev2,link,linkat,symlink,symlinkat,unlink,unlinkat,rename,renameat,renameat2,"
    "mkdir,mkdirat,rmdir,truncate,ftruncate,fallocate,fsync,fdatasync,sync,syncfs,sync_file_range,msync,chmod,fchmod,fchmodat,utimensat"
)
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")


class Point(NamedTuple):
    """The `number`-th call of `name` in its thread; `what` is the call as strace writes it."""

    name: str
    number: int
    what: str


@cache
def why_not() -> str:
    """Why strace cannot be used here; "" if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    try:
        done = subprocess.run(
            ["strace", "-f", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"strace does not work: {error}"
    return "" if done.returncode == 0 else f"ptrace is not allowed here: {done.stderr.strip()[:200]}"


def points(program, *args, store, log) -> list[Point]:
    """Run a program to its end and return the changes that it made to files below `store`, in order."""
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-s",
            "40",
            "-o",
            str(log),
            "-e",
            f"trace={MUTATING}",
            *command(program, *args),
        ],
        cwd=ROOT,
        env=environment(store),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    counts: dict[tuple[str, str], int] = {}
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        thread, name, rest = match.groups()
        counts[thread, name] = counts.get((thread, name), 0) + 1
        creates = name != "openat" or any(flag in rest for flag in ("O_CREAT", "O_TRUNC"))
        if creates and (str(store) in rest or name == "sync"):
            found.append(Point(name, counts[thread, name], f"{name}({rest}"))
    return found


def inject(
    point: Point, fault: str, program, *args, store, when: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program with a fault at one point: "signal=KILL", "error=ENOSPC"…; `when` as strace has it."""
    rule = f"inject={point.name}:{fault}:when={when or point.number}"
    return subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"trace={point.name}",
            "-e",
            rule,
            *command(program, *args),
        ],
        cwd=ROOT,
        env=environment(store),
        capture_output=True,
        text=True,
        timeout=120,
    )
