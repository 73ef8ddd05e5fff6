"""The fingerprint of a function's code: equal on every Python version, and provably of the code that runs.

Bytecode changes with each Python version; ``ast.dump`` too. And the text on disk may no longer be what runs:
after an edit, ``inspect.getsource`` returns another function's lines. So the source is *verified* first: the
file is compiled again and must contain a code object equal to the function's. Then a normalised syntax tree
is encoded (measured: equal on 3.11, 3.12 and 3.13 for 30,427 functions of 30,427). Where no source proves
to be the source, the bytecode itself is the fingerprint: honest, and valid for one Python version.

Most functions are proved by their own lines (block.py), in a tenth of the time; the rest, lambdas above all,
by their whole file.
"""

from __future__ import annotations

import os
import stat
import sys

from blake3 import blake3

from .block import definition_of
from .encode import encode
from .recompiling import compiled, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from types import CodeType, FunctionType

    FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

# ast and linecache cost 10 ms to import and are needed for closures, lambdas and functions as arguments only.

# Per code object, by id; the object itself is kept so that its id stays its own. Emptied when full.
_known: dict[int, tuple[CodeType, str, FunctionNode | None]] = {}
_MOST_FUNCTIONS = 10_000
# Per file: what was parsed and compiled of it, with what says that the file is still the same.
_parsed: dict[str, tuple[object, _Module | None]] = {}
_MOST_FILES = 64  # a syntax tree takes about 50 times its text


class _Module:
    """A source text, as syntax and as code objects by (first line, qualified name)."""

    def __init__(self, text: str, flags: int) -> None:
        self.text = text
        self.flags = flags
        tree = self.parse()
        self.nodes = _functions(tree)
        self.codes: dict[tuple[int, str], list[CodeType]] = {}
        for code in _all_codes(compiled(tree, flags)):
            self.codes.setdefault((code.co_firstlineno, code.co_qualname), []).append(code)

    def parse(self) -> ast.Module:
        return parse(self.text)


def _functions(tree: ast.Module) -> list[FunctionNode]:
    import ast

    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _all_codes(code: CodeType) -> list[CodeType]:
    """All code objects inside this one, at any depth."""
    found, waiting = [], [code]
    while waiting:
        inner = [constant for constant in waiting.pop().co_consts if isinstance(constant, type(code))]
        found += inner
        waiting += inner
    return found


def fingerprint(function: FunctionType) -> str:
    """What identifies the code of a plain function, its nested functions included: ``ast1:`` or ``bc-…:`` and
    64 hex digits.

    Comments, layout, docstrings that nobody reads and annotations do not count. Defaults and captured values
    are not code.
    """
    return _look_up(function.__code__)[1]


def verified_node(function: FunctionType) -> FunctionNode | None:
    """The syntax of a plain function, if a source text was proved to be its source."""
    return _look_up(function.__code__)[2]


def likely_node(function: FunctionType) -> FunctionNode | None:
    """The syntax of a function whose code a tool rewrote at import, as pytest rewrites ``assert``; also a
    verified one.

    Such code has names with ``@``, which no source can have. Its own names must all be there besides, so the
    text is still that of this function. Good enough to see how variables are used, not for a fingerprint.
    """
    code = function.__code__
    node = verified_node(function)
    if node is not None or not is_rewritten(code):
        return node
    module = _module_of(code)
    for other in () if module is None else module.codes.get((code.co_firstlineno, code.co_qualname), ()):
        same = other.co_freevars == code.co_freevars and other.co_argcount == code.co_argcount
        if same and {*other.co_names, *other.co_varnames} <= {
            *code.co_names,
            *code.co_varnames,
            "AssertionError",
        }:
            assert module is not None
            fitting = [node for node in module.nodes if _first_line(node) == code.co_firstlineno]
            return fitting[0] if len(fitting) == 1 else None
    return None


