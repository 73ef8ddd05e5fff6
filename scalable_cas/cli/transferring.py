"""What `push` and `pull` share: options, and a bar that shows bytes and their rate."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import click

from scalable_cas import clock
from scalable_cas.cli.output import size
from scalable_cas.ops.transfer.parallel import JOBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scalable_cas.cli.context import Session

function_option = click.option(
    "--function", multiple=True, metavar="NAME", help="Only the entries of this function. May be repeated."
)
jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1, max=64),
    metavar="N",
    help=f"Files at a time; each may take some 64 MB of memory. Default: {JOBS}.",
)


@contextmanager
def bar(session: Session, label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr for work that reports (bytes done, of how many); None where stderr is no terminal, or
    quiet was asked for.
    """
    if session.quiet or not sys.stderr.isatty():
        yield None
        return
    since = clock.monotonic()

    def rate(done: int | None) -> str:
        passed = max(clock.monotonic() - since, 0.001)
        return f"{size(done or 0)}, {size((done or 0) / passed)}/s"

    with click.progressbar(
        length=1, label=label, file=sys.stderr, item_show_func=rate, show_eta=True
    ) as shown:

        def report(done: int, total: int) -> None:
            shown.length = max(total, 1)
            shown.update(done - shown.pos, done)

        yield report
