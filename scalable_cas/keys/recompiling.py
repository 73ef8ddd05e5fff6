"""Parse and compile a user's source text once more, without the warnings that he saw when Python did."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from types import CodeType

#: The file that warnings of such texts are said to come from. No code has this name.
NAME = "<read again by scalable-cas>"


def parse(text: str) -> ast.Module:
    """The syntax tree of a text.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as the parser does for what is no source.
    """
    import ast

    _hush()
    return ast.parse(text, NAME)


def compiled(tree: ast.Module, flags: int) -> CodeType:
    """The code of a tree; ``flags``: the compiler's, for the ``__future__`` imports in force.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as the compiler does.
    """
    _hush()
    code: CodeType = compile(tree, NAME, "exec", flags=flags, dont_inherit=True)
    return code


def _hush() -> None:
    """Have warnings of `NAME` ignored.

    The compiler warns of a wrong escape each time, and where warnings are errors it raises. The naive way is
    `warnings.catch_warnings`. It exchanges the filters of the whole process: of two threads in it at once,
    the one that leaves last may leave the other's "ignore" behind, and the user hears no warning any more.
    So there is one filter, for this name alone, for good. Whoever leaves a `catch_warnings` of his own may
    drop it; so it is looked for each time.
    """
    import re
    import warnings

    pattern = re.escape(NAME)
    if not any(getattr(item[3], "pattern", None) == pattern for item in warnings.filters):
        warnings.filterwarnings("ignore", module=pattern)
