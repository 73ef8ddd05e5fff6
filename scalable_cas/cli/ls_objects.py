"""`ls-objects`: every object of a store."""

from __future__ import annotations

import click

from scalable_cas.cli.context import Session, json_option, pass_session
from scalable_cas.cli.output import document, lines, one_line
from scalable_cas.errors import ObjectNotFound, ScalableCasError
from scalable_cas.format.kinds import KIND_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scalable_cas.api import Store


@click.command("ls-objects")
@json_option
@pass_session
def command(session: Session, as_json: bool) -> int:
    """Print OID KIND SIZE of every object.

    They are sorted; SIZE is that of the content, in bytes. Exit code 1 if a header cannot be read.
    """
    store = session.store()
    problems: list[str] = []
    found = _objects(store, problems)
    if as_json:
        document([{"oid": oid, "kind": kind, "size": size} for oid, kind, size in found])
    else:
        lines(f"{oid} {kind} {size}" for oid, kind, size in found)
    for problem in problems:
        click.echo(f"error: {one_line(problem)}", err=True)
    return 1 if problems else 0


def _objects(store: Store, problems: list[str]) -> Iterator[tuple[str, str, int]]:
    # Which objects there are is asked of the files; what they are of the index, which saves an open each.
    for oid in store.objects.names():
        row = store.index.object_row(oid)
        if row is not None:
            yield oid.hex(), KIND_NAMES[row.kind], row.size
            continue
        try:
            head = store.objects.head(oid)
        except ObjectNotFound:  # collected since it was listed
            continue
        except ScalableCasError as error:
            problems.append(str(error))
        else:
            yield oid.hex(), KIND_NAMES[head.kind], head.raw_size
