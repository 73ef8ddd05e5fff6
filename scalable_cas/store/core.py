"""One store: its folder, its index, its journal, and what is done with a single entry or object.

`StoreCore` is what the decorator works on; `scalable_cas.Store` adds the work on a store as a whole. Opening is cheap (a file read, an LMDB open) and happens at the first call, never at import.
"""

from __future__ import annotations

import os

from scalable_cas import clock, config
from scalable_cas.errors import (
    CacheWarning, ConfigError, IndexDamaged, MalformedObject, NotStorable, ObjectNotFound, ScalableCasError, StoreClosed, StoreNotFound, StoreReadOnly, StoreVersionError,
)  # fmt: skip
from scalable_cas.format import layout, rows, value
from scalable_cas.format.kinds import BLOB, VALUE, object_id
from scalable_cas.format.record import Record, tombstone
from scalable_cas.storage import fs, netfs
from scalable_cas.storage.index import Index
from scalable_cas.storage.index import create as create_index
from scalable_cas.storage.journal import Journal
from scalable_cas.storage.loose import LooseObjects
from scalable_cas.storage.secret import user_secret
from scalable_cas.store.flight import Flights
from scalable_cas.store.notes import Notes
from scalable_cas.store.reader import MISS, make_reader
from scalable_cas.store.writer import Pending, Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self

    from scalable_cas.codecs.base import Encoded
    from scalable_cas.format.header import Header

#: A function that took this long has its result written before the call returns (CONTRACT 2).
SLOW_SECONDS = 0.1
#: Larger results are written at once instead of being held in the queue.
QUEUED_BYTES = 256 << 10
README = """This folder is a cache made by scalable-cas. `scalable-cas ls` lists what is in it; removing the folder clears it.\n"""
CACHEDIR_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This tells backup programs that the folder can be left out.\n"


#: What is opened with the store, and let go of by a forked child.
_PARTS = ("format", "read_only", "settings", "strict", "secret", "objects", "journal", "index_path", "index", "flights", "notes", "writer", "read")


