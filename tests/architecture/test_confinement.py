"""One place for each thing that is dangerous, slow to import, or hard to test. No exception list."""

from __future__ import annotations

import ast

import pytest

from .source import dotted, imports, modules, names_used, parse

# What may be imported where: a module, or a folder with its slash. An empty tuple: nowhere.
IMPORTS = {
    "lmdb": ("storage/",),
    "zstandard": ("format/compression.py",),
    "pyfastcdc": ("format/chunking.py",),
    "pickle": ("codecs/pickled.py",),
    "cloudpickle": ("codecs/pickled.py",),
    "marshal": (),
    "shelve": (),
    "click": ("cli/",),
    "cryptography": ("storage/signing.py",),
    "tabulate": ("cli/",),
    "yaml": ("config.py",),
    "time": ("clock.py",),
    "fcntl": ("storage/",),
    "tempfile": ("storage/private_copy.py",),
    "shutil": ("storage/fs.py", "cli/"),  # cli: the width of the terminal; what changes files is below
    "numpy": ("keys/", "codecs/", "format/shuffle.py"),
    "pandas": ("keys/", "codecs/"),
    **dict.fromkeys(("pyarrow", "polars", "pytz", "scipy", "xarray", "torch"), ("keys/", "codecs/")),
    "boto3": ("remotes/s3_client.py",),
    "botocore": ("remotes/s3_client.py",),
    "dask": (),
    "sqlite3": (),
}

# What may be read or called where, under the name that it is imported from.
_MUTATIONS = {
    "os": (
        *(
            "replace",
            "rename",
            "renames",
            "unlink",
            "remove",
            "removedirs",
            "rmdir",
            "link",
            "symlink",
            "mkdir",
        ),
        *("makedirs", "mkfifo", "mknod", "fsync", "fdatasync", "sync", "chmod", "fchmod", "lchmod", "chown"),
        *("fchown", "lchown", "utime", "truncate", "ftruncate", "write", "pwrite", "writev", "pwritev"),
        *("posix_fallocate", "sendfile", "copy_file_range", "setxattr", "removexattr"),
        *("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE"),
    ),
    "shutil": (
        *("rmtree", "move", "copy", "copy2", "copyfile", "copyfileobj", "copytree", "copymode", "copystat"),
        "chown",
    ),
}
# What changes files: those of the store, those outside of it that results are put back to, and those of
# shared folders and downloads.
_CHANGING = ("storage/fs.py", "storage/outside.py", "remotes/fs.py")
NAMES = {
    **{f"{library}.{name}": _CHANGING for library, names in _MUTATIONS.items() for name in names},
    **{
        f"os.{name}": ("config.py", "cli/") for name in ("environ", "environb", "getenv", "getenvb", "putenv")
    },
    **{f"datetime.datetime.{name}": ("clock.py",) for name in ("now", "utcnow", "today")},
    "datetime.date.today": ("clock.py",),
}

# Ways of pathlib that change a file and that nothing else is called by.
PATH_METHODS = {"write_text", "write_bytes", "symlink_to", "hardlink_to"}
OPENERS = {"open", "io.open", "os.fdopen", "codecs.open", "gzip.open", "bz2.open", "lzma.open"}


def allowed(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def misplaced_imports(module):
    for node, name in imports(module):
        for library, places in IMPORTS.items():
            if (name == library or name.startswith(library + ".")) and not allowed(module.path, places):
                yield f"{module.at(node)}   ({library} belongs into {', '.join(places) or 'no module'})"


def misplaced_names(module):
    for node, name in names_used(module):
        if name in NAMES and not allowed(module.path, NAMES[name]):
            yield f"{module.at(node)}   ({name} belongs into {', '.join(NAMES[name])})"


def writes(call: ast.Call) -> bool:
    """Whether a call of an opener asks for more than reading, or does not say in plain sight what it asks
    for.
    """
    mode = (
        call.args[1]
        if len(call.args) > 1
        else next((k.value for k in call.keywords if k.arg == "mode"), None)
    )
    if mode is None:
        return False
    return not (isinstance(mode, ast.Constant) and set("wax+").isdisjoint(str(mode.value)))


def misplaced_writes(module):
    if module.path in _CHANGING:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if method in PATH_METHODS or (dotted(node.func) in OPENERS and writes(node)):
                yield f"{module.at(node)}   (files are changed in {' and '.join(_CHANGING)})"


CHECKS = (misplaced_imports, misplaced_names, misplaced_writes)


@pytest.mark.parametrize("check", CHECKS)
def test_everything_is_where_it_belongs(check):
    wrong = [line for module in modules() for line in check(module)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "path, source, refused",
    [
        ("storage/index.py", "import lmdb", False),
        ("store/open.py", "import lmdb", True),
        ("store/open.py", "def f():\n    from lmdb import Environment", True),
        ("codecs/pickled.py", "import cloudpickle", False),
        ("codecs/plain.py", "import pickle as p", True),
        ("ids.py", "import time", True),
        ("ids.py", "from time import time_ns", True),
        ("ids.py", "timeit = 1", False),
        ("config.py", "import os\nos.environ['A']", False),
        ("keys/call.py", "import os\nos.environ.get('A')", True),
        ("keys/call.py", "import os as o\no.getenv('A')", True),
        ("keys/call.py", "from os import environ as e\ne['A']", True),
        ("storage/fs.py", "import os\nos.unlink('a')", False),
        ("remotes/fs.py", "import os\nos.unlink('a')", False),
        ("storage/outside.py", "import os\nos.unlink('a')", False),
        ("store/checkout.py", "import os\nos.unlink('a')", True),
        ("storage/loose.py", "import os\nos.unlink('a')", True),
        ("remotes/files.py", "import os\nos.unlink('a')", True),
        ("remotes/s3.py", "import boto3", True),
        ("storage/loose.py", "import os\nos.open('a', os.O_RDONLY)", False),
        ("storage/loose.py", "import os\nos.open('a', os.O_RDWR)", True),
        ("storage/loose.py", "from scalable_cas.storage import fs\nfs.unlink('a')", False),
        ("cli/report.py", "import datetime as d\nd.datetime.now()", True),
        ("storage/loose.py", "open('a')", False),
        ("storage/loose.py", "open('a', 'rb')", False),
        ("storage/loose.py", "open('a', mode='r')", False),
        ("storage/loose.py", "open('a', 'w')", True),
        ("storage/loose.py", "open('a', 'r+b')", True),
        ("storage/loose.py", "open('a', mode='xb')", True),
        ("storage/loose.py", "open('a', how)", True),
        ("cli/report.py", "path.write_text('a')", True),
    ],
)
def test_what_is_out_of_place_is_recognised(path, source, refused):
    assert any(list(check(parse(path, source))) for check in CHECKS) is refused
