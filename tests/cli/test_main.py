"""The program as a whole: help, exit codes, where the store is, and how commands end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile

import pytest

import scalable_cas
from scalable_cas.cli.main import NAMES, SECTIONS
from tests.conftest import ROOT

NEEDS_NO_ARGUMENT = (
    "status",
    "ls",
    "log",
    "du",
    "show-ref",
    "ls-objects",
    "count-objects",
    "verify",
    "gc",
    "repack",
    "reindex",
    "report",
)


def start(cwd, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "scalable_cas", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **{"stdout": subprocess.PIPE, **options},
    )


def test_version(cas):
    done = cas("--version")
    assert (done.code, done.out) == (0, f"scalable-cas {scalable_cas.__version__}\n")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command_under_its_heading(cas, flag):
    done = cas(flag)
    assert done.code == 0
    for heading, names in SECTIONS.items():
        section = done.out.split(f"{heading}:\n")[1]
        assert [line.split()[0] for line in section.splitlines()[: len(names)]] == list(names)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_without_a_store(cas, name):
    done = cas(name, "-h")
    assert done.code == 0
    assert done.out.startswith(f"Usage: scalable-cas {name} ")


@pytest.mark.parametrize("name", NEEDS_NO_ARGUMENT)
def test_without_a_store_a_command_says_so_and_makes_none(cas, path, name):
    done = cas(name)
    assert (done.code, done.out) == (1, "")
    assert (
        done.err
        == f"error: no store at {path}; run `scalable-cas init`, or call a decorated function there\n"
    )
    assert not path.exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("nope",), "'nope'; `scalable-cas -h` explains"),
        (("ls", "a", "b"), "argument (b); `scalable-cas ls -h` explains"),
        (("ls", "--nope"), "--nope"),
        (("ls", "--sort", "nope"), "'created'"),
        (("report", "--html"), "requires an argument"),
        (("-q", "-v", "ls"), "error: -q and -v contradict each other; `scalable-cas -h` explains"),
        (("--store", "", "ls"), "--store: it is empty"),
        (("--store", "s3://bucket/x", "ls"), "is a URL"),
        (("show",), "error: missing argument 'KEY'; `scalable-cas show -h` explains"),
        (("remote", "add", "name"), "error: missing argument 'URL'; `scalable-cas remote add -h` explains"),
        (("remote", "add", "", "file:///x"), "use letters, digits, -, _ and .; `scalable-cas remote add -h`"),
        (("config",), "error: missing command; `scalable-cas config -h` explains"),
    ],
)
def test_wrong_usage_is_2_and_one_line(cas, arguments, said):
    done = cas(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert said in done.err


def test_no_command_at_all_gets_the_help(cas):
    done = cas()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: ")


def test_store_is_found_as_a_call_finds_it(cas, workdir, monkeypatch):
    (workdir / "scalable.yaml").write_text("project:\n  local_cache: here\n")
    assert str(workdir / "here") in cas("init").out
    monkeypatch.setenv("SCALABLE_CACHE_DIR", str(workdir / "there"))
    assert str(workdir / "there") in cas("init").out
    assert str(workdir / "third") in cas("--store", "third", "init").out
    assert cas("--store", "third", "status", "--json").json["source"] == "--store"
    assert cas("status", "--json").json["source"] == "SCALABLE_CACHE_DIR"


def test_broken_yaml_is_one_line(cas, workdir):
    (workdir / "scalable.yaml").write_text("a: [\n b")
    done = cas("ls")
    assert done.code == 1
    assert done.err.startswith(f"error: {workdir / 'scalable.yaml'}: ")
    assert done.err.count("\n") == 1


def test_verbose_says_which_store_and_quiet_says_nothing(cas, path):
    cas("init")
    assert cas("-v", "ls").err == f"store: {path} (the nearest .scalable)\nnothing is stored yet\n"
    assert cas("ls").err == "nothing is stored yet\n"
    assert cas("-q", "ls").err == ""


def test_errors_of_the_system_are_one_line(cas):
    done = cas("hash-object", "absent")
    assert (done.code, done.out, done.err) == (1, "", "error: absent: No such file or directory\n")


@pytest.mark.parametrize(
    "command",
    [
        ("hash-object",),
        ("write-tree",),
        ("checkout", "0123"),
        ("bundle", "create"),
        ("bundle", "verify"),
        ("bundle", "unbundle"),
        ("report", "--html"),
    ],
)
def test_an_empty_path_is_wrong_usage(cas, command):
    cas("init")
    done = cas(*command, "")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "an empty path" in done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_file_that_may_not_be_read_is_no_wrong_usage(cas):
    with tempfile.TemporaryDirectory() as folder:  # below ``workdir`` nobody else may look
        os.chmod(folder, 0o755)
        open(f"{folder}/secret", "wb").close()
        os.chmod(f"{folder}/secret", 0o600)
        os.setresuid(65534, 65534, 0)
        try:
            done = cas("hash-object", f"{folder}/secret")
        finally:
            os.setresuid(0, 0, 0)
    assert (done.code, done.out, done.err) == (1, "", f"error: {folder}/secret: Permission denied\n")


def test_a_reader_that_leaves_early_is_no_error_message(workdir):
    (workdir / "large").write_bytes(b"\0" * 10_000_000)
    child = start(workdir, "hash-object", *["large"] * 2)
    child.stdout.close()
    child.stdin.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(60) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error(workdir):
    with open("/dev/full", "wb") as full:
        child = start(workdir, "init", stdout=full)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (1, b"error: No space left on device\n")


def test_closed_output_is_an_error(workdir):
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m scalable_cas init >&-"],
        cwd=workdir,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"error: stdout is closed\n")


@pytest.mark.parametrize("command", ["write-tree folder", "verify --json", "gc --json", "reindex", "ls"])
def test_nobody_has_to_listen_to_talk(workdir, filled, command):
    (workdir / "folder").mkdir()
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m scalable_cas {command} 2>&-"],
        cwd=workdir,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert bool(done.stdout) == (command != "reindex")


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(workdir, number, code):
    (workdir / "one").write_bytes(b"1")
    os.mkfifo(workdir / "pipe")
    child = start(workdir, "hash-object", "one", "pipe")
    assert re.fullmatch(
        rb"[0-9a-f]{64}\n", child.stdout.readline()
    )  # so it is at work, and about to wait for the pipe
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert b"Traceback" not in err


def test_console_script_and_module_are_the_same(run, workdir):
    assert run("-m", "scalable_cas", "init").returncode == 0
    assert (
        run("-c", "import sys; from scalable_cas.cli.main import main; sys.exit(main(['status']))").returncode
        == 0
    )


def test_a_name_that_would_steer_the_terminal_is_shown_as_text(cas, path):
    from scalable_cas import Store

    from .filling import put

    with Store.init(path) as store:
        put(store, "bad\x1b[2J\nname.run", "x")
    done = cas("ls")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert r"bad\x1b[2J\nname.run" in done.out
    assert len(done.lines) == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run, shell):
    done = run(
        "-c",
        "import sys; from scalable_cas.cli.main import main; sys.exit(main())",
        _SCALABLE_CAS_COMPLETE=f"{shell}_source",
    )
    assert "_SCALABLE_CAS_COMPLETE" in done.stdout
