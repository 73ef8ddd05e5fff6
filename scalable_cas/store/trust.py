"""Whom the user trusts to have code run here, and what follows for an entry. Keeps I7.

Three cases (docs/explanation/threat-model.md has the reasons):

- made here: anything is decoded;
- from elsewhere, its signer in the trust list, or the user himself: the same;
- from elsewhere, unsigned or its signer not in the list: only by codecs that run no code, and not at all if
  the store has ``require_signed``.

The decision is made when an entry is read, not when it arrives: `trust add` makes what was pulled usable at
once, also in programs that run, and `trust remove` takes it back. So the list is looked at for each such
read, which costs one stat of its file while nothing changes. It lies in the user's own folder: a list in a
repository or a store would be written by whoever hands that over.
"""

from __future__ import annotations

import os

from blake3 import blake3

from scalable_cas import config
from scalable_cas.errors import ConfigError, UntrustedEntry
from scalable_cas.format import rows
from scalable_cas.format.record import FOREIGN, UNSIGNED, origin_of
from scalable_cas.storage import fs, signing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.store.core import StoreCore

LIST_FILE = "trusted"
_LONGEST = 1 << 20  # bytes; ten thousand keys
_ABSENT = (0, 0, 0, 0)
#: Bytes of content that an untrusted value may take in memory: a few kilobytes of chunk list can stand for
#: any number. Whoever pulls larger ones can add their signer.
LARGEST_UNTRUSTED = 4 << 30


class TrustList:
    """The keys in ``folder``: those that the user added, and his own. Read again whenever a file changes."""

    def __init__(self, folder: str, more: tuple[str, ...] = ()) -> None:
        self.path = f"{folder}/{LIST_FILE}"
        self.places = (folder, *more)  # of the own key
        self._folder = folder
        self._watched = (self.path, *(f"{place}/{signing.KEY_FILE}" for place in self.places))
        self._seen: tuple[tuple[int, int, int, int], ...] | None = None
        self._trusted: frozenset[bytes] = frozenset()
        self._fault = ""

    def trusts(self, signer: bytes) -> bool:
        """Whether a key (32 bytes) is the user's own or in the list. A list that cannot be used names nobody:
        `fault` says why.
        """
        now = tuple(map(_state, self._watched))
        if now != self._seen:
            self._trusted, self._fault = self._read()
            self._seen = now
        return signer in self._trusted

    @property
    def digest(self) -> bytes:
        """Eight bytes that tell whether others are trusted than before."""
        self.trusts(b"")
        digest: bytes = blake3(b"".join(sorted(self._trusted))).digest(8)
        return digest

    @property
    def fault(self) -> str:
        """Why the list or the own key is not used; empty if all is well."""
        self.trusts(b"")
        return self._fault

    def _read(self) -> tuple[frozenset[bytes], str]:
        trusted: set[bytes] = set()
        faults = []
        try:
            trusted.update(self.entries())
        except ConfigError as error:
            faults.append(str(error))
        try:
            trusted.update(own.public for own in signing.find_keys(self.places))
        except ConfigError as error:
            faults.append(str(error))
        return frozenset(trusted), "; ".join(faults)

    def entries(self) -> dict[bytes, str]:
        """The keys in the list, each with the name that the user gave it; his own key is not among them.

        Raises:
            ConfigError: the file cannot be read, others may write it, or a line is no key.
        """
        data = signing.read_private(self.path, _LONGEST, secret=False)
        found: dict[bytes, str] = {}
        for number, line in enumerate((data or b"").decode("utf-8", "replace").splitlines(), 1):
            text, _, name = line.strip().partition(" ")
            if not text or text.startswith("#"):
                continue
            try:
                found[signing.parse_key(text)] = name.strip()
            except ValueError as error:
                raise ConfigError(self.path, f"line {number}: {error}") from error
        return found

    def add(self, signer: bytes, name: str) -> bool:
        """Add a key, or give it another name; False if it is in the list under that name already.

        Raises:
            ConfigError: as `entries`. StoreReadOnly: the list cannot be written.
        """
        found = self.entries()
        if found.get(signer) == name:
            return False
        self._write(found | {signer: name})
        return True

    def remove(self, signers: set[bytes]) -> None:
        """Take keys out of the list.

        Raises:
            ConfigError: as `entries`. StoreReadOnly: the list cannot be written.
        """
        self._write({key: name for key, name in self.entries().items() if key not in signers})

    def _write(self, found: dict[bytes, str]) -> None:
        lines = ["# whose pickled results may be decoded here: `scalable-cas trust`; a key and a name each"]
        lines += [f"{signing.key_text(key)} {name}".rstrip() for key, name in found.items()]
        fs.make_folder(self._folder)
        fs.replace(self._folder, self.path, ("\n".join(lines) + "\n").encode())


