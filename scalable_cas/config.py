"""Settings: the environment, ``scalable.yaml``, the store's own ``config.json``, and where the store of a
call is. The only reader of ``os.environ``.
"""

from __future__ import annotations

import os

from scalable_cas.errors import ConfigError, not_installed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROJECT_FILE = "scalable.yaml"
STORE_FOLDER = ".scalable"
# What may change between two calls, and is looked at for each.
_CALL_VARIABLES = ("SCALABLE_CACHE", "SCALABLE_CACHE_DIR", "SCALABLE_SEED", "SCALABLE_CACHE_REMOTE")

# `os.environ.get` encodes the name and decodes the value at each call: 1 µs, three times a hit. CPython keeps
# the encoded mapping in `_data`; where that is missing or keyed otherwise (Windows keys it by upper-case
# text) the public way is used.
_raw: Any = getattr(os.environ, "_data", None)
_FAST = isinstance(_raw, dict) and os.name == "posix"
_CACHE, _DIR, _SEED, _REMOTE = (os.fsencode(name) for name in _CALL_VARIABLES)


def environment_state() -> tuple[Any, ...]:
    """What the environment says now about calls, in a form that is cheap to take and to compare."""
    if _FAST:
        get = _raw.get
        return get(_CACHE), get(_DIR), get(_SEED), get(_REMOTE)
    return tuple(os.environ.get(name) for name in _CALL_VARIABLES)


class Environ:
    """The environment, read once: ``off``, ``cache_dir``, ``seed``, ``telemetry``, ``index_dir``,
    ``stat_cache``, ``remote``.
    """

    __slots__ = ("cache_dir", "index_dir", "off", "remote", "seed", "stat_cache", "telemetry")

    def __init__(self) -> None:
        self.off = _is_off("SCALABLE_CACHE")
        self.cache_dir = os.environ.get("SCALABLE_CACHE_DIR") or None
        self.seed = os.environ.get("SCALABLE_SEED")  # unset and empty differ: both are legal salts
        self.telemetry = not _is_off("SCALABLE_TELEMETRY")
        self.stat_cache = not _is_off("SCALABLE_STAT_CACHE")
        self.index_dir = os.environ.get("SCALABLE_INDEX_DIR") or None
        self.remote = os.environ.get("SCALABLE_CACHE_REMOTE") or None


def _is_off(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in ("off", "0", "false", "no")


def user_config_dir() -> str:
    """The user's own folder for keys and trust: ``$XDG_CONFIG_HOME/scalable-cas``, else
    ``~/.config/scalable-cas``.
    """
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # the specification of that variable says to ignore a relative path
        base = os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "scalable-cas")


def temporary_dir() -> str:
    """A folder on this node: ``$TMPDIR`` or ``/tmp``."""
    return os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - what lies in it is checked for its owner


#: What a hit may do about an entry that other code made; the first is the default.
CODE_CHANGES = ("warn", "recompute", "error", "ignore")


class Project:
    """What ``scalable.yaml`` says: where it lies, ``local_cache``, ``name``, ``on_code_change`` and
    ``remote``, the URL that calls read and write through. Keys that are not ours are left alone.
    """

    __slots__ = ("folder", "local_cache", "name", "on_code_change", "remote")

    def __init__(
        self,
        folder: str,
        local_cache: str | None,
        name: str | None,
        on_code_change: str = CODE_CHANGES[0],
        remote: str | None = None,
    ) -> None:
        self.folder = folder
        self.local_cache = local_cache
        self.name = name
        self.on_code_change = on_code_change
        self.remote = remote