def quick_fingerprint(code: CodeType) -> str | None:
    """The ``ast1:`` form, if it is known or can be had without a look at the whole file."""
    found = _known.get(id(code))
    if found is None:
        node = _block_node(code)
        print_ = None if node is None else _tree_fingerprint(node)
        if print_ is None:
            return None
        found = _remember(code, print_, node)
    return found[1] if found[2] is not None else None


def is_rewritten(code: CodeType) -> bool:
    """Whether a tool rewrote the code at import, as pytest rewrites ``assert``: its names have ``@``, which
    no source can have.
    """
    return any("@" in name for name in (*code.co_names, *code.co_varnames))


def _look_up(code: CodeType) -> tuple[CodeType, str, FunctionNode | None]:
    found = _known.get(id(code))
    if found is None:
        node = _block_node(code) or _find_node(code)
        print_ = None if node is None else _tree_fingerprint(node)
        found = _remember(code, print_ or bytecode_fingerprint(code), node if print_ else None)
    return found


def _remember(
    code: CodeType, print_: str, node: FunctionNode | None
) -> tuple[CodeType, str, FunctionNode | None]:
    if len(_known) >= _MOST_FUNCTIONS:
        _known.clear()
    found = _known[id(code)] = (code, print_, node)
    return found


# --- source, verified --------------------------------------------------------------------------------------


def _block_node(code: CodeType) -> FunctionNode | None:
    if code.co_name == "<lambda>":
        return None
    text, _ = _text_of(code.co_filename)
    wanted = code_parts(code)
    try:
        return definition_of(code, text, _features(code), lambda other: code_parts(other) == wanted)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _find_node(code: CodeType) -> FunctionNode | None:
    module = _module_of(code)
    if module is None:
        return None
    wanted = code_parts(code)
    line = code.co_firstlineno
    if not any(code_parts(other) == wanted for other in module.codes.get((line, code.co_qualname), ())):
        return None
    places = [
        i
        for i, node in enumerate(module.nodes)
        if _first_line(node) == line and getattr(node, "name", "<lambda>") == code.co_name
    ]
    place = places[0] if len(places) == 1 else _tell_apart(module, places, wanted)
    return None if place is None else module.nodes[place]


def _tell_apart(module: _Module, places: list[int], wanted: object) -> int | None:
    """Which of several lambdas on a line was compiled to this code.

    Code objects carry the line but no reliable column (3.12 gives none for ``lambda: None``). So the text is
    compiled again with one lambda moved, whole, to a line of its own, inner ones first. Two that compile
    alike do alike: either stands for both.
    """
    import ast

    far = 10_000_000  # past the end of any source
    for place in reversed(places):  # breadth first, so the inner ones come last
        tree = module.parse()
        ast.increment_lineno(_functions(tree)[place], far)
        if any(
            code.co_firstlineno > far and code_parts(code) == wanted
            for code in _all_codes(compiled(tree, module.flags))
        ):
            return place
    return None


def _module_of(code: CodeType) -> _Module | None:
    name = code.co_filename
    text, stamp = _text_of(name, _parsed.get(name))
    known = _parsed.get(name)
    if known is not None and known[0] == stamp:
        return known[1]
    module = _parse(text, code) if text else None
    if len(_parsed) >= _MOST_FILES:
        _parsed.clear()
    _parsed[name] = (stamp, module)
    return module


def _text_of(name: str, known: tuple[object, object] | None = None) -> tuple[str, object]:
    """The source text under a name, and what says that it is still the same. A file that is ``known`` is not
    read again: its text is "".
    """
    try:
        found = os.stat(name)
        regular = stat.S_ISREG(found.st_mode)  # a made-up name may be that of a device
        stamp: object = (found.st_mtime_ns, found.st_size, found.st_ino) if regular else None
    except (OSError, ValueError):  # ValueError: a name that no file can have
        stamp = None
    if stamp is not None:
        return ("" if known is not None and known[0] == stamp else _read(name)), stamp
    import linecache

    # a notebook's cell, the prompt of 3.13, doctest: they leave their text in linecache. Not for other names:
    # linecache would open what lies there, and a device has no end
    noted = name.startswith("<") or name in linecache.cache
    text = "".join(linecache.getlines(name)) if noted else ""
    return text, text


