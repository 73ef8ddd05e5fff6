"""The package as syntax trees: what the tests of this folder look at. Nothing of the package is imported."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[2] / "scalable_cas"


class Module(NamedTuple):
    path: str  # below the package, with slashes: "keys/call.py"
    lines: list[str]
    tree: ast.Module

    @property
    def name(self) -> str:
        """Its name inside the package: "keys.call"; "" for the package itself."""
        return self.path.removesuffix(".py").removesuffix("__init__").rstrip("/").replace("/", ".")

    def at(self, node: ast.AST) -> str:
        """The offending line, as an editor and a person find it."""
        return f"scalable_cas/{self.path}:{node.lineno}: {self.lines[node.lineno - 1].strip()}"


def parse(path: str, text: str) -> Module:
    return Module(path, text.splitlines(), ast.parse(text))


@cache
def modules() -> list[Module]:
    files = sorted(PACKAGE.rglob("*.py"))
    return [parse(file.relative_to(PACKAGE).as_posix(), file.read_text(encoding="utf-8")) for file in files]


def imports(module: Module):
    """Every import, at whatever depth and also those for the type checker: (node, absolute name of what is
    imported).

    `from a import b` gives "a.b": whether b is a module or a name inside one, its first parts say where it
    comes from.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["scalable_cas", *module.name.split(".")] if module.name else ["scalable_cas"]
                if not module.path.endswith("__init__.py"):
                    here.pop()
                here = here[: len(here) - node.level + 1]
                base = ".".join([*here, base] if base else here)
            for alias in node.names:
                yield node, f"{base}.{alias.name}"


def dotted(node: ast.AST) -> str:
    """`os.path.join` for that expression; "" for what is not a plain chain of names."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def names_used(module: Module):
    """Every plain chain of names that is read, under the name that it was imported from: (node,
    "os.environ.get").

    `import os as o; o.unlink` and `from os import unlink as u; u` both give "os.unlink".
    """
    origin = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                origin[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                origin[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute | ast.Name):
            chain = dotted(node)
            if chain:
                first, _, rest = chain.partition(".")
                base = origin.get(first, first)
                yield node, f"{base}.{rest}" if rest else base
