"""The suite for authors of codecs: our own codecs keep its promises, and it finds out those that do not."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from scalable_cas.codecs import Encoded, base, plain
from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.errors import MalformedObject
from scalable_cas.testing.codecs import CodecSuite, check_codec
from tests.codecs.same_values import identical


class Ours:
    """One of the package's own codecs, as an author would write it."""

    def __init__(self, name):
        self.name = name

    def encode(self, value, /):
        encoded = plain.encode(value)
        return encoded if encoded is not None and encoded.codec == self.name else None

    def decode(self, head, buffers, /, *, trusted):
        return base.decode(self.name, head, buffers, trusted=trusted)


class OwnSuite(CodecSuite):
    def equal(self, left, right):
        return identical(left, right)

    def test_its_name_is_allowed(self):
        """It is one of the package's own."""


class TestNumpy(OwnSuite):
    codec = Ours("numpy")
    samples = (
        lambda: np.arange(5.0),
        lambda: np.arange(OUT_OF_BAND + 0.0),
        lambda: np.ma.array([1, 2], mask=[True, False]),
        lambda: np.array([1, "a", None], object),
        lambda: np.zeros(2, [("a", "i1"), ("b", "f8")]),
    )


class TestData(OwnSuite):
    codec = Ours("data")
    samples = (lambda: {"a": [np.zeros(3), (1, 2)], "b": np.arange(OUT_OF_BAND)},)


class TestPandas(OwnSuite):
    codec = Ours("pandas")

    def _frame():
        import pandas as pd

        return pd.DataFrame(
            {
                "a": [1.5, 2],
                "s": ["x", None],
                "c": pd.Categorical(["u", "v"]),
                "t": pd.date_range("2020", periods=2, tz="UTC"),
                "o": np.array([1, "a"], object),
            }
        )

    samples = (_frame, lambda: __import__("pandas").Series(np.arange(OUT_OF_BAND)))


class TestArrow(OwnSuite):
    codec = Ours("arrow")
    samples = (lambda: __import__("pyarrow").table({"a": [1, None], "s": ["x", "y"]}),)


class TestScipy(OwnSuite):
    codec = Ours("scipy")
    samples = (lambda: __import__("scipy.sparse").sparse.csr_array(np.eye(3)),)


class TestXarray(OwnSuite):
    codec = Ours("xarray")
    samples = (lambda: __import__("xarray").DataArray([1.0, 2], {"x": [1, 2]}, ("x",), "n", {"u": "K"}),)


class Good:
    """Fractions, as JSON."""

    name = "test.fraction"

    def encode(self, value, /):
        return (
            Encoded(self.name, json.dumps([value.numerator, value.denominator]).encode())
            if type(value) is Fraction
            else None
        )

    def decode(self, head, buffers, /, *, trusted):
        try:
            numerator, denominator = json.loads(bytes(head))
            if buffers or not {type(numerator), type(denominator)} == {int}:
                raise ValueError("not two numbers")
            return Fraction(numerator, denominator)
        except (ValueError, TypeError, ZeroDivisionError, RecursionError) as error:
            raise MalformedObject(self.name, str(error)) from error


SAMPLES = (lambda: Fraction(1, 3), lambda: Fraction(2))


def test_a_codec_that_keeps_them_all():
    check_codec(Good(), SAMPLES)


class TestGood(CodecSuite):
    codec = Good()
    samples = SAMPLES


class Greedy(Good):
    def encode(self, value, /):
        return super().encode(value) or Encoded(self.name, b"?")


class Random(Good):
    count = 0

    def encode(self, value, /):
        Random.count += 1
        found = super().encode(value)
        return found and Encoded(self.name, found.head + b" " * Random.count)


class Raising(Good):
    def decode(self, head, buffers, /, *, trusted):
        return Fraction(*json.loads(bytes(head)))


class Hungry(Good):
    def decode(self, head, buffers, /, *, trusted):
        if b"\xff" in bytes(head):
            bytearray(10 << 20)
        return super().decode(head, buffers, trusted=trusted)


class Lossy(Good):
    def decode(self, head, buffers, /, *, trusted):
        return super().decode(head, buffers, trusted=trusted) + 1


class Other(Good):
    def encode(self, value, /):
        found = super().encode(value)
        return found and Encoded("test.other", found.head)


class Scattered(Good):
    def encode(self, value, /):
        found = super().encode(value)
        return found and Encoded(self.name, b"", (found.head,))

    def decode(self, head, buffers, /, *, trusted):
        if len(buffers) != 1 or len(head):
            raise MalformedObject(self.name, "no")
        return super().decode(buffers[0], [], trusted=trusted)


class Trusting(Good):
    def decode(self, head, buffers, /, *, trusted):
        if not trusted:
            raise MalformedObject(self.name, "no")
        return super().decode(head, buffers, trusted=trusted)


class Named(Good):
    name = "Test Fraction"


@pytest.mark.parametrize(
    "broken, message",
    [
        (Greedy, "took a value"),
        (Random, "other bytes"),
        (Raising, "raised"),
        (Hungry, "bytes were taken"),
        (Lossy, "came back as"),
        (Other, "encodes as"),
        (Scattered, "belong into the head"),
        (Trusting, "no"),
        (Named, "cannot name a codec"),
    ],
)
def test_a_codec_that_breaks_one_is_found_out(broken, message):
    with pytest.raises((AssertionError, MalformedObject), match=message):
        check_codec(broken(), SAMPLES)


def test_samples_are_asked_for():
    with pytest.raises(AssertionError, match="samples are missing"):
        check_codec(Good(), ())
