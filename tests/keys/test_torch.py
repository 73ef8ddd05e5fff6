"""Tensors and parameters of torch. Not part of every run, because torch is large: `tox -e torch`."""

from __future__ import annotations

import copy
import pickle
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from scalable_cas.keys.encode import _Deep, encode
from scalable_cas.keys.nodes import Refused, Walk

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: tox -e torch")


def given_attribute(value):
    value.unit = "m"
    return value


def hooked(torch):
    value = torch.ones(2, requires_grad=True)
    value.register_hook(lambda gradient: gradient)
    return value


def with_gradient(torch):
    value = torch.ones(2, requires_grad=True)
    (value * 3).sum().backward()
    return value


DIFFERENT = {
    "a value": lambda t: (t.tensor([1, 2]), t.tensor([1, 3])),
    "a dtype": lambda t: (t.zeros(2), t.zeros(2, dtype=t.float64)),
    "bfloat16, float16": lambda t: (t.zeros(2, dtype=t.bfloat16), t.zeros(2, dtype=t.float16)),
    "bfloat16, by value": lambda t: (t.ones(2, dtype=t.bfloat16), t.zeros(2, dtype=t.bfloat16)),
    "float8": lambda t: (t.zeros(2, dtype=t.float8_e4m3fn), t.zeros(2, dtype=t.float8_e5m2)),
    "int8, bool": lambda t: (t.zeros(2, dtype=t.int8), t.zeros(2, dtype=t.bool)),
    "complex": lambda t: (t.tensor([1 + 2j]), t.tensor([2 + 1j])),
    "complex, floats": lambda t: (t.tensor([1 + 2j]), t.tensor([[1.0, 2.0]])),
    "conjugated": lambda t: (t.tensor([1 + 2j]), t.tensor([1 + 2j]).conj()),
    "shape": lambda t: (t.zeros(2, 3), t.zeros(3, 2)),
    "0-d": lambda t: (t.tensor(1.0), t.tensor([1.0])),
    "empty": lambda t: (t.zeros(0, 3), t.zeros(3, 0)),
    "transposed": lambda t: (t.arange(4).reshape(2, 2), t.arange(4).reshape(2, 2).T),
    "a gradient is wanted": lambda t: (t.zeros(2), t.zeros(2, requires_grad=True)),
    "a gradient is there": lambda t: (t.ones(2, requires_grad=True), with_gradient(t)),
    "a parameter": lambda t: (t.zeros(2, requires_grad=True), t.nn.Parameter(t.zeros(2))),
    "an array": lambda t: (t.zeros(2), np.zeros(2, "f4")),
    "a number": lambda t: (t.tensor(1), 1),
    "long, the last": lambda t: (t.zeros(10**5), t.cat([t.zeros(10**5 - 1), t.ones(1)])),
    "weights": lambda t: (t.nn.Linear(1, 2).state_dict(), t.nn.Linear(1, 2).state_dict()),
    "dtypes": lambda t: (t.float32, t.float64),
    "a dtype, its name": lambda t: (t.float32, "float32"),
    "devices": lambda t: (t.device("cpu"), t.device("cuda", 1)),
    "sizes": lambda t: (t.zeros(2).shape, (2,)),
    "layouts": lambda t: (t.strided, t.sparse_coo),
}
EQUAL = {
    "a clone": lambda t: (t.arange(6.0), t.arange(6.0).clone()),
    "strides": lambda t: (t.arange(6).reshape(2, 3).T, t.arange(6).reshape(2, 3).T.contiguous()),
    "every second": lambda t: (t.arange(6)[::2], t.arange(6)[::2].clone()),
    "expanded": lambda t: (t.ones(1).expand(5000), t.ones(5000)),
    "bfloat16, strides": lambda t: (
        t.arange(6).reshape(2, 3).to(t.bfloat16).T,
        t.arange(6).reshape(2, 3).T.contiguous().to(t.bfloat16),
    ),
    "conjugated": lambda t: (t.tensor([1 + 2j]).conj(), t.tensor([1 - 2j])),
    "negated": lambda t: (t.tensor([1 + 2j]).conj().imag, t.tensor([-2.0])),
    "computed": lambda t: (t.ones(2, requires_grad=True), (t.ones(2, requires_grad=True) * 1)),
    "long": lambda t: (t.ones(3_000_000), t.ones(3_000_000)),
}
REFUSED = {
    "sparse": (lambda t: t.eye(2).to_sparse(), "to_dense"),
    "compressed": (lambda t: t.eye(2).to_sparse_csr(), "to_dense"),
    "meta": (lambda t: t.empty(2, device="meta"), "no values"),
    "nested": (lambda t: t.nested.nested_tensor([t.zeros(1), t.zeros(2)]), "to_dense|subclass"),
    "a module": (lambda t: t.nn.Linear(1, 2), "state_dict"),
    "a module of one's own": (lambda t: type("Net", (t.nn.Module,), {})(), "state_dict"),
    "a subclass": (lambda t: t.zeros(2).as_subclass(type("Own", (t.Tensor,), {})), "plain array"),
    "a generator": (lambda t: t.Generator(), "seed"),
    "a hook": (hooked, "hooks"),
    "zeros without memory": (lambda t: t._efficientzerotensor(3), "cannot be read"),
    "an attribute": (lambda t: given_attribute(t.zeros(2)), "unit"),
    "an optimizer": (lambda t: t.optim.SGD([t.zeros(1, requires_grad=True)], lr=0.1), "no encoding"),
}

