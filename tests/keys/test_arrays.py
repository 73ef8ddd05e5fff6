"""Arrays, scalars and dtypes of numpy: which are one key, which are two, which are refused, and at what cost in
memory.
"""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scalable_cas.keys import arrays
from scalable_cas.keys.call import CallKeyer
from scalable_cas.keys.encode import _Deep, encode
from scalable_cas.keys.nodes import Refused, Walk

from .golden_arrays import as_chararray
from .pair_tables import pair_tests

HAS_STRING = hasattr(np.dtypes, "StringDType")


def array(items, dtype=None):
    return np.array(items, dtype)


def objects(*items):
    """A one-dimensional array of objects, whatever they are."""
    found = np.empty(len(items), object)
    for i, item in enumerate(items):
        found[i] = item
    return found


def masked(items, mask, **options):
    return np.ma.MaskedArray(items, mask, **options)


def dirty(dtype, fill):
    """Three zeros of a dtype whose bytes between the fields are ``fill``."""
    found = np.frombuffer(bytes([fill]) * (3 * dtype.itemsize), dtype).copy()
    for name in dtype.names:
        found[name] = 0
    return found


def with_nan(bits):
    return np.array([bits], "<u8").view("<f8")


ALIGNED = np.dtype([("a", "i1"), ("b", "<f8"), ("c", "<i2")], align=True)
NESTED = np.dtype([("x", ALIGNED), ("y", "i1")])
PLAIN = np.dtype([("a", "<i4"), ("b", "<f4")])
MIXED = np.dtype([("name", object), ("n", "<i4")])
OVERLAID = np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i2"], "offsets": [0, 2], "itemsize": 4})
BACKWARD = np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i4"], "offsets": [4, 0]})
RECORD = np.dtype((np.record, PLAIN))
TITLED = np.dtype([(("Title", "a"), "<i4"), ("b", "<f4")])
A = np.arange(12.0).reshape(3, 4)

