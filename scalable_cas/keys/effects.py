"""Which captured variables can influence a function's result, and which it uses only for effect.

The problem: a closure's variables are inputs, so they must be in the key. But ``calls.append(x)`` in a cached
function is a captured variable too, and with its value in the key the function never hits: every run changes
it. So a variable counts unless every use of it in the source is one whose value goes nowhere: the receiver of
a call whose result is thrown away, the target of an assignment, ``with lock:``.

Whoever is thrown away may still act: ``kernel.run(x, out)`` changes ``out``. So syntax alone says only *how*
a variable is used for effect; whether its value is one that can only take something in, a list or a counter
or a log, is decided when the key is made (sinks.py).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

    Root = Callable[[ast.AST], str | None]  # the name of the watched variable that a node is, or None

    # One use for effect, from the variable on: ``calls.append(x)`` is (".append", "()"), ``n["a"] += 1`` is
    # ("[]", "+=").
    Path = tuple[str, ...]
    Role = frozenset[Path] | None

#: The role of a variable whose value is used; any other role is the set of its uses for effect.
VALUE: Role = None


def roles(body: list[ast.AST], root: Root) -> dict[str, Role]:
    """The role of each watched name that occurs below ``body``."""
    uses = _Uses(root)
    for node in body:
        uses.visit(node)
    return {
        name: VALUE if name in uses.values else frozenset(uses.effects[name])
        for name in {**uses.effects, **dict.fromkeys(uses.values)}
    }


class _Uses:
    """Walks syntax and notes for each watched name how it is used.

    Names are not resolved: an inner function's own variable of the same name counts as a use. That errs
    towards ``VALUE``.
    """

    def __init__(self, root: Root) -> None:
        self.root = root
        self.values: set[str] = set()
        self.effects: dict[str, set[Path]] = {}

    def visit(self, node: ast.AST) -> None:
        import ast

        name = self.root(node)
        if name is not None:
            self.values.add(name)
        elif isinstance(node, ast.Expr):
            self.discarded(node.value)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
            targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
            for target in targets:
                self.receiver(target, "+=" if isinstance(node, ast.AugAssign) else "=")
            value = getattr(node, "value", None)
            if value is not None:
                self.visit(value)
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                if item.optional_vars is None:
                    self.context(item.context_expr)
                else:
                    self.visit(item)
            for statement in node.body:
                self.visit(statement)
        else:
            for child in ast.iter_child_nodes(node):
                self.visit(child)

    def discarded(self, value: ast.AST) -> None:
        """An expression statement: ``calls.append(x)``, ``await event.wait()``."""
        import ast

        if isinstance(value, ast.Await):
            value = value.value
        if isinstance(value, ast.Call):
            self.receiver(value.func, "()")
            for argument in [*value.args, *(keyword.value for keyword in value.keywords)]:
                self.visit(argument)
        else:
            self.visit(value)

    def context(self, value: ast.AST) -> None:
        """``with lock:``, ``with counter.get_lock():``, whose value goes nowhere."""
        import ast

        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Attribute)
            and not (value.args or value.keywords)
        ):
            self.receiver(value.func, "()", "with")
        else:
            self.receiver(value, "with")

    def receiver(self, node: ast.AST, *use: str) -> None:
        """The object at the start of ``a.b[c].d``, and what is done at its end."""
        import ast

        while self.root(node) is None and isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
            if isinstance(node, ast.Subscript):
                self.visit(node.slice)
                use = ("[]", *use)
            elif isinstance(node, ast.Attribute):
                use = (f".{node.attr}", *use)
            node = node.value
        name = self.root(node)
        if name is not None:
            self.effects.setdefault(name, set()).add(use)
        elif isinstance(node, ast.Tuple | ast.List):  # a, calls[0] = …
            for part in node.elts:
                self.receiver(part, "=")
        else:
            self.visit(node)