quiet = pytest.mark.filterwarnings("ignore:.*beta state.*", "ignore:.*prototype.*")


@quiet
@pytest.mark.parametrize("name", DIFFERENT)
def test_two_keys(name, torch):
    first, second = DIFFERENT[name](torch)
    assert encode(first) != encode(second)
    for value in (first, second):
        assert encode([value]) == _Deep(Walk([])).run([value])
        # pickle of torch loses gradients, and cannot load a float8
        if name not in ("a gradient is there", "float8"):
            assert encode(copy.deepcopy(value)) == encode(pickle.loads(pickle.dumps(value))) == encode(value)


@quiet
@pytest.mark.parametrize("name", EQUAL)
def test_one_key(name, torch):
    first, second = EQUAL[name](torch)
    assert encode(first) == encode(second)


@quiet
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, torch):
    make, words = REFUSED[name]
    with pytest.raises(Refused, match=words):
        encode(make(torch))


def test_inside_a_transform(torch):
    refused = []

    def look(value):
        with pytest.raises(Refused, match="cannot be read"):
            encode(value)
        refused.append(1)
        return value.sum()

    torch.vmap(look)(torch.ones(3, 2))
    torch.func.grad(look)(torch.ones(3))
    assert len(refused) == 2


@quiet
def test_quantised(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are on their way out
        value = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    with pytest.raises(Refused, match="dequantize"):
        encode(value)


def test_every_dtype_of_a_usual_width_has_a_key(torch):
    names = (
        "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool"
    ).split()
    names += ["complex64", "complex128", "float8_e4m3fn", "float8_e5m2"]
    assert len({encode(torch.zeros(4, dtype=getattr(torch, name))) for name in names}) == len(names)


def test_by_hand(torch):
    def text(s):
        return b"s" + len(s).to_bytes(8, "little") + s.encode()

    def u64(n):
        return n.to_bytes(8, "little")

    shape = b"t" + u64(1) + b"i" + u64(1)
    parts = text("bfloat16") + shape + b"F" + b"N" + b"b" + u64(2) + bytes([0x80, 0x3F])
    value = torch.ones(1, dtype=torch.bfloat16)
    assert encode(value) == b"o" + text("torch.Tensor") + u64(5) + parts
