"""The syntax of one ``def`` without the rest of its file: read its lines, compile them alone, compare.

The problem: a proof of source by compiling the whole file takes 5 ms for a small module and 85 ms for a large
one, and the code of every stored function is wanted. The naive way, to parse the function's own lines, gives
other code for methods and inner functions: names are mangled, variables are free. What we do: put the lines
below stand-ins for what they stood in (a class, a function with the free variables), compile that, and accept
it only if the code is the same, as for a whole file. Whatever does not fit is the whole file's business. The
text behind the last line that has code is taken as far as it is indented more than the ``def``: dead code is
part of the syntax. Where that cuts a string or a bracket, the text does not parse. And an attribute of a name
that the file imports is called by other instructions (``math.sin(x)`` is no method), so those imports stand
below.
"""

from __future__ import annotations

from keyword import iskeyword

from .recompiling import compiled, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Iterator
    from types import CodeType

    Definition = ast.FunctionDef | ast.AsyncFunctionDef

_NESTED = 0x10  # CO_NESTED: it stands in a function
_IMPORT = r"(?m)^[ \t]*(?:from\s+[\w.]+\s+)?import\s+(\([^)]*\)|[^\n#]*)"


def definition_of(
    code: CodeType, text: str, flags: int, same: Callable[[CodeType], bool]
) -> Definition | None:
    """The ``def`` that starts at the code's first line, if it compiles to code that is the ``same``.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as the parser does for lines that are no source.
    """
    block = _block(code, text)
    if block is None:
        return None
    node = _compiled(code, block, flags, same)
    imported = () if node is not None else _imported(code, text)
    return _compiled(code, f"{block}\nimport {', '.join(imported)}\n", flags, same) if imported else node


def _compiled(code: CodeType, block: str, flags: int, same: Callable[[CodeType], bool]) -> Definition | None:
    import ast

    tree = parse(block)
    wanted = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name == code.co_name
        and min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        == code.co_firstlineno
    ]
    if len(wanted) != 1:
        return None
    for inner in _inner(compiled(tree, flags)):
        if inner.co_name == code.co_name and inner.co_firstlineno == code.co_firstlineno and same(inner):
            return wanted[0]
    return None


def _imported(code: CodeType, text: str) -> list[str]:
    """The names in the code that an import of the file may bind."""
    import re

    used = {name for part in (code, *_inner(code)) for name in part.co_names}
    bound = {word for found in re.findall(_IMPORT, text) for word in re.findall(r"\w+", found)}
    return sorted(name for name in used & bound if name.isidentifier() and not iskeyword(name))


def _inner(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield constant
            yield from _inner(constant)


def _block(code: CodeType, text: str) -> str | None:
    """The lines of the function below their stand-ins, each on the line where it was: a class in a function
    knows its line.
    """
    lines = text.splitlines(keepends=True)
    first = code.co_firstlineno - 1
    last = max((end or 0 for _, end, _, _ in code.co_positions()), default=0)
    for inner in _inner(code):
        last = max(last, *(end or 0 for _, end, _, _ in inner.co_positions()))
    if not first < last <= len(lines):
        return None
    indent = _indent(lines[first])
    while last < len(lines) and (_indent(lines[last]) > indent or not _holds_code(lines[last])):
        last += 1
    above = _stand_ins(code, indented=indent > 0)
    if len(above) > first or (above and indent < len(above)):
        return None
    return "\n" * (first - len(above)) + "".join(above) + "".join(lines[first:last])


def _stand_ins(code: CodeType, *, indented: bool) -> list[str]:
    parts = code.co_qualname.split(".")
    owner = parts[-2] if len(parts) > 1 and parts[-2] != "<locals>" else None
    above = []
    if code.co_flags & _NESTED:
        names = [name for name in code.co_freevars if name != "__class__" or owner is None]
        above.append(f"def _({', '.join(names)}):\n")
    if owner is not None:
        above.append(f"{' ' * len(above)}class {owner}:\n")
    if indented and not above:
        above.append("if 1:\n")
    return above


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _holds_code(line: str) -> bool:
    start = line.lstrip()
    return bool(start) and not start.startswith("#")
