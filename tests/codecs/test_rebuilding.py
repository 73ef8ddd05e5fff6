"""Objects that unpickling makes anew by code of their class: those that come back, and those that would not."""

from __future__ import annotations

import collections
import datetime as dt
import decimal

import numpy as np
import pytest

from scalable_cas import CacheWarning, cacheable
from scalable_cas.codecs import encode
from scalable_cas.codecs.rebuilding import is_made_anew
from scalable_cas.errors import NotStorable
from tests.codecs.same_values import identical
from tests.codecs.test_pickled import there_and_back


class Told(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")


class Needs(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Celsius(float):
    def __new__(cls, fahrenheit):
        return float.__new__(cls, (fahrenheit - 32) / 1.8)


class Counted(complex):
    def __new__(cls, value):
        return complex.__new__(cls, value + 1)


class Two(tuple):
    __slots__ = ()

    def __new__(cls, left, right):
        return tuple.__new__(cls, (left, right))


class Doubled(collections.namedtuple("Doubled", "x y")):
    __slots__ = ()

    def __new__(cls, x, y):
        return super().__new__(cls, 2 * x, y)


class Twice(list):
    def extend(self, items):
        list.extend(self, [item * 2 for item in items])


class Folded(dict):
    def __init__(self):
        dict.__init__(self)
        self.lower = {}

    def __setitem__(self, key, value):
        self.lower[key.lower()] = value
        dict.__setitem__(self, key, value)


class Next(set):
    def __init__(self, items):
        set.__init__(self, [item + 1 for item in items])


class Later(collections.OrderedDict):
    def __setitem__(self, key, value):
        super().__setitem__(key, value + 1)


class Longer(collections.deque):
    def extend(self, items):
        super().extend([*items, 0])


class Day(dt.date):
    def __new__(cls, day):
        return dt.date.__new__(cls, 2020, 1, day)


class Money(decimal.Decimal):
    def __new__(cls, value):
        return decimal.Decimal.__new__(cls, decimal.Decimal(value) + 1)


class MustBeTold:
    def __new__(cls, name):
        made = object.__new__(cls)
        made.name = name
        return made


class Noted(np.ndarray):
    pass


class Factory(collections.defaultdict):
    pass


class ItsOwnDict(dict):
    def __init__(self):
        dict.__init__(self)
        self.__dict__ = self


def filled(made, fill):
    fill(made)
    return made


def with_attribute(value):
    value.extra = 1
    return value


def frame(**attributes):
    pd = pytest.importorskip("pandas")
    value = pd.DataFrame({"a": [1]})
    vars(value).update(attributes)
    return value


OTHERWISE = {
    "an exception that words its text": lambda: Told(5),
    "an exception that asks for more": lambda: Needs(5, "text"),
    "a group of such": lambda: ExceptionGroup("all", [Needs(5, "text")]),
    "float": lambda: Celsius(212),
    "complex": lambda: Counted(1j),
    "tuple": lambda: Two(1, 2),
    "namedtuple": lambda: Doubled(1, {1}),
    "list": lambda: filled(Twice(), lambda made: list.append(made, 1)),
    "dict": lambda: filled(Folded(), lambda made: made.__setitem__("A", 1)),
    "set": lambda: Next([1]),
    "OrderedDict": lambda: Later(a=1),
    "deque": lambda: Longer([1]),
    "date": lambda: Day(3),
    "Decimal": lambda: Money("1"),
    "no arguments": lambda: MustBeTold("x"),
    "finfo": lambda: np.finfo("f4"),
    "attributes of an array": lambda: with_attribute(np.zeros(2).view(Noted)),
    "attributes of a matrix": lambda: with_attribute(np.zeros((1, 1)).view(np.matrix)),
    "attributes of a defaultdict": lambda: with_attribute(Factory(list)),
    "its own dict": ItsOwnDict,
    "attributes of a frame": lambda: frame(name="north"),
    "attributes of an index": lambda: with_attribute(frame().columns),
    "attributes of a range": lambda: with_attribute(frame().index),
    "attributes of a frame of polars": lambda: with_attribute(
        pytest.importorskip("polars").DataFrame({"a": [1]})
    ),
    "attributes of a series of polars": lambda: with_attribute(pytest.importorskip("polars").Series([1])),
    "attributes of a masked array": lambda: with_attribute(np.ma.array([1])),
    "attributes of a series": lambda: with_attribute(frame()["a"]),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_pickle_would_give_back_otherwise_is_refused(name):
    value = OTHERWISE[name]()
    for around in (value, [value, object.__new__(Plain)]):
        if type(around) is Doubled:
            continue  # by itself it is plain data
        with pytest.raises(NotStorable):
            encode(around)


class Plain:
    pass


class Upper(str):
    def __new__(cls, text):
        return str.__new__(cls, text.upper())


class Attributes(dict):
    """Makes itself of each dict that is put in."""

    def __init__(self, items=()):
        for key, value in dict(items).items():
            self[key] = value

    def __setitem__(self, key, value):
        dict.__setitem__(self, key, Attributes(value) if type(value) is dict else value)


class Copies(dict):
    def __setitem__(self, key, value):
        dict.__setitem__(self, key, list(value))


class Kept(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


class ByItself(float):
    def __new__(cls, fahrenheit):
        return float.__new__(cls, (fahrenheit - 32) / 1.8)

    def __reduce__(self):
        return ByItself, (self * 1.8 + 32,)


class Only:
    only = None

    def __new__(cls):
        cls.only = cls.only or object.__new__(cls)
        return cls.only


@pytest.mark.parametrize(
    "value",
    [
        Upper("ab"),
        Attributes({"a": {"b": [1]}}),
        filled(Copies(), lambda made: made.__setitem__(1, (1, 2))),
        Kept(5, "text"),
        ByItself(212),
        Only(),
        Factory(list, {1: [2]}),
        np.zeros(2).view(Noted),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_comes_back_as_it_was_is_stored(value):
    again = there_and_back(value)
    assert type(again) is type(value)
    assert repr(again) == repr(value)


@pytest.mark.parametrize("dtype", [">f8", ">U2", ">M8[s]", ">i2", [("a", ">i4"), ("b", ">f4")]])
@pytest.mark.parametrize("length", [6, 60_000])
@pytest.mark.parametrize(
    "form",
    [
        lambda array: array,
        lambda array: array[::2],
        lambda array: array.reshape(3, -1, 2).transpose(1, 0, 2),
        lambda array: array.reshape(2, -1).T,
        lambda array: array.view(Noted),
        lambda array: array.reshape(1, -1).view(np.matrix),
        lambda array: np.array(array[:1].reshape(())),
    ],
    ids=["plain", "strided", "transposed", "Fortran", "subclass", "matrix", "0-d"],
)
def test_the_byte_order_of_an_array_within_a_pickle(dtype, length, form):
    value = Plain()
    value.array = form(np.zeros(length, dtype))
    value.again = value.array
    again = there_and_back(value)
    assert type(again.array) is type(value.array)
    assert again.array.dtype == value.array.dtype
    assert again.array.shape == value.array.shape
    assert again.array.tobytes() == value.array.tobytes()
    assert again.again is again.array
    assert again.array.flags.writeable


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("mask", [np.ma.nomask, [False, False], [False, True]])
@pytest.mark.parametrize("length", [2, 200_000])
def test_a_masked_array_within_a_pickle(mask, hard, length):
    value = Plain()
    mask = mask if mask is np.ma.nomask else np.resize(mask, length)
    value.array = np.ma.MaskedArray(np.arange(float(length)), mask, hard_mask=hard)
    value.again = value.array
    again = there_and_back(value)
    assert again.again is again.array
    assert identical(value.array, again.array)
    assert again.array.hardmask is hard
    assert (again.array.mask is np.ma.nomask) == (value.array.mask is np.ma.nomask)


def test_ordinary_classes_are_not_made_on_trial():
    ordinary = (
        Plain,
        Noted,
        collections.OrderedDict,
        collections.namedtuple("P", "x"),
        ValueError,
        dt.datetime,
    )
    assert not any(map(is_made_anew, ordinary))


def test_the_call_gets_its_result_and_one_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("SCALABLE_CACHE_DIR", f"{tmp_path / 'store'}")

    @cacheable
    def fails(code):
        return Told(code)

    with pytest.warns(CacheWarning, match="__reduce__") as caught:
        assert [str(fails(5)) for _ in range(2)] == ["code 5"] * 2
    assert len(caught) == 1
