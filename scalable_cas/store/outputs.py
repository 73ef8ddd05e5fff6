"""Files and folders as results: what lies at the paths that a function returned is stored, and a hit puts it
back. Keeps I2, I5, I6 and I7.

An entry that was made here is put back at the very path that the function returned, seen from the working
directory of the call. One that came from elsewhere says its path too, and a stranger's path is a stranger's
wish. It is put back only below the working directory, through no link, into nothing that is hidden (a
``.git`` can run programs), and over a file only if that file's content is in the store, so that nothing is
lost. Of a stranger who is not trusted nothing is put back that programs run or import for its name
(`strangers`), nor over a program. Otherwise it is a miss, and the function runs.

What is there already is looked at before anything is written: a file by the rule of the stat cache
(keys/stats.py), a folder by the stats of all that the tree holds, whose digest is remembered under the same
rule. Files in the folder that are no part of the tree are neither looked at nor touched.
"""

from __future__ import annotations

import os

from scalable_cas import clock
from scalable_cas.codecs import outputs
from scalable_cas.errors import MalformedObject, MissingInput, NotStorable, PathRefused, ScalableCasError
from scalable_cas.format import tree, value
from scalable_cas.format.kinds import BLOB, TREE, VALUE, object_id
from scalable_cas.keys.files import file_digest
from scalable_cas.keys.stats import SETTLED, mapped_inodes, memory
from scalable_cas.keys.wrappers import DirType, FileType
from scalable_cas.storage.outside import identities, open_below, open_folder
from scalable_cas.store import strangers
from scalable_cas.store.checkout import Checkout, Stamp
from scalable_cas.store.intake import Intake, take
from scalable_cas.store.publishing import Pending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.format.record import Record
    from scalable_cas.storage.outside import Folder
    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.terms import Terms

_WRAPPERS: dict[str, type[FileType | DirType]] = {outputs.FILES: FileType, outputs.FOLDERS: DirType}
_KINDS = {outputs.FILES: BLOB, outputs.FOLDERS: TREE}


# --- storing -----------------------------------------------------------------------------------------------


def save_output(
    store: StoreCore, record: Record, codec: str, result: Any, *, many: bool, replace: bool = False
) -> None:
    """Store what lies at the paths in ``result`` under ``record``; the rest of the record is filled in here.
    ``many``: it is declared to be a list, tuple or dict of paths; ``replace``: what was stored before is to
    be gone. It is in the files when this returns.

    Raises:
        NotStorable: it is no path, or there is no such file or folder, or it cannot be stored.
        StoreReadOnly, ObjectUnreadable: the store cannot be written.
    """
    if not many and isinstance(result, list | tuple | dict):
        name = _WRAPPERS[codec].__name__
        what = f"it is declared to be one path; declare return_type=list[{name}] or dict[str, {name}]"
        raise NotStorable(type(result).__qualname__, what)
    plain, wrapped = _unwrapped(codec, result)
    intake = Intake(store)
    refs, executable = [], []
    for path in outputs.paths_of(plain):
        try:
            taken = take(intake, path)
        except PathRefused as error:
            what = f"what the function returned as its output cannot be read: {error}"
            raise NotStorable(type(result).__qualname__, what) from error
        if taken.kind != _KINDS[codec]:
            other = "a folder: declare DirType" if taken.kind == TREE else "a file: declare FileType"
            raise NotStorable(type(result).__qualname__, f"{path} is {other}")
        refs.append(value.BufferRef(taken.kind, taken.oid, taken.size))
        executable.append(taken.executable)
    intake.flush()
    head = outputs.pack(outputs.Returned(plain, executable, wrapped=wrapped))
    content = value.pack(codec, head, tuple(refs))
    record.codec, record.kind, record.oid = codec, VALUE, object_id(VALUE, content)
    record.size = len(content)
    record.total = len(content) + sum(intake.sizes.values())
    item = Pending(record, [(VALUE, record.oid, content, 1)], intake, replaces=replace)
    store.writer.add(item, now=True)


def _unwrapped(codec: str, result: Any) -> tuple[Any, bool]:
    """The result with its paths taken out of their wrappers, and whether they had some."""
    kind = type(result)
    items = result if kind in (list, tuple) else result.values() if kind is dict else (result,)
    wrapped = {isinstance(item, FileType | DirType) for item in items}
    if wrapped != {True}:
        return result, False  # a mixture holds no plain path, and is refused as that
    for item in items:
        if type(item) is not _WRAPPERS[codec]:
            raise NotStorable(kind.__qualname__, f"it holds a {type(item).__name__}")
    if kind is dict:
        return {key: item.value for key, item in result.items()}, True
    return (kind(item.value for item in result) if kind in (list, tuple) else result.value), True


def _wrapped(codec: str, plain: Any) -> Any:
    wrap, kind = _WRAPPERS[codec], type(plain)
    if kind is dict:
        return {key: wrap(item) for key, item in plain.items()}
    return kind(wrap(item) for item in plain) if kind in (list, tuple) else wrap(plain)


