"""Damaged and invented values of libraries: an error of ours or a value that can be used, nothing else, and
little memory. A crash of the interpreter ends this test run, and so is seen.
"""

from __future__ import annotations

import copy
import io
import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalable_cas.codecs import decode, encode, libraries
from scalable_cas.errors import MalformedObject, MissingLibrary, ScalableCasError, UntrustedEntry
from tests.codecs.test_library_vectors import NAMES, VECTORS

pytest.importorskip("pandas")
MARK, MEMORY = msgpack.ExtType(51, b""), 13
SMALL = [vector for vector in VECTORS if len(vector["head"]) < 4000 and not vector["buffers"]]
#: What has been seen to matter: limits, other types, names of everything.
POOL = [
    *(0, 1, -1, 2, 7, 255, 2**31, 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1),
    *(
        None,
        True,
        False,
        1.5,
        float("nan"),
        "",
        "C",
        "F",
        "a",
        "ns",
        "M",
        "nan",
        "csr_matrix",
        "dok_array",
        "pytz",
    ),
    *(
        "<i8",
        "|b1",
        "|O",
        "<M8[ns]",
        "|V0",
        "|S0",
        "<U0",
        "<c16",
        ["long", "<f16", 63],
        ["string", True, None],
    ),
    *(
        b"",
        b"\x00",
        b"\x01" * 8,
        b"\xff" * 8,
        b"\xff" * 64,
        [],
        [[]],
        {},
        {"a": 1},
        [0],
        [2**62, 2**62],
        [3, 0],
    ),
    msgpack.ExtType(MEMORY, bytes(4)),
    msgpack.ExtType(MEMORY, b"\x00\x00\x00\x01"),
    msgpack.ExtType(32, b""),
    *([MARK, name] for name in ("pandas.NaT", "numpy.ma.masked", "pandas.NA")),
]


def head_of(tree):
    return b"\xc1" + msgpack.packb(tree, unicode_errors="surrogatepass")


def tree_of(vector):
    return msgpack.unpackb(
        bytes.fromhex(vector["head"])[1:], strict_map_key=False, unicode_errors="surrogatepass"
    )


TREES = [tree for tree in map(tree_of, SMALL) if isinstance(tree, list)]


def parts(tree):
    """Every part of a tree, with the list that it lies in."""
    if isinstance(tree, list):
        for place, part in enumerate(tree):
            yield tree, place
            yield from parts(part)


PIECES = [holder[place] for tree in TREES for holder, place in parts(tree)]


def check(head, buffers=()):
    """Decode as a stranger's, in a list of one; use what comes of it."""
    try:
        (value,) = decode("data", b"\xc1\x91" + head[1:], buffers, trusted=False)
    except ScalableCasError:
        return
    use(value)


def use(value):
    """Read all of a value. It may be nonsense to its library, but not to the machine."""
    try:
        if isinstance(value, np.ndarray) and value.size < 10_000:
            value.tolist(), value.copy(), np.sort(value, axis=None)
        elif type(value).__module__.startswith("pandas") and getattr(value, "size", 0) < 10_000:
            repr(value), value.copy(), value.isna()
        elif type(value).__module__.startswith("scipy") and np.prod([float(n) for n in value.shape]) < 10_000:
            value.toarray(), value.tocsr(), value.sum()
        elif (
            type(value).__module__.startswith("pyarrow")
            and hasattr(value, "to_pylist")
            and len(value) < 10_000
        ):
            value.to_pylist()
        elif type(value).__module__.startswith("xarray"):
            value.copy(deep=True), repr(value)
        encode(value)
    except MemoryError:
        raise
    except Exception:
        return


@settings(max_examples=400)
@given(st.sampled_from(SMALL), st.data())
def test_damaged_bytes(vector, data):
    head = bytearray(bytes.fromhex(vector["head"]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(head) - 1))
        match data.draw(st.sampled_from(["flip", "set", "cut", "insert"])):
            case "flip":
                head[at] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                head[at] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
            case "cut":
                del head[at : at + data.draw(st.integers(1, 8))]
            case "insert":
                head[at:at] = data.draw(st.binary(min_size=1, max_size=4))
        if not head:
            break
    check(bytes(head), [b"x" * 64, bytearray(8)])


