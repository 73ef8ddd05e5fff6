"""`Store`: an open store, from Python. What it does to a store as a whole is in `ops`."""

from __future__ import annotations

from scalable_cas import config
from scalable_cas.errors import NothingFound, ObjectNotFound, ScalableCasError
from scalable_cas.format.kinds import BLOB, KIND_NAMES
from scalable_cas.store.core import StoreCore

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from typing import Any, Self

    from scalable_cas.ops.gc import GcPlan, GcResult
    from scalable_cas.ops.listing import Entry
    from scalable_cas.ops.transfer.pull import Pulled
    from scalable_cas.ops.transfer.pull_plan import PullPlan
    from scalable_cas.ops.transfer.push import Pushed
    from scalable_cas.ops.transfer.push_plan import PushPlan
    from scalable_cas.ops.verify import Verification


class NotABlob(ScalableCasError):
    """The object is there but is no plain bytes. ``oid`` is hex; ``kind`` is "value", "tree" or "list"."""

    def __init__(self, oid: str, kind: str) -> None:
        super().__init__(
            f"object {oid} is a {kind}, not a blob; `scalable-cas cat-file -p` shows what it holds"
        )
        self.oid = oid
        self.kind = kind


class ObjectInfo:
    """What is known of an object without reading it: ``kind`` ("blob", "value", …), ``size`` of its content
    and ``stored`` size, with its chunks if it has some, both in bytes.
    """

    __slots__ = ("kind", "size", "stored")

    def __init__(self, kind: str, size: int, stored: int) -> None:
        self.kind = kind
        self.size = size
        self.stored = stored

    def __repr__(self) -> str:
        return f"ObjectInfo(kind={self.kind!r}, size={self.size}, stored={self.stored})"


