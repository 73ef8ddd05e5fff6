"""`reindex`: make the index anew from the files."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, pass_session
from scalable_cas.cli.output import count, one_line
from scalable_cas.store.rebuild import fill_index


@click.command("reindex")
@click.option(
    "--adopt",
    is_flag=True,
    help="Make entries that somebody else wrote your own. Their values may then be unpickled, which can run "
    "any code: only for a store that you trust.",
)
@pass_session
def command(session: Session, adopt: bool) -> None:
    """Make the index anew from the files, also where it is damaged or gone.

    Entries whose journal record you did not write (an unpacked archive, another user's store) are kept as
    foreign: only values that decode without running code are used.
    """
    store = session.store(heal=True)
    result = fill_index(store.index, store.journal, store.objects, adopt=adopt)
    session.say(f"indexed {count(result.entries, 'entry', 'entries')} and {count(result.objects, 'object')}")
    if result.foreign:
        session.say(
            f"{count(result.foreign, 'entry is', 'entries are')} foreign; "
            "--adopt makes them yours, if you trust their maker"
        )
    if result.missing:
        session.say(f"{count(result.missing, 'entry', 'entries')} left out, because the object is missing")
    if result.faults:
        session.say(f"{count(len(result.faults), 'place')} in the journal could not be read; -v names them")
        for fault in result.faults if session.verbose else ():
            session.say(one_line(str(fault)))
