"""The shape of modules, and the public names."""

from __future__ import annotations

import ast
import re

import scalable_cas
import scalable_cas.caching
import scalable_cas.errors

from .source import PACKAGE, modules

LONGEST_MODULE = 400  # lines; a module past it has two jobs
LONGEST_FUNCTION = 50  # lines from `def` to its last, the docstring not counted: what fits on one screen

PUBLIC = {
    *(
        "cacheable",
        "Store",
        "register_key",
        "CacheWarning",
        "StaleCodeWarning",
        "UnhashableArgument",
        "ScalableCasError",
    ),
    *("FileType", "DirType", "ValueType", "ObjectType", "UtilityType", "GenericType"),
}


def test_no_module_is_too_long():
    wrong = [
        f"scalable_cas/{m.path}: {len(m.lines)} lines" for m in modules() if len(m.lines) > LONGEST_MODULE
    ]
    assert not wrong, "\n" + "\n".join(wrong)


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def length(function) -> int:
    """Lines of a function without its docstring and without the functions inside it, which count for
    themselves.
    """
    first = function.body[0]
    talk = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    inner = set()
    for node in ast.walk(function):
        if isinstance(node, FUNCTIONS) and node is not function:
            inner.update(range(node.lineno, node.end_lineno + 1))
    return function.end_lineno - function.lineno + 1 - talk - len(inner)


def test_no_function_is_too_long():
    wrong = [
        f"{module.at(node)}   ({length(node)} lines)"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, FUNCTIONS) and length(node) > LONGEST_FUNCTION
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_length_of_a_function_is_its_own():
    talk = '    """Talk,\n    two lines."""\n'
    source = f"def f():\n{talk}    a = 1\n    def g():\n        b = 2\n        return b\n    return a, g\n"
    outer, inner = (node for node in ast.walk(ast.parse(source)) if isinstance(node, FUNCTIONS))
    assert (length(outer), length(inner)) == (3, 3)


def test_every_module_says_what_it_is_for():
    silent = [m.path for m in modules() if not ast.get_docstring(m.tree)]
    assert not silent, silent


def test_nothing_is_left_for_later():
    # built from parts, so that this file does not find itself in a search for them
    marks = re.compile(
        r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"]) + r")\b"
    )
    wrong = [
        f"scalable_cas/{m.path}:{number}: {line.strip()}"
        for m in modules()
        for number, line in enumerate(m.lines, 1)
        if marks.search(line)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_public_names_are_those_of_the_contract():
    assert set(scalable_cas.__all__) == PUBLIC
    assert len(scalable_cas.__all__) == len(PUBLIC)
    assert all(hasattr(scalable_cas, name) for name in PUBLIC)


def test_the_import_path_of_the_tutorial_gives_the_same_objects():
    for name in ("cacheable", "FileType", "DirType", "ValueType", "ObjectType", "UtilityType", "GenericType"):
        assert getattr(scalable_cas.caching, name) is getattr(scalable_cas, name)


def test_every_error_of_ours_has_one_base():
    ours = [value for value in vars(scalable_cas.errors).values() if isinstance(value, type)]
    assert len(ours) > 10
    for kind in ours:
        assert issubclass(
            kind,
            scalable_cas.ScalableCasError if not issubclass(kind, Warning) else scalable_cas.CacheWarning,
        )


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").read_bytes() == b""
