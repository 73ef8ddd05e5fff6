"""Objects on their way out: a blob becomes a file again, a tree a folder. Keeps I5 and I7.

What is there already with the same content is left alone, and so is everything that is no part of the tree.
Every byte is checked against its name before the file that holds it gets its own name; every write goes
through `storage/outside.py`, which follows no link. A tree may come from a stranger: its names were refused
when it was parsed (format/tree.py), its links are refused here if they could lead out, and its depth and the
number of its files have bounds: a tree of a few objects can hold itself 2**50 times over.

Nothing is shared with the store: no hard link, whose later edit would change an object; no reflink either,
because an object's content begins at byte 64 and file systems share whole blocks only. A copy in one pass,
read, hash, write, was as fast as ``copy_file_range`` and a hash after it.
"""

from __future__ import annotations

import os
import stat
from struct import Struct

from blake3 import blake3

from scalable_cas import clock
from scalable_cas.errors import CorruptObject, MalformedObject, PathRefused
from scalable_cas.format import tree
from scalable_cas.format.kinds import BLOB, KIND_NAMES, TREE, hasher
from scalable_cas.keys.stats import memory, signature_of
from scalable_cas.storage.outside import identities, is_regular, open_folder
from scalable_cas.storage.parallel import cores
from scalable_cas.store import strangers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scalable_cas.storage.outside import Folder
    from scalable_cas.store.core import StoreCore

    Buffer = bytes | memoryview

_SIGNATURE = Struct("<QQQqqI")
#: Content up to this many bytes is read whole; longer in pieces.
WHOLE = 1 << 20
PIECE = 1 << 20


