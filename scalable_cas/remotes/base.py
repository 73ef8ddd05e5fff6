"""What a place elsewhere is: the protocol that `s3://`, `gs://` and `file://` follow, the settings and
counters that they share, and how a URL becomes one. Other packages add theirs as an entry point of group
``scalable_cas.remotes``.

A remote is deliberately poor: whole files by name, no locks, no renames, no compare-and-swap. Everything that
makes pushing safe (names by content, pointers last) is built above it from "put if nothing is there".
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from scalable_cas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Protocol

    class Remote(Protocol):
        """A place that keeps files by name. The contract, which `scalable_cas.testing.remotes` checks:

        - Names are relative, ``/``-separated, as `check_name` allows. A file is there whole or not at all.
        - A put that returned is seen by every later call, of any process. So is a delete.
        - ``exclusive`` never replaces a file that was there when the call began. Where
          `Capabilities.conditional` holds it also lets exactly one of several simultaneous writers of up to
          16 MiB win; elsewhere two may both be told True, so names there tell contents, or are random.
        - Retrying is the remote's own business, round the reading of bodies too, and so are time limits: a
          place that is gone is an error within `Limits.total` seconds. A write whose answer was lost is
          recognised as its own.
        - It is safe to use from many threads, and in a forked child, which opens its own connections.
        - Errors are `RemoteError`, or `RemoteFileMissing` where the file is not there; what is wrong with a
          local file is `StoreReadOnly` or `OSError`. Credentials appear in no message.
        """

        @property
        def url(self) -> str:
            """Where it is, without credentials."""

        @property
        def traffic(self) -> Traffic:
            """What went over the wire so far."""

        def get(self, name: str, *, largest: int, offset: int = 0, length: int | None = None) -> bytes:
            """The content of a file, or ``length`` bytes of it from ``offset``: fewer if it ends before.

            Raises:
                RemoteFileMissing: it is not there.
                RemoteError: it has more than ``largest`` bytes (nothing of it is then kept in memory), or
                    cannot be read.
            """

        def get_into(self, name: str, target: memoryview, *, offset: int = 0) -> int:
            """Fill ``target`` with the content of a file from ``offset``, and return how many bytes that
            were: fewer if it ends before. For large pieces: memory that is used again costs nothing, new
            memory as much as to receive into it. After an error ``target`` holds anything.

            Raises:
                RemoteFileMissing: it is not there. RemoteError: it cannot be read.
            """

        def get_file(self, name: str, path: str, *, largest: int) -> int:
            """Write the content of a file to a new local file ``path``, and return its size. After an error
            there is no such local file.

            Raises:
                RemoteFileMissing, RemoteError: as `get`.
                StoreReadOnly: the local file cannot be written.
            """

        def put(self, name: str, data: bytes | bytearray | memoryview, *, exclusive: bool = True) -> bool:
            """Write a file. True: it was made now; False: ``exclusive``, and there is one already.

            Raises:
                RemoteError: it could not be written. It may be there nevertheless.
            """

        def put_file(self, name: str, path: str, *, exclusive: bool = True) -> bool:
            """Write a file with the content of the local file ``path``, as `put`."""

        def size(self, name: str) -> int | None:
            """How many bytes a file has, or None if it is not there."""

        def list(self, prefix: str, *, after: str = "") -> Iterator[RemoteFile]:
            """The files whose names begin with ``prefix`` and come after ``after``, in the order of their
            names' UTF-8 bytes.
            """

        def delete(self, names: Sequence[str]) -> None:
            """Delete files. One that is not there is no error."""

        def probe(self) -> Capabilities:
            """Find out by trying, with one small file below ``probe/`` that is deleted again.

            Raises:
                RemoteError: it cannot be reached. A fault that may pass is never taken for an inability.
            """

        def close(self) -> None:
            """Let go of connections and threads. Closing twice is fine; using it again opens them anew."""

    Opener = Callable[[str, "Settings"], Remote]

__all__ = [
    "GROUP",
    "LOOKUP",
    "TRANSFER",
    "Address",
    "Capabilities",
    "Limits",
    "PerProcess",
    "RemoteFile",
    "Settings",
    "Traffic",
    "check_name",
    "open_remote",
    "parse_url",
]

GROUP = "scalable_cas.remotes"
_OWN_SCHEMES = ("s3", "gs", "file")

T = TypeVar("T")


class RemoteFile(NamedTuple):
    """A file of a remote: its name, and its size in bytes."""

    name: str
    size: int


class Limits(NamedTuple):
    """How long a remote may take, in seconds. ``total`` bounds one operation with all its tries while nothing
    comes back; a body that flows may take longer, if it flows at ``slowest`` bytes a second at least.
    """

    connect: float
    read: float  # the longest silence
    total: float
    slowest: int

    def body(self, size: int) -> float:
        """How long a body of that many bytes may take."""
        return self.read + size / self.slowest

    def tries(self, size: int) -> float:
        """How long after the first try another one may be begun, of an operation with a body of that many
        bytes: at 1 MiB/s one that broke off must not have used up all of the time.
        """
        return self.total + min(self.total, size / (1 << 20))


#: For commands. The contract lets a dead endpoint take 30 s: two silences of 10 s, or one after 18 s of
#: "slow down". 32 KiB/s is a poor mobile line.
TRANSFER = Limits(connect=5, read=10, total=28, slowest=32 << 10)
#: For a program that reads through: its owner waits for us instead of computing. At most 10 s by the
#: contract; two silences here are 6. A line slower than 1 MiB/s is not worth asking.
LOOKUP = Limits(connect=2, read=3, total=7, slowest=1 << 20)


class Settings(NamedTuple):
    """How to open a remote: its time limits, how many parts of large files move at once, and what an earlier
    probe found out about conditional writes (None: nobody asked).
    """

    limits: Limits = TRANSFER
    jobs: int = 8  # boto3's own default is 10; on two cores 8 were no slower
    conditional: bool | None = None


class Capabilities(NamedTuple):
    """What a place lets us do. None: not tried, because something before it failed. ``notes``: a line for
    people on each thing that is missing.
    """

    list: bool | None
    read: bool | None
    write: bool | None
    ranges: bool | None
    conditional: bool | None
    delete: bool | None
    notes: tuple[str, ...] = ()


class Traffic:
    """Counters of one remote: HTTP requests (operations, on a file system), those of them that were tries
    again, and bytes of content in either direction.
    """

    __slots__ = ("_guard", "bytes_received", "bytes_sent", "requests", "retries")

    def __init__(self) -> None:
        self._guard = _Guard()
        self.requests = self.retries = self.bytes_sent = self.bytes_received = 0

    def add(self, *, requests: int = 0, retries: int = 0, sent: int = 0, received: int = 0) -> None:
        """Count."""
        with self._guard.lock():
            self.requests += requests
            self.retries += retries
            self.bytes_sent += sent
            self.bytes_received += received


class _Guard:
    """A lock for this process. One that a thread of the parent held at the moment of a fork stays locked in
    the child for ever; so the child, which begins with one thread, makes its own.
    """

    __slots__ = ("_lock", "_pid")

    def __init__(self) -> None:
        self._pid, self._lock = os.getpid(), Lock()

    def lock(self) -> Lock:
        pid = os.getpid()
        if pid != self._pid:
            self._lock, self._pid = Lock(), pid
        return self._lock


class PerProcess(Generic[T]):
    """Something that must not be shared over a fork (connections, threads), made at first need."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._guard = _Guard()
        self._held: tuple[int, T] | None = None

    def get(self) -> T:
        """This process's own."""
        held = self._held
        if held is not None and held[0] == os.getpid():
            return held[1]
        with self._guard.lock():
            held = self._held
            if held is None or held[0] != os.getpid():
                held = self._held = (os.getpid(), self._make())
            return held[1]

    def take(self) -> T | None:
        """This process's own if there is one, which is then forgotten here."""
        with self._guard.lock():
            held, self._held = self._held, None
        return held[1] if held is not None and held[0] == os.getpid() else None


