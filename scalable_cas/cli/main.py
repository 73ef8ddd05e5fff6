"""`scalable-cas`: the table of commands, and how a command ends.

Exit codes: 0 fine; 1 found what it looks for (damage, a missing object, nothing cached), or could not
complete; 2 wrong usage; 130 interrupted; 143 terminated. What went wrong is one line on stderr.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import warnings

import click

from scalable_cas.cli.context import Session
from scalable_cas.cli.output import one_line
from scalable_cas.config import local_folder
from scalable_cas.errors import ConfigError, ScalableCasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any, NoReturn, TextIO

#: The package itself is a layer above this one, and loaded whenever this is.
VERSION: str = sys.modules["scalable_cas"].__version__

INTERRUPTED, TERMINATED = 130, 143

#: What help shows, in this order. A command's module has its name, with `_` for `-`.
SECTIONS = {
    "Everyday commands": (
        *("init", "status", "ls", "log", "show", "why", "du", "report"),
        *("clear", "pin", "unpin", "gc", "verify"),
        *("remote", "push", "pull", "trust", "bundle", "config", "doctor"),
    ),
    "Plumbing, named and behaving as git's": (
        *(
            "hash-object",
            "cat-file",
            "ls-tree",
            "write-tree",
            "checkout",
            "rev-parse",
            "show-ref",
            "ls-objects",
            "count-objects",
            "repack",
            "reindex",
        ),
    ),
}
NAMES = tuple(name for names in SECTIONS.values() for name in names)


class Commands(click.Group):
    """The commands of the table. A command's module is imported when the command is run, or its help is
    shown.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of the table."""
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command object in `scalable_cas.cli.MODULE.command`, or None."""
        if cmd_name not in NAMES:
            return None
        module = __import__(f"scalable_cas.cli.{cmd_name.replace('-', '_')}", fromlist=("command",))
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings."""
        width = max(map(len, NAMES))
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                rows = [
                    (name.ljust(width), command) for name in names if (command := self.get_command(ctx, name))
                ]
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in rows])


@click.group(
    cls=Commands,
    invoke_without_command=True,  # answered below: click 8.1 would call it fine, 8.2 wrong usage
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--store", "path", metavar="PATH", help="Use the store at PATH.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say more: which store it is, and details of the work.")
@click.version_option(VERSION, prog_name="scalable-cas", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, path: str | None, quiet: bool, verbose: bool) -> None:
    """Results of Python functions, kept by content. Look into a store, and look after it.

    The store is that of --store, of SCALABLE_CACHE_DIR, of the nearest scalable.yaml, or the nearest
    .scalable folder. FUNCTION is module.qualname or an unambiguous ending of it; KEY and OID are ids or
    unique beginnings of 4 digits or more.
    """
    if quiet and verbose:
        raise click.UsageError("-q and -v contradict each other")
    if path is not None:
        try:
            local_folder(path, "--store")
        except ConfigError as error:
            raise click.UsageError(str(error)) from error
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)
    context.obj = Session(context, path, quiet=quiet, verbose=verbose)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    ``arguments`` is what stands after the program's name; default: those of this process.
    """
    if sys.stdout is None:  # closed by whoever started us: what is printed would be lost without a word
        return _failed("stdout is closed")
    if sys.stderr is None:  # nobody listens
        os.open(os.devnull, os.O_RDONLY)  # takes the number of stderr, which a file of the store would get
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show must not end a listing
            stream.reconfigure(errors="backslashreplace")
    before = _on_sigterm(_terminated)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = _warn
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    finally:
        _on_sigterm(before)


def _run(arguments: list[str]) -> int:
    try:
        code = cli.main(arguments, prog_name="scalable-cas", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort as abort:
        if isinstance(abort.__cause__ or abort.__context__, KeyboardInterrupt):
            return INTERRUPTED
        return _failed("nothing was done")  # a question was answered with no, or not at all
    except KeyboardInterrupt:
        return INTERRUPTED
    except click.ClickException as error:
        return _failed(_wrong_usage(error), error.exit_code)
    except BrokenPipeError:  # whoever read our output has seen enough
        return _discard_output()
    except ScalableCasError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:
        name = f"{error.filename}: " if error.filename is not None else ""
        _failed(f"{name}{error.strerror or error}")
        return _discard_output()
    return code if isinstance(code, int) else 0


def _wrong_usage(error: click.ClickException) -> str:
    """What click would say in four lines, as one of ours."""
    message = error.format_message()
    message = message if message.endswith(" .") else message.removesuffix(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    more = "" if context is None else f"; `{context.command_path} -h` explains"
    start = message[:1].lower() if message[1:2].islower() else message[:1]
    return f"{start}{message[1:]}{more}"


def _failed(message: str, code: int = 1) -> int:
    click.echo(f"error: {one_line(message)}", err=True)
    return code


def _discard_output() -> int:
    """Let what is still buffered for a closed pipe or a full disk go nowhere: Python would complain about it
    at exit.
    """
    try:
        sys.stdout.flush()
    except OSError:
        # A pipe that nobody reads takes more than Python's buffers hold (8 KiB twice), and is no file to be
        # opened.
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(writer)
        sys.stdout.flush()
        os.close(reader)
    return 1


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del category, filename, lineno, file, line  # where in our source a warning was made helps nobody here
    click.echo(f"warning: {one_line(str(message))}", err=True)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise SystemExit(TERMINATED)  # unwinds, so that the store is closed and drafts are removed


def _on_sigterm(handler: Any) -> Any:
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, handler)
