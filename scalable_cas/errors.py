"""Every error and warning of the package, grouped by what a handler does with it.

Each class carries fields, not only text, and the exit code that a command ends with. Messages are one line
and say what to do. Foreign exceptions (lmdb, zstandard, msgpack, OSError) are translated into these at one
place per library, always with ``from``.
"""

from __future__ import annotations


class ScalableCasError(Exception):
    """Base of every error raised by this package. ``exit_code`` is what the command line ends with."""

    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        # Workers raise these too. Exception would call the class with its message alone.
        return _revived, (type(self), self.args, self.__dict__)


def _revived(kind: type[ScalableCasError], args: tuple[object, ...], fields: dict[str, object]) -> object:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


# --- objects -----------------------------------------------------------------------------------------------


class ObjectNotFound(ScalableCasError, KeyError):
    """No object of that name is in the store. ``oid`` is its hex name or the prefix that was asked for."""

    def __init__(self, oid: str) -> None:
        super().__init__(oid)
        self.oid = oid

    def __str__(self) -> str:
        return f"no object {self.oid} in this store"


class AmbiguousPrefix(ScalableCasError):
    """More than one id starts with the prefix. ``matches`` are the first few of them, as hex."""

    def __init__(self, prefix: str, matches: tuple[str, ...]) -> None:
        super().__init__(f"{prefix} is ambiguous: {', '.join(m[:16] for m in matches)}…; give more digits")
        self.prefix = prefix
        self.matches = matches


class NotAnId(ScalableCasError, ValueError):
    """What was given is no id, and no abbreviation of one. ``text``: what was given."""

    def __init__(self, text: object, reason: str) -> None:
        super().__init__(f"{text!r} {reason}")
        self.text = text
        self.reason = reason


class CorruptObject(ScalableCasError):
    """The stored bytes are not those that the name promises. ``oid`` is hex."""

    def __init__(self, oid: str, reason: str) -> None:
        super().__init__(f"object {oid} is damaged: {reason}")
        self.oid = oid
        self.reason = reason


class ObjectUnreadable(ScalableCasError):
    """The object's file is there, but the system would not let us read it. Nothing is concluded about its
    content.
    """

    def __init__(self, oid: str, reason: str) -> None:
        super().__init__(f"object {oid} cannot be read: {reason}")
        self.oid = oid
        self.reason = reason


class MalformedObject(ScalableCasError):
    """Bytes that do not follow the format. ``what`` names the structure."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"malformed {what}: {reason}")
        self.what = what
        self.reason = reason


# --- values ------------------------------------------------------------------------------------------------


class NotStorable(ScalableCasError):
    """A result that cannot be stored so that it would come back as it was."""

    def __init__(self, type_name: str, reason: str) -> None:
        super().__init__(f"a result of type {type_name} cannot be stored: {reason}")
        self.type_name = type_name
        self.reason = reason


class UnknownCodec(ScalableCasError):
    """An entry was written by a codec that is not installed here."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no codec called {name!r} is installed; install the package that registers it")
        self.name = name


class MissingLibrary(UnknownCodec):
    """An entry holds a value of a library that is not installed here."""

    def __init__(self, name: str) -> None:
        ScalableCasError.__init__(self, f"the stored value needs {name}, which is not installed; install it")
        self.name = name


class UntrustedEntry(ScalableCasError):
    """Decoding would run code that came from somebody who is not trusted. ``cause``: whom it is about, so
    that a thousand entries of one signer are one cause.
    """

    def __init__(self, what: str, reason: str, cause: str = "") -> None:
        super().__init__(f"{what} is not trusted: {reason}")
        self.what = what
        self.reason = reason
        self.cause = cause


class PathRefused(ScalableCasError):
    """A file or a folder of the user's cannot be stored, or cannot be put back. ``path``: which one."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


# --- keys --------------------------------------------------------------------------------------------------


class UnhashableArgument(ScalableCasError, TypeError):
    """An argument has no reliable key. ``path`` is the place inside it, such as ``config["model"].loss``.
    ``declare``: whether it might have one if it were declared ``ObjectType``.

    The message names types and paths only, never values: they may be secret, and their ``repr`` may be
    costly.
    """

    def __init__(self, function: str, argument: str, path: str, reason: str, *, declare: bool = True) -> None:
        method, call = "give its class a __scalable_key__(self) method", "call register_key(Type, function)"
        classes = f"{method}, {call}, or declare {argument}=ObjectType" if declare else f"{method}, or {call}"
        super().__init__(
            f"{function}: cannot build a reliable cache key for {path}: {reason}. "
            f'Leave it out with _ignore=("{argument}",), pass a plain value, {classes}'
        )
        self.function = function
        self.argument = argument
        self.path = path
        self.reason = reason


class MissingInput(ScalableCasError, FileNotFoundError, ValueError):
    """A declared ``FileType`` or ``DirType`` input is not there, or is not of that kind. ``argument``: where
    the path was given, ``function: argument``; empty outside a call.
    """

    def __init__(self, path: str, kind: str, reason: str = "does not exist", argument: str = "") -> None:
        super().__init__(f"{kind} input {path!r} {reason}")
        self.path = path
        self.kind = kind
        self.reason = reason
        self.argument = argument

    def __str__(self) -> str:
        where = f"{self.argument}: " if self.argument else ""
        return f"{where}{self.kind} input {self.path!r} {self.reason}"


class InputChanged(ScalableCasError):
    """A declared input kept changing while it was being read."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"input {path!r} changes while it is being read; wait until it is complete, or pass a copy"
        )
        self.path = path