@settings(max_examples=1200)
@given(st.integers(0, len(TREES) - 1), st.data())
def test_parts_of_one_value_in_another(number, data):
    tree = copy.deepcopy(TREES[number])
    for _ in range(data.draw(st.integers(1, 2))):
        places = list(parts(tree))
        if not places:
            break
        holder, place = places[data.draw(st.integers(0, len(places) - 1))]
        match data.draw(st.sampled_from(["pool", "piece", "delete", "double"])):
            case "pool":
                holder[place] = copy.deepcopy(POOL[data.draw(st.integers(0, len(POOL) - 1))])
            case "piece":
                holder[place] = copy.deepcopy(PIECES[data.draw(st.integers(0, len(PIECES) - 1))])
            case "delete":
                del holder[place]
            case "double":
                holder.insert(place, copy.deepcopy(holder[place]))
    check(head_of(tree), [b"x" * 64, bytearray(8)])


@pytest.mark.parametrize("vector", SMALL, ids=lambda vector: vector["name"])
def test_every_truncation(vector):
    head = bytes.fromhex(vector["head"])
    for end in range(len(head)):
        with pytest.raises(MalformedObject):
            decode(vector["codec"], head[:end], [], trusted=False)
    with pytest.raises(MalformedObject):
        decode(vector["codec"], head + b"\x00", [], trusted=False)


def array_head(dtype, shape, content=b"", *more):
    return head_of([MARK, "numpy.array", dtype, shape, "C", content, *more])


@pytest.mark.parametrize(
    "head",
    [
        array_head("<f8", [2**61]),
        array_head("<f8", [2**40, 2**40]),
        array_head("|b1", [2**50]),
        array_head("|S0", [2**40]),
        array_head("<U0", [2**40]),
        array_head("|O", [2**40], [None, [b"", b""]]),
        array_head(["string", True], [2**40], [None, b"", b""]),
        array_head("|O", [2], [None, [b"\xff\xff\xff\xff" * 2, b""]]),
        array_head(["fields", False, False, 2**40, [["a", None, 0, "<f8"]]], [1], b""),
        array_head(["array", "<f8", [2**30]], [1], b""),
        head_of([MARK, "numpy.scalar", "|V2147483647", b""]),
        head_of([MARK, "pandas.strings", "na", "python", 2**40, None, [b"", b""]]),
        head_of([MARK, "pandas.strings", "na", "pyarrow", 2**40, None, [b"", b""]]),
        head_of(
            [
                MARK,
                "scipy.sparse",
                "lil_matrix",
                [2**40, 1],
                b"",
                [MARK, "numpy.array", "<i8", [0], "C", b""],
                [MARK, "numpy.array", "<f8", [0], "C", b""],
            ]
        ),
    ],
    ids=range(14),
)
def test_sizes_that_are_not_there_take_no_memory(head):
    with pytest.raises(MalformedObject):  # what it imports counts for itself
        decode("data", head, [], trusted=False)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedObject):
            decode("data", head, [], trusted=False)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def line(values, dtype):
    array = np.array(values, dtype)
    return [MARK, "numpy.array", array.dtype.str, list(array.shape), "C", array.tobytes()]


@pytest.mark.parametrize(
    "tree",
    [
        [MARK, "numpy.array", "|b1", [1], "C", b"\x02"],
        [MARK, "numpy.array", ["fields", False, False, 1, [["a", None, 0, "|b1"]]], [1], "C", b"\x02"],
        [MARK, "numpy.scalar", "|b1", b"\x02"],
        [MARK, "scipy.sparse", "csr_matrix", [2, 2], line([1.0], "f8"), line([9], "i4"), line([0, 1, 1], "i4")],
        [MARK, "scipy.sparse", "csr_matrix", [2, 2], line([1.0], "f8"), line([0], "i4"), line([0, 9, 1], "i4")],
        [MARK, "scipy.sparse", "csc_array", [2, 2], line([1.0], "f8"), line([-1], "i4"), line([0, 1, 1], "i4")],
        [MARK, "scipy.sparse", "coo_matrix", [2, 2], line([1.0], "f8"), [line([0], "i4"), line([5], "i4")]],
        [MARK, "scipy.sparse", "dok_matrix", [2, 2], line([[0, 5]], "i8"), line([1.0], "f8")],
        [MARK, "pandas.Categorical", [MARK, "pandas.RangeIndex", None, 0, 2, 1], False, line([7], "i1")],
        [MARK, "pandas.SparseArray", 3, 0.0, "integer", line([9], "i4"), line([1.0], "f8")],
        [MARK, "pandas.SparseArray", 3, 0.0, "integer", line([1], "i4"), line([1.0, 2.0], "f8")],
        [MARK, "pandas.MultiIndex", [None], None, [[MARK, "pandas.RangeIndex", None, 0, 2, 1]], [line([7], "i1")]],
        [MARK, "pandas.DataFrame", [MARK, "pandas.RangeIndex", None, 0, 1, 1], [MARK, "pandas.RangeIndex", None, 0, 3, 1], None, True, [line([1.0], "f8")]],
        [MARK, "numpy.array", "<f8", [1], "C", msgpack.ExtType(MEMORY, bytes(4)), "matrix", 1],
        [[MARK, "numpy.array", "<f8", [1], "C", msgpack.ExtType(MEMORY, bytes(4))]] * 2,
        msgpack.ExtType(MEMORY, bytes(4)),
        [msgpack.ExtType(MEMORY, bytes(4))],
        [MARK, "numpy.array", "<f8", [0], "C", b"", "chararray"],
        [MARK, "os.system", "true"],
        [MARK, "numpy.load", "x"],
        [MARK],
        [MARK, 1],
    ],
    ids=str,
)  # fmt: skip
def test_what_the_encoder_never_writes(tree):
    for trusted in (True, False):
        if trusted and "|b1" in str(tree):
            continue
        with pytest.raises(MalformedObject):
            decode("data", head_of(tree), [bytearray(8)], trusted=trusted)


