"""How a store comes to be and how its parts are found: the format file, the settings, the index."""

from __future__ import annotations

import os

from scalable_cas import clock, config
from scalable_cas.errors import (
    ConfigError,
    FormatDamaged,
    IndexDamaged,
    MalformedObject,
    StoreNotFound,
    StoreReadOnly,
)
from scalable_cas.format import layout
from scalable_cas.storage import fs, netfs
from scalable_cas.storage.index import Index
from scalable_cas.storage.index import create as create_index
from scalable_cas.storage.locks import LockFile
from scalable_cas.store import ballast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.storage.index import Changes
    from scalable_cas.storage.journal import Journal
    from scalable_cas.storage.objects import Objects

#: Seconds to wait for another process that rebuilds the index: a million entries take about a minute.
REBUILD_WAIT = 600.0
README = b"""This folder is a cache made by scalable-cas. `scalable-cas ls` lists what is in it.
Removing the folder clears it.
"""
CACHEDIR_TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This tells backup programs that the folder can be left out.
"""


def load_format(root: str, *, create: bool) -> layout.StoreFormat:
    """Read the ``format`` file of the store at ``root``; with ``create`` the store is made if there is none.

    Raises:
        StoreNotFound: there is no store.
        StoreVersionError: it has a format that we do not know. FormatDamaged: nobody would.
        StoreReadOnly: it cannot be read, or not be made.
        ConfigError: it is to be made where others have files in the same places.
    """
    path = f"{root}/{layout.FORMAT_FILE}"
    for _ in range(2):
        try:
            with open(path, "rb") as file:
                return layout.unpack_format(file.read(1 << 16), path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if not create:
                raise StoreNotFound(root) from error
        except MalformedObject as error:
            raise FormatDamaged(path) from error
        except OSError as error:
            raise StoreReadOnly(path, error.strerror or str(error), cannot="read") from error
        initialise(root)
    raise StoreNotFound(root)


def initialise(root: str) -> bool:
    """Make the files of a store at ``root``; False if there is one already. Its index is made when it is
    opened.

    Raises:
        StoreReadOnly: it cannot be made.
        ConfigError: others have files where it would keep its own, or in its place.
    """
    from scalable_cas.store.vacancy import place_to_make, require_vacant  # only then: most find their store

    alone = require_vacant(root, {"README": README, "CACHEDIR.TAG": CACHEDIR_TAG})
    if os.path.exists(f"{root}/{layout.CONFIG_FILE}"):
        load_settings(root)  # one of others is refused before anything is made beside it
    fs.make_folder(place_to_make(root))
    for name in (layout.TMP, layout.OBJECTS, layout.JOURNAL):
        fs.make_folder(f"{root}/{name}")
    tmp = f"{root}/{layout.TMP}"
    if alone:  # else it would hide what others have there
        fs.write_new(tmp, f"{root}/.gitignore", (b"*\n",), mode=0o600)
    fs.write_new(tmp, f"{root}/CACHEDIR.TAG", (CACHEDIR_TAG,), mode=0o600)
    fs.write_new(tmp, f"{root}/README", (README,), mode=0o600)
    ballast.keep(root)
    # last, because it is what makes the folder a store
    content = layout.StoreFormat(os.urandom(16)).pack()
    return fs.write_new(tmp, f"{root}/{layout.FORMAT_FILE}", (content,), sync=True, mode=0o600) is not None


def declare_feature(root: str, feature: str) -> layout.StoreFormat:
    """Have the ``format`` file name a feature, and return it. Two processes may do so at once: each looks
    again until it finds its own there.

    Raises:
        StoreReadOnly, StoreVersionError, FormatDamaged, StoreNotFound: it cannot be read or written.
    """
    path = f"{root}/{layout.FORMAT_FILE}"
    while not (found := load_format(root, create=False)).uses(feature):
        content = found.with_feature(feature).pack()
        fs.replace(f"{root}/{layout.TMP}", path, content)
    return found


def load_settings(root: str) -> config.Settings:
    """Read the store's own settings.

    Raises:
        ConfigError: they are broken.
    """
    path = f"{root}/{layout.CONFIG_FILE}"
    try:
        with open(path, "rb") as file:
            return config.unpack_settings(file.read(), path)
    except FileNotFoundError:
        return config.Settings()
    except OSError as error:
        raise ConfigError(path, error.strerror or str(error)) from error


def index_path(root: str, store_id: bytes, environ: config.Environ) -> str:
    """Where the index lies: in the store, or on this node where the store is on a network file system or the
    user says so.

    Raises:
        ConfigError: the user says a URL.
    """
    if environ.index_dir:
        named = config.local_folder(environ.index_dir, "SCALABLE_INDEX_DIR")
        return os.path.join(os.path.abspath(named), store_id.hex())
    if netfs.network_type(root) is not None:
        return path_on_node(store_id)
    return f"{root}/{layout.INDEX}"


def path_on_node(store_id: bytes) -> str:
    """Where this user keeps the index of a store whose own place for it is no use to him."""
    return f"{config.temporary_dir()}/scalable-cas-{os.geteuid()}/{store_id.hex()}"


#: Meta rows of an index that follows somebody else's store: which journal it was made from, and when (ns
#: since 1970) it may be made anew.
_JOURNAL, _DUE = "journal", "due"
#: One that took `QUICK` seconds or more is used for so many times as long, whatever the journal says: 5 % of
#: the time at most goes into it. Not longer than a day: then the clock was wrong.
SHARE, QUICK = 20, 1.0
_LONGEST_WAIT = 24 * 3600 * 10**9


class IndexPlace:
    """The index of one store: where it is, and whose."""

    def __init__(self, root: str, path: str, store_id: bytes, secret: bytes) -> None:
        self._path = path
        self._store_id = store_id
        self._secret = secret
        inside = path == f"{root}/{layout.INDEX}"
        self._tmp = f"{root}/{layout.TMP}" if inside else f"{os.path.dirname(path)}/{layout.TMP}"

    def open(self, journal: Journal, objects: Objects, *, read_only: bool) -> Index:
        """Open the index; one that is missing is filled from files.

        Raises:
            IndexDamaged, StoreBusy, StoreReadOnly: as `Index`.
        """
        if not self._is_there():
            if read_only:
                raise IndexDamaged(self._path, "it is missing")
            self._create(journal)
        index = Index(self._path, self._store_id, self._secret, read_only=read_only)
        objects.index = index
        if not read_only and not index.number("filled"):
            self._fill(index, journal, objects)
        return index

    def open_of_another(self, journal: Journal, objects: Objects) -> Index:
        """Open this user's own index of a store that he may only read and that is somebody else's: whose rows
        have tags that he cannot check, so they are made anew, as of any entry from elsewhere. Where the
        journal has changed since, all of it is: nobody tells what was stored or forgotten. Of a large store
        not each time, for its owner may store something every second (`SHARE`).

        Raises:
            StoreReadOnly, StoreBusy: it cannot be made.
        """
        folder = os.path.dirname(self._path)
        fs.make_folder(folder)
        if os.stat(folder).st_uid != os.geteuid():
            raise StoreReadOnly(folder, "it belongs to another user")
        state = journal.state()
        lock = LockFile(f"{self._path}.lock")
        try:
            lock.exclusive_within(0, REBUILD_WAIT)
            try:
                index = self.open(journal, objects, read_only=False)
                now = clock.now_ns()
                waits = now < index.number(_DUE) <= now + _LONGEST_WAIT
                if index.number(_JOURNAL) == state or waits:
                    return index
                index.close()
            except IndexDamaged:  # or made with another key
                pass
            started = clock.monotonic()
            fs.remove_tree(self._path)
            index = self.open(journal, objects, read_only=False)
            took = clock.monotonic() - started
            due = clock.now_ns() + (int(SHARE * took * 1e9) if took >= QUICK else 0)

            def note(changes: Changes) -> None:
                changes.set_number(_JOURNAL, state)
                changes.set_number(_DUE, due)

            index.write(note)
            return index
        finally:
            lock.close()

    def _is_there(self) -> bool:
        try:
            os.stat(f"{self._path}/data.mdb")
        except PermissionError as error:  # whether there is one, only others know
            raise StoreReadOnly(self._path, error.strerror or str(error), cannot="read") from error
        except OSError:
            return False
        return True

    def rebuild(self, journal: Journal, objects: Objects) -> Index:
        """Throw a damaged index away and make it anew from files (I4). Of several processes that find it
        damaged one does so.

        Raises:
            StoreReadOnly, StoreBusy, IndexDamaged: it cannot be made.
        """
        lock = LockFile(f"{self._path}.lock")
        try:
            lock.exclusive_within(0, REBUILD_WAIT)
            try:
                return self.open(journal, objects, read_only=False)
            except IndexDamaged:
                fs.remove_tree(self._path)
                return self.open(journal, objects, read_only=False)
        finally:
            lock.close()

    def _create(self, journal: Journal) -> None:
        fs.make_folder(os.path.dirname(self._path))
        create_index(self._path, self._tmp, self._store_id, self._secret, filled=not journal.segments())

    def _fill(self, index: Index, journal: Journal, objects: Objects) -> None:
        """Fill an index that is new, or whose filling was interrupted; one process does, the others wait."""
        from scalable_cas.store.rebuild import fill_index  # only then: it reads every object's header

        lock = LockFile(f"{self._path}.lock")
        try:
            lock.exclusive_within(1, REBUILD_WAIT)
            if not index.number("filled"):
                fill_index(index, journal, objects)
        finally:
            lock.close()