def load_project(path: str) -> Project:
    """Read a ``scalable.yaml``.

    Raises:
        ConfigError: it cannot be read, is no YAML, or one of our keys has an impossible value.
    """
    try:
        import yaml
    except ImportError as error:
        raise not_installed(path, "PyYAML", error) from error

    try:
        with open(path, "rb") as file:
            content = yaml.safe_load(file)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(path, " ".join(str(error).split())) from error
    # what yaml lets through: a date of no calendar, a tag that its text does not fit, thousands of brackets
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigError(path, f"a value in it cannot be read ({type(error).__name__}: {error})") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(path, "it is not a mapping of settings")
    project = content.get("project") or {}
    if not isinstance(project, dict):
        raise ConfigError(path, "`project` is not a mapping of settings")
    texts = {}
    for key in ("local_cache", "name", "remote"):
        value = project.get(key)
        if value is not None and not isinstance(value, str):
            raise ConfigError(path, f"`project.{key}` is not text")
        texts[key] = value or None
    on_code_change = project.get("on_code_change")
    if on_code_change is None:
        on_code_change = CODE_CHANGES[0]
    if on_code_change not in CODE_CHANGES:
        possible = ", ".join(CODE_CHANGES)
        raise ConfigError(
            path, f"`project.on_code_change` cannot be {on_code_change!r}; it can be {possible}"
        )
    local, remote = texts["local_cache"], texts["remote"]
    if local is not None and "://" in local:
        if remote is not None and remote != local:
            raise ConfigError(
                path, "`project.local_cache` and `project.remote` name two remotes; leave one out"
            )
        remote = local
    if remote is not None and "://" not in remote:
        raise ConfigError(
            path, f"`project.remote` is no URL; for a folder write file://{_beside(path, remote)}"
        )
    return Project(os.path.dirname(path), local, texts["name"], on_code_change, remote)


def _beside(path: str, name: str) -> str:
    return os.path.abspath(os.path.join(os.path.dirname(path), os.path.expanduser(name)))


def nearest_project() -> Project:
    """The nearest ``scalable.yaml`` upward from the working directory; one that says nothing if there is
    none.

    Raises:
        ConfigError: as `load_project`.
    """
    try:
        found = _upward(os.getcwd(), PROJECT_FILE, os.path.isfile)
    except FileNotFoundError:  # a working directory that is gone says nothing
        found = None
    return Project("", None, None) if found is None else load_project(found)


class Place:
    """Where a store is or should be: ``path``; ``source`` says in words why there; ``project`` if a
    ``scalable.yaml`` was found.
    """

    __slots__ = ("path", "project", "source")

    def __init__(self, path: str, source: str, project: Project | None) -> None:
        self.path = path
        self.source = source
        self.project = project


def local_folder(path: str | os.PathLike[str], source: str) -> str:
    """A folder of this machine that ``source`` names, as text; the empty one, which would be the working
    directory, and a URL, which would become folders called so, are refused.

    Raises:
        ConfigError: with what to do.
    """
    text = os.fsdecode(os.fspath(path))
    if not text:
        raise ConfigError(source, "it is empty, and names no folder")
    scheme, sign, _ = text.partition(":/")  # one slash: `Path` leaves no more of a URL
    if sign and len(scheme) > 1 and scheme.isascii() and scheme.replace("+", "").isalnum():
        raise ConfigError(
            source,
            f"{text!r} is a URL, and this names a folder of this machine; "
            f"name a remote with SCALABLE_CACHE_REMOTE, or project.remote in {PROJECT_FILE}",
        )
    return text


def find_place(environ: Environ, start: str | None = None) -> Place:
    """Where the store of a call from the folder ``start`` lies, in the contract's order (section 4).

    Raises:
        ConfigError: a broken ``scalable.yaml``, a URL in place of a folder, or the working directory is gone.
    """
    if environ.cache_dir is not None:
        named = local_folder(environ.cache_dir, "SCALABLE_CACHE_DIR")
        return Place(_absolute(os.path.expanduser(named), start), "SCALABLE_CACHE_DIR", None)
    here = _absolute("", start)
    project = None
    found = _upward(here, PROJECT_FILE, os.path.isfile)
    if found is not None:
        project = load_project(found)
        if project.local_cache is not None and "://" not in project.local_cache:
            path = os.path.join(project.folder, os.path.expanduser(project.local_cache))
            return Place(os.path.normpath(path), f"project.local_cache of {found}", project)
    store = _upward(here, STORE_FOLDER, _own_folder)
    if store is not None:
        return Place(store, "the nearest .scalable", project)
    base = project.folder if project is not None else here
    return Place(
        os.path.join(base, STORE_FOLDER),
        f"beside {PROJECT_FILE}" if project else "the working directory",
        project,
    )