DIFFERENT = {
    "a value": (array([1, 2]), array([1, 3])),
    "the order": (array([1, 2]), array([2, 1])),
    "int32, int64": (array([1], "<i4"), array([1], "<i8")),
    "signed, unsigned": (array([1], "<i4"), array([1], "<u4")),
    "int, float": (array([0], "<i8"), array([0], "<f8")),
    "bool, uint8": (array([True]), array([1], "u1")),
    "float16, int16": (array([0], "<f2"), array([0], "<i2")),
    "complex, two floats": (array([1 + 2j]), array([1.0, 2.0])),
    "byte order": (array([1], "<i4"), array([1], ">i4")),
    "byte order, same bytes": (array([1], "<i4"), array([1 << 24], ">i4")),
    "shape": (A, A.reshape(4, 3)),
    "flat": (A, A.ravel()),
    "transposed": (A[:3, :3], A[:3, :3].T),
    "an axis of one": (array([1]), array([[1]])),
    "empty, by dtype": (np.zeros(0, "<i4"), np.zeros(0, "<f4")),
    "empty, by shape": (np.zeros((0, 3)), np.zeros((3, 0))),
    "0-d, 1-d": (array(1), array([1])),
    "0-d, scalar": (array(1, "<i8"), np.int64(1)),
    "0-d, Python": (array(1), 1),
    "an array, a list": (array([1, 2]), [1, 2]),
    "zeros of both signs": (array([0.0]), array([-0.0])),
    "bits of a NaN": (with_nan(0x7FF8000000000000), with_nan(0x7FF8000000000001)),
    "sign of a NaN": (array([np.nan]), -array([np.nan])),
    "S lengths": (array([b"a"], "S1"), array([b"a"], "S2")),
    "U lengths": (array(["a"], "<U1"), array(["a"], "<U2")),
    "S, U": (array(["a"], "S1"), array(["a"], "U1")),
    "V, S": (np.zeros(2, "V3"), np.zeros(2, "S3")),
    "units of time": (array([1], "<M8[s]"), array([1], "<M8[ms]")),
    "multiples of units": (array([1], "<M8[s]"), array([1], "<M8[25s]")),
    "a time, a span": (array([1], "<M8[s]"), array([1], "<m8[s]")),
    "a span, a number": (array([1], "<m8[s]"), array([1], "<i8")),
    "NaT, a time": (array(["NaT"], "<M8[s]"), array([0], "<M8[s]")),
    "no unit": (array([1], "<i8").view("<m8"), array([1], "<m8[s]")),
    "a field": (array([(1, 2)], PLAIN), array([(1, 3)], PLAIN)),
    "names of fields": (np.zeros(2, PLAIN), np.zeros(2, [("a", "<i4"), ("c", "<f4")])),
    "order of fields": (np.zeros(2, [("a", "<i4"), ("b", "<i4")]), np.zeros(2, [("b", "<i4"), ("a", "<i4")])),
    "offsets": (np.zeros(2, [("a", "<i4"), ("b", "<i4")]), np.zeros(2, BACKWARD)),
    "packed, with holes": (np.zeros(2, [("a", "i1"), ("b", "<f8"), ("c", "<i2")]), np.zeros(2, ALIGNED)),
    "titles": (np.zeros(2, PLAIN), np.zeros(2, TITLED)),
    "a field with holes": (np.zeros(1, ALIGNED), array([(0, 1, 0)], ALIGNED)),
    "a nested field": (np.zeros(1, NESTED), array([((0, 0, 1), 0)], NESTED)),
    "overlaid fields": (np.zeros(1, OVERLAID), np.ones(1, OVERLAID)),
    "a subarray": (np.zeros(2, [("a", "<i4", 2)]), np.zeros(2, [("a", "<i4", (2, 1))])),
    "a subarray, its content": (np.zeros(2, [("a", "<i4", 2)]), np.ones(2, [("a", "<i4", 2)])),
    "records, tuples": (np.zeros(2, PLAIN), np.zeros(2, RECORD)),
    "metadata": (np.zeros(2, "<i4"), np.zeros(2, np.dtype("<i4", metadata={"unit": "m"}))),
    "metadata, its value": (
        np.zeros(2, np.dtype("<i4", metadata={"unit": "m"})),
        np.zeros(2, np.dtype("<i4", metadata={"unit": "s"})),
    ),
    "fields, none": (np.zeros(2, PLAIN), np.zeros(2, "V8")),
    "objects, by type": (objects(1, 2), objects(1, 2.0)),
    "objects, by value": (objects("a", None), objects("a", np.nan)),
    "objects, numbers": (objects(1, 2), array([1, 2], "<i8")),
    "objects, cut elsewhere": (objects("a-b", "c"), objects("a", "b-c")),
    "objects, with NUL": (objects("a\0b", "c"), objects("a", "b\0c")),
    "objects, NUL or two": (objects("a\0b"), objects("a", "b")),
    "objects, empty texts": (objects("", ""), objects("", "", "")),
    "objects, surrogates": (objects("\ud800", "\udc00"), objects("\ud800\udc00")),
    "objects, nested": (objects([1], [2]), objects([1, 2])),
    "objects, the same elsewhere": (objects(A, 1), objects(A + 1, 1)),
    "objects, shape": (objects(1, 2, 3, 4), objects(1, 2, 3, 4).reshape(2, 2)),
    "objects, strings of numpy": (objects("a"), objects(np.str_("a"))),
    "objects in a field": (array([("a", 1)], MIXED), array([("b", 1)], MIXED)),
    "a number beside objects": (array([("a", 1)], MIXED), array([("a", 2)], MIXED)),
    "a matrix": (array([[1, 2]]), array([[1, 2]]).view(np.matrix)),
    "a recarray": (np.zeros(2, RECORD), np.zeros(2, PLAIN).view(np.recarray)),
    "a chararray": (array(["a"]), as_chararray(array(["a"]))),
    "masked, or not": (array([1, 2]), masked([1, 2], np.ma.nomask)),
    "no mask, a false mask": (masked([1, 2], np.ma.nomask), masked([1, 2], [False, False])),
    "masks": (masked([1, 2], [0, 1]), masked([1, 2], [1, 0])),
    "under no mask": (masked([1, 2], [0, 1]), masked([3, 2], [0, 1])),
    "masked, a zero": (masked([1, 0], [0, 1]), masked([1, 0], [0, 0])),
    "fill values": (masked([1, 2], [0, 1]), masked([1, 2], [0, 1], fill_value=5)),
    "hard masks": (masked([1, 2], [0, 1]), masked([1, 2], [0, 1], hard_mask=True)),
    "masks of fields": (
        masked(np.zeros(1, PLAIN), [(1, 0)]),
        masked(np.zeros(1, PLAIN), [(0, 1)]),
    ),
    "masked objects": (masked(objects("a", "b"), [0, 1]), masked(objects("c", "b"), [0, 1])),
    "masked, None": (np.ma.masked, None),
    "masked, float": (np.ma.masked, 0.0),
    "float64, float": (np.float64(1.5), 1.5),
    "str_, str": (np.str_("a"), "a"),
    "bytes_, bytes": (np.bytes_(b"a"), b"a"),
    "str_, bytes_": (np.str_("a"), np.bytes_(b"a")),
    "bool_, bool": (np.True_, True),
    "int64, int": (np.int64(1), 1),
    "int64, int32": (np.int64(1), np.int32(1)),
    "float32, float64": (np.float32(1), np.float64(1)),
    "scalars, by value": (np.uint8(1), np.uint8(2)),
    "times, by unit": (np.datetime64(1, "s"), np.datetime64(1, "m")),
    "times, spans": (np.datetime64(1, "s"), np.timedelta64(1, "s")),
    "records": (np.zeros(1, PLAIN)[0], np.ones(1, PLAIN)[0]),
    "a record, of an array": (np.zeros(1, PLAIN)[0], np.zeros((), PLAIN)),
    "a record, of records": (np.zeros(1, PLAIN)[0], np.zeros(1, RECORD)[0]),
    "voids": (np.void(b"ab"), np.void(b"ac")),
    "keys of a dict": ({np.int64(1): 0}, {1: 0}),
    "items of a set": ({np.float64(1)}, {1.0}),
    "dtypes": (np.dtype("<f4"), np.dtype("<f8")),
    "dtypes, by metadata": (np.dtype("<f4"), np.dtype("<f4", metadata={1: 2})),
    "dtypes, aligned": (ALIGNED, np.dtype([("a", "i1"), ("b", "<f8"), ("c", "<i2")])),
    "dtypes, by titles": (PLAIN, TITLED),
    "dtypes, subarrays": (np.dtype(("<f4", (2, 3))), np.dtype(("<f4", (3, 2)))),
    "a dtype, its name": (np.dtype("<f4"), "<f4"),
    "a dtype, its type": (np.dtype("<f8"), np.float64),
    "ufuncs": (np.add, np.multiply),
    "functions": (np.mean, np.median),
    "modules of functions": (np.linalg.norm, np.mean),
    "poly1d": (np.poly1d([1, 2]), np.poly1d([1, 3])),
    "poly1d, its variable": (np.poly1d([1, 2]), np.poly1d([1, 2], variable="z")),
    "polynomials": (np.polynomial.Polynomial([1, 2]), np.polynomial.Chebyshev([1, 2])),
    "polynomials, domain": (
        np.polynomial.Polynomial([1, 2]),
        np.polynomial.Polynomial([1, 2], domain=[0, 1]),
    ),
    "long, the last": (np.zeros(10**5), np.append(np.zeros(10**5 - 1), 1)),
    "long, the middle": (np.zeros(10**6, "u1"), np.where(np.arange(10**6) == 500_000, 1, 0).astype("u1")),
}
if HAS_STRING:
    STRING = np.dtypes.StringDType
    DIFFERENT |= {
        "strings": (array(["a", "b" * 50], STRING()), array(["a", "c" * 50], STRING())),
        "strings, fixed": (array(["a"], STRING()), array(["a"], "<U1")),
        "strings, objects": (array(["a"], STRING()), objects("a")),
        "strings, what is missing": (
            array(["a"], STRING(na_object=None)),
            array(["a"], STRING(na_object=np.nan)),
        ),
        "strings, missing or not": (array(["a"], STRING(na_object=None)), array(["a"], STRING())),
        "strings, a missing one": (
            array(["a", None], STRING(na_object=None)),
            array(["a", ""], STRING(na_object=None)),
        ),
        "strings, coerced": (array(["a"], STRING()), array(["a"], STRING(coerce=False))),
    }


