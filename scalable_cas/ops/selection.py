"""Which function, entry or object a user means by what he typed: endings of names and abbreviations of ids.

A function's name is `module.qualname`; any ending of it on a dot boundary will do as long as it fits one
function that has entries. Ids are abbreviated to `ids.SHORTEST_PREFIX` hex digits or more, as in git.
"""

from __future__ import annotations

from scalable_cas.errors import AmbiguousPrefix, NothingFound, ScalableCasError
from scalable_cas.ids import HEX_DIGITS, prefix_bounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scalable_cas.store.core import StoreCore

#: Matches that an error names; who sees that there are more than a few types more digits.
NAMED = 5


class AmbiguousName(ScalableCasError):
    """More than one function ends in ``name``; ``matches`` are their full names."""

    def __init__(self, name: str, matches: tuple[str, ...]) -> None:
        more = ", …" if len(matches) > NAMED else ""
        super().__init__(f"{name} could be {', '.join(matches[:NAMED])}{more}; give more of the name")
        self.name = name
        self.matches = matches


def stored_functions(store: StoreCore) -> dict[bytes, str]:
    """Function id (8 bytes) to full name, of the functions that have entries now."""
    store.writer.flush()
    return {fnid: name for fnid, name in store.index.function_names().items() if _has_entries(store, fnid)}


def select_function(store: StoreCore, name: str) -> dict[bytes, str]:
    """The function that ``name`` means, as function id (8 bytes) to full name; more than one id only if they
    share it.

    Raises:
        NothingFound: no function with entries is called so. AmbiguousName: more than one is.
    """
    store.writer.flush()
    functions = {
        fnid: candidate
        for fnid, candidate in store.index.function_names().items()
        if _ends_in(candidate, name) and _has_entries(store, fnid)
    }
    return one_function(functions, name)


def one_function(functions: dict[bytes, str], name: str, remote: str = "") -> dict[bytes, str]:
    """The function of some (id to full name) that ``name`` means; more than one id only if they share it.
    ``remote``: the name of the remote that they are of, or its URL; "" if they are here.

    Raises:
        NothingFound: none is called so. AmbiguousName: more than one is.
    """
    functions = {fnid: candidate for fnid, candidate in functions.items() if _ends_in(candidate, name)}
    full = {name} if name in functions.values() else set(functions.values())
    if not full:
        if "://" in remote:
            raise NothingFound(f"{remote} has nothing of a function {name}")
        where = f"remote {remote} has nothing" if remote else "nothing is stored"
        shows = f"remote show {remote}` shows what it has" if remote else "ls` shows what is"
        raise NothingFound(f"{where} of a function {name}; `scalable-cas {shows}")
    if len(full) > 1:
        raise AmbiguousName(name, tuple(sorted(full)))
    return {fnid: candidate for fnid, candidate in functions.items() if candidate in full}


def _ends_in(candidate: str, name: str) -> bool:
    return candidate == name or candidate.endswith(f".{name}")


def _has_entries(store: StoreCore, fnid: bytes) -> bool:
    # a function's name is kept when its last entry is forgotten
    return next(store.index.scan("refs", fnid), None) is not None


def select_entry(store: StoreCore, prefix: str) -> bytes:
    """The row key (40 bytes) of the entry whose call key starts with the hex digits ``prefix``.

    Raises:
        ValueError: not hex digits, or too few of them.
        NothingFound: there is no such entry.
        AmbiguousPrefix: there is more than one.
    """
    found = _few(matching_entries(store, prefix))
    if not found:
        raise NothingFound(f"no entry has the key {prefix}; `scalable-cas ls` shows those that there are")
    return _only(prefix, found, start=8)


def select_object(store: StoreCore, prefix: str) -> bytes | None:
    """The name (32 bytes) of the object that starts with the hex digits ``prefix``, or None if there is none.

    Raises:
        ValueError: not hex digits, or too few of them.
        AmbiguousPrefix: there is more than one.
    """
    found = _few(matching_objects(store, prefix))
    return _only(prefix, found, start=0) if found else None


def select_any(store: StoreCore, prefix: str) -> bytes:
    """The row key (40 bytes) of an entry or the name (32 bytes) of an object, whichever ``prefix`` means.

    Raises:
        ValueError: not hex digits, or too few of them.
        NothingFound: there is neither.
        AmbiguousPrefix: there is more than one.
    """
    entries, objects = _few(matching_entries(store, prefix)), _few(matching_objects(store, prefix))
    if not entries and not objects:
        raise NothingFound(f"no entry and no object starts with {prefix}")
    if len(entries) + len(objects) > 1:
        matches = (*(rowkey[8:] for rowkey in entries), *objects)
        raise AmbiguousPrefix(prefix, tuple(match.hex() for match in matches[:NAMED]))
    return (entries or objects)[0]


def select_pin(store: StoreCore, prefix: str) -> bytes:
    """The pinned row key (40 bytes) or object name (32 bytes) that ``prefix`` means, whether or not it is
    still stored.

    Raises:
        ValueError: not hex digits, or too few of them. NothingFound: nothing so called is pinned.
        AmbiguousPrefix: more than one is.
    """
    low, high = prefix_bounds(prefix)
    found = sorted(pin for pin in store.index.pins() if low <= pin[-32:] <= high)
    if not found:
        raise NothingFound(f"nothing that is pinned starts with {prefix}; `scalable-cas pin` lists the pins")
    if len(found) > 1:
        raise AmbiguousPrefix(prefix, tuple(pin[-32:].hex() for pin in found[:NAMED]))
    return found[0]


def matching_entries(store: StoreCore, prefix: str) -> Iterator[bytes]:
    """Yield the row keys of all entries whose call key starts with ``prefix``.

    Rows are sorted by function first, so this looks once in each function: some microseconds each, where
    reading all rows would take a second for a few hundred thousand.

    Raises:
        ValueError: not hex digits, or too few of them.
    """
    low, high = prefix_bounds(prefix)
    store.writer.flush()
    whole = low[
        : len(prefix.strip()) // 2
    ]  # an index is searched by whole bytes; an odd digit is compared after
    for fnid in sorted(store.index.function_names()):
        for rowkey, _ in store.index.scan("refs", fnid + whole):
            if low <= rowkey[8:] <= high:
                yield rowkey


def matching_objects(store: StoreCore, prefix: str) -> Iterator[bytes]:
    """Yield the names of all objects that start with ``prefix``, from the files, which are what counts.

    Raises:
        ValueError: not hex digits, or too few of them.
    """
    low, high = prefix_bounds(prefix)
    store.writer.flush()
    if len(prefix.strip()) == HEX_DIGITS:
        if store.objects.place(low) is not None:
            yield low
        return
    yield from store.objects.names(low, high)


def _few(matches: Iterator[bytes]) -> list[bytes]:
    found = []
    for match in matches:
        found.append(match)
        if len(found) > NAMED:
            break
    return found


def _only(prefix: str, found: list[bytes], start: int) -> bytes:
    if len(found) > 1:
        raise AmbiguousPrefix(prefix, tuple(match[start:].hex() for match in found[:NAMED]))
    return found[0]
