"""Values of every plain type, for the property tests."""

from __future__ import annotations

import array
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, timedelta, timezone
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType, SimpleNamespace
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.codecs.samples import (
    Access,
    Bits,
    Child,
    Colour,
    Frozen,
    Level,
    Mode,
    Pair,
    Point,
    Run,
    Shape,
    Slotted,
    Thing,
)

doubles = st.binary(min_size=8, max_size=8).map(lambda data: struct.unpack(">d", data)[0]) | st.floats()
texts = st.text(st.characters(exclude_categories=()), max_size=8)  # with lone surrogates
integers = st.integers() | st.integers(-(2**70), 2**70) | st.sampled_from([2**63, 2**64, -(2**63), 2**64 - 1])
zones = (
    st.none()
    | st.just(UTC)
    | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
    | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), texts)
    | st.sampled_from(["Europe/Paris", "America/New_York", "UTC"]).map(ZoneInfo)
)
parts = st.text(st.characters(exclude_characters="\0/", exclude_categories=("Cs",)), max_size=5)


def _hashable_leaves():
    return (
        st.none()
        | st.booleans()
        | integers
        | doubles
        | texts
        | st.binary(max_size=8)
        | st.builds(complex, doubles, doubles)
        | st.sampled_from([..., NotImplemented])
        | st.builds(range, integers, integers, integers.filter(bool))
        | st.dates()
        | st.times(timezones=zones)
        | st.datetimes(timezones=zones, allow_imaginary=True)
        | st.timedeltas()
        | zones
        | st.decimals().filter(lambda value: not value.is_snan())  # a signalling NaN has no hash
        | st.builds(Fraction, integers, integers.filter(bool))
        | st.uuids(allow_nil=True)
        | st.lists(parts, max_size=3).map(lambda found: Path(*found))
        | st.lists(parts, max_size=3).map(lambda found: PurePosixPath(*found))
        | st.lists(parts, max_size=3).map(lambda found: PureWindowsPath(*found))
        | st.sampled_from([*Colour, *Level, *Mode, *Access, *Bits, *Shape])
        | st.integers(0, 3).map(Access)
        | st.integers(-8, 8).map(Bits)
    )


def _opaque(strategy):
    """The same strategy under a short name: hypothesis writes one out in full, wherever it occurs, to report
    that it retried a draw, and warns when that is long.
    """

    @st.composite
    def drawn(draw):
        return draw(strategy)

    return drawn()


keys = _opaque(
    st.recursive(
        _opaque(_hashable_leaves()),
        lambda inner: (
            st.lists(inner, max_size=3).map(tuple)
            | st.frozensets(inner, max_size=3)
            | st.builds(Frozen, inner)
            | st.builds(Slotted, inner, inner)
            | st.builds(Point, inner, inner)
        ),
        max_leaves=4,
    )
)
values = st.recursive(
    keys
    | st.binary(max_size=8).map(bytearray)
    | st.builds(array.array, st.just("d"), st.lists(doubles, max_size=3)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(texts, inner, max_size=3)
        | st.sets(keys, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(OrderedDict)
        | st.dictionaries(keys, inner, max_size=3).map(MappingProxyType)
        | st.builds(
            defaultdict, st.sampled_from([None, list, dict, set, int, str]), st.dictionaries(keys, inner)
        )
        | st.dictionaries(keys, inner, max_size=3).map(Counter)
        | st.builds(deque, st.lists(inner, max_size=3), st.none() | st.integers(3, 9))
        | st.dictionaries(texts, inner, max_size=3).map(lambda found: SimpleNamespace(**found))
        | st.builds(slice, inner, inner, inner)
        | st.builds(Run, texts, st.lists(inner, max_size=2))
        | st.builds(Child, texts, st.lists(inner, max_size=2), inner)
        | st.builds(Thing, inner)
        | st.builds(Slotted, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=8,
)