class StoreCore:
    """An open store at ``root`` (an absolute path).

    Raises, when made:
        StoreNotFound: there is none, and ``create`` is false.
        StoreVersionError: it has a newer format.
        StoreReadOnly: it cannot be made.
        IndexDamaged: its index cannot be used, and ``heal`` is false (with it, the index is rebuilt and the fact reported once).
        ConfigError: its own settings are broken.
    """

    def __init__(self, root: str | os.PathLike[str], *, create: bool = False, heal: bool = False) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self._heal = heal
        self._create = create
        self._closed = False
        self._said: set[str] = set()
        self._unsaid: list[str] = []
        self.environ = config.Environ()
        self._open()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)  # a worker opens its own

    def __getattr__(self, name: str) -> Any:
        # Reached only for attributes that are not there: in a forked child, which opens the store anew at its first use of it.
        if name in _PARTS and not self.__dict__.get("_closed", True):
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
        self.format = self._load_format()
        self.format.check("read", self.root)
        self.read_only = not os.access(self.root, os.W_OK)
        self.settings = self._load_settings()
        self.strict = self.settings.get("sync") == "strict"
        self.secret = user_secret(config.user_config_dir(), f"{config.temporary_dir()}/scalable-cas-{os.geteuid()}")
        self.objects = LooseObjects(self.root)
        self.journal = Journal(self.root, self.format.store_id, self.secret)
        self.index_path = self._index_path()
        self.index = self._open_index()
        self.flights = Flights(f"{self.index_path}/flight.lock")
        self.notes = Notes(telemetry=self.environ.telemetry and not self.read_only)
        self.writer = Writer(self)
        self.read: Callable[..., Any] = make_reader(self)
        _register(self)

    def _load_format(self) -> layout.StoreFormat:
        path = f"{self.root}/{layout.FORMAT_FILE}"
        for _ in range(2):
            try:
                with open(path, "rb") as file:
                    return layout.unpack_format(file.read(1 << 16), path)
            except (FileNotFoundError, NotADirectoryError) as error:
                if not self._create:
                    raise StoreNotFound(self.root) from error
            except MalformedObject as error:
                raise StoreVersionError(self.root, error.reason) from error
            except OSError as error:
                raise StoreReadOnly(self.root, error.strerror or str(error)) from error
            initialise(self.root)
        raise StoreNotFound(self.root)

    def _load_settings(self) -> config.Settings:
        path = f"{self.root}/{layout.CONFIG_FILE}"
        try:
            with open(path, "rb") as file:
                return config.unpack_settings(file.read(), path)
        except FileNotFoundError:
            return config.Settings()
        except OSError as error:
            raise ConfigError(path, error.strerror or str(error)) from error

    def _index_path(self) -> str:
        """Where the index lies: in the store, or on this node where the store is on a network file system or the user says so."""
        name = self.format.store_id.hex()
        if self.environ.index_dir:
            return os.path.join(os.path.abspath(self.environ.index_dir), name)
        if netfs.network_type(self.root) is not None:
            return f"{config.temporary_dir()}/scalable-cas-{os.geteuid()}/{name}"
        return f"{self.root}/{layout.INDEX}"

    @property
    def index_is_local(self) -> bool:
        """Whether the index lies outside the store, so that other nodes have others."""
        return self.index_path != f"{self.root}/{layout.INDEX}"

    def _open_index(self) -> Index:
        missing = not os.path.exists(f"{self.index_path}/data.mdb")
        if missing and self.read_only and not self.index_is_local:
            raise IndexDamaged(self.index_path, "it is missing")
        try:
            if missing:
                return self._rebuilt()
            return Index(self.index_path, self.format.store_id, self.secret, read_only=self.read_only and not self.index_is_local)
        except IndexDamaged as error:
            if not self._heal or self.read_only:
                raise
            self.trouble(error, "; it has been rebuilt from files")
            return self._rebuilt()

    def _rebuilt(self) -> Index:
        from scalable_cas.store.rebuild import fill_index  # only then: it reads every object's header

        folder = os.path.dirname(self.index_path)
        fs.make_folder(folder)
        fs.remove_tree(self.index_path)
        create_index(self.index_path, f"{self.root}/{layout.TMP}" if not self.index_is_local else f"{folder}/tmp", self.format.store_id, self.secret)
        index = Index(self.index_path, self.format.store_id, self.secret, read_only=False)
        if self.journal.segments():
            fill_index(index, self.journal, self.objects)
        return index

    def is_alive(self) -> bool:
        """Whether the folder and the index that are open are still the ones on disk."""
        return os.path.exists(f"{self.root}/{layout.FORMAT_FILE}") and self.index.environment.is_current()

    def reopen(self) -> None:
        """After the folder was removed or replaced under us: begin again, with an empty store if there is none."""
        self._create = True
        self._shut(write=False)
        self._open()

    def close(self) -> None:
        """Write everything, make it safe from a power cut, and let go of the files. Closing twice is fine."""
        if self in _stores:
            self._shut(write=not self.read_only)
        self._closed = True

    @property
    def is_open(self) -> bool:
        """Whether `close` has not been called."""
        return not self._closed

    def _shut(self, *, write: bool) -> None:
        _stores.discard(self)
        if write:
            self.writer.close()
        self.flights.close()
        self.journal.close()
        self.index.close()
        self.say()
        for name in _PARTS:
            self.__dict__.pop(name, None)

    def after_fork(self) -> None:
        """In the child: let go of everything that is the parent's; `__getattr__` opens our own when it is needed."""
        for part in (self.journal, self.flights):
            part.after_fork()
        for name in _PARTS:
            self.__dict__.pop(name, None)

    # --- trouble ---------------------------------------------------------------------------------------

    def trouble(self, error: BaseException, then: str = "") -> None:
        """Report a fault of the cache: one `CacheWarning` per cause and process. Kept back on threads of ours until a caller can be told."""
        cause = f"{type(error).__name__}:{getattr(error, 'path', '') or getattr(error, 'oid', '') or error}"
        if cause in self._said:
            return
        self._said.add(cause)
        self._unsaid.append(f"{error}{then}")

    def say(self) -> None:
        """Emit the warnings that were kept back."""
        while self._unsaid:
            import warnings

            # stacklevel 4: the caller of the decorated function, past say, the wrapper's slow path and the wrapper
            warnings.warn(self._unsaid.pop(0), CacheWarning, stacklevel=4)

    # --- entries ---------------------------------------------------------------------------------------

    def save(self, record: Record, encoded: Encoded, *, replace: bool = False) -> None:
        """Store a result under ``record`` (its key, function and times); the rest of the record is filled in here.

        It is visible to this process at once. It is in the files when this returns if the function was slow or the result is large, else within 0.1 s.

        Raises:
            NotStorable: more buffers or bytes than the format can hold.
        """
        objects = as_objects(encoded)
        kind, oid, content = objects[-1]
        record.codec, record.kind, record.oid, record.size = encoded.codec, kind, oid, len(content)
        record.total = sum(len(part) for _, _, part in objects)
        item = Pending(record, objects)
        # Buffers may be views of the caller's arrays, who may change them as soon as this returns.
        now = self.strict or replace or record.seconds >= SLOW_SECONDS or len(objects) > 1 or item.bytes > QUEUED_BYTES
        self.writer.add(item, now=now)

    def forget(self, rowkeys: Sequence[bytes]) -> int:
        """Forget entries, in the journal and in the index; their objects stay until gc. Returns how many there were.

        Raises:
            StoreReadOnly, StoreBusy, IndexDamaged: nothing was forgotten.
        """
        self.writer.flush()
        names = self.index.function_names()

        def change(changes: Any) -> int:
            present = [rowkey for rowkey in rowkeys if changes.ref(rowkey) is not None]
            if present:
                sequence, now = changes.next_number("sequence"), clock.now_ns()
                self.journal.append([tombstone(key, names.get(key[:8], ""), created=now, sequence=sequence) for key in present], sync=True)
            return sum(changes.drop_entry(rowkey) for rowkey in present)

        forgotten: int = self.index.write(change)
        return forgotten

    def contains(self, rowkey: bytes, limit: int | None = None) -> bool:
        """Whether an entry is stored whose object's file is there; decodes nothing. ``limit``: an age in ns."""
        pending = self.writer.visible.get(rowkey)
        if pending is not None:
            return limit is None or clock.now_ns() - pending.record.created <= limit
        row = self.index.ref(rowkey)
        if row is None or len(row) < rows.REF_FIXED:
            return False
        fields = rows.REF.unpack_from(row)
        return (limit is None or clock.now_ns() - fields[6] <= limit) and self.objects.stat(fields[11]) is not None

    # --- objects ---------------------------------------------------------------------------------------

    def put_object(self, kind: int, content: bytes | bytearray | memoryview) -> bytes:
        """Store an object by itself, named by no entry, and return its name. gc removes it unless it is pinned.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        if self.read_only:
            raise StoreReadOnly(self.root, "it is read-only")
        oid = object_id(kind, content, threads=os.cpu_count() or 1)
        epoch = self.index.number("epoch")
        place = self.objects.put(kind, oid, content, sync=self.strict)

        def change(changes: Any) -> None:
            nonlocal place
            current = changes.number("epoch")
            if current != epoch:  # a collector was at work since: it may have taken the file
                place = self.objects.put(kind, oid, content, sync=self.strict)
            changes.put_object(oid, rows.pack_object(rows.LOOSE, kind, place.coding, len(content), place.stored, current))

        self.index.write(change)
        return oid

    def get_object(self, oid: bytes) -> tuple[Header, bytes | memoryview]:
        """The header and the checked content of an object, also of one that is still in the queue.

        Raises:
            ObjectNotFound, CorruptObject, ObjectUnreadable: as `LooseObjects.get`.
        """
        self.writer.flush()
        return self.objects.get(oid, threads=os.cpu_count() or 1)

    def discard_damaged(self, oid: bytes) -> None:
        """Move a damaged object aside, so that the next store of it writes a whole one (I5: never a permanent failure)."""
        if not self.read_only:
            try:
                self.objects.quarantine(oid)
            except (ScalableCasError, OSError) as error:
                self.trouble(error)


def as_objects(encoded: Encoded) -> list[tuple[int, bytes, Any]]:
    """The objects of an encoded value, children first: (kind, name, content). Bytes and text are blobs by themselves.

    Raises:
        NotStorable: more buffers than the format can hold.
    """
    if encoded.codec in ("bytes", "str"):
        content = encoded.buffers[0]
        return [(BLOB, object_id(BLOB, content), content)]
    if len(encoded.buffers) > value.MOST_BUFFERS:
        raise NotStorable(encoded.codec, f"it has {len(encoded.buffers)} buffers")
    found: list[tuple[int, bytes, Any]] = []
    refs = []
    for buffer in encoded.buffers:
        view = memoryview(buffer).cast("B") if len(buffer) else memoryview(b"")
        oid = object_id(BLOB, view)
        found.append((BLOB, oid, view))
        refs.append(value.BufferRef(BLOB, oid, len(view)))
    content = value.pack(encoded.codec, encoded.head, tuple(refs))
    found.append((VALUE, object_id(VALUE, content), content))
    return found


def initialise(root: str) -> bool:
    """Make the files of a store at ``root``; False if there is one already. Its index is made when it is opened.

    Raises:
        StoreReadOnly: it cannot be made.
    """
    fs.make_folder(root)
    for name in (layout.TMP, layout.OBJECTS, layout.JOURNAL):
        fs.make_folder(f"{root}/{name}")
    tmp = f"{root}/{layout.TMP}"
    fs.write_new(tmp, f"{root}/.gitignore", (b"*\n",), mode=0o600)
    fs.write_new(tmp, f"{root}/CACHEDIR.TAG", (CACHEDIR_TAG.encode(),), mode=0o600)
    fs.write_new(tmp, f"{root}/README", (README.encode(),), mode=0o600)
    # last, because it is what makes the folder a store
    content = layout.StoreFormat(os.urandom(16)).pack()
    return fs.write_new(tmp, f"{root}/{layout.FORMAT_FILE}", (content,), sync=True, mode=0o600) is not None


_stores: set[StoreCore] = set()
_hooked = False


def _register(store: StoreCore) -> None:
    """See to it that a store is written at exit and left alone by a forked child."""
    global _hooked
    _stores.add(store)
    if not _hooked:
        import atexit

        atexit.register(close_all)
        os.register_at_fork(after_in_child=_after_fork)
        _hooked = True
    import sys

    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        # Workers leave through os._exit, which runs no atexit handlers, but multiprocessing's own.
        from multiprocessing.util import Finalize

        Finalize(None, close_all, exitpriority=10)


def close_all() -> None:
    """Close every open store: at exit."""
    for store in list(_stores):
        store.close()


_forked: list[Callable[[], None]] = []


def _after_fork() -> None:
    for store in list(_stores):
        store.after_fork()
    _stores.clear()
    for forget in _forked:
        forget()


def on_fork(forget: Callable[[], None]) -> None:
    """Have ``forget`` run in every forked child, after the stores were let go; for those who remember an open store."""
    _forked.append(forget)


