"""One store: its folder, its index, its journal, and what is done with a single entry or object.

`StoreCore` is what the decorator works on; `scalable_cas.Store` adds the work on a store as a whole. Opening
is cheap (a file read, an LMDB open) and happens at the first call, never at import.
"""

from __future__ import annotations

import os
import threading

from scalable_cas import clock, config
from scalable_cas.errors import (
    IndexDamaged,
    ScalableCasError,
    StoreClosed,
    StoreVersionError,
)
from scalable_cas.format import layout, rows
from scalable_cas.format.record import Record, pinning
from scalable_cas.storage.ahead import Ahead
from scalable_cas.storage.journal import Journal
from scalable_cas.storage.objects import Objects
from scalable_cas.storage.putting import AS_IT_IS
from scalable_cas.storage.secret import user_secret
from scalable_cas.store import interim, lifecycle, opening, saying
from scalable_cas.store.assembly import as_objects, one_object
from scalable_cas.store.flight import Flights
from scalable_cas.store.known_files import KnownFiles
from scalable_cas.store.notes import Notes
from scalable_cas.store.object_access import ObjectAccess
from scalable_cas.store.publishing import Pending
from scalable_cas.store.reader import make_reader
from scalable_cas.store.writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Self

    from scalable_cas.codecs.base import Encoded
    from scalable_cas.storage.index import Changes, Index
    from scalable_cas.store.publishing import Object

#: A function that took this long has its result written before the call returns (CONTRACT 2).
SLOW_SECONDS = 0.1
#: Larger results are written at once instead of being held in the queue.
QUEUED_BYTES = 256 << 10

#: What is opened with the store, and let go of by a forked child.
_PARTS = (
    "format",
    "read_only",
    "settings",
    "strict",
    "secret",
    "objects",
    "journal",
    "index_path",
    "index",
    "flights",
    "notes",
    "known_files",
    "writer",
    "read",
)


