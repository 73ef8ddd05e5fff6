"""`import scalable_cas` is light: what it loads is paid for by every process that ever hits."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .source import PACKAGE

# The contract's list, and what costs most of the rest (in a fresh process: asyncio 30 ms, cloudpickle 15,
# zstandard 9, inspect 6, dataclasses 7, each of the others 1 to 5). Not here: datetime, which msgpack
# imports.
CONTRACT = ("boto3", "numpy", "pandas", "pyarrow", "click", "yaml", "dask", "cryptography")
HEAVY = (
    *(
        "zstandard",
        "cloudpickle",
        "pickle",
        "inspect",
        "dataclasses",
        "asyncio",
        "typing",
        "re",
        "json",
        "logging",
    ),
    *(
        "pathlib",
        "decimal",
        "fractions",
        "uuid",
        "enum",
        "ast",
        "tempfile",
        "concurrent",
        "multiprocessing",
        "tabulate",
    ),
    *("importlib.metadata", "subprocess", "socket", "ssl", "email", "urllib", "shutil", "random"),
)

HIT = """
from scalable_cas import cacheable
@cacheable
def f(i: int) -> dict:
    return {"i": i, "name": "x", "value": 1.5, "ok": True, "parts": [1, 2]}
assert f(1) == {"i": 1, "name": "x", "value": 1.5, "ok": True, "parts": [1, 2]}
"""
WAYS = {
    "import": "import scalable_cas",
    "errors": "from scalable_cas import ScalableCasError, CacheWarning",
    "decorator": "from scalable_cas import cacheable",
    "tutorial": "from scalable_cas.caching import cacheable, FileType, DirType",
    "store": "from scalable_cas import Store",
    "hit": HIT + "assert f.cache_info().hits == 1",
}


def loaded_by(code: str, folder) -> set[str]:
    """The modules that a script loads in a fresh interpreter that has not even run `site` (a .pth file may
    import).
    """
    script = folder.with_suffix(
        ".py"
    )  # beside the working directory; a function of `-c` is known by its code
    script.write_text(
        f"import sys; sys.path[:] = {[str(PACKAGE.parent), *sys.path]!r}; before = set(sys.modules)\n{code}\n"
        "loaded = set(sys.modules) - before; import json; print(json.dumps(sorted(loaded)))\n"
    )
    command = [sys.executable, "-S", str(script)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module", params=WAYS)
def loaded(request, tmp_path_factory):
    """What one way of using the package loads; the hit finds what an earlier process stored."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "hit":
        loaded_by(HIT, folder)
    return loaded_by(WAYS[request.param], folder)


def test_only_what_is_needed_is_loaded(loaded):
    assert "scalable_cas" in loaded
    assert loaded.isdisjoint(CONTRACT), sorted(loaded.intersection(CONTRACT))
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))


def test_what_is_loaded_is_seen(tmp_path):
    assert loaded_by("import inspect", tmp_path).issuperset({"inspect", "ast", "re"})


@pytest.mark.parametrize("way", [way for way in WAYS if way != "hit"])
def test_import_touches_no_file(tmp_path, way):
    loaded_by(WAYS[way], tmp_path)
    assert list(tmp_path.iterdir()) == []