# --- names and addresses -----------------------------------------------------------------------------------


def check_name(name: str) -> str:
    """Return the name of a file of a remote if it is one: 1 to 900 bytes of UTF-8 (S3 allows 1,024 with our
    prefix), parts between single slashes, none of them ``.`` or ``..``, no control characters, no backslash.

    Raises:
        ValueError: it is not.
    """
    if not well_named(name):
        raise ValueError(f"{name!r} cannot name a file of a remote")
    return name


def well_named(name: str) -> bool:
    """Whether `check_name` allows a name. What a hostile listing says is left out by this."""
    try:
        if len(name.encode()) > 900:
            return False
    except UnicodeEncodeError:
        return False
    return (
        "\\" not in name
        and name.isprintable()
        and all(part not in ("", ".", "..") for part in name.split("/"))
    )


class Address(NamedTuple):
    """A URL, taken apart: its scheme, the bucket ("" for ``file``), the path without slashes at its ends."""

    scheme: str
    bucket: str
    path: str

    @property
    def url(self) -> str:
        """The URL again, in one spelling."""
        path = f"/{self.path}" if self.path else ""
        return f"{self.scheme}://{self.bucket}{path}" if self.bucket else f"{self.scheme}://{path or '/'}"


def parse_url(url: str) -> Address:
    """Take apart ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``file:///folder``.

    Raises:
        ConfigError: it is none, or it holds credentials. The message shows no credentials.
    """
    scheme, authority, path = _split(url)
    if scheme == "file":
        if authority not in ("", "localhost"):
            raise ConfigError(url, f"write file:///{authority}/{path}: a file URL has three slashes")
        from urllib.parse import unquote

        folder = os.path.normpath("/" + unquote(path, errors="surrogateescape"))
        if folder == "/" or "\0" in folder:
            raise ConfigError(url, "name a folder, as in file:///lustre/project/cache")
        return Address(scheme, "", folder.strip("/"))
    path = path.strip("/")
    bucket = authority.replace("-", "").replace(".", "").replace("_", "")
    if not (bucket.isascii() and bucket.isalnum() and len(authority) <= 255):
        raise ConfigError(url, f"name a bucket, as in {scheme}://my-bucket/some/prefix")
    if "?" in path or "#" in path:
        raise ConfigError(
            url, "leave out ? and #; endpoint and region come from AWS_ENDPOINT_URL and AWS_REGION"
        )
    if path and not well_named(path):
        raise ConfigError(url, "the prefix has empty parts, `.`, `..` or characters that cannot be printed")
    return Address(scheme, authority, path)


