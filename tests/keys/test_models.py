"""Models of pydantic and attrs classes."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Annotated, Any, Generic, Optional, TypeVar

import pytest

from scalable_cas.keys.encode import _Deep, encode
from scalable_cas.keys.nodes import Refused, Walk

from .pair_tables import pair_tests

attrs = pytest.importorskip("attrs")
pydantic = pytest.importorskip("pydantic")


class Grid(pydantic.BaseModel):
    rows: int = 1
    name: str = ""
    more: Any = None
    _state: Any = pydantic.PrivateAttr(default=0)


class Other(pydantic.BaseModel):
    rows: int = 1
    name: str = ""
    more: Any = None


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    rows: int = 1


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Pickled(pydantic.BaseModel):
    rows: int = 1

    def __getstate__(self):
        return {}


T = TypeVar("T")


class Box(pydantic.BaseModel, Generic[T]):
    item: T


@pydantic.dataclasses.dataclass
class Checked:
    rows: int = 1


@attrs.define
class Point:
    x: int = 0
    y: int = 0
    note: str = attrs.field(default="", metadata={"cache_key": False})


@attrs.define
class Place:
    x: int = 0
    y: int = 0


@attrs.frozen(slots=False)
class Loose:
    x: object = 0


def with_state(state):
    value = Grid()
    value._state = state
    return value


def local(kind=int, default=1, check=lambda value: value, bound=0):
    class Local(pydantic.BaseModel):
        rows: kind = default
        more: Optional[list[int]] = None  # noqa: UP045 (another type than `X | None`)
        size: Annotated[int, pydantic.Field(ge=bound)] = 3

        @pydantic.field_validator("rows")
        @classmethod
        def _check(cls, value):
            return check(value)

    return Local


DIFFERENT = {
    "a field": (Grid(rows=1), Grid(rows=2)),
    "a class": (Grid(), Other()),
    "a private attribute": (Grid(), with_state(1)),
    "an extra field": (Open(), Open(more=1)),
    "extra fields": (Open(more=1), Open(more=2)),
    "a model, its dict": (Other(), Other().model_dump()),
    "nested": (Grid(more=Grid()), Grid(more=Grid(rows=2))),
    "a root": (Numbers([1]), Numbers([2])),
    "a parameter": (Box[int](item=1), Box[float](item=1)),
    "a dataclass": (Checked(1), Checked(2)),
    "unchecked": (Other(rows=1), Other.model_construct(rows="1")),
    "local, by type": (local(int)(), local(float)()),
    "local, by default": (local(default=1)(rows=3), local(default=2)(rows=3)),
    "local, by bound": (local(bound=0)(), local(bound=1)()),
    "local, by what a validator captured": (
        local(check=lambda value: value)(),
        local(check=lambda value: value + 0)(),
    ),
    "attrs": (Point(1, 2), Point(2, 1)),
    "attrs, by class": (Point(1, 2), Place(1, 2)),
    "attrs, with a dict": (Loose(1), Loose("1")),
}
EQUAL = {
    "what was set by hand": (Grid(rows=1), Grid()),
    "constructed": (Other(), Other.model_construct()),
    "the order of fields": (Open(a=1, b=2), Open(b=2, a=1)),
    "local": (local()(rows=2), local()(rows=2)),
    "attrs, a field that is left out": (Point(1, 2, "a"), Point(1, 2, "b")),
}


test_two_keys, test_one_key = pair_tests(DIFFERENT, EQUAL)


@pytest.mark.parametrize("name", [*DIFFERENT, *EQUAL])
def test_engines_and_copies_agree(name):
    for value in {**DIFFERENT, **EQUAL}[name]:
        assert encode([value]) == _Deep(Walk([])).run([value])
        assert encode(copy.deepcopy(value)) == encode(value)
        if "local" not in name:
            assert encode(pickle.loads(pickle.dumps(value))) == encode(value)


@pytest.mark.parametrize(
    "value, path",
    [
        (Grid(more=threading.Lock()), ".more"),
        ([Grid(more={"a": Point(threading.Lock())})], '[0].more["a"].x'),
        (with_state(threading.Lock()), '.__pydantic_private__["_state"]'),
    ],
)
def test_the_path_to_what_is_refused(value, path):
    with pytest.raises(Refused) as refused:
        encode(value)
    assert refused.value.path == path


def test_a_model_that_pickles_itself_otherwise_is_refused():
    with pytest.raises(Refused):
        encode(Pickled())


def test_models_as_classes():
    assert encode(Grid) != encode(Other)
    assert encode(local()) == encode(local()) != encode(local(float))
