"""`trust`: whose pickled results may be decoded here. Needs no store: the list is the user's own."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import clean, document, lines
from scalable_cas.errors import NothingFound
from scalable_cas.storage.signing import find_keys, key_text, parse_key
from scalable_cas.store.trust import own_key, trust_list

#: Characters of a name; it is a note for people.
_LONGEST_NAME = 100

TYPE_CHECKING = False
if TYPE_CHECKING:
    _Key = click.ParamType[bytes]
else:
    _Key = click.ParamType  # which is generic only since click 8.2


class Key(_Key):
    """A public key as `trust show-key` prints it."""

    name = "key"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Its 32 bytes."""
        try:
            return parse_key(value.strip())
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group("trust", no_args_is_help=False)
def command() -> None:
    """Whose pickled results may be decoded here, and your own key.

    What others computed comes with their signature. Plain data is used whoever made it; a pickle, which can
    run any code, only if you added its signer here. Your own key is always trusted.
    """


@command.command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the keys that you trust, your own first."""
    trusted = trust_list()
    own = {key.public: "" for key in find_keys(trusted.places)}
    found = own | {key: name for key, name in trusted.entries().items() if key not in own}
    rows = [{"key": key_text(key), "name": name, "own": key in own} for key, name in found.items()]
    if as_json:
        document(rows)
        return
    lines(clean(f"{item['key']} {'(your own)' if item['own'] else item['name']}".rstrip()) for item in rows)
    if not rows:
        session.say("you trust nobody yet; `scalable-cas trust add KEY` adds the key of somebody you do")


@command.command("add")
@click.argument("key", type=Key())
@click.option("--name", metavar="NAME", help="What you call its owner; for you to know whose it is.")
@pass_session
def add(session: Session, key: bytes, name: str | None) -> None:
    """Trust KEY: what it signed may run code here, as a program of its owner could.

    Get the key from its owner (`scalable-cas trust show-key`), not from the place where the results are.
    """
    trusted = trust_list()
    if any(own.public == key for own in find_keys(trusted.places)):
        session.say("that is your own key, which is always trusted")
        return
    name = name.strip() if name is not None else trusted.entries().get(key, "")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise click.BadParameter(f"a name is one line of at most {_LONGEST_NAME} characters")
    changed = trusted.add(key, name)
    shown = f"{key_text(key)} {name}".rstrip()
    session.say(f"trusted from now on: {shown}" if changed else f"trusted already: {shown}")


@command.command("remove")
@click.argument("which", metavar="KEY|NAME")
@pass_session
def remove(session: Session, which: str) -> None:
    """Trust KEY no more, or the one key that was added under NAME. Its pickled results are misses from now
    on.
    """
    trusted = trust_list()
    which = which.strip()
    if not which:  # the name of every key that was added without one
        raise click.UsageError("name a KEY, or the NAME that it was added under")
    found = {key for key, name in trusted.entries().items() if which in {key_text(key), name}}
    if not found:
        raise NothingFound(f"{which} is not in your list; `scalable-cas trust list` shows what is")
    if len(found) > 1:
        raise NothingFound(f"{len(found)} keys have the name {which}; give the key")
    trusted.remove(found)
    session.say(f"not trusted any more: {which}")


@command.command("show-key")
def show_key() -> None:
    """Print your own key, for others to add. It is made if you have none yet."""
    lines([key_text(own_key().public)])
