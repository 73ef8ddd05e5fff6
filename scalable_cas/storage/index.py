"""The ref index: which rows there are and how they are read and written. Derived from files (I4):
`ops/reindex.py` rebuilds it.

Rows are described in docs/reference/format-v1.md, section 7. Scans read in batches, so that no read
transaction is held while a caller works.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from struct import Struct

import msgpack
from blake3 import blake3

from scalable_cas.errors import IndexDamaged, MalformedObject
from scalable_cas.format import record as records
from scalable_cas.format import rows
from scalable_cas.storage import environment as environments
from scalable_cas.storage import environment_files
from scalable_cas.storage.write_lock import WRITE_WAIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from scalable_cas.format.record import Record
    from scalable_cas.storage.environment import Environment

_NUMBER = Struct(">Q")
_ACCESS = Struct(">QQ")  # last use (ns), number of flushes that saw a use
#: Rows of input files, of about 150 bytes each on the disk.
MOST_FILES = 1_000_000
BATCH = 1000  # rows per read transaction in a scan: about 1 ms


def secret_id(secret: bytes) -> bytes:
    """Which key an index was tagged with, without telling the key."""
    digest: bytes = blake3(b"scalable_cas index", key=secret).digest(16)
    return digest


def create(path: str, tmp: str, store_id: bytes, secret: bytes, *, filled: bool) -> None:
    """Make an empty index for a store, unless there is one. ``filled``: there is nothing to fill it with.

    Raises:
        StoreReadOnly: it cannot be made.
    """

    def fill(put: Callable[[bytes, bytes], object]) -> None:
        put(b"schema", _NUMBER.pack(rows.SCHEMA))
        put(b"store", store_id)
        put(b"secret", secret_id(secret))
        put(b"filled", _NUMBER.pack(filled))

    environment_files.create(path, tmp, fill)


class Index:
    """An open index. ``secret`` is the user's 32-byte key for the tags."""

    def __init__(self, path: str, store_id: bytes, secret: bytes, *, read_only: bool) -> None:
        self.path = path
        self.secret = secret
        self.environment: Environment = environments.acquire(path, read_only=read_only)
        try:
            self._check(store_id)
        except BaseException:
            environments.release(self.environment)
            raise

    def _check(self, store_id: bytes) -> None:
        if self.meta("schema") != _NUMBER.pack(rows.SCHEMA):
            raise IndexDamaged(self.path, "it has another schema")
        if self.meta("store") != store_id:
            raise IndexDamaged(self.path, "it belongs to another store")
        if not self.environment.read_only and not self.is_ours():
            raise IndexDamaged(self.path, "it was written with another user's key")

    def is_ours(self) -> bool:
        """Whether its rows carry this user's tags."""
        return self.meta("secret") == secret_id(self.secret)

    def close(self) -> None:
        """Give the environment back."""
        environments.release(self.environment)

    # --- reading ---------------------------------------------------------------------------------------

    def _get(self, database: str, key: bytes) -> bytes | None:
        return self._rows(database, (key,))[0]

    def _rows(self, database: str, keys: Sequence[bytes]) -> list[bytes | None]:
        handle = self.environment.db[database]
        read: Callable[..., list[bytes | None]] = self.environment.read
        return read(lambda transaction: [transaction.get(key, db=handle) for key in keys])

    def meta(self, name: str) -> bytes | None:
        """A meta row."""
        return self._get("meta", name.encode())

    def number(self, name: str) -> int:
        """A meta row that counts; 0 if there is none yet."""
        found = self.meta(name)
        return _NUMBER.unpack(found)[0] if found else 0

    def ref(self, rowkey: bytes) -> bytes | None:
        """The row of a ref; its tag is the reader's to check."""
        return self._get("refs", rowkey)

    def record(self, rowkey: bytes) -> Record | None:
        """The record of an entry, or None."""
        found = self._get("records", rowkey)
        return records.unpack(found) if found else None

    def record_bytes(self, rowkey: bytes) -> bytes | None:
        """The record of an entry as it was packed, or None."""
        return self._get("records", rowkey)

    def entry(self, rowkey: bytes) -> tuple[bytes | None, Record | None]:
        """The ref's row and the record of an entry, as they were in one moment."""
        tables = self.environment.db["refs"], self.environment.db["records"]
        row, found = self.environment.read(
            lambda transaction: [transaction.get(rowkey, db=table) for table in tables]
        )
        return row, records.unpack(found) if found else None

    def object_row(self, oid: bytes) -> rows.ObjectRow | None:
        """What is known of an object's place, or None."""
        return rows.object_row(self._get("objects", oid))

    def file(self, key: bytes) -> bytes | None:
        """The row of an input file that was read; its tag is the reader's to check."""
        return self._get("files", key)

    def object_rows(self, oids: Sequence[bytes]) -> dict[bytes, rows.ObjectRow]:
        """The rows of those of some objects that are known here and can be read."""
        found = {}
        for oid, row in zip(oids, self._rows("objects", oids), strict=True):
            if row is not None:
                with suppress(MalformedObject):
                    found[oid] = rows.ObjectRow(row)
        return found

    def object_data(self, oids: Sequence[bytes]) -> list[bytes | None]:
        """The rows of some objects as they are kept; None for one that is not known. For those who read a
        thousand at once.
        """
        return self._rows("objects", oids)

    def pins(self) -> set[bytes]:
        """The pinned row keys (40 bytes) and object names (32 bytes)."""
        return {key for key, _ in self.scan("pins")}

    def last_use(self, rowkey: bytes) -> int:
        """When an entry was last used, in ns since 1970, as far as that has been written down; 0 if never."""
        found = self._get("access", rowkey)
        return _ACCESS.unpack(found)[0] if found else 0

    def function_names(self) -> dict[bytes, str]:
        """Function id to name, of every function that has or had entries."""
        return {fnid: name.decode("utf-8", "surrogatepass") for fnid, name in self.scan("functions")}

    def scan(self, database: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows whose keys start with ``prefix``, in key order; those that change meanwhile in
        either state.
        """
        start = prefix
        while True:
            batch = self._batch(database, prefix, start)
            yield from batch
            if len(batch) < BATCH:
                return
            start = batch[-1][0] + b"\0"

    def _batch(
        self, database: str, prefix: bytes, start: bytes, most: int = BATCH
    ) -> list[tuple[bytes, bytes]]:
        """The first rows from ``start`` on whose keys start with ``prefix``."""

        def find(transaction: Any) -> list[tuple[bytes, bytes]]:
            batch: list[tuple[bytes, bytes]] = []
            with transaction.cursor(db=self.environment.db[database]) as cursor:
                if not (cursor.set_range(start) if start else cursor.first()):
                    return batch
                for key, value in cursor:
                    if not key.startswith(prefix) or len(batch) == most:
                        break
                    batch.append((key, value))
            return batch

        found: list[tuple[bytes, bytes]] = self.environment.read(find)
        return found

    def view_rows(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the table of remotes' views, one for each key."""
        if "views" not in self.environment.db:  # an index that we may not write, from before that table
            return [None] * len(keys)
        return self._rows("views", keys)

    def scan_views(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """`scan` of the table of remotes' views."""
        return self.scan("views", prefix) if "views" in self.environment.db else iter(())

    def view_key(self, least: bytes) -> bytes:
        """The first key of that table that is not less than ``least``; b"" if there is none."""
        batch = self._batch("views", b"", least, 1) if "views" in self.environment.db else []
        return batch[0][0] if batch else b""

    def count(self, database: str) -> int:
        """How many rows a table has."""
        handle = self.environment.db[database]
        entries: int = self.environment.read(lambda transaction: transaction.stat(handle)["entries"])
        return entries

    # --- writing ---------------------------------------------------------------------------------------

    def write(self, change: Callable[[Changes], Any], seconds: float = WRITE_WAIT) -> Any:
        """Run ``change`` in one transaction, committed and synced when it returns, and hand on what it
        returns.

        It is run again from the start if the map had to grow.

        Raises:
            StoreBusy, StoreReadOnly, IndexDamaged: as `Environment.write`.
        """
        for _ in range(8):  # each time the map doubles; eight times is a factor of 256
            try:
                return self.environment.write(lambda transaction: change(Changes(self, transaction)), seconds)
            except environments.MapGrown:
                continue
        raise IndexDamaged(self.path, "its map is full however often it grows")

    @contextmanager
    def write_and_hold(self, change: Callable[[Changes], Any]) -> Iterator[Any]:
        """Run ``change`` as `write` does, and give a read transaction that sees exactly its outcome: nobody
        can write in between. For the collector, which fixes its cutoff and its roots in one step.

        Raises:
            StoreBusy, StoreReadOnly, IndexDamaged: as `write`.
        """
        with ExitStack() as stack:
            with self.environment.locked():
                self.write(change)
                snapshot = stack.enter_context(self.environment.reading())
            yield snapshot


class Changes:
    """What can be changed in one write transaction."""

    def __init__(self, index: Index, transaction: Any) -> None:
        self._index = index
        self._put = transaction.put
        self._get = transaction.get
        self._delete = transaction.delete
        self._drop = transaction.drop
        self._stat = transaction.stat
        self._cursor = transaction.cursor
        self._db = index.environment.db
        self._named: set[bytes] = set()

    def next_number(self, name: str) -> int:
        """Count a meta row up and return it."""
        found = self._get(name.encode(), db=self._db["meta"])
        number: int = (_NUMBER.unpack(found)[0] if found else 0) + 1
        self._put(name.encode(), _NUMBER.pack(number), db=self._db["meta"])
        return number

    def number(self, name: str) -> int:
        """A meta row that counts, as this transaction sees it."""
        found = self._get(name.encode(), db=self._db["meta"])
        return _NUMBER.unpack(found)[0] if found else 0

    def settle_epoch(self, before: int) -> tuple[int, bool]:
        """The epoch that rows get which are written now, and whether objects that were put since the epoch
        was ``before`` must be put again. An odd epoch means that files were being removed when it was read,
        or that a collector was killed while it did so; nobody removes any now, under the lock, so it becomes
        even.
        """
        current = self.number("epoch")
        again = current != before or current % 2 == 1
        return (self.next_number("epoch") if current % 2 else current), again

    def set_number(self, name: str, number: int) -> None:
        """Set a meta row that counts."""
        self._put(name.encode(), _NUMBER.pack(number), db=self._db["meta"])

    def put_object(self, oid: bytes, row: bytes) -> None:
        """Write where an object lies, and with which epoch it was last named."""
        self._put(oid, row, db=self._db["objects"])

    def object_row(self, oid: bytes) -> rows.ObjectRow | None:
        """What this transaction sees of an object's place."""
        found = self._get(oid, db=self._db["objects"])
        return rows.object_row(found)

    def drop_object(self, oid: bytes) -> None:
        """Forget where an object lies."""
        self._delete(oid, db=self._db["objects"])

    def put_sorted(self, database: str, items: dict[bytes, bytes]) -> None:
        """Write many rows of a table: in order, which is the order of its pages, and in one call."""
        with self._cursor(db=self._db[database]) as cursor:
            cursor.putmulti(sorted(items.items()))

    def view_row(self, key: bytes) -> bytes | None:
        """A row of a remote's view, as this transaction sees it."""
        found: bytes | None = self._get(key, db=self._db["views"])
        return found

    def drop_view_rows(self, keys: Sequence[bytes]) -> None:
        """Remove rows of a remote's view."""
        for key in keys:
            self._delete(key, db=self._db["views"])

    def name_functions(self, names: dict[bytes, str]) -> None:
        """Write down what functions are called, by their ids; what an entry from elsewhere called one is
        replaced.
        """
        for fnid, name in names.items():
            encoded = name.encode("utf-8", "surrogatepass")
            if self._get(fnid, db=self._db["functions"]) != encoded:
                self._put(fnid, encoded, db=self._db["functions"])

    def put_entry(self, record: Record, packed: bytes, ref_row: bytes) -> None:
        """Write the rows of one entry: ref, record (``packed`` is its bytes), and the function's name."""
        rowkey = record.rowkey
        self._put(rowkey, ref_row, db=self._db["refs"])
        self._put(rowkey, packed, db=self._db["records"])
        if record.fnid not in self._named:  # once in a transaction is enough
            self._named.add(record.fnid)
            name = record.function.encode("utf-8", "surrogatepass")
            self._put(record.fnid, name, db=self._db["functions"], overwrite=False)

    def ref(self, rowkey: bytes) -> bytes | None:
        """The row of a ref, as this transaction sees it."""
        found: bytes | None = self._get(rowkey, db=self._db["refs"])
        return found

    def record(self, rowkey: bytes) -> Record | None:
        """The record of an entry, as this transaction sees it."""
        found = self._get(rowkey, db=self._db["records"])
        return records.unpack(found) if found else None

    def replace_ref(self, rowkey: bytes, row: bytes) -> None:
        """Write a ref's row anew; its record stays."""
        self._put(rowkey, row, db=self._db["refs"])

    def drop_entry(self, rowkey: bytes) -> bool:
        """Remove the rows of one entry; False if there was none."""
        there: bool = self._delete(rowkey, db=self._db["refs"])
        self._delete(rowkey, db=self._db["records"])
        self._delete(rowkey, db=self._db["access"])
        return there

    def pin(self, key: bytes) -> None:
        """Keep an entry (40 bytes) or an object (32 bytes) from gc."""
        self._put(key, b"", db=self._db["pins"])

    def is_pinned(self, key: bytes) -> bool:
        """Whether an entry or an object is kept from gc, as this transaction sees it."""
        return self._get(key, db=self._db["pins"]) is not None

    def unpin(self, key: bytes) -> bool:
        """Undo `pin`; False if it was not pinned."""
        there: bool = self._delete(key, db=self._db["pins"])
        return there

    def touch(self, rowkeys: set[bytes], now: int, hour: int = 3600 * 10**9) -> None:
        """Note that entries were used, at most once an hour each (as relatime does)."""
        for rowkey in rowkeys:
            found = self._get(rowkey, db=self._db["access"])
            last, uses = _ACCESS.unpack(found) if found else (0, 0)
            if (now - last >= hour or last > now) and self._get(rowkey, db=self._db["refs"]) is not None:
                self._put(rowkey, _ACCESS.pack(now, uses + 1), db=self._db["access"])

    def put_run(self, key: bytes, content: dict[str, object]) -> None:
        """Write the counters of one process of a run."""
        self._put(key, msgpack.packb(content, unicode_errors="surrogatepass"), db=self._db["runs"])

    def drop_run(self, key: bytes) -> None:
        """Remove the counters of one process of a run."""
        self._delete(key, db=self._db["runs"])

    def put_files(self, found: dict[bytes, bytes]) -> None:
        """Write what was read of input files. Past `MOST_FILES` rows the table begins anew: what is in use
        comes back at its next reading, and no age has to be kept.
        """
        if self._stat(self._db["files"])["entries"] > MOST_FILES:
            self.clear("files")
        for key, row in found.items():
            self._put(key, row, db=self._db["files"])

    def clear(self, *databases: str) -> None:
        """Empty tables, to fill them anew."""
        for name in databases:
            self._drop(self._db[name], delete=False)
