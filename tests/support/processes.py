"""Child processes of tests: programs given as text or as a module, with the package on their path and nobody's settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(store=None, **more: str) -> dict[str, str]:
    """The environment of a child: this project importable, no byte code written, `store` as its cache."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    if store is not None:
        env["SCALABLE_CACHE_DIR"] = str(store)
    return {**env, **more}


def command(program, *args) -> list[str]:
    """How to run a program: source text (it contains a line break), a file, or the name of a module."""
    if "\n" in program:
        head = ["-c", textwrap.dedent(program)]
    else:
        head = [program] if program.endswith(".py") else ["-m", program]
    return [sys.executable, *head, *map(str, args)]


def start(program, *args, store=None, prefix=(), **env) -> subprocess.Popen[str]:
    """Start a child; its output is text in pipes."""
    return subprocess.Popen(
        [*prefix, *command(program, *args)],
        cwd=ROOT,
        env=environment(store, **env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that `kill` reaches its children too
    )


def kill(child: subprocess.Popen[str]) -> None:
    """End a child and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        pipe.close()


def finish(child: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    """Wait for a child: (exit status, standard output, standard error). One that takes longer than `seconds` is killed, and that fails the test."""
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        raise AssertionError(f"a child hung for {seconds} s\n{out[-2000:]}\n{err[-4000:]}") from None
    return child.returncode, out, err


def run(program, *args, store=None, prefix=(), seconds: float = 60, status: int | None = 0, **env) -> str:
    """Run a child and return its standard output; it must end with `status` (None: any)."""
    code, out, err = finish(start(program, *args, store=store, prefix=prefix, **env), seconds)
    assert status is None or code == status, f"exit status {code}\n{out[-2000:]}\n{err[-4000:]}"
    return out


def together(program, count: int, *args, store=None, seconds: float = 60, **env) -> list[str]:
    """Run `count` children that begin their work in the same moment; the program says "ready" and waits for a line.

    Its last argument is its number. Returns their standard outputs after "ready".
    """
    children = [start(program, *args, number, store=store, **env) for number in range(count)]
    try:
        for child in children:
            line = child.stdout.readline()
            assert line == "ready\n", (line, *finish(child))
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        ends = [finish(child, seconds) for child in children]
    finally:
        for child in children:
            kill(child)
    for code, out, err in ends:
        assert code == 0 and not err, f"exit status {code}\n{out[-2000:]}\n{err[-4000:]}"
    return [out for _, out, _ in ends]