def on_disk(values):
    """The same array as a memory map of a file that is gone."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        found = np.memmap(f"{folder}/m", values.dtype, "w+", shape=values.shape)
        found[...] = values
        return found


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def unaligned(values):
    raw = np.zeros(values.nbytes + 1, "u1")
    raw[1:] = values.reshape(-1).view("u1")
    return raw[1:].view(values.dtype).reshape(values.shape)


def with_read_fill(values):
    assert values.fill_value is not None
    return values


LARGE = np.arange(3_000_000).reshape(1000, 3000)
EQUAL = {
    "a copy": (A, A.copy()),
    "Fortran order": (A, np.asfortranarray(A)),
    "transposed twice": (A, A.T.copy().T),
    "every second": (A[:, ::2], A[:, ::2].copy()),
    "backwards": (A[::-1, ::-1], A[::-1, ::-1].copy()),
    "a slice": (A[1:, 1:], A[1:, 1:].copy()),
    "broadcast": (np.broadcast_to(array(3.0), (4, 5)), np.full((4, 5), 3.0)),
    "large, Fortran order": (LARGE, np.asfortranarray(LARGE)),
    "large, every second": (LARGE[:, ::2], LARGE[:, ::2].copy()),
    "large, broadcast": (np.broadcast_to(array(3.0), 3_000_000), np.full(3_000_000, 3.0)),
    "large, three axes": (
        LARGE.reshape(2, 3, -1).transpose(2, 0, 1),
        LARGE.reshape(2, 3, -1).transpose(2, 0, 1).copy(),
    ),
    "large, long rows": (LARGE.reshape(2, -1)[:, ::-1], LARGE.reshape(2, -1)[:, ::-1].copy()),
    "read-only": (A, read_only(A)),
    "unaligned": (A, unaligned(A)),
    "a memmap": (A, on_disk(A)),
    "a large memmap": (LARGE, on_disk(LARGE)),
    "padding": (dirty(ALIGNED, 0), dirty(ALIGNED, 255)),
    "padding of scalars": (dirty(ALIGNED, 0)[0], dirty(ALIGNED, 255)[0]),
    "a dtype that was unpickled": (A.astype(">f8"), A.astype(pickle.loads(pickle.dumps(np.dtype(">f8"))))),
    "longlong": (array([1], "<i8"), array([1], np.longlong)),
    "objects, shared": (objects([1], [1]), objects(*[[1]] * 2)),
    "objects, in another order": (objects(1, 2, 3, 4).reshape(2, 2).T, objects(1, 3, 2, 4).reshape(2, 2)),
    "under the mask": (masked([1, 2], [0, 1]), masked([1, 9], [0, 1])),
    "under the mask, fields": (
        masked(array([(1, 2)], PLAIN), [(0, 1)]),
        masked(array([(1, 9)], PLAIN), [(0, 1)]),
    ),
    "under the mask, objects": (
        masked(objects("a", object()), [0, 1]),
        masked(objects("a", "b"), [0, 1]),
    ),
    "under a large mask": (
        masked(LARGE, LARGE % 3 == 0),
        masked(np.where(LARGE % 3 == 0, -1, LARGE), LARGE % 3 == 0),
    ),
    "the usual fill value": (masked([1, 2], [0, 1]), masked([1, 2], [0, 1], fill_value=999999)),
    "a fill value that was read": (masked([1.0], [1]), with_read_fill(masked([1.0], [1]))),
    "scalars": (np.float64(0.1), array([0.1])[0]),
    "items of a set": ({np.int8(1), np.str_("a")}, {np.str_("a"), np.int8(1)}),
    "dtypes": (np.dtype("<f8"), np.dtype("float64").newbyteorder("<")),
    "a function": (np.mean, pickle.loads(pickle.dumps(np.mean))),
    "a polynomial": (np.poly1d([1, 2]), np.poly1d([0, 1, 2])),
}
if HAS_STRING:
    EQUAL |= {
        "strings, short and long": (
            array(["a" * 100, "b"], STRING()),
            array(["b", "a" * 100], STRING())[::-1],
        ),
        "strings, missing": (
            array(["a", None], STRING(na_object=None)),
            array([None, "a"], STRING(na_object=None))[::-1],
        ),
    }


def test_there_are_enough_pairs():
    assert len(DIFFERENT) + len(EQUAL) >= 120


test_two_keys, test_one_key = pair_tests(DIFFERENT, EQUAL)


@pytest.mark.parametrize("name", [*DIFFERENT, *EQUAL])
def test_the_engines_agree_and_nothing_is_altered(name):
    for value in {**DIFFERENT, **EQUAL}[name]:
        before = encode([value, {"a": value}])
        assert before == _Deep(Walk([])).run([value, {"a": value}])
        assert encode([value, {"a": value}]) == before


def _pickles_as_it_is(value):
    """All but what numpy itself changes: masked arrays without a mask come back with one that is false everywhere,
    those with a hard mask with a soft one, arrays may come back in the byte order of the machine, and numpy 2.5
    cannot find its own chararray.
    """
    if isinstance(value, np.ma.MaskedArray):
        return value.mask is not np.ma.nomask and not value.hardmask
    if type(value).__name__ == "chararray":
        return False
    return not isinstance(value, np.ndarray) or value.dtype.str[0] != ">"


@pytest.mark.parametrize("name", DIFFERENT)
def test_copies_have_the_key_of_the_original(name):
    for value in DIFFERENT[name]:
        assert encode(copy.deepcopy(value)) == encode(value)
        if _pickles_as_it_is(value):
            for protocol in (2, 5):
                assert encode(pickle.loads(pickle.dumps(value, protocol))) == encode(value)


# --- any array ---------------------------------------------------------------------------------------------

scalar_dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    hnp.byte_string_dtypes(min_len=1, max_len=5),
    hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=5),
    hnp.datetime64_dtypes(),
    hnp.timedelta64_dtypes(),
)
dtypes = st.one_of(scalar_dtypes, hnp.nested_dtypes(scalar_dtypes, max_leaves=4))
any_array = dtypes.flatmap(
    lambda dtype: hnp.arrays(dtype.base, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
)


def same(first, second):
    """What one key means, said without the code under test."""
    return (
        (first.dtype.descr if first.dtype.names else first.dtype.str)
        == (second.dtype.descr if second.dtype.names else second.dtype.str)
        and first.shape == second.shape
        and first.tobytes() == second.tobytes()
    )


@given(any_array, any_array)
def test_one_key_means_one_dtype_shape_and_content(first, second):
    assert (encode(first) == encode(second)) is same(first, second)


@given(any_array.filter(lambda value: value.nbytes), st.data())
def test_a_changed_byte_is_another_key(value, data):
    changed = value.copy()
    raw = changed.reshape(-1).view("u1")
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    assert encode(changed) != encode(value)


@given(any_array, st.randoms(use_true_random=False))
def test_how_an_array_lies_in_memory_does_not_count(value, random):
    expected = encode(value)
    axes = [*range(value.ndim)]
    random.shuffle(axes)
    spread = np.zeros([2 * n for n in value.shape], value.dtype)
    spread[(..., *[slice(None, None, 2)] * value.ndim)] = value
    for other in (
        np.asfortranarray(value).reshape(value.shape),
        value.transpose(axes).copy().transpose(np.argsort(axes)) if axes else value,
        spread[(..., *[slice(None, None, 2)] * value.ndim)],
        value[(..., *[slice(None, None, -1)] * value.ndim)].copy()[
            (..., *[slice(None, None, -1)] * value.ndim)
        ],
        copy.deepcopy(value),
    ):
        assert encode(other) == expected
        assert _Deep(Walk([])).run([other]) == encode([other])


@given(any_array, st.integers(1, 40))
def test_the_size_of_the_blocks_does_not_count(value, size):
    """With blocks of some bytes, what takes gigabytes otherwise is done to small arrays."""
    wide = np.broadcast_to(value, (40, *value.shape))  # so that most are above 1 KiB, and none is contiguous
    expected = encode(wide.copy())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK", size)
        assert encode(wide) == expected


texts = st.text(st.characters(codec=None), max_size=3) | st.sampled_from(["", "\0", "a\0", "\ud800"])
leaves = texts | st.integers() | st.none() | st.booleans()


@given(st.lists(leaves, max_size=5), st.lists(leaves, max_size=5))
def test_arrays_of_objects_are_one_where_their_elements_are(first, second):
    assert (encode(objects(*first)) == encode(objects(*second))) is (encode(first) == encode(second))


# --- by hand -----------------------------------------------------------------------------------------------


def u64(n):
    return n.to_bytes(8, "little")


def text(s):
    return b"s" + u64(len(s)) + s.encode()


def integer(n):
    return b"i" + n.to_bytes(8, "little", signed=True)


def test_an_array_by_hand():
    value = np.array([[1, 2]], "<i2")
    shape = b"t" + u64(2) + integer(1) + integer(2)
    data = b"b" + u64(4) + bytes([1, 0, 2, 0])
    assert encode(value) == b"o" + text("ndarray") + u64(3) + text("<i2") + shape + data


def test_fields_with_holes_by_hand():
    dtype = np.dtype({"names": ["a"], "formats": ["u1"], "offsets": [1], "itemsize": 3})
    field = b"t" + u64(4) + text("a") + b"t" + u64(0) + integer(1) + text("|u1")
    descriptor = b"o" + text("dtype fields") + u64(4) + b"F" + b"F" + integer(3) + b"l" + u64(1) + field
    data = b"o" + text("fields") + u64(1) + text("a") + b"b" + u64(1) + b"\x07"
    value = np.zeros((), dtype)
    value["a"] = 7
    assert encode(value) == b"o" + text("ndarray") + u64(3) + descriptor + b"t" + u64(0) + data


# --- refusals ----------------------------------------------------------------------------------------------


class Subclass(np.ndarray):
    pass


class SubclassOfScalar(np.float64):
    pass


def given_attribute(value):
    value.unit = "m"
    return value


def laid_over():
    return np.zeros(2, np.dtype((np.int32, {"re": (np.int16, 0), "im": (np.int16, 2)})))


REFUSED = {
    "a subclass": (lambda: np.zeros(2).view(Subclass), "pass the plain array"),
    "a subclass of a scalar": (lambda: SubclassOfScalar(1), "no encoding"),
    "longdouble": (lambda: np.zeros(2, np.longdouble), "longdouble"),
    "clongdouble": (lambda: np.zeros(2, np.clongdouble), "longdouble"),
    "a longdouble": (lambda: np.longdouble(1), "convert"),
    "a longdouble field": (lambda: np.zeros(2, [("a", np.longdouble)]), "longdouble"),
    "a Generator": (np.random.default_rng, "seed"),
    "a RandomState": (np.random.RandomState, "seed"),
    "a bit generator": (np.random.PCG64, "seed"),
    "a function of a RandomState": (lambda: np.random.rand, "seed"),
    "an iterator": (lambda: np.nditer(np.zeros(2)), "moves it on"),
    "an iterator of elements": (lambda: np.zeros(2).flat, "moves it on"),
    "finfo": (lambda: np.finfo("f8"), "no encoding"),
    "vectorize": (lambda: np.vectorize(abs), "no encoding"),
    "a ufunc of one's own": (lambda: np.frompyfunc(abs, 1, 1), "name"),
    "attributes": (lambda: given_attribute(array([[1]]).view(np.matrix)), "unit"),
    "attributes of a mask": (lambda: given_attribute(np.ma.array([1])), "unit"),
    "a masked matrix": (lambda: np.ma.MaskedArray(array([[1]]).view(np.matrix)), "matrix"),
    "fields over a number": (laid_over, "fields laid over"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    make, words = REFUSED[name]
    with pytest.raises(Refused, match=words):
        encode(make())


@pytest.mark.parametrize(
    "value, path",
    [
        (objects(1, threading.Lock()), "[1]"),
        ({"m": objects(1, [objects(threading.Lock())])}, '["m"][1][0][0]'),
        (np.array([("a", 1), (threading.Lock(), 2)], MIXED), '["name"][1]'),
        (np.zeros(1, np.dtype("<i4", metadata={"k": threading.Lock()})), '["k"]'),
    ],
)
def test_the_path_to_what_is_refused(value, path):
    with pytest.raises(Refused) as refused:
        encode(value)
    assert refused.value.path == path


def test_an_array_in_itself():
    first, second = objects(1, 2), objects(1, 2)
    first[0], second[0] = first, second
    assert encode(first) == encode(second) != encode(objects(objects(1, 2), 2))


def test_a_class_of_ones_own_may_say_what_identifies_it():
    class Quantity(np.ndarray):
        def __scalable_key__(self):
            return np.asarray(self)

    assert encode(np.zeros(2).view(Quantity)) != encode(np.ones(2).view(Quantity))


def takes_one(x):
    return x


def test_a_large_array_in_many_places_is_read_once(monkeypatch):
    reads = []
    monkeypatch.setattr(arrays, "digest", lambda data, size: reads.append(size) or bytes(32))
    value = np.zeros(10_000)
    encode([value] * 50)
    assert reads == [80_000]


def bound_to(value):
    def inner(x):
        return value, x

    return inner


def of_many(*values, **named):
    return values, named


@pytest.mark.parametrize(
    "function, declared, call",
    [
        (takes_one, {}, lambda a, b: (([a, b],), {})),
        (takes_one, {}, lambda a, b: (({"deep": [a], "b": b},), {})),
        (takes_one, {}, lambda a, b: (((1, *range(5000), a, b),), {})),
        (takes_one, {"x": list[np.ndarray]}, lambda a, b: (([a, b],), {})),
        (of_many, {}, lambda a, b: ((a, [a]), {"b": b, "c": (b, 1)})),
        (bound_to(np.ones(10_000)), {}, lambda a, _: ((a,), {})),
        (bound_to([np.ones(10_000)]), {}, lambda a, _: (([a],), {})),
    ],
)
def test_the_record_of_a_call_reads_no_array_again(function, declared, call, monkeypatch):
    made = CallKeyer(function, arg_types=declared)
    args, kwargs = call(np.zeros(10_000), np.zeros(10_000))
    expected = made.account(args, kwargs)
    reads, real = [], arrays.digest
    monkeypatch.setattr(arrays, "digest", lambda data, size: reads.append(size) or real(data, size))
    _, args, kwargs, inputs, found = made.bind(args, kwargs, None)
    assert made.account(args, kwargs, found, inputs) == expected
    assert reads == [80_000] * 2


def test_what_was_found_of_a_call_keeps_nothing_alive_once_it_is_let_go():
    made, value = CallKeyer(of_many, arg_types={}), np.zeros(10_000)
    *_, found = made.bind((value,), {}, None)
    held = sys.getrefcount(value)
    found.let_go()
    assert sys.getrefcount(value) < held
    assert made.account((value,), {}, found) == made.account((value,), {})


def test_from_another_thread():
    found = []
    value = np.arange(1_000_000)
    thread = threading.Thread(target=lambda: found.append(encode(value)))
    thread.start()
    thread.join()
    assert found == [encode(value)]


# --- declared types ----------------------------------------------------------------------------------------


def takes(x):
    return x


def bound(declared, value):
    """(key, what the function receives) of a call with a declared argument."""
    key, args, *_ = CallKeyer(takes, arg_types={"x": declared}).bind((value,), {}, None)
    return key, args[0]


@pytest.mark.parametrize(
    "declared, value, plain",
    [
        (int, np.int64(42), 42),
        (int, np.uint8(42), 42),
        (int, np.array(42), 42),
        (float, np.float64(0.5), 0.5),
        (float, np.float32(0.5), 0.5),
        (float, np.float16(0.5), 0.5),
        (bool, np.True_, True),
        (str, np.str_("a"), "a"),
        (bytes, np.bytes_(b"a"), b"a"),
        (list[int], [np.int8(1), 2], [1, 2]),
    ],
)
def test_scalars_of_numpy_convert_to_a_declared_type(declared, value, plain):
    key, received = bound(declared, value)
    assert (key, received) == bound(declared, plain)
    assert type(received) is type(plain)


@pytest.mark.parametrize(
    "declared, value",
    [
        (int, np.float64(1)),
        (int, np.timedelta64(1, "s")),
        (int, np.array([1])),
        (int, np.array(1.0)),
        (int, np.True_),
        (int, np.str_("1")),
        (float, np.int64(1)),
        (float, np.longdouble(1)),
        (float, np.complex128(1)),
        (bool, np.int8(1)),
        (str, np.bytes_(b"a")),
    ],
)
def test_and_nothing_else_does(declared, value):
    with pytest.raises(TypeError, match="declared"):
        bound(declared, value)


# --- memory ------------------------------------------------------------------------------------------------

GROWTH = """
import resource, sys
import numpy as np
from scalable_cas.keys.encode import encode
encode(np.asfortranarray(np.zeros((2000, 3000))))  # what is loaded and allocated once
value = {value}
value[...] = 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
encode(value)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / value.nbytes)
"""


@pytest.mark.parametrize(
    "value",
    [
        "np.empty(30_000_000)",
        "np.empty((5000, 6000), order='F')",
        "np.empty((5000, 6000))[:, ::-1]",
        "np.ma.MaskedArray(np.empty(30_000_000), np.zeros(30_000_000, bool))",
    ],
)
def test_a_large_array_is_not_copied(value):
    done = subprocess.run(
        [sys.executable, "-c", GROWTH.format(value=value)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 0.1


def test_a_broadcast_of_gigabytes_is_read_in_blocks():
    wide = np.broadcast_to(np.zeros(1 << 20, "u1"), (300, 1 << 20))
    assert encode(wide) != encode(wide[:299])


def test_a_file_of_arrays_is_refused():
    file = io.BytesIO()
    np.savez(file, a=A)
    file.seek(0)
    with np.load(file) as loaded, pytest.raises(Refused):
        encode(loaded)
