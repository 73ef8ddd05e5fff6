"""The README's two commands, and that CI runs the one that it shows."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from .blocks import ROOT, blocks


@pytest.fixture(scope="module")
def shown():
    """The README's commands by their markers."""
    return {b.marker: b.text for b in blocks((ROOT / "README.md").read_text(encoding="utf-8")) if b.marker}


def test_there_are_two_commands_of_one_line(shown):
    assert sorted(shown) == ["example", "test"]
    for text in shown.values():
        assert text.count("\n") == 1
        assert subprocess.run(["sh", "-n", "-c", text], check=False).returncode == 0


def test_they_run_what_they_say(shown):
    script = shown["example"].split()[-1]
    assert script.startswith("examples/")
    assert (ROOT / script).is_file()
    assert "'.[test]'" in shown["test"]
    assert shown["test"].endswith("-m pytest -n 2\n")


def test_ci_runs_the_command_of_the_readme(tmp_path):
    """In a checkout whose README shows another command, CI runs that one, on all servers, then the rules and the types."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    servers = tmp_path / "tests" / "support" / "servers.py"
    servers.parent.mkdir(parents=True)
    servers.write_text("import sys\nopen('installed', 'w').write(' '.join(sys.argv[1:]))\n")
    python = ".venv/bin/python"
    fake = f"mkdir -p .venv/bin && printf '#!/bin/sh\necho \"$REMOTE_SERVERS: $@\" >>calls\n' >{python} && chmod +x {python}"
    command = f"{fake} && {python} -m pytest"
    (tmp_path / "README.md").write_text(
        f"```sh\nfalse\n```\n\n<!-- command: test -->\n\n```sh\n{command}\n```\n\n```sh\nfalse\n```\n"
    )
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls").read_text().splitlines() == [
        "moto swift ceph: -m pytest",
        "moto swift ceph: -m tox -e lint,types",
    ]
    assert (tmp_path / "installed").read_text() == "install ceph"


def test_ci_fails_with_the_tests(tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    for readme in ("nothing here\n", "<!-- command: test -->\n\n```sh\nfalse && true\n```\n"):
        (tmp_path / "README.md").write_text(readme)
        assert subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, check=False).returncode != 0
