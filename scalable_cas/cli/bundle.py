"""`bundle`: results in one file, for places that no network leads to."""

from __future__ import annotations

import os
import sys

import click

from scalable_cas.cli.context import FILE, Session, json_option, pass_session
from scalable_cas.cli.output import clean, count, document, lines, one_line, pairs, progress, seconds, size
from scalable_cas.errors import NothingFound, ScalableCasError, StoreNotFound
from scalable_cas.ops.bundle_check import BundleCheck, check_bundle
from scalable_cas.ops.bundling import Bundled, BundlePlan, plan_bundle, write_bundle
from scalable_cas.ops.selection import select_function
from scalable_cas.ops.unbundling import BundleFile, UnbundlePlan, plan_unbundle, unbundle
from scalable_cas.storage import fs
from scalable_cas.storage.drafts import temporary_name
from scalable_cas.store.trust import is_trusted, own_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.api import Store
    from scalable_cas.storage.signing import SigningKey
    from scalable_cas.store.ingest import Ingested

#: Of a bundle: as private as the store that it is made of.
_MODE = 0o600


@click.group("bundle", no_args_is_help=False)
def command() -> None:
    """Results of functions, with all their objects, in one file."""


@command.command("create")
@click.argument("file", metavar="FILE", type=FILE)
@click.option(
    "--function", "names", metavar="NAME", multiple=True, help="Only this function; may be repeated."
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@json_option
@pass_session
def create(session: Session, file: str, names: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Write all results, or those of chosen functions, to FILE; `-` is standard output.

    What was made here is signed with your key. FILE appears whole or not at all.
    """
    to_stdout = file == "-"
    if to_stdout and as_json:
        raise click.UsageError("--json needs standard output for itself")
    if not to_stdout and os.path.exists(file) and not os.path.isfile(file):
        raise ScalableCasError(f"{file} is no plain file; name another, or - for standard output")
    if not to_stdout and os.path.lexists(file) and not force:
        raise ScalableCasError(f"{file} is there already; --force replaces it")
    folder = os.path.dirname(os.path.abspath(file))
    if not to_stdout and not os.path.isdir(folder):
        raise ScalableCasError(f"there is no folder {folder}; make it first")
    store = session.store()
    chosen = {fnid for name in names for fnid in select_function(store, name)}
    plan = plan_bundle(store, sorted(chosen) if names else None)
    if not plan.items:
        raise NothingFound("there is nothing to put into a bundle")
    key = own_key()
    done = (
        _to_stdout(session, store, plan, key)
        if to_stdout
        else _to_file(session, store, plan, key, file, force)
    )
    if as_json:
        document(
            {
                "file": file,
                "entries": done.entries,
                "unsigned": done.unsigned,
                "objects": done.objects,
                "bytes": done.bytes,
                "left_out": list(plan.left_out),
            }
        )
    _say_created(session, plan, done)


def _say_created(session: Session, plan: BundlePlan, done: Bundled) -> None:
    wrote = f"{count(done.entries, 'entry', 'entries')} and {count(done.objects, 'object')}"
    session.say(f"wrote {wrote}, {size(done.bytes)}")
    if done.unsigned:
        session.say(f"{count(done.unsigned, 'entry', 'entries')} without a signature: made by others")
    if plan.left_out:
        missing = count(len(plan.left_out), "entry", "entries")
        session.say(f"{missing} left out, because an object is missing or damaged; see `scalable-cas verify`")


def _to_stdout(session: Session, store: Store, plan: BundlePlan, key: SigningKey) -> Bundled:
    out = sys.stdout.buffer
    if out.isatty():
        raise click.UsageError("a bundle is no text for a terminal; redirect it")
    with progress(session, "bundle") as bar:
        done = write_bundle(store, plan, out.write, key, bar)
    out.flush()
    return done


def _to_file(
    session: Session, store: Store, plan: BundlePlan, key: SigningKey, path: str, force: bool
) -> Bundled:
    """Under a hidden name beside FILE first: what a kill leaves can be told from a bundle."""
    folder, name = os.path.split(os.path.abspath(path))
    draft = f"{folder}/.{name}.{temporary_name()}"
    fd = fs.append_open(draft)
    try:
        try:
            with progress(session, "bundle") as bar:
                done = write_bundle(
                    store, plan, lambda data: fs.append(fd, path, (data,), sync=False), key, bar
                )
            fs.append(fd, path, (), sync=True)
        finally:
            os.close(fd)
        if fs.publish(draft, path, mode=_MODE, over=force) is None:
            raise ScalableCasError(f"{path} is there already; --force replaces it")
    finally:
        fs.remove(draft)
    return done


@command.command("verify")
@click.argument("file", metavar="FILE", type=FILE)
@json_option
@pass_session
def verify(session: Session, file: str, as_json: bool) -> int:
    """Read every byte of FILE and check it: digests, objects, signatures, and that nothing is missing.

    Needs no store. Ends with 1 if anything is wrong.
    """
    with progress(session, "verify") as bar:
        found = check_bundle(file, bar)
    if as_json:
        document(_check_as_dict(found))
    else:
        lines(clean(f"{file}: {one_line(finding)}") for finding in found.findings)
        if not found.findings:
            _say_sound(session, found)
    return 1 if found.findings else 0


def _check_as_dict(found: BundleCheck) -> dict[str, object]:
    return {
        "ok": not found.findings,
        "entries": found.entries,
        "objects": found.objects,
        "bytes": found.bytes,
        "seconds": found.seconds,
        "origins": found.origins,
        "findings": found.findings,
    }


def _say_sound(session: Session, found: BundleCheck) -> None:
    checked = f"{count(found.entries, 'entry', 'entries')} and {count(found.objects, 'object')}"
    session.say(f"nothing is wrong: checked {checked} ({size(found.bytes)}) in {seconds(found.seconds)}")
    for origin, number in sorted(found.origins.items()):
        signed = "unsigned" if origin == "unsigned" else f"signed by {origin}{_whose(origin)}"
        session.say(f"{count(number, 'entry', 'entries')} {signed}")


def _whose(origin: str) -> str:
    return " (trusted)" if is_trusted(origin) else " (not trusted here)"


@command.command("unbundle")
@click.argument("file", metavar="FILE", type=FILE)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be taken.")
@json_option
@pass_session
def unbundle_(session: Session, file: str, dry_run: bool, as_json: bool) -> None:
    """Take the results in FILE into the store, which is made if there is none.

    What is there already stays. Plain data can be used at once; pickles only if you trust their signer
    (`scalable-cas trust`).
    """
    with BundleFile(file) as source:
        store = _store(session, dry_run=dry_run)
        plan = plan_unbundle(store, source)
        done = None
        if not dry_run:
            assert store is not None
            with progress(session, "unbundle") as bar:
                done = unbundle(store, source, plan, bar)
    if as_json:
        document(_as_dict(plan, done))
    elif dry_run:
        pairs(
            [
                ("new entries", plan.entries - plan.known),
                ("entries that are here already", plan.known),
                ("new objects", len(plan.missing)),
                ("bytes", plan.bytes),
            ]
        )
    _say_taken(session, plan, done)


def _store(session: Session, *, dry_run: bool) -> Store | None:
    try:
        return session.store(create=not dry_run)
    except StoreNotFound:  # only looked for: into a store that is to be made, everything would go
        return None


def _as_dict(plan: UnbundlePlan, done: Ingested | None) -> dict[str, object]:
    return {
        "dry_run": done is None,
        "entries": plan.entries - plan.known if done is None else done.new,
        "known": plan.known if done is None else done.known,
        "refused": 0 if done is None else done.refused,
        "incomplete": 0 if done is None else len(done.incomplete),
        "objects": len(plan.missing),
        "bytes": plan.bytes,
        "origins": {origin: entries for origin, (entries, _) in plan.origins.items()},
    }


def _say_taken(session: Session, plan: UnbundlePlan, done: Ingested | None) -> None:
    if done is None:
        session.say("nothing was changed")
    else:
        took = f"{count(done.new, 'entry', 'entries')} and {count(len(plan.missing), 'object')}"
        session.say(f"took {took}, {size(plan.bytes)}; {done.known:,} were here already")
        if done.refused:
            session.say(f"{count(done.refused, 'entry', 'entries')} refused: they do not fit their objects")
        if done.incomplete:
            missing = count(len(done.incomplete), "entry", "entries")
            session.say(f"{missing} left out: the bundle does not have all their objects")
    for origin, (_, pickled) in sorted(plan.origins.items()):
        if pickled and not is_trusted(origin):
            what = f"{count(pickled, 'entry is a pickle', 'entries are pickles')} of"
            if origin == "unsigned":
                session.say(f"{what} nobody who signed, and cannot be used")
            else:
                session.say(f"{what} {origin}; `scalable-cas trust add {origin}` lets them run code here")