def _absolute(path: str, start: str | None) -> str:
    try:
        return os.path.normpath(os.path.join(start or os.getcwd(), path))
    except FileNotFoundError as error:
        raise ConfigError("the working directory", "it does not exist any more") from error


def _upward(start: str, name: str, accept: Any) -> str | None:
    folder = start
    while True:
        path = os.path.join(folder, name)
        if accept(path):
            return path
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _own_folder(path: str) -> bool:
    """A folder of this user: a ``.scalable`` that somebody else left above us must not be used."""
    try:
        return os.path.isdir(path) and os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


# --- the store's own settings ------------------------------------------------------------------------------

#: name -> (default, possible values, meaning); what `config list` prints.
SETTINGS: dict[str, tuple[Any, tuple[Any, ...] | None, str]] = {
    "sync": (
        "relaxed",
        ("relaxed", "strict"),
        "strict flushes every result to the disk before the call returns",
    ),
    "stat_cache": (
        "on",
        ("on", "off"),
        "off reads every input file at every call, whatever its stat says",
    ),
    "require_signed": (
        False,
        (False, True),
        "true uses results from elsewhere only if somebody signed them whom you trust, plain data too",
    ),
}


#: Beside the settings: the names and URLs of the store's remotes, which `remote add` writes.
REMOTES = "remotes"


class Settings:
    """The settings of one store. Unknown names are refused, so that a misspelt one cannot be believed in."""

    def __init__(self, values: dict[str, Any] | None = None, source: str = "config.json") -> None:
        self.values = dict(values or {})
        for name, value in self.values.items():
            check_setting(name, value, source)

    @property
    def remotes(self) -> dict[str, str]:
        """Name to URL of each remote."""
        found: dict[str, str] = self.values.get(REMOTES, {})
        return found

    def get(self, name: str) -> Any:
        """The value of a setting, its default if it was never set.

        Raises:
            ConfigError: there is no such setting.
        """
        if name not in SETTINGS:
            raise ConfigError(name, f"no such setting; there are {', '.join(SETTINGS)}")
        return self.values.get(name, SETTINGS[name][0])


def check_setting(name: str, value: Any, source: str) -> None:
    """Refuse an unknown setting or an impossible value.

    Raises:
        ConfigError: naming what is possible.
    """
    if name == REMOTES:
        _check_remotes(value, source)
        return
    if name not in SETTINGS:
        raise ConfigError(source, f"no setting is called {name!r}; there are {', '.join(SETTINGS)}")
    possible = SETTINGS[name][1]
    if possible is not None and not any(type(value) is type(item) and value == item for item in possible):
        texts = ", ".join(str(item).lower() if isinstance(item, bool) else str(item) for item in possible)
        raise ConfigError(source, f"{name} cannot be {value!r}; it can be {texts}")


def _check_remotes(value: Any, source: str) -> None:
    if not isinstance(value, dict):
        raise ConfigError(source, "`remotes` is not a mapping of names to URLs")
    for name, url in value.items():
        # as a file's name: it is typed, printed, and part of messages
        plain = name.replace("-", "").replace("_", "").replace(".", "")
        if not (plain.isascii() and plain.isalnum() and name[0] not in "-." and len(name) <= 64):
            raise ConfigError(source, f"{name!r} cannot name a remote; use letters, digits, -, _ and .")
        if not isinstance(url, str) or "://" not in url:
            raise ConfigError(source, f"the remote {name} needs a URL such as s3://bucket/prefix")


def unpack_settings(data: bytes, source: str) -> Settings:
    """Read a ``config.json``.

    Raises:
        ConfigError: not JSON, an unknown setting or an impossible value.
    """
    import json

    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, f"not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(source, "not a JSON object")
    return Settings(values, source)


def pack_settings(settings: Settings) -> bytes:
    """The bytes of a ``config.json``."""
    import json

    return (json.dumps(settings.values, indent=2, sort_keys=True) + "\n").encode()
