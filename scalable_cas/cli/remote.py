"""`remote`: the places that `push` and `pull` know by name."""

from __future__ import annotations

import click

from scalable_cas.cli.context import RemotePlace, Session, json_option, pass_session
from scalable_cas.cli.output import clean, document, lines, pairs, row, table
from scalable_cas.config import REMOTES, check_setting
from scalable_cas.errors import ConfigError
from scalable_cas.ops.transfer.repository import (
    DEFAULT,
    add_remote,
    open_repository,
    reading_through,
    refuse_store,
    remotes_of,
    remove_remote,
)
from scalable_cas.remotes.base import open_remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.remotes.base import Capabilities

_ABILITIES = ("list", "read", "write", "ranges", "conditional", "delete")


@click.group("remote", no_args_is_help=False)
def command() -> None:
    """Name the places to push to and to pull from."""


@command.command("add")
@click.argument("name")
@click.argument("url")
@json_option
@pass_session
def add(session: Session, name: str, url: str, as_json: bool) -> int:
    """Call the place at URL NAME, after trying what can be done there.

    URL is s3://bucket/prefix, gs://bucket/prefix or file:///folder. Credentials come from where boto3 finds
    them (AWS_PROFILE, the environment, …) and are never stored. `origin` is what push and pull mean where no
    remote is named. A small file below probe/ is written and removed. Exit code 1, and nothing is added, if
    the place cannot be reached; a place that may only be read is fine.
    """
    try:
        check_setting(REMOTES, {name: url}, "NAME URL")
        refuse_store(url)
        remote = open_remote(url)
    except ConfigError as error:  # what nobody could reach is wrong usage, as a key that is none
        raise click.UsageError(str(error)) from error
    try:
        store = session.store(create=True)
        found = remote.probe()
        add_remote(store.root, name, remote.url)
    finally:
        remote.close()
    facts = _abilities(found)
    if as_json:
        document({"name": name, "url": remote.url, "abilities": facts, "notes": list(found.notes)})
    else:
        lines([clean(f"{name} is {remote.url}: {_words(found)}")])
        lines(map(clean, found.notes))
    return 0


@command.command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the remotes: those that were added, and as `origin`, unless one of them is called so, the one that
    calls read and write through.
    """
    known = remotes_of(session.existing())
    through = reading_through()
    if through is not None:
        known = {DEFAULT: through} | known
    if as_json:
        document([{"name": name, "url": url} for name, url in known.items()])
    elif not known:
        session.say("there are no remotes; `scalable-cas remote add NAME URL` adds one")
    else:
        table(("NAME", "URL"), [row(name, url) for name, url in known.items()])


@command.command("remove")
@click.argument("name", type=RemotePlace())
@pass_session
def remove(session: Session, name: str) -> None:
    """Forget the remote NAME. What lies there stays."""
    remove_remote(session.existing(), name)


@command.command("show")
@click.argument("name", type=RemotePlace())
@json_option
@pass_session
def show(session: Session, name: str, as_json: bool) -> None:
    """Look at the remote NAME, or at that of a URL: what it holds, by its segments."""
    store = session.store()
    with open_repository(store, name, plan=True) as repository:
        repository.refresh()
        view = repository.view
        functions = sorted(set(view.functions().values()))
        faults = sorted(view.faults.items())
        facts: dict[str, object] = {
            "name": name,
            "url": repository.url,
            "id": None if repository.absent else repository.remote_id.hex(),
            "entries": sum(1 for _ in view.entries()),
            "functions": functions,
            "unjoined_segments": view.unjoined(),
            "faults": [{"file": file, "reason": reason} for file, reason in faults],
        }
    if as_json:
        document(facts)
        return
    if facts["id"] is None:
        facts["id"] = "none yet: nothing was pushed there"
    told = {key: value for key, value in facts.items() if key not in ("functions", "faults")}
    pairs([(key.replace("_", " "), value) for key, value in told.items()])
    lines([clean(f"function: {text}") for text in functions])
    lines([clean(f"damaged: {file}: {reason}") for file, reason in faults])


def _abilities(found: Capabilities) -> dict[str, bool | None]:
    return {ability: getattr(found, ability) for ability in _ABILITIES}


def _words(found: Capabilities) -> str:
    able = [name for name, yes in _abilities(found).items() if yes]
    unable = [name for name, yes in _abilities(found).items() if yes is False]
    text = f"can {', '.join(able)}" if able else "can do nothing"
    return f"{text}; cannot {', '.join(unable)}" if unable else text