def _split(url: str) -> tuple[str, str, str]:
    scheme, mark, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    if not mark:
        raise ConfigError(url, f"not the URL of a remote; for a folder write file://{os.path.abspath(url)}")
    if "@" in authority and scheme != "file":
        shown = f"{scheme}://…@{authority.rpartition('@')[2]}"
        raise ConfigError(
            shown, "leave the credentials out of the URL; they come from AWS_PROFILE or the environment"
        )
    return scheme.lower(), authority, path


def open_remote(url: str, *, settings: Settings | None = None) -> Remote:
    """Open the remote at a URL. Nothing is sent yet.

    Raises:
        ConfigError: the URL cannot be understood, or no installed package knows its scheme.
    """
    settings = settings or Settings()
    scheme = _split(url)[0]
    if scheme in _OWN_SCHEMES:
        address = parse_url(url)
        if scheme == "file":
            from scalable_cas.remotes.files import FileRemote

            return FileRemote(address, settings)
        if scheme == "gs":
            from scalable_cas.remotes.gs import open_gs

            return open_gs(address, settings)
        from scalable_cas.remotes.s3 import S3Remote

        return S3Remote(address, settings)
    return _opener(url, scheme)(url, settings)


def _opener(url: str, scheme: str) -> Opener:
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=GROUP)}
    if scheme not in found:
        known = ", ".join(f"{name}://" for name in (*_OWN_SCHEMES, *sorted(found)))
        raise ConfigError(url, f"nothing installed knows {scheme}://; there are {known}")
    try:
        opener: Opener = found[scheme].load()
    except Exception as error:
        # Broad with reason: code of another package, which may fail in any way while it is imported.
        reason = (
            f"{found[scheme].value} cannot be loaded ({type(error).__name__}: {error}); repair its package"
        )
        raise ConfigError(url, reason) from error
    return opener
