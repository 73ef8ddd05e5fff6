"""Tensors of torch: what comes back is what went in. Not part of every run, because torch is large:
`tox -e torch`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib.util import find_spec

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalable_cas import CacheWarning, cacheable
from scalable_cas.codecs import decode, encode
from scalable_cas.codecs.encoded import OUT_OF_BAND
from scalable_cas.errors import MalformedObject, NotStorable, ScalableCasError, UntrustedEntry
from tests.codecs.same_values import identical

pytestmark = [
    pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: tox -e torch"),
    pytest.mark.filterwarnings(
        "ignore:.*beta state.*",
        "ignore:.*quantiz.*",
        "ignore:.*prototype.*",
        "ignore:TypedStorage",
        "ignore:ComplexHalf",
    ),
]
LARGE = OUT_OF_BAND // 8
DTYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)


def there_and_back(value, codec="torch", *, buffer=bytearray, **options):
    encoded = encode(value)
    assert encoded.codec == codec
    parts = [buffer(memoryview(part).cast("B")) for part in encoded.buffers]
    return decode(encoded.codec, encoded.head, parts, **{"trusted": False, **options})


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_and_shape(name, torch):
    base = torch.arange(24).reshape(2, 3, 4).to(getattr(torch, name))
    scalar = base[1, 0, 0]
    for value in (base, base.mT, base[:, ::2], base[1], scalar, base[:0], base[:, :0].mT, base.reshape(24)):
        for buffer in (bytes, bytearray):
            assert identical(value, there_and_back(value, buffer=buffer))
    large = torch.arange(LARGE * 8).to(torch.uint8).clamp(max=1).view(getattr(torch, name))
    assert encode(large).buffers
    assert identical(large, there_and_back(large))


def test_bits_are_kept(torch):
    for bits in (0x7FC0, 0x7F81, 0xFFFF, 0x8000, 0x0001):  # not-a-numbers, minus zero, the smallest
        value = torch.tensor([bits - (bits >> 15 << 16)], dtype=torch.int16).view(torch.bfloat16)
        assert identical(value, there_and_back(value))


def test_views_come_back_as_their_values(torch):
    pair = torch.tensor([1 + 2j, 3 - 4j])
    for value in (pair.conj(), pair.conj().imag, torch.ones(1).expand(5000), torch.arange(9.0)[::3]):
        back = there_and_back(value)
        assert identical(value, back)
        assert back.is_contiguous()


@pytest.mark.parametrize(
    "buffer",
    [bytes, bytearray, lambda part: memoryview(bytearray(9) + bytearray(part))[9:]],
    ids=["read-only", "writable", "odd address"],
)
@pytest.mark.parametrize("count", [3, LARGE])
def test_what_comes_back_is_writable_aligned_and_its_own(torch, buffer, count):
    value = torch.arange(float(count), dtype=torch.float64)
    kept = value.clone()
    for options in ({}, {"writable": False}, {"trusted": True}):
        back = there_and_back(value, buffer=buffer, **options)
        assert back.data_ptr() % 8 == 0
        back += 1
        assert identical(value, kept)
        assert back[-1] == count


def test_a_writable_buffer_becomes_the_memory(torch):
    made = []
    back = there_and_back(
        torch.ones(LARGE, dtype=torch.float64), buffer=lambda p: made.append(bytearray(p)) or made[-1]
    )
    back[0] = 2
    assert made[0][:8] == np.float64(2).tobytes()


def test_gradients_and_parameters(torch):
    assert there_and_back(torch.ones(2, requires_grad=True)).requires_grad
    assert not there_and_back(torch.ones(2)).requires_grad
    for wanted in (True, False):
        parameter = torch.nn.Parameter(torch.ones(LARGE * 4), requires_grad=wanted)
        back = there_and_back({"w": parameter}, "data")["w"]
        assert type(back) is torch.nn.Parameter
        assert identical(parameter, back)
    back = there_and_back(torch.nn.Parameter(torch.ones(3)))
    (back * 2).sum().backward()
    assert back.grad.tolist() == [2, 2, 2]


@dataclass
class Fitted:
    weights: object
    name: str


def test_in_containers(torch):
    tensor, large = torch.arange(6).reshape(2, 3), torch.rand(LARGE * 4)
    for value in ([tensor, large], (tensor, {"a": large}), {"x": [tensor], "n": np.ones(3)}):
        assert identical(value, there_and_back(value, "data"))
    assert identical(Fitted(large, "a"), there_and_back(Fitted(large, "a"), "data", trusted=True))
    twice = there_and_back([tensor, tensor], "data")
    assert twice[0] is twice[1]


def test_tensors_over_one_memory_come_back_with_memory_of_their_own(torch):
    base = torch.arange(6.0)
    first, second = there_and_back([base, base[2:]], "data")
    first[2] = 99
    assert second[0] == 2


def test_what_is_no_block_of_numbers_goes_to_pickle_and_comes_back(torch):
    for value in (torch.eye(3).to_sparse(), torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)):
        assert identical(value, there_and_back(value, "pickle", trusted=True))
    state = torch.nn.Linear(2, 3).state_dict()  # has an attribute
    assert there_and_back(state, "pickle", trusted=True)["bias"].tolist() == state["bias"].tolist()
    with pytest.raises(UntrustedEntry):
        there_and_back(state, "pickle")
    noted = torch.ones(2)
    noted.unit = "m"
    assert there_and_back(noted, "pickle", trusted=True).unit == "m"


def test_what_would_come_back_as_less_is_not_stored(torch):
    weights = torch.ones(2, requires_grad=True)
    hooked, after = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    hooked.register_hook(lambda gradient: gradient * 2)
    after.register_post_accumulate_grad_hook(lambda tensor: None)
    noted = weights * 2
    noted.unit = "m"
    for value in (weights * 2, [weights * 2], {"loss": noted}, hooked, after):
        with pytest.raises(NotStorable, match="detach"):
            encode(value)
    assert identical(weights.detach() * 2, there_and_back((weights * 2).detach()))


def test_inside_a_transform_nothing_is_stored(torch):
    seen = []

    def look(value):
        with pytest.raises(NotStorable):
            encode(value)
        seen.append(1)
        return value.sum()

    torch.vmap(look)(torch.ones(3, 2))
    torch.func.grad(look)(torch.ones(3))
    assert len(seen) == 2


def test_a_function_that_returns_tensors(torch, tmp_path):
    calls = []

    @cacheable(_store=tmp_path / "store")
    def fit(start):
        calls.append(1)
        return {"w": start * 2, "b": torch.zeros(LARGE, dtype=torch.bfloat16)}

    first, second = fit(torch.ones(3)), fit(torch.ones(3))
    assert len(calls) == 1
    assert identical(first, second)
    second["w"] += 1
    assert identical(first, fit(torch.ones(3)))
    with pytest.warns(CacheWarning, match="detach"):
        fit(torch.ones(3, requires_grad=True))


# --- bytes of strangers ------------------------------------------------------------------------------------

MARK, MEMORY = msgpack.ExtType(51, b""), 13
HEADS = [
    ["float32", [2], False, bytes(8)],
    ["bool", [2, 1], False, b"\x01\x00"],
    ["complex64", [], True, bytes(8)],
    ["bfloat16", [8, 2], False, msgpack.ExtType(MEMORY, bytes(4))],
]
POOL = [
    *(0, 1, -1, 2, 7, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63), 2**64 - 1, None, True, 1.5, "", "a"),
    *([], [0], [0, 2**62], [2**40, 0, 2**40], [2**62, 2**62], [-1], [2**63], [True], ["2"], [[]], [1] * 70),
    *("int8", "int32", "float64", "complex128", "float8_e4m3fn", "qint8", "__class__", "nn"),
    *(b"", b"\x02" * 2, b"\xff" * 8, bytes(64), {}, msgpack.ExtType(MEMORY, b"\x00\x00\x00\x01")),
]


def read(parts, name="torch.Tensor"):
    head = b"\xc1" + msgpack.packb([MARK, name, *parts])
    return decode("torch", head, [b"x" * 32], trusted=False)


@settings(max_examples=1000)
@given(st.data())
def test_invented_tensors(torch, data):
    parts = copy.deepcopy(data.draw(st.sampled_from(HEADS)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(parts) - 1)) if parts else 0
        match data.draw(st.sampled_from(["pool", "pool", "delete", "insert"])):
            case "pool":
                parts[place : place + 1] = [data.draw(st.sampled_from(POOL))]
            case "delete":
                del parts[place : place + 1]
            case "insert":
                parts.insert(place, data.draw(st.sampled_from(POOL)))
    name = data.draw(st.sampled_from(["torch.Tensor", "torch.Parameter"]))
    try:
        value = read(parts, name)
    except ScalableCasError:
        return
    assert value.numel() * value.element_size() <= 64
    repr(value), value.clone(), encode(value.detach())


@pytest.mark.parametrize(
    "parts",
    [
        ["float32", [2**61], False, b""],
        ["float32", [2**40, 2**40], False, b""],
        ["float32", [0, 2**63], False, b""],
        ["float32", [2], False, bytes(7)],
        ["int32", [2], True, bytes(8)],  # only floats can want a gradient
        ["bool", [2], False, b"\x01\x02"],
        ["bool", [], False, b"\x02"],
        ["qint8", [1], False, b"\x01"],
        ["Tensor", [1], False, bytes(8)],
        ["float32", [-1], False, bytes(4)],
        ["float32", [True], False, bytes(4)],
        ["float32", [1], 1, bytes(4)],
        ["float32", [1], False, [bytes(4)]],
        ["float32", [1], False, bytes(4), None],
    ],
)
def test_what_is_no_tensor(torch, parts):
    for name in ("torch.Tensor", "torch.Parameter"):
        with pytest.raises(MalformedObject):
            read(parts, name)


def test_the_bytes(torch):
    """As docs/reference/values-v1.md has them."""
    head = b"\xc1" + msgpack.packb([MARK, "torch.Tensor", "bfloat16", [2], False, b"\x80\x3f\x00\x40"])
    assert encode(torch.tensor([1.0, 2.0], dtype=torch.bfloat16)).head == head
    assert read(["bfloat16", [2], False, b"\x80\x3f\x00\x40"]).tolist() == [1, 2]