def _state(path: str) -> tuple[int, int, int, int]:
    try:
        seen = os.stat(path)
    except OSError:
        return _ABSENT
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


_lists: dict[str, TrustList] = {}


def trust_list() -> TrustList:
    """The list of this user; one object per folder and process."""
    folder = config.user_config_dir()
    found = _lists.get(folder)
    if found is None:
        more = (
            f"{config.temporary_dir()}/scalable-cas-{os.geteuid()}"  # as the local key: a user without a home
        )
        found = _lists[folder] = TrustList(folder, (more,))
    return found


def own_key() -> signing.SigningKey:
    """The user's signing key, made if there is none.

    Raises:
        ConfigError, StoreReadOnly: as `signing.signing_key`.
    """
    return signing.signing_key(trust_list().places)


def signer_of_origin(origin: str) -> bytes:
    """The public key (32 bytes) that an origin names; empty if it names none."""
    try:
        return signing.parse_key(origin)
    except ValueError:
        return b""


def is_trusted(origin: str) -> bool:
    """Whether what comes from ``origin`` may run code here. Nothing is an origin of this machine's own, so
    the empty one is not trusted either: whoever asks knows that the entry came from elsewhere.
    """
    signer = signer_of_origin(origin)
    return bool(signer) and trust_list().trusts(signer)


def allows(store: StoreCore, origin: str, codec: str, entry: str = "") -> None:
    """Refuse an entry from elsewhere that may not be decoded. ``origin``: who signed it, as
    `format.record.origin_of` writes it; ``entry``: what the refusal calls it.

    Raises:
        UntrustedEntry: one line that names the entry, its signer and the command that would trust him.
    """
    if not is_trusted(origin):
        try:
            check_untrusted(store, codec)
        except UntrustedEntry as error:
            raise _refusal(origin, entry, error) from error


def check_untrusted(store: StoreCore, codec: str, size: int = 0) -> None:
    """Refuse what may not be decoded because its signer is not trusted, or nobody signed it. ``size`` of its
    root, in bytes.

    Raises:
        UntrustedEntry: its codec can run code or is unsafe, the store wants a signature, or it is too large.
    """
    if "pickle" in codec:
        raise UntrustedEntry("its codec", f"decoding {codec} can run any code")
    if codec == "polars":  # its handler refuses in any container, where it meets one; here it is known unread
        raise UntrustedEntry("its codec", "the reader of polars is not safe on bytes of somebody else's")
    if store.settings.get("require_signed"):
        raise UntrustedEntry("its signer", "this store has require_signed")
    if size > LARGEST_UNTRUSTED:
        raise UntrustedEntry("its size", f"it would take {size} bytes of memory or more")


def refusal_in(store: StoreCore, rowkey: bytes, row: bytes, error: UntrustedEntry) -> UntrustedEntry:
    """What the user is told when the entry in a foreign row is refused: which entry, why, and the remedy."""
    record = store.index.record(rowkey)
    function = record.function if record is not None else "?"
    entry = f"{rowkey[8:].hex()} of {function if function.isprintable() else ascii(function)}"
    return _refusal(foreign_origin(row, record.origin if record is not None else ""), entry, error)


def _refusal(origin: str, entry: str, error: UntrustedEntry) -> UntrustedEntry:
    """One cause for each signer, however many entries."""
    fault = trust_list().fault
    if fault:
        remedy = fault
    elif signer_of_origin(origin):
        remedy = f"if you trust its signer: `scalable-cas trust add {origin}`"
    elif origin == UNSIGNED:
        remedy = "nobody signed it; its maker can push it again, signed"
    else:
        remedy = "`scalable-cas reindex --adopt` takes over all entries of a store that you trust"
    what = f"the entry {entry}" if entry else "an entry"
    return UntrustedEntry(what, f"{error.reason}; {remedy}", cause=f"signer {origin}")


def refusal_of(store: StoreCore, rowkey: bytes) -> UntrustedEntry | None:
    """Why the entry of a row key would not be decoded; None if it would, as far as can be told unread."""
    row, record = store.index.entry(rowkey)
    if row is None or record is None or len(row) < rows.REF_FIXED or not row[rows.FLAGS_AT] & rows.FOREIGN:
        return None
    try:
        allows(store, foreign_origin(row, record.origin), record.codec, record.key.hex())
    except UntrustedEntry as error:
        return error
    return None


def foreign_origin(row: bytes, recorded: str) -> str:
    """The origin of the entry in a foreign row: what the row says counts, because it is tagged. ``recorded``
    (the record's) only tells what was pulled unsigned from what came with somebody else's store.
    """
    signer = rows.signer_of(row)
    if signer:
        return origin_of(signer)
    return UNSIGNED if recorded == UNSIGNED else FOREIGN
