"""What the checks of `remote_checks` are written with."""

from __future__ import annotations

import os
from contextlib import contextmanager
from secrets import token_hex
from threading import Barrier, Thread
from typing import TYPE_CHECKING

from scalable_cas.remotes.fs import Download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scalable_cas.remotes.base import Remote

    Opener = Callable[[], Remote]


def expect(truth: object, otherwise: str) -> None:
    """Fail the check with a message unless something holds."""
    # not `assert`: this is shipped code, and python -O leaves those out
    if not truth:
        raise AssertionError(otherwise)


@contextmanager
def place_of_its_own(opener: Opener) -> Iterator[tuple[Remote, str]]:
    """The remote and a prefix that nobody else uses; what lies there at the end is deleted."""
    remote = opener()
    prefix = f"check-{token_hex(8)}/"
    try:
        yield remote, prefix
        remote.delete([file.name for file in remote.list(prefix)])
    finally:
        remote.close()


def local_file(folder: str, content: bytes) -> str:
    """A new local file with that content."""
    path = os.path.join(folder, token_hex(8))
    with Download(path) as file:
        file.write_at(0, content)
    return path


def content_of(path: str) -> bytes:
    """What a local file holds."""
    with open(path, "rb") as file:
        return file.read()


def raises(kind: type[Exception] | tuple[type[Exception], ...], action: Callable[[], object]) -> Exception:
    """The error that an action must raise."""
    try:
        got = action()
    except kind as error:
        return error
    raise AssertionError(f"{kind} was expected, not {got!r:.100}")


def in_threads(actions: list[Callable[[], object]]) -> list[object]:
    """Run all in the same moment; the first error is raised."""
    barrier = Barrier(len(actions))
    results: list[object] = [None] * len(actions)
    errors: list[BaseException] = []

    def run(place: int, action: Callable[[], object]) -> None:
        try:
            barrier.wait(60)
            results[place] = action()
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            errors.append(error)

    threads = [Thread(target=run, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