def test_plain_values_hold_none():
    head = encode(np.arange(3)).head
    with pytest.raises(MalformedObject):
        decode("plain", head, [], trusted=True)
    with pytest.raises(MalformedObject):
        decode("plain", b"\xc1" + msgpack.packb(msgpack.ExtType(MEMORY, bytes(4))), [b"x"], trusted=True)


def test_a_compressed_stream_is_refused_before_it_is_read():
    pa = pytest.importorskip("pyarrow")
    sink = io.BytesIO()
    schema = pa.schema([("", pa.int64())])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_batch(pa.record_batch([pa.array([1] * 10_000)], schema=schema))
    with pytest.raises(MalformedObject, match="compressed"):
        decode("arrow", head_of([MARK, "pyarrow.Array", sink.getvalue()]), [], trusted=False)


def test_an_extension_type_runs_no_code():
    pa = pytest.importorskip("pyarrow")
    ran = []

    class Mine(pa.ExtensionType):
        def __init__(self):
            super().__init__(pa.int64(), "tests.mine")

        def __arrow_ext_serialize__(self):
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage, serialized):
            ran.append(storage)
            return cls()

    pa.register_extension_type(Mine())
    try:
        array = pa.ExtensionArray.from_storage(Mine(), pa.array([1]))
        assert encode(array).codec == "pickle"
        assert encode(pa.table({"a": array})).codec == "pickle"
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, pa.schema([("", Mine())])) as writer:
            writer.write_batch(pa.record_batch([array], names=[""]))
        ran.clear()
        with pytest.raises(MalformedObject, match="extension"):
            decode("arrow", head_of([MARK, "pyarrow.Array", sink.getvalue()]), [], trusted=False)
        assert not ran
    finally:
        pa.unregister_extension_type("tests.mine")


def test_values_of_polars_need_trust():
    pl = pytest.importorskip("polars")
    encoded = encode(pl.DataFrame({"a": [1]}))
    assert encoded.codec == "polars"
    with pytest.raises(UntrustedEntry):
        decode("polars", encoded.head, [], trusted=False)


def test_a_library_that_is_not_installed_is_named(run):
    head = encode(NAMES["pd"].Series([1.0])).head
    program = f"""
import sys
sys.modules["pandas"] = None
from scalable_cas.codecs import decode
from scalable_cas.errors import UnknownCodec
try:
    decode("pandas", {head!r}, [], trusted=True)
except UnknownCodec as error:
    print(type(error).__name__, error.name, error)
"""
    done = run("-c", program)
    assert (
        done.stdout
        == "MissingLibrary pandas the stored value needs pandas, which is not installed; install it\n"
    ), done.stderr
    assert issubclass(MissingLibrary, ScalableCasError)


def test_names_choose_among_known_handlers_only():
    for name in ("os.path", "numpy", "pandas.DataFrame.__init__", "scalable_cas.codecs", "numpy.array "):
        with pytest.raises(MalformedObject):
            decode("data", head_of([MARK, name]), [], trusted=True)
    assert set(libraries._HANDLERS) == {"numpy", "pandas", "polars", "pyarrow", "scipy", "torch", "xarray"}