# --- putting back ------------------------------------------------------------------------------------------


def restore(store: StoreCore, codec: str, content: Any, terms: Terms, *, check: bool) -> Any:
    """Put the files or folders of a value back where they are missing or differ, and return what the function
    returned. ``check``: read what is there, also where its stat is known.

    Raises:
        PathRefused: something cannot be written where it belongs.
        MalformedObject: the value does not follow the format.
        UntrustedEntry: it needs that its signer is trusted; what was put back before that was found out, is.
        ObjectNotFound, CorruptObject, ObjectUnreadable: content cannot be had.
    """
    parsed = value.unpack(content)
    if parsed.codec != codec:
        raise MalformedObject("entry", f"its record says {codec}, its value {parsed.codec}")
    returned = outputs.unpack(parsed.head, trusted=not terms.foreign)
    paths = outputs.paths_of(returned.value)
    if len(paths) != len(parsed.buffers) or any(ref.kind != _KINDS[codec] for ref in parsed.buffers):
        raise MalformedObject("file value", "its objects are not those of its paths")
    if not terms.trusted:  # of all of them before any is put back
        for path in paths:
            for name in strangers.parts(path):
                strangers.check(name)
    for path, ref, executable in zip(paths, parsed.buffers, returned.executable, strict=True):
        if terms.foreign:
            _put_foreign(store, path, ref, executable=executable, check=check, trusted=terms.trusted)
        else:
            put = _put_file if ref.kind == BLOB else _put_folder
            put(store, path, ref, executable=executable, check=check)
    return _wrapped(codec, returned.value) if returned.wrapped else returned.value


def _entry(name: bytes, ref: value.BufferRef, *, executable: bool) -> tree.TreeEntry:
    return tree.TreeEntry(name, tree.EXECUTABLE if executable else tree.FILE, ref.oid, ref.size)


def _put_file(store: StoreCore, path: str, ref: value.BufferRef, *, executable: bool, check: bool) -> None:
    if _is_there(path, ref, executable=executable, check=check):
        return
    parent, name = os.path.split(path)
    if name in ("", ".", ".."):
        raise PathRefused(path, "is no name for a file")
    with open_folder(parent, identities(store.root)) as folder:
        Checkout(store, anew=check).file(folder, _entry(os.fsencode(name), ref, executable=executable))


def _is_there(path: str, ref: value.BufferRef, *, executable: bool, check: bool) -> bool:
    """Whether the file is there as it was; here a link counts as what it leads to: it is the user's own."""
    try:
        seen = os.stat(path)
        if seen.st_size != ref.size or bool(seen.st_mode & 0o100) != executable:
            return False
        return file_digest(path, anew=check)[0] == ref.oid
    except (OSError, ValueError, MissingInput, ScalableCasError):  # then it is written, or that says why not
        return False


def _put_folder(store: StoreCore, path: str, ref: value.BufferRef, *, executable: bool, check: bool) -> None:
    del executable
    with open_folder(path, identities(store.root)) as folder:
        _fill(store, folder, path, ref, Checkout(store, anew=check), check=check)


def _fill(
    store: StoreCore, folder: Folder, path: str, ref: value.BufferRef, work: Checkout, *, check: bool
) -> None:
    """Put a tree into an open folder, unless the stats of all that it holds are known."""
    known, where = store.known_files, os.path.abspath(path) + "\0tree"  # no path has a NUL
    trust = memory.trust_in_device(path, os.fstat(folder.fd)) if known is not None else None
    if known is None or trust is None or trust[2]:
        work.folder(folder, ref.oid, ref.size)
        return
    before = Stamp(store, folder, ref.oid, ref.size)
    found = known.get(where) if before.whole and not check else None
    if found is not None and found[2] == before.digest and found[1] <= clock.now_ns():
        return
    began = clock.now_ns()
    work.folder(folder, ref.oid, ref.size)
    if work.written or not before.whole or before.newest >= began - trust[0]:
        return
    mapped = mapped_inodes() if before.newest >= began - SETTLED else set()
    if mapped is None or mapped & before.inodes:
        return
    if Stamp(store, folder, ref.oid, ref.size).digest == before.digest:
        known.put(where, ((0, 0, 0, 0, 0), began, before.digest))


def _put_foreign(
    store: StoreCore, path: str, ref: value.BufferRef, *, executable: bool, check: bool, trusted: bool
) -> None:
    parts = strangers.parts(path)
    work = Checkout(store, anew=check, may_replace=lambda digest: _is_stored(store, digest), trusted=trusted)
    forbidden = identities(store.root)
    if ref.kind == TREE:
        with open_below(parts, forbidden) as folder:
            _fill(store, folder, path, ref, work, check=check)
    else:
        with open_below(parts[:-1], forbidden) as folder:
            work.file(folder, _entry(parts[-1], ref, executable=executable))


def _is_stored(store: StoreCore, digest: bytes) -> bool:
    return bool(digest) and store.objects.place(digest) is not None
