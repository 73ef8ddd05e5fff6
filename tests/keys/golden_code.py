"""The fingerprints in `fixtures/code-v1.json`: one source text, and what each function in it has.

`python -m tests.keys.golden_code` writes the file. A fingerprint that is in it already must never change: it is
in the keys of stored calls.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

from scalable_cas.keys.code import fingerprint

FILE = Path(__file__).resolve().parents[2] / "fixtures" / "code-v1.json"


def functions(text, path):
    """Each function of a source text in a file, by its qualified name and number: nothing of it is run."""
    path.write_text(text, encoding="utf-8")
    found, waiting = {}, [compile(text, str(path), "exec", dont_inherit=True)]
    while waiting:
        code = waiting.pop(0)
        inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        waiting += inner
        for part in inner:
            name = part.co_name
            if part.co_flags & 2 and (
                name == "<lambda>" or not name.startswith("<")
            ):  # no class, no comprehension
                cells = tuple(types.CellType(None) for _ in part.co_freevars)
                function = types.FunctionType(part, {}, name, None, cells)
                number = sum(known.partition("#")[0] == part.co_qualname for known in found)
                found[f"{part.co_qualname}#{number}"] = function
    return found


def main() -> None:
    """Write the fixture anew from its own source, or from the file that is given."""
    import tempfile

    text = Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else json.loads(FILE.read_text())["source"]
    with tempfile.TemporaryDirectory() as folder:
        found = functions(text, Path(folder) / "source.py")
        prints = {name: fingerprint(function) for name, function in found.items()}
    FILE.write_text(json.dumps({"source": text, "fingerprints": prints}, indent=1) + "\n")


if __name__ == "__main__":
    main()