class Checkout:
    """One file or folder that is put in place. ``anew``: read what is there, also where its stat is known.
    ``may_replace(digest)`` is given for what comes from a stranger: whether a file with other content may go;
    ``trusted``: whether he may run code. Counts ``written`` files and links.
    """

    def __init__(
        self,
        store: StoreCore,
        *,
        anew: bool = False,
        may_replace: Callable[[bytes], bool] | None = None,
        trusted: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._store = store
        self._anew = anew
        self._may_replace = may_replace
        self._trusted = trusted
        self._progress = progress
        self._trees: list[tuple[tree.TreeEntry, ...]] = []  # from the root down to where we are
        self._parts: list[bytes] = []
        self._entries = 0
        self.written = 0

    # --- files -----------------------------------------------------------------------------------------

    def file(self, folder: Folder, entry: tree.TreeEntry) -> None:
        """Put a file or a link in place, unless it is there.

        Raises:
            PathRefused: it cannot be written there.
            UntrustedEntry: there is a program, and whoever wants to replace it is not trusted.
            ObjectNotFound, CorruptObject, ObjectUnreadable: its content cannot be had; nothing was changed.
        """
        if entry.mode == tree.LINK:
            self._link(folder, entry)
            return
        seen = folder.stat(entry.name)
        found = (
            self._digest(folder, entry.name, seen) if self._is_like(seen, entry) or self._may_replace else b""
        )
        if found == entry.oid and self._is_like(seen, entry):
            return
        if seen is not None and self._may_replace is not None and not self._may_replace(found):
            raise PathRefused(folder.called(entry.name), "has other content, which is nowhere in the store")
        if seen is not None and not self._trusted:
            strangers.check(entry.name, program=bool(seen.st_mode & 0o111))
        folder.write(
            entry.name, pieces(self._store, entry.oid, entry.size), executable=entry.mode == tree.EXECUTABLE
        )
        self.written += 1

    @staticmethod
    def _is_like(seen: os.stat_result | None, entry: tree.TreeEntry) -> bool:
        return (
            seen is not None
            and stat.S_ISREG(seen.st_mode)
            and seen.st_size == entry.size
            and bool(seen.st_mode & stat.S_IXUSR) == (entry.mode == tree.EXECUTABLE)
        )

    def _digest(self, folder: Folder, name: bytes, seen: os.stat_result | None) -> bytes:
        """The digest of the file of a name, by its stat if that is known; empty if it cannot be told."""
        if seen is None or not is_regular(seen):
            return b""
        path, signature = folder.called(name), signature_of(seen)
        trust = memory.trust(path, seen)
        if trust is not None and not trust[2] and not self._anew:
            known = memory.find(path, signature, trust)
            if known is not None:
                return known
        began = clock.now_ns()
        running = blake3()
        try:
            fd = folder.open_file(name)
            with open(fd, "rb", buffering=0) as file:
                piece = memoryview(bytearray(min(PIECE, max(seen.st_size, 1))))
                while count := file.readinto(piece):
                    running.update(piece[:count])
                if signature_of(os.fstat(fd)) != signature:
                    return b""
        except OSError:  # it is written anew, or that fails with a reason
            return b""
        digest: bytes = running.digest()
        if trust is not None:
            memory.keep(path, signature, digest, began, trust)
        return digest

    def _link(self, folder: Folder, entry: tree.TreeEntry) -> None:
        target = bytes(content_of(self._store, BLOB, entry.oid, entry.size))
        fault = tree.link_fault(target, self._parts, self._is_folder)
        if fault is not None:
            called = folder.called(entry.name)
            raise PathRefused(called, f"a link to {os.fsdecode(target)!r}, which {fault}")
        if folder.target(entry.name) == target:
            return
        if self._may_replace is not None and folder.stat(entry.name) is not None:
            raise PathRefused(
                folder.called(entry.name), "something else is there, which is nowhere in the store"
            )
        folder.link(entry.name, target)
        self.written += 1

    def _is_folder(self, parts: Sequence[bytes]) -> bool:
        """Whether the tree itself has a folder there."""
        entries = self._trees[0]
        for part in parts:
            found = next((entry for entry in entries if entry.name == part), None)
            if found is None or found.mode != tree.FOLDER:
                return False
            entries = entries_of(self._store, found.oid, found.size)
        return True

    # --- folders ---------------------------------------------------------------------------------------

    def folder(self, folder: Folder, oid: bytes, size: int) -> None:
        """Put what a tree holds in place.

        Raises:
            PathRefused: something cannot be written there.
            UntrustedEntry: something there can run code, and whose it is, is not trusted.
            ObjectNotFound, CorruptObject, ObjectUnreadable: content cannot be had; what was put in place
                before is whole.
        """
        entries = entries_of(self._store, oid, size)
        self._trees.append(entries)
        for entry in entries:
            self._entries += 1
            if self._entries > tree.MOST_ENTRIES:
                raise PathRefused(folder.path, f"the tree has more than {tree.MOST_ENTRIES:,} entries")
            if self._may_replace is not None and entry.name.lower() == b".git":  # it can run programs
                raise PathRefused(folder.called(entry.name), "a repository that comes from elsewhere")
            if not self._trusted:
                strangers.check(entry.name)
            if entry.mode != tree.FOLDER:
                self.file(folder, entry)
            else:
                if len(self._parts) >= tree.DEEPEST - 1:
                    raise PathRefused(folder.path, f"folders within folders more than {tree.DEEPEST} deep")
                self._parts.append(entry.name)
                with folder.child(entry.name, replace=self._may_replace is None) as inside:
                    self.folder(inside, entry.oid, entry.size)
                self._parts.pop()
            if self._progress is not None and self._entries % 64 == 0:
                self._progress(self._entries)
        self._trees.pop()


class Stamp:
    """What the stats of all that a tree holds are now: a ``digest`` of them and of the tree's name, the
    ``newest`` time among them (ns), the ``inodes``. ``whole``: everything is there. Reads trees, and no file.

    Raises, when made:
        ObjectNotFound, CorruptObject, ObjectUnreadable: a tree cannot be had.
    """

    def __init__(self, store: StoreCore, folder: Folder, oid: bytes, size: int) -> None:
        self._store = store
        self._running = blake3(oid)
        self.newest = 0
        self.inodes: set[int] = set()
        self._entries = 0
        self.whole = self._add(folder, oid, size, 0)
        self.digest: bytes = self._running.digest()

    def _add(self, folder: Folder, oid: bytes, size: int, depth: int) -> bool:
        for entry in entries_of(self._store, oid, size):
            self._entries += 1
            seen = folder.stat(entry.name)
            kind = None if seen is None else stat.S_IFMT(seen.st_mode)
            if seen is None or self._entries > tree.MOST_ENTRIES or kind != stat.S_IFMT(entry.mode):
                return False
            if entry.mode != tree.FOLDER:
                self._running.update(_SIGNATURE.pack(*signature_of(seen), seen.st_mode))
                self.newest = max(self.newest, seen.st_mtime_ns, seen.st_ctime_ns)
                self.inodes.add(seen.st_ino)
                continue
            if depth >= tree.DEEPEST - 1:
                return False
            try:
                inside = folder.child(entry.name, make=False, replace=False)
            except PathRefused:
                return False
            with inside:
                if not self._add(inside, entry.oid, entry.size, depth + 1):
                    return False
        return True


# --- content -----------------------------------------------------------------------------------------------


def content_of(store: StoreCore, kind: int, oid: bytes, size: int) -> Buffer:
    """The checked content of an object that is said to be of this kind and size.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: it cannot be had, or is another.
    """
    head, content = store.objects.get(oid, largest=size)
    if head.kind != kind or len(content) != size:
        raise CorruptObject(
            oid.hex(), f"it is no {KIND_NAMES[kind]} of {size} bytes, as whatever names it says"
        )
    return content


def entries_of(store: StoreCore, oid: bytes, size: int) -> tuple[tree.TreeEntry, ...]:
    """The entries of a tree.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: it cannot be had, or does not follow the format.
    """
    try:
        return tree.unpack(content_of(store, TREE, oid, size))
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error


def pieces(store: StoreCore, oid: bytes, size: int) -> Iterator[Buffer]:
    """The content of a blob, a megabyte at a time if it is long. That it is right is known only at the end:
    whoever asks for more after the last piece gets an error if it was not.

    Raises:
        ObjectNotFound, CorruptObject, ObjectUnreadable: it cannot be had, or is another.
    """
    if size <= WHOLE:
        yield content_of(store, BLOB, oid, size)
        return
    head, content = store.objects.pieces(oid, threads=cores())
    if (head.kind, head.raw_size) != (BLOB, size):
        raise CorruptObject(oid.hex(), f"it is no blob of {size} bytes, as whatever names it says")
    running = hasher(BLOB, cores())
    for piece in content:
        running.update(piece)
        yield piece
    if running.digest() != oid:
        store.objects.blame(oid)


def checkout(
    store: StoreCore, kind: int, oid: bytes, path: str, progress: Callable[[int], None] | None = None
) -> int:
    """Put a blob at ``path`` as a file, or what a tree holds into the folder ``path``, which is made if it is
    not there. Returns how many files and links had to be written.

    Raises:
        PathRefused: it cannot be written there, or the tree would write elsewhere.
        ObjectNotFound, CorruptObject, ObjectUnreadable: an object cannot be had.
    """
    forbidden = identities(store.root)
    size = store.objects.head(oid).raw_size
    work = Checkout(store, progress=progress)
    if kind == TREE:
        with open_folder(path, forbidden) as folder:
            work.folder(folder, oid, size)
        return work.written
    if kind != BLOB:
        raise PathRefused(path, f"object {oid.hex()} is a {KIND_NAMES[kind]}: neither a file nor a folder")
    parent, name = os.path.split(path)
    if name in ("", ".", "..") or "\0" in path:
        raise PathRefused(path, "is no name for a file")
    with open_folder(parent, forbidden) as folder:
        work.file(folder, tree.TreeEntry(os.fsencode(name), tree.FILE, oid, size))
    return work.written