class StoreCore(ObjectAccess):
    """An open store at ``root`` (an absolute path).

    Raises, when made:
        StoreNotFound: there is none, and ``create`` is false.
        StoreVersionError: it has a newer format. FormatDamaged: what it has is none.
        StoreReadOnly: it cannot be made.
        IndexDamaged: its index cannot be used, and ``heal`` is false (with it, the index is rebuilt and the
            fact reported once).
        ConfigError: its own settings are broken.
    """

    def __init__(self, root: str | os.PathLike[str], *, create: bool = False, heal: bool = False) -> None:
        self.root = os.path.abspath(config.local_folder(root, "the path of a store"))
        self._heal = heal
        self._create = create
        self._closed = False
        self._alive = 0.0  # when the folder was last seen to be there
        self._reopening = threading.RLock()
        self._said: set[str] = set()
        self._unsaid: list[str] = []
        #: Tags of the rows whose damage was told.
        self.damaged: set[bytes] = set()
        self.environ = config.Environ()
        #: How the keys of rows begin that name results to be sent to a remote; empty: none are.
        self.outbox = b""
        #: What works beside the store, by name: closed before it, and let go of by a forked child.
        self.attached: dict[str, Any] = {}
        self._open()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)  # a worker opens its own

    def __getattr__(self, name: str) -> Any:
        # Reached only for attributes that are not there: in a forked child, which opens the store anew at its
        # first use of it.
        if name in _PARTS and not self.__dict__.get("_closed", True):
            # One thread opens. Two would each make a table of who computes what, and those who wait at the
            # one that is replaced would never be told.
            with self._reopening:
                if name not in self.__dict__:
                    self._open()
            return self.__dict__[name]
        if name in _PARTS:
            raise StoreClosed(self.__dict__.get("root", "?"))
        raise AttributeError(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- opening and closing ---------------------------------------------------------------------------

    def _open(self) -> None:
        self.format = opening.load_format(self.root, create=self._create)
        self.format.check("read", self.root)
        self.read_only = not os.access(self.root, os.W_OK)
        try:
            self.format.check("write", self.root)
        except StoreVersionError as error:  # its hits are served
            self.trouble(error)
            self.read_only = True
        self.settings = opening.load_settings(self.root)
        self.strict = self.settings.get("sync") == "strict"
        self.secret = user_secret(
            config.user_config_dir(), f"{config.temporary_dir()}/scalable-cas-{os.geteuid()}"
        )
        self.objects = Objects(self.root)
        self.objects.declare = self._declare
        self.journal = Journal(self.root, self.format.store_id, self.secret)
        self.index_path = opening.index_path(self.root, self.format.store_id, self.environ)
        self.index = self._open_index()
        self.flights = Flights(f"{self.index_path}/flight.lock")
        self.notes = Notes(telemetry=self.environ.telemetry and not self.read_only)
        self.writer = Writer(self)
        on = self.environ.stat_cache and self.settings.get("stat_cache") == "on"
        self.known_files = KnownFiles(self) if on else None
        self.read: Callable[..., Any] = make_reader(self)
        lifecycle.register(self)
        interim.begin(self)
        self.flush()

    def _declare(self, feature: str) -> None:
        """Have the ``format`` file say that programs must know a feature."""
        self.format = opening.declare_feature(self.root, feature)

    @property
    def index_is_local(self) -> bool:
        """Whether the index lies outside the store, so that other nodes have others."""
        return self.index_path != f"{self.root}/{layout.INDEX}"

    def _open_index(self) -> Index:
        place = opening.IndexPlace(self.root, self.index_path, self.format.store_id, self.secret)
        read_only = not os.access(self.root, os.W_OK) and not self.index_is_local
        try:
            index = place.open(self.journal, self.objects, read_only=read_only)
            if not read_only or index.is_ours():
                return index
            index.close()
            return self._open_own_index()
        except IndexDamaged as error:
            if not self._heal:
                raise
            if read_only:
                return self._open_own_index()
            said = (
                f"the index {error.path} could not be used ({error.reason}) and has been rebuilt from files"
            )
            self.trouble(ScalableCasError(said))
            return place.rebuild(self.journal, self.objects)

    def _open_own_index(self) -> Index:
        """Of a store whose index is another user's, or damaged, and that this one may not write."""
        self.index_path = opening.path_on_node(self.format.store_id)
        place = opening.IndexPlace(self.root, self.index_path, self.format.store_id, self.secret)
        return place.open_of_another(self.journal, self.objects)

    def flush(self) -> None:
        """Write what is queued, here and in other handles of this store in this process."""
        lifecycle.flush_all(self.root)

    def is_alive(self) -> bool:
        """Whether the folder and the index that are open are still the ones on disk. One system call."""
        current = self.index.environment.is_current()
        return current and (not self.index_is_local or os.path.exists(f"{self.root}/{layout.FORMAT_FILE}"))

    def revive(self) -> None:
        """Before something is computed: if the folder was removed under us, begin again with a new store.

        Looked at once in 0.2 ms at most, which no removal of a folder beats.

        Raises:
            StoreReadOnly and others: a new store cannot be made.
        """
        now = clock.monotonic()
        if now - self._alive > 0.0002:
            if not self.is_alive():
                self.reopen()
            self._alive = clock.monotonic()

    def reopen(self) -> None:
        """After the folder was removed or replaced under us: begin again, with an empty store if there is
        none.
        """
        with self._reopening:
            if "index" not in self.__dict__ or not self.is_alive():
                self._create = True
                self._shut(write=False)
                self._open()

    def close(self) -> None:
        """Write everything, make it safe from a power cut, and let go of the files. Closing twice is fine."""
        self.close_attached()
        if lifecycle.is_registered(self):
            self._shut(write=not self.read_only)
        self._closed = True

    def close_attached(self) -> None:
        """Close what works beside the store; the store stays open."""
        for companion in list(self.attached.values()):
            companion.close()

    @property
    def is_open(self) -> bool:
        """Whether `close` has not been called."""
        return not self._closed

    def _shut(self, *, write: bool) -> None:
        if write:
            self.writer.close()
        else:
            self.writer.abandon()
        lifecycle.unregister(self)
        self.flights.close()
        self.journal.close()
        self.index.close()
        self.say()
        for name in _PARTS:
            self.__dict__.pop(name, None)

    def after_fork(self) -> None:
        """In the child: let go of everything that is the parent's; `__getattr__` opens our own when it is
        needed.
        """
        self._reopening = threading.RLock()  # another thread of the parent may hold it
        self.attached = {}
        for name in ("journal", "flights"):
            if name in self.__dict__:
                self.__dict__[name].after_fork()
        for name in _PARTS:
            self.__dict__.pop(name, None)

    # --- trouble ---------------------------------------------------------------------------------------

    def trouble(self, error: BaseException, then: str = "") -> None:
        """Report a fault of the cache: one `CacheWarning` per cause and process. Kept back on our own threads
        until a caller can be told.
        """
        if lifecycle.is_ending() and not lifecycle.is_registered(self):
            return  # it was closed under a thread that nobody waits for
        cause = saying.cause_of(error)
        if cause not in self._said:
            self._said.add(cause)
            self._unsaid.append(f"{error}{then}")

    def say(self) -> None:
        """Emit the warnings that were kept back."""
        while self._unsaid:
            saying.warn(self._unsaid.pop(0))

    # --- entries ---------------------------------------------------------------------------------------

    def save(
        self, record: Record, encoded: Encoded, *, replace: bool = False, mapped: bool = False
    ) -> list[bytes]:
        """Store a result under ``record`` (its key, function and times); the rest of the record is filled in
        here. With ``mapped`` its large buffers are stored so that they can be mapped. Returns their names.

        It is visible to this process at once. It is in the files when this returns if the function was slow
        or the result is large, else within 0.1 s.

        Raises:
            NotStorable: more buffers or bytes than the format can hold.
        """
        if not encoded.buffers:  # the usual small result
            self._queue(record, encoded, [one_object(encoded)], replace=replace)
            return []
        with Ahead(self.objects.loose, lambda: not self.read_only and self.is_alive()) as ahead:
            objects = as_objects(encoded, ahead, mapped=mapped)
            self._queue(record, encoded, objects, replace=replace)
        return [name for _, name, _, item_size in objects if item_size == AS_IT_IS]

    def _queue(self, record: Record, encoded: Encoded, objects: list[Object], *, replace: bool) -> None:
        kind, oid, content, _ = objects[-1]
        record.codec, record.kind, record.oid, record.size = encoded.codec, kind, oid, len(content)
        record.total = len(content) if len(objects) == 1 else sum(len(part) for _, _, part, _ in objects)
        item = Pending(record, objects, replaces=replace)
        # Buffers may be views of the caller's arrays, who may change them as soon as this returns.
        now = (
            self.strict
            or replace
            or record.seconds >= SLOW_SECONDS
            or len(objects) > 1
            or item.bytes > QUEUED_BYTES
        )
        self.writer.add(item, now=now)

    def forget(
        self,
        rowkeys: Sequence[bytes],
        *,
        still: Callable[[Changes, bytes], bool] | None = None,
        whole: Iterable[bytes] = (),
    ) -> int:
        """Forget entries, in the journal and in the index; their objects stay until gc. Returns how many
        there were. ``still`` is asked under the lock whether an entry is still to be forgotten. ``whole``:
        ids of functions of which nothing is to be left, `NO_FUNCTION` for all. Then what the index does not
        know goes too: an entry whose object is gone would be back in a rebuilt index if the object came back.

        On a full disk the reserve goes, and they are forgotten a few at a time (`store.ballast`).

        Raises:
            StoreFull: some may have been forgotten. StoreReadOnly, StoreBusy, IndexDamaged: none was.
        """
        from scalable_cas.store.forgetting import forget  # only then

        return forget(self, rowkeys, still, whole)

    def pin(self, targets: Sequence[bytes], *, pinned: bool = True) -> None:
        """Keep entries (row keys, 40 bytes) or objects (names, 32 bytes) from gc, or stop doing so.
        Written to the journal too, so a rebuilt index knows it (I4).

        Raises:
            StoreReadOnly, StoreBusy, IndexDamaged: nothing was changed.
        """
        names = self.index.function_names()

        def change(changes: Any) -> None:
            sequence, now = changes.next_number("sequence"), clock.now_ns()
            notes = []
            for target in targets:
                name = names.get(target[:8], "") if len(target) == 40 else ""
                notes.append(pinning(target, name, pinned=pinned, created=now, sequence=sequence).pack())
                (changes.pin if pinned else changes.unpin)(target)
            self.journal.append(notes, sync=True)

        self.index.write(change)

    def contains(self, rowkey: bytes, limit: int | None = None) -> bool:
        """Whether an entry is stored whose object's file is there, and whose signer is trusted as far as it
        has to be; decodes nothing. ``limit``: age in ns.
        """
        from scalable_cas.store.trust import refusal_of

        pending = self.writer.visible.get(rowkey)
        if pending is not None:
            return limit is None or clock.now_ns() - pending.record.created <= limit
        row = self.index.ref(rowkey)
        if row is None or len(row) < rows.REF_FIXED:
            return False
        fields = rows.REF.unpack_from(row)
        if fields[1] & rows.FOREIGN and refusal_of(self, rowkey) is not None:
            return False
        return (limit is None or clock.now_ns() - fields[6] <= limit) and self.objects.place(
            fields[11]
        ) is not None

    def discard_damaged(self, oid: bytes) -> None:
        """Move a damaged object aside, so that the next store of it writes a whole one (I5: never a permanent
        failure).
        """
        if not self.read_only:
            from scalable_cas.store.moving import set_aside  # only then

            try:
                set_aside(self, oid)
            except (ScalableCasError, OSError) as error:
                self.trouble(error)
