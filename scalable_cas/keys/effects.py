"""Which captured variables can influence a function's result, and which it uses only for effect.

The problem: a closure's variables are inputs, so they must be in the key. But ``calls.append(x)`` in a cached
function is a captured variable too, and with its value in the key the function never hits: every run changes
it. So a variable counts unless every use of it in the source is one whose value goes nowhere: the receiver of
a call whose result is thrown away, the target of an assignment, ``with lock:``.

Whoever is thrown away may still act: ``fill(out)`` changes ``out``. So a captured *function* that is called
by its own name counts (role ``"called"``), and a generator of random numbers always counts (captured.py); a
method's receiver does not, which is the rule's known limit.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

    Root = Callable[[ast.AST], str | None]  # the name of the watched variable that a node is, or None

VALUE, CALLED, EFFECT = "value", "called", "effect"
_RANK = {EFFECT: 0, CALLED: 1, VALUE: 2}


def roles(body: list[ast.AST], root: Root) -> dict[str, str]:
    """The role of each watched name that occurs below ``body``: the strongest of its uses."""
    uses = _Uses(root)
    for node in body:
        uses.visit(node)
    return uses.found


class _Uses:
    """Walks syntax and notes for each watched name how it is used.

    Names are not resolved: an inner function's own variable of the same name counts as a use. That errs
    towards ``VALUE``.
    """

    def __init__(self, root: Root) -> None:
        self.root = root
        self.found: dict[str, str] = {}

    def note(self, name: str, role: str) -> None:
        if _RANK[role] >= _RANK[self.found.get(name, EFFECT)]:
            self.found[name] = role

    def visit(self, node: ast.AST) -> None:
        import ast

        name = self.root(node)
        if name is not None:
            self.note(name, VALUE)
        elif isinstance(node, ast.Expr):
            self.discarded(node.value)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
            targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
            for target in targets:
                self.receiver(target, EFFECT)
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
            self.receiver(value.func, CALLED)
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
            self.receiver(value.func, CALLED)
        else:
            self.receiver(value, EFFECT)

    def receiver(self, node: ast.AST, bare: str) -> None:
        """The object at the start of ``a.b[c].d``, used for effect; ``bare`` is its role where it stands
        alone.
        """
        import ast

        role = bare
        while self.root(node) is None and isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
            if isinstance(node, ast.Subscript):
                self.visit(node.slice)
            role = EFFECT
            node = node.value
        name = self.root(node)
        if name is not None:
            self.note(name, role)
        elif isinstance(node, ast.Tuple | ast.List):  # a, calls[0] = …
            for part in node.elts:
                self.receiver(part, EFFECT)
        else:
            self.visit(node)