class Store(StoreCore):
    """An open store, to be used as a context manager, and accepted by `@cacheable(_store=…)`.

    Object names are given as 64 hex digits or a unique abbreviation of at least 4, and returned as 64.

    Raises, when opened:
        StoreNotFound: there is none at that place.
        StoreVersionError, FormatDamaged, StoreReadOnly, IndexDamaged, ConfigError: as `StoreCore`.
    """

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the store at ``path``."""
        return cls(path)

    @classmethod
    def init(cls, path: str | os.PathLike[str]) -> Self:
        """Open the store at ``path``, making it first if there is none."""
        return cls(path, create=True)

    @classmethod
    def discover(cls, start: str | os.PathLike[str] | None = None) -> Self:
        """Open the store that a call from the folder ``start`` (default: the working directory) would use."""
        import os

        return cls(
            config.find_place(config.Environ(), os.path.abspath(start) if start is not None else None).path
        )

    # --- objects ---------------------------------------------------------------------------------------

    def put_bytes(self, data: bytes | bytearray | memoryview) -> str:
        """Store ``data`` as a blob and return its name, which is its BLAKE3 digest: what `b3sum` prints.

        gc removes it unless an entry names it or it is pinned.

        Raises:
            StoreReadOnly: it cannot be written.
        """
        return self.put_object(BLOB, data).hex()

    def get_bytes(self, oid: str) -> bytes:
        """The content of a blob, its digest checked.

        Raises:
            NotAnId: not an id or an abbreviation of one (a `ValueError`, too).
            ObjectNotFound, AmbiguousPrefix: no object, or more than one, is called so.
            NotABlob: it is of another kind.
            CorruptObject, ObjectUnreadable: its file is damaged, or cannot be read.
        """
        name = self._object(oid)
        head, content = self.get_object(name)
        if head.kind != BLOB:
            raise NotABlob(name.hex(), KIND_NAMES[head.kind])
        return bytes(content)

    def put_path(self, path: str | os.PathLike[str]) -> str:
        """Store a file as a blob, or a folder with all it holds as a tree, and return its name. Names,
        contents, exec bits, links and empty folders are kept; owners, times and other modes are not.

        gc removes it unless it is pinned.

        Raises:
            PathRefused: there is nothing, or a device, a FIFO, a socket or a link that leads out of the
                folder is in it, or it changes while it is read.
            StoreReadOnly: the store cannot be written.
        """
        import os

        from scalable_cas.store.intake import put_path

        return put_path(self, os.fsdecode(os.fspath(path))).oid.hex()

    def checkout(self, oid: str, path: str | os.PathLike[str]) -> None:
        """Put a blob at ``path`` as a file, or what a tree holds into the folder ``path``. A file that is
        there with the same content is left alone, and so are files that are no part of the tree.

        Nothing is written outside of ``path``, whatever the tree says. Files get the mode 0644, or 0755 if
        they are executable, less the umask.

        Raises:
            NotAnId: not an id or an abbreviation of one (a `ValueError`, too).
            PathRefused: something cannot be written there.
            ObjectNotFound, AmbiguousPrefix: no object, or more than one, is called so.
            CorruptObject, ObjectUnreadable: an object is damaged, or cannot be read.
        """
        import os

        from scalable_cas.store.checkout import checkout

        name = self._object(oid)
        self.flush()
        checkout(self, self.objects.head(name).kind, name, os.fsdecode(os.fspath(path)))

    def exists(self, oid: str) -> bool:
        """Whether an object of that name is in the store; its content is not checked.

        Raises:
            NotAnId: not an id or an abbreviation of one (a `ValueError`, too).
            AmbiguousPrefix: more than one object is called so.
        """
        from scalable_cas.ops.selection import select_object

        return select_object(self, oid) is not None

    def stat(self, oid: str) -> ObjectInfo:
        """Kind and sizes of an object; its content is not checked.

        Raises:
            NotAnId: not an id or an abbreviation of one (a `ValueError`, too).
            ObjectNotFound, AmbiguousPrefix: no object, or more than one, is called so.
            CorruptObject, ObjectUnreadable: its header is damaged, or cannot be read.
        """
        from scalable_cas.ops.listing import stored_size

        head = self.objects.head(self._object(oid))
        return ObjectInfo(KIND_NAMES[head.kind], head.raw_size, stored_size(self.objects, head))

    def _object(self, oid: str) -> bytes:
        from scalable_cas.ops.selection import select_object

        found = select_object(self, oid)
        if found is None:
            raise ObjectNotFound(oid)
        return found

    # --- the whole -------------------------------------------------------------------------------------

    def entries(self, function: str | None = None) -> Iterator[Entry]:
        """The stored calls, of all functions or of one, named in full or by an unambiguous ending of its
        name.

        Raises:
            AmbiguousName: more than one function is called so.
        """
        from scalable_cas.ops.listing import entries
        from scalable_cas.ops.selection import select_function

        if function is None:
            return entries(self)
        try:
            return entries(self, select_function(self, function))
        except NothingFound:  # to ask for what is not there is a question with an answer
            return iter(())

    def verify(self, *, quick: bool = False) -> Verification:
        """Check every object against its name, and every entry against its objects; nothing is changed.

        ``quick`` compares sizes and headers only.
        """
        from scalable_cas.ops.verify import verify

        return verify(self, quick=quick)

    def gc(self, *, dry_run: bool = False, function: str | None = None, **policy: Any) -> GcPlan | GcResult:
        """Drop the entries that a policy names, and the objects that nothing needs.

        Args:
            dry_run: return the plan, and change nothing.
            function: apply the policy to this function only; an unambiguous ending of its name will do.
            **policy: ``older_than`` and ``unused_for`` in seconds, ``max_size`` in bytes, ``keep_last`` in
                entries of each function. Without any, only expired entries and unneeded objects are dropped.

        Raises:
            NothingFound, AmbiguousName: no function, or more than one, is called so.
            ScalableCasError: as `ops.gc.plan_gc` and `ops.gc.execute`.
        """
        from scalable_cas.ops.gc import Policy, execute, plan_gc
        from scalable_cas.ops.selection import select_function

        if function is not None:
            (function,) = set(select_function(self, function).values())
        plan = plan_gc(self, Policy(function=function, **policy))
        return plan if dry_run else execute(self, plan)

    def push(
        self,
        name: str = "origin",
        *,
        function: str | Sequence[str] | None = None,
        dry_run: bool = False,
        jobs: int | None = None,
    ) -> PushPlan | Pushed:
        """Send what a remote lacks.

        Args:
            name: a remote that `remote add` named, or a URL.
            function: send the entries of this function only, or of these; unambiguous endings will do.
            dry_run: return the plan, and send nothing.
            jobs: files that are sent at a time.

        Raises:
            ConfigError: no remote is called so. RemoteError: it cannot be reached or written.
            NothingFound, AmbiguousName: no function, or more than one, is called so.
        """
        from scalable_cas.ops.selection import select_function
        from scalable_cas.ops.transfer.push import push
        from scalable_cas.ops.transfer.push_plan import plan_push
        from scalable_cas.ops.transfer.repository import open_repository

        names = (function,) if isinstance(function, str) else function
        chosen = None if names is None else [fnid for one in names for fnid in select_function(self, one)]
        with open_repository(self, name, jobs=jobs, create=not dry_run, plan=dry_run) as repository:
            plan = plan_push(repository, chosen)
            return plan if dry_run else push(repository, plan)

    def pull(
        self,
        name: str = "origin",
        *,
        function: str | Sequence[str] | None = None,
        dry_run: bool = False,
        jobs: int | None = None,
    ) -> PullPlan | Pulled:
        """Fetch what is not here from a remote. An entry that is here is kept.

        Args:
            name: a remote that `remote add` named, or a URL.
            function: fetch the entries of this function only, or of these; unambiguous endings will do.
            dry_run: return the plan, and fetch none of it.
            jobs: files that are fetched at a time.

        Raises:
            ConfigError: no remote is called so. RemoteError: it cannot be reached or read.
            NothingFound: nothing was pushed there yet, or nothing of that function.
            AmbiguousName: more than one function is called so.
        """
        from scalable_cas.ops.selection import one_function
        from scalable_cas.ops.transfer.pull import pull
        from scalable_cas.ops.transfer.pull_plan import plan_pull
        from scalable_cas.ops.transfer.repository import open_repository

        names = (function,) if isinstance(function, str) else function
        with open_repository(self, name, jobs=jobs) as repository:
            chosen = None
            if names is not None:
                repository.refresh()
                there = repository.view.functions()
                chosen = [fnid for one in names for fnid in one_function(there, one, name)]
            plan = plan_pull(repository, chosen)
            return plan if dry_run else pull(repository, plan)
