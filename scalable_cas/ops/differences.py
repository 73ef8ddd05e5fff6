"""In which arguments, and in which parts of them, two calls differ: from what their records keep.

Values are shown only where they were small and plain, which is all that a record has of them.
"""

from __future__ import annotations

from scalable_cas.keys.outline import CONTAINER, OTHER, PLAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Part = tuple[str, str]  # section and name of an argument

#: Parts of one argument that a sentence names; then it says how many more there are.
NAMED = 3
#: What a container's outline counts for where only some of its parts differ: less than a whole argument.
_WHOLE = 64

_KINDS = {"b": "what it is bound to: ", "c": "captured "}


class Call:
    """What is known of one call: ``digests`` and ``outlines`` by part, ``version``, ``seed`` (a digest or
    b""), ``code`` (fingerprints), ``reached`` (name -> digest), ``packages``.
    """

    __slots__ = ("code", "digests", "outlines", "packages", "reached", "seed", "version")

    def __init__(
        self,
        parts: Sequence[tuple[str, str, bytes]],
        outlines: Sequence[Any],
        *,
        version: object,
        seed: bytes,
        code: Sequence[str],
        reached: Mapping[str, bytes],
        packages: Mapping[str, str],
    ) -> None:
        self.digests = {(section, name): digest for section, name, digest in parts}
        # of a record without outlines, or with fewer than parts, the rest is unknown
        self.outlines = {
            (section, name): found for (section, name, _), found in zip(parts, outlines, strict=False)
        }
        self.version = version
        self.seed = seed
        self.code = code
        self.reached = reached
        self.packages = packages


def differing(old: Call, new: Call) -> list[Part]:
    """The parts that only one call has, or that have two digests, in the order of names."""
    parts = old.digests.keys() | new.digests.keys()
    return sorted(
        (part for part in parts if old.digests.get(part) != new.digests.get(part)),
        key=lambda part: (part[1], part[0]),
    )


def distance(old: Call, new: Call, parts: Sequence[Part]) -> int:
    """How far apart two calls are in these parts; a configuration with one changed setting is near."""
    total = 0
    for part in parts:
        changed = _changed(old.outlines.get(part), new.outlines.get(part))
        total += _WHOLE if changed is None else min(_WHOLE, 1 + len(changed))
    return total


def sentence(old: Call, new: Call, parts: Sequence[Part]) -> str:
    """What differs, as a list for people: ``rate was 0.25 and is 0.3; config["depth"] was 3 and is 4``."""
    return "; ".join(_argument(part, old, new) for part in parts)


def _argument(part: Part, old: Call, new: Call) -> str:
    section, name = part
    label = _KINDS.get(section, "") + name
    if part not in old.digests:
        return f"{label} is new ({shown(new.outlines.get(part))})"
    if part not in new.digests:
        return f"{label} is gone (it was {shown(old.outlines.get(part))})"
    before, after = old.outlines.get(part), new.outlines.get(part)
    changed = _changed(before, after)
    if changed is None:
        return _was_and_is(label, before, after)
    if not changed:
        return f"{label} differs deeper than is kept"
    told = [_child(label + name, *pair) for name, pair in [*changed.items()][:NAMED]]
    if len(changed) > NAMED:
        told.append(f"{len(changed) - NAMED} more parts of {label} differ")
    return "; ".join(told)


def _child(label: str, before: Any, after: Any) -> str:
    if before is None:
        return f"{label} is new ({shown(after)})"
    if after is None:
        return f"{label} is gone (it was {shown(before)})"
    return _was_and_is(label, before, after)


def _was_and_is(label: str, before: Any, after: Any) -> str:
    old, new = shown(before), shown(after)
    if old != new:
        return f"{label} was {old} and is {new}"
    return f"{label} differs in content ({new})"


def _changed(before: Any, after: Any) -> dict[str, tuple[Any, Any]] | None:
    """Label -> (before, after) of the children of two containers that differ; None if they are not two
    containers of one type whose children are known.
    """
    if not (_is(before, CONTAINER, 4) and _is(after, CONTAINER, 4)) or before[1] != after[1]:
        return None
    old, new = _children(before), _children(after)
    if (before[2] and not old) or (after[2] and not new):
        return None
    labels = [*new, *(label for label in old if label not in new)]
    pairs = {label: (old.get(label), new.get(label)) for label in labels}
    return {label: pair for label, pair in pairs.items() if not _same(*pair)}


def _children(outline: Any) -> dict[str, Any]:
    children = outline[3]
    if not isinstance(children, list):
        return {}
    return {str(child[0]): child[1] for child in children if isinstance(child, list) and len(child) == 2}


def _same(before: Any, after: Any) -> bool:
    # as a list alone, 1, 1.0 and True would be the same
    if _is(before, PLAIN, 2) and _is(after, PLAIN, 2):
        return type(before[1]) is type(after[1]) and repr(before[1]) == repr(after[1])
    return bool(before == after)


def other_code(old: Call, new: Call) -> str:
    """Which code or constants that a function reaches differ, as far as both calls know; "" if none do."""
    if not old.reached or not new.reached:
        return ""
    names = sorted(old.reached.keys() | new.reached.keys())
    changed = [name.replace(":", ".", 1) for name in names if old.reached.get(name) != new.reached.get(name)]
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return f"{', '.join(changed[:NAMED])}{more} changed" if changed else ""


def shown(outline: Any) -> str:
    """An outline for people: a value, or what kind of thing it was."""
    if _is(outline, PLAIN, 2):
        value = outline[1]
        return repr(value) if isinstance(value, str | int | float | bool) or value is None else "?"
    if _is(outline, OTHER, 4):
        return f"{outline[1]} {outline[2]}".strip()
    if _is(outline, CONTAINER, 4):
        return f"{outline[1]} of {outline[2]}"
    return "a value that is not kept"


def _is(outline: Any, form: int, length: int) -> bool:
    """Whether a record, which may come from anywhere, really holds such an outline."""
    return isinstance(outline, list) and len(outline) == length and outline[0] == form
