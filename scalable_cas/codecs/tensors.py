"""Tensors of torch that are plain blocks of numbers in this machine's memory, down and up again."""

from __future__ import annotations

import torch

from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode

#: By the name in the bytes; quantised types are left to the general codec. The second line is not in every
#: version of torch, and torch's own pickle writes tensors of them that it cannot read again.
_DTYPES = {
    name: getattr(torch, name)
    for name in (
        *("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"),
        *("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
        *("float8_e8m0fnu", "float4_e2m1fn_x2", "complex32", "complex64", "complex128"),
    )
    if hasattr(torch, name)
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
#: Integers of the same width: numpy, by which the memory is reached, has no bfloat16.
_SAME_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
#: Attributes that torch itself puts on tensors.
_OWN = frozenset(("_backward_hooks", "_is_param"))


def lowering() -> dict[type, Lower]:
    """The way down by exact type."""
    return {torch.Tensor: _lower, torch.nn.Parameter: _lower}


def _lower(state: Lowering, value: Any) -> Any:
    state.once(value)
    if (
        value.layout is not torch.strided
        or value.is_quantized
        or value.is_nested
        or value.device.type != "cpu"
    ):
        raise NotPlain("a tensor that is no block of numbers in memory")
    if lost_by_pickle(value) or value.grad is not None or not _OWN.issuperset(vars(value)):
        raise NotPlain("a tensor with a graph, hooks, a gradient or attributes")
    name = _NAMES.get(value.dtype)
    if name is None:
        raise NotPlain(f"a tensor of {value.dtype}")
    block = value.detach().resolve_conj().resolve_neg().contiguous()
    if block.is_complex():
        block = torch.view_as_real(block)
    line = block.reshape(-1).view(_SAME_WIDTH[block.element_size()]).numpy()
    return state.library(
        "torch.Parameter" if type(value) is torch.nn.Parameter else "torch.Tensor",
        name,
        [int(length) for length in value.shape],
        bool(value.requires_grad),
        state.memory(line.data if line.size else b""),
    )


def lost_by_pickle(value: Any) -> str | None:
    """Return what makes a tensor more than its values, if nothing that is stored could give it back.

    Torch's own pickle drops both without a word or with a warning: a backward pass through the tensor that
    came back would then stop at it.
    """
    if not value.is_leaf:
        return "it belongs to a graph of gradients, which stays with this process; return its detach()"
    if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):  # noqa: SLF001
        return "it has hooks, which stay with this process; return its detach()"
    return None


def _raise(kind: Any) -> RaiseNode:
    def raise_tensor(reader: Reader, items: list[Any]) -> Any:
        name, shape, wants, content = items
        if type(name) is not str or type(shape) is not list or type(wants) is not bool:
            raise TypeError("not the parts of a tensor")
        if not {int}.issuperset(map(type, shape)) or any(length < 0 for length in shape):
            raise TypeError("not a shape")
        dtype, count = _DTYPES[name], 1
        for length in shape:
            count *= length
        size = torch.empty(0, dtype=dtype).element_size()
        view = reader.memory(content, count * size)
        if view.readonly:  # torch has no read-only tensors
            view = memoryview(bytearray(view))
        tensor = torch.frombuffer(view, dtype=dtype) if count else torch.empty(0, dtype=dtype)
        if tensor.data_ptr() % size:  # torch's own memory is aligned, and its kernels may count on it
            tensor = tensor.clone()
        if count and dtype is torch.bool and not reader.trusted and int(tensor.view(torch.uint8).max()) > 1:
            raise ValueError("a truth value that is neither true nor false")
        tensor = tensor.reshape(shape)
        return kind(tensor, requires_grad=wants) if kind is not torch.Tensor else tensor.requires_grad_(wants)

    return raise_tensor


RAISE: dict[str, RaiseNode] = {
    "torch.Tensor": _raise(torch.Tensor),
    "torch.Parameter": _raise(torch.nn.Parameter),
}