def _read(name: str) -> str:
    import tokenize

    try:
        with tokenize.open(name) as file:  # honours the coding line
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError):  # gone meanwhile, a compiled extension, data
        return ""


def _parse(text: str, code: CodeType) -> _Module | None:
    try:
        return _Module(text, _features(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # the last two are what the parser says to deep nesting


def _features(code: CodeType) -> int:
    """Compiler flags for the ``__future__`` imports in force: a notebook compiles each cell under those of
    earlier cells.
    """
    import __future__

    features = 0
    for feature in __future__.all_feature_names:
        features |= code.co_flags & getattr(__future__, feature).compiler_flag
    return features


def _first_line(node: FunctionNode) -> int:
    first: int = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
    return first


# --- the two forms -----------------------------------------------------------------------------------------


def code_parts(code: CodeType) -> tuple[object, ...]:
    """All of a code object that decides what it does, as a value: no names of files, no line numbers."""
    constants = tuple(
        ("code", code_parts(item)) if isinstance(item, type(code)) else encode(item)
        for item in code.co_consts
    )
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return (code.co_code, constants, names, counts, code.co_exceptiontable)


def bytecode_fingerprint(code: CodeType) -> str:
    """The ``bc-…`` form, which needs no source and is valid for one version of Python."""
    version = f"{sys.implementation.name}{sys.version_info.major}.{sys.version_info.minor}"
    return f"bc-{version}:{blake3(encode(code_parts(code))).hexdigest()}"


def _tree_fingerprint(node: FunctionNode) -> str | None:
    import ast

    read = any(
        (isinstance(n, ast.Attribute) and n.attr == "__doc__")
        or (isinstance(n, ast.Name) and n.id == "__doc__")
        for n in ast.walk(node)
    )
    try:
        normal = _normal(node, keep_docstrings=read, outermost=True)
    except RecursionError:
        return None
    return "ast1:" + blake3(encode(normal)).hexdigest()


# Positions are no content; ctx follows from the place; kind is the u of u""; annotations and type parameters
# do not run.
_SKIPPED = frozenset(("ctx", "kind", "type_comment", "annotation", "returns", "type_params", "type_ignores"))


def _normal(item: object, *, keep_docstrings: bool, outermost: bool = False) -> object:
    """A syntax tree as plain data, without what differs between Python versions or means nothing."""
    import ast

    if isinstance(item, list):
        return [_normal(part, keep_docstrings=keep_docstrings) for part in item]
    if not isinstance(item, ast.AST):
        return item
    fields: dict[str, object] = {}
    for name in item._fields:
        value = getattr(item, name, None)
        if name in _SKIPPED or value == [] or (value is None and not isinstance(item, ast.Constant)):
            continue
        if isinstance(item, ast.JoinedStr) and name == "values":  # 3.12.1 leaves empty pieces in f-strings
            value = [
                part for part in value or () if not (isinstance(part, ast.Constant) and part.value == "")
            ]
        if name == "body" and not keep_docstrings:
            value = _without_docstring(item, value)
        if name == "decorator_list" and outermost:
            value = [decorator for decorator in value or () if not _is_ours(decorator)]
        if name == "name" and outermost:
            continue  # the name is the identity's business; a function that is renamed does the same
        if value != []:
            fields[name] = _normal(value, keep_docstrings=keep_docstrings)
    return (type(item).__name__, fields)


def _without_docstring(item: ast.AST, body: object) -> object:
    import ast

    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    if (
        isinstance(item, documented)
        and isinstance(body, list)
        and ast.get_docstring(item, clean=False) is not None
    ):
        return body[1:] or [ast.Pass()]
    return body


def _is_ours(decorator: ast.AST) -> bool:
    """Whether a decorator is ``cacheable``, by its last name: its options are not the function's code."""
    import ast

    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    return getattr(decorator, "attr", getattr(decorator, "id", None)) == "cacheable"
