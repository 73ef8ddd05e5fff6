"""The way down of a value in which a mutable object occurs more than once, such as ``[x, x]``.

After a hit it has to be one object again: a change of one must show in the other. `Lowering` cannot know at
the first occurrence that there will be a second, and to number every object would make every value larger.
So nothing is numbered until a walk has met one twice (`Twice`); then two more walks are made: one that only
finds which objects recur, and one that writes them with a number at their first place and that number at the
others.

A reader meets objects in the order of the bytes. Some values write their parts in another order than they are
walked in, so at the end it is seen that each number stands behind its object; if not, pickle has to store it.
An object that contains itself stays with pickle, too: it is not finished when it is met again.
"""

from __future__ import annotations

from struct import Struct

from msgpack import ExtType

from scalable_cas.codecs import tags
from scalable_cas.codecs.lowering import Lowering
from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NUMBER = Struct(">I")


def lower_shared(value: object, buffers: list[Any], *, wide: bool) -> tuple[Any, Lowering]:
    """What stands for a value with recurring objects, and the state of the walk.

    Raises:
        NotPlain: it could not be given back exactly.
    """
    first = Sharing([], wide=wide, recurring=None)
    first.lower(value)
    # `first` holds what it met until the second walk is done: an id must not pass to another object.
    second = Sharing(buffers, wide=wide, recurring=first.found)
    tree = second.lower(value)
    _see_order(tree, set())
    return tree, second


class Sharing(Lowering):
    """One of the two walks. ``recurring``: ids of the objects to be numbered; None in the walk that finds
    them, whose outcome is not used.
    """

    __slots__ = ("_finished", "_held", "_numbers", "_recurring", "found")

    def __init__(self, buffers: list[Any], *, wide: bool, recurring: set[int] | None) -> None:
        super().__init__(buffers, wide=wide)
        self.found: set[int] = set()
        self._recurring = recurring
        self._held: list[object] = []
        self._numbers: dict[int, int] = {}
        self._finished: set[int] = set()

    def once(self, value: object) -> None:
        """As of `Lowering`; the object is held, so that no other gets its id."""
        self._held.append(value)
        super().once(value)

    def lower(self, value: Any) -> Any:
        """As of `Lowering`, but an object that was walked before is only referred to."""
        name = id(value)
        if name in self._finished:
            self.found.add(name)
            number = self._numbers.get(name)
            return None if number is None else self.leaf(tags.BACK, _NUMBER.pack(number))
        named = self._recurring is not None and name in self._recurring
        self.depth += named  # one array more
        tree = super().lower(value)
        self.depth -= named
        if name in self._seen:
            self._finished.add(name)
            if named:
                number = self._numbers[name] = len(self._numbers)
                return self.marked(tags.SHARED, number, tree)
        return tree


def _see_order(tree: Any, known: set[bytes]) -> None:
    """See that each object stands before whatever refers to it.

    Raises:
        NotPlain: one does not.
    """
    kind = type(tree)
    if kind is ExtType:
        if tree.code == tags.BACK and tree.data not in known:
            raise NotPlain("an object stands behind a reference to it")
    elif kind is list:
        for part in tree:
            _see_order(part, known)
        if len(tree) == 3 and tree[0] is tags.MARK[tags.SHARED]:
            known.add(_NUMBER.pack(tree[1]))
    elif kind is dict:
        for part in tree.values():
            _see_order(part, known)