class CodeChanged(ScalableCasError):
    """A stored result was made by other code than the function has now, and ``project.on_code_change`` says
    ``error``. ``when`` it was stored.
    """

    def __init__(self, function: str, when: str, remedy: str) -> None:
        super().__init__(
            f"{function}: a stored result of {when} was made by other code than the function has now; "
            f"{remedy}"
        )
        self.function = function
        self.when = when
        self.remedy = remedy


# --- the store ---------------------------------------------------------------------------------------------


class StoreNotFound(ScalableCasError):
    """There is no store where one was looked for."""

    def __init__(self, path: str) -> None:
        super().__init__(f"no store at {path}; run `scalable-cas init`, or call a decorated function there")
        self.path = path


class StoreClosed(ScalableCasError):
    """The store object was closed and is used again."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the store {path} is closed; open it again")
        self.path = path


class StoreVersionError(ScalableCasError):
    """The store was written by a version of the format that this program does not know."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}; upgrade scalable-cas")
        self.path = path
        self.reason = reason


class FormatDamaged(ScalableCasError):
    """The file that makes a folder a store says nothing that could be understood. ``path`` is that file. All
    else of the store may be whole: the rest can be found without it.
    """

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is damaged; move that file away, then `scalable-cas init` brings the entries back"
        )
        self.path = path


class StoreReadOnly(ScalableCasError):
    """The store cannot be written: its place is read-only, full, or belongs to somebody else. ``cannot``:
    what cannot even be done, if that is not to write.
    """

    def __init__(self, path: str, reason: str, *, cannot: str = "write to") -> None:
        super().__init__(f"cannot {cannot} {path}: {reason}")
        self.path = path
        self.reason = reason


class StoreFull(StoreReadOnly):
    """It cannot be written because its disk, or the user's share of it, is full."""


class IndexDamaged(ScalableCasError):
    """The index cannot be used as it is. It is derived: ``scalable-cas reindex`` rebuilds it from files."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"the index {path} is damaged ({reason}); run `scalable-cas reindex`")
        self.path = path
        self.reason = reason


class StoreBusy(ScalableCasError):
    """Another process has held the write lock longer than we are willing to wait."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(
            f"{path} has been locked by another process for {seconds:.0f} s; "
            "look for a stopped process and try again"
        )
        self.path = path
        self.seconds = seconds


class CollectedMeanwhile(ScalableCasError):
    """While a stream was stored, gc took parts of it that were there already; it cannot be read again."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"gc took parts of what was to be stored in {path} meanwhile; store it again, or from a file"
        )
        self.path = path


class NothingFound(ScalableCasError):
    """The command found nothing of what it was asked for."""


class ConfigError(ScalableCasError):
    """A setting cannot be understood. ``source`` is the file or the variable."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


def not_installed(source: str, package: str, error: ImportError) -> ConfigError:
    """What to raise where a package that we depend on cannot be imported: an installation that lacks it, or
    one that is broken, is no reason to fail the user's call.
    """
    told = " ".join(str(error).split())
    return ConfigError(
        source, f"{package} cannot be imported ({told}); `pip install {package}` puts that right"
    )


class RemoteError(ScalableCasError):
    """A remote could not be reached, or answered with something that cannot be used. ``name`` is the file
    below ``url`` that was asked for, "" if no single one; ``retryable``: the same again may succeed later.
    """

    def __init__(self, url: str, name: str, reason: str, *, retryable: bool = False) -> None:
        super().__init__(f"{url}{'/' if name else ''}{name}: {reason}")
        self.url = url
        self.name = name
        self.reason = reason
        self.retryable = retryable


class RemoteDenied(RemoteError):
    """The remote does not let these credentials, or this user, do it."""


class RemoteFileMissing(RemoteError):
    """The remote answered, and it has no file of that name."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url, name, "there is no such file")


# --- warnings ----------------------------------------------------------------------------------------------


class CacheWarning(UserWarning):
    """The cache could not do its job; the program goes on. Once per cause and process."""


class StaleCodeWarning(CacheWarning):
    """A stored result was made by other code than the function has now. Once per function and process."""
