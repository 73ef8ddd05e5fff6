"""What commands share: the global options, the store they work on, and the types of their arguments."""

from __future__ import annotations

import os

import click

from scalable_cas import config
from scalable_cas.errors import ConfigError, StoreNotFound
from scalable_cas.ids import prefix_bounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.api import Store
    from scalable_cas.config import Place


class Session:
    """The global options of one run, and the store once a command has asked for it."""

    def __init__(self, context: click.Context, path: str | None, *, quiet: bool, verbose: bool) -> None:
        self._context = context
        self._path = path
        self.quiet = quiet
        self.verbose = verbose

    def place(self) -> Place:
        """Where the store is or should be.

        Raises:
            ConfigError: a broken ``scalable.yaml``, a URL in place of a folder.
        """
        if self._path is not None:
            return config.Place(os.path.abspath(config.local_folder(self._path, "--store")), "--store", None)
        return config.find_place(config.Environ())

    def store(self, *, create: bool = False, heal: bool = False) -> Store:
        """Open the store; it is closed when the command ends.

        Raises:
            StoreNotFound: there is none, and it is not to be made.
            ScalableCasError: it cannot be opened.
        """
        from scalable_cas.api import Store

        place = self.place()
        if self.verbose:
            self.say(f"store: {place.path} ({place.source})")
        store = Store(place.path, create=create, heal=heal)
        self._context.call_on_close(store.close)
        return store

    def existing(self) -> str:
        """The folder of a store that is there, without opening it: for work on its plain files.

        Raises:
            StoreNotFound: there is none.
        """
        from scalable_cas.format.layout import FORMAT_FILE

        path = self.place().path
        if not os.path.isfile(f"{path}/{FORMAT_FILE}"):
            raise StoreNotFound(path)
        return path

    def say(self, text: str) -> None:
        """Tell the user something on stderr, unless he asked for quiet."""
        if not self.quiet:
            click.echo(text, err=True)


pass_session = click.make_pass_decorator(Session)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


class _Path(click.Path):
    """A path, which shells complete. What lies there is looked at by whoever opens it: that is not there, or
    may not be read, is no wrong usage.
    """

    def __init__(self) -> None:
        super().__init__(readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check that there is any."""
        if not value:
            self.fail("an empty path", param, ctx)
        return super().convert(value, param, ctx)


FILE = _Path()


if TYPE_CHECKING:
    _Text = click.ParamType[str]
    _Number = click.ParamType[float]
else:
    _Text = _Number = click.ParamType  # which is generic only since click 8.2


class Prefix(_Text):
    """An id, or the beginning of one."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the digits; whether there is such an id is the command's business."""
        try:
            prefix_bounds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value.strip().lower()


class RemotePlace(_Text):
    """A remote by its name or URL."""

    name = "remote"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that it can be one; whether there is such a remote is the command's business."""
        if not value:
            self.fail("an empty name", param, ctx)
        if "://" in value:
            from scalable_cas.remotes.base import open_remote

            try:
                open_remote(value).close()  # asks nobody
            except ConfigError as error:
                self.fail(str(error), param, ctx)
        return value


class Amount(_Number):
    """A number with a unit, such as ``30d`` or ``10GB``; ``units`` has the factor of each, in lower case."""

    def __init__(self, name: str, units: dict[str, float], example: str) -> None:
        self.name = name
        self._units = units
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The amount in the smallest unit."""
        text = str(value).strip().lower()
        digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
        factor = self._units.get(text[len(digits) :].strip())
        number = digits.strip()
        if factor is None or not number.replace(".", "", 1).isdigit() or not number.isascii():
            self.fail(f"{value!r} is not a {self.name}; write it as {self._example}", param, ctx)
        return float(number) * factor


DURATION = Amount(
    "duration",
    {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400},
    "90, 30s, 15m, 12h, 30d or 2w",
)
#: As disk makers count: kB, MB, GB, TB are powers of 1000; KiB, MiB, GiB, TiB are powers of 1024.
_POWERS = {prefix: power for power, prefix in enumerate("kmgt", 1)}
SIZE = Amount(
    "size",
    {"": 1, "b": 1}
    | {f"{p}{end}": 1000**n for p, n in _POWERS.items() for end in ("", "b")}
    | {f"{p}ib": 1024**n for p, n in _POWERS.items()},
    "500, 10k, 10MB or 1.5GiB",
)
