"""`config`: the settings of a store."""

from __future__ import annotations

import click

from scalable_cas import config
from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import clean, document, lines
from scalable_cas.errors import ConfigError
from scalable_cas.format.layout import CONFIG_FILE, TMP
from scalable_cas.storage import fs

#: A setting by its name.
_SETTING = click.Choice([*config.SETTINGS])


@click.group("config", no_args_is_help=False)
def command() -> None:
    """Read and change the settings of the store."""


@command.command("get")
@click.argument("name", type=_SETTING, metavar="NAME")
@pass_session
def get(session: Session, name: str) -> None:
    """Print the value of the setting NAME."""
    lines([clean(_text(_settings(session.existing()).get(name)))])


@command.command("set")
@click.argument("name", type=_SETTING, metavar="NAME")
@click.argument("value")
@pass_session
def set_(session: Session, name: str, value: str) -> None:
    """Give the setting NAME a VALUE.

    Programs that run keep the old one until they start again.
    """
    possible = config.SETTINGS[name][1] or ()
    wanted = next((item for item in possible if _text(item) == value.strip().lower()), value)
    try:
        config.check_setting(name, wanted, "config set")
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    root = session.existing()
    settings = _settings(root)
    changed = config.Settings(settings.values | {name: wanted})
    fs.replace(f"{root}/{TMP}", f"{root}/{CONFIG_FILE}", config.pack_settings(changed))


@command.command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List every setting with its value, its possible values and its meaning."""
    settings = _settings(session.existing())
    rows = [
        {
            "name": name,
            "value": settings.get(name),
            "default": default,
            "possible": possible,
            "meaning": meaning,
        }
        for name, (default, possible, meaning) in config.SETTINGS.items()
    ]
    if as_json:
        document(rows)
        return
    for row in rows:
        choice = f" [{'|'.join(map(_text, row['possible']))}]" if row["possible"] else ""
        lines([clean(f"{row['name']} = {_text(row['value'])}{choice}  {row['meaning']}")])


def _settings(root: str) -> config.Settings:
    path = f"{root}/{CONFIG_FILE}"
    try:
        with open(path, "rb") as file:
            return config.unpack_settings(file.read(), path)
    except FileNotFoundError:  # nothing was ever set
        return config.Settings()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
