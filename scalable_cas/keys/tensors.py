"""Tensors and parameters of torch: dtype, shape, values, whether they want a gradient, and the gradient.

Where they lie (device, strides) does not count. What is not a plain block of numbers is refused.
"""

from __future__ import annotations

import torch

from .arrays import encoded_bytes
from .nodes import Raw, Refused, typed_node
from .tags import encode_int, encode_str, typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Decompose, Leaf, Node, Walk
    from .registry import Handlers

_SAME_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Attributes that torch itself puts on tensors: notes about memory and graphs, no content.
_NO_ATTRIBUTES = frozenset(("_backward_hooks", "_is_param"))


def torch_handlers() -> Handlers:
    """Tensor, nn.Parameter, Size, dtype, device, layout."""
    leaves: dict[type, Leaf] = {
        torch.dtype: lambda value: typed("torch.dtype", (encode_str(_name(value)),)),
        torch.layout: lambda value: typed("torch.layout", (encode_str(_name(value)),)),
        torch.Size: lambda value: typed("torch.Size", map(encode_int, value)),
    }
    nodes: dict[type, Decompose] = {
        torch.device: lambda value, _: typed_node("torch.device", (value.type, value.index)),
        torch.Tensor: _of_tensor("torch.Tensor"),
        torch.nn.Parameter: _of_tensor("torch.nn.Parameter"),
    }
    return leaves, nodes


def _name(value: Any) -> str:
    return str(value).removeprefix("torch.")


def _of_tensor(kind: str) -> Decompose:
    def decompose(value: Any, _: Walk) -> Node:
        _see_that_it_is_plain(value)
        gradient = value.grad if value.is_leaf else None  # reading it of another warns
        shape = tuple(int(length) for length in value.shape)
        return typed_node(
            kind, (_name(value.dtype), shape, value.requires_grad, gradient, Raw(_bytes(value.detach())))
        )

    return decompose


def _see_that_it_is_plain(value: Any) -> None:
    if value.layout is not torch.strided or value.is_nested:
        raise Refused(
            f"a tensor of layout {_name(value.layout)} has no encoding; pass to_dense() or its parts"
        )
    if value.is_quantized:
        raise Refused("a quantised tensor has no encoding; pass dequantize(), or int_repr() and its scale")
    if value.device.type == "meta":
        raise Refused("a tensor on the device meta has no values")
    if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):  # noqa: SLF001
        raise Refused("this tensor has hooks; pass a detached clone()")
    own = vars(value).keys() - _NO_ATTRIBUTES
    if own:
        raise Refused(f"this tensor was given attributes ({min(own)}); pass a detached clone()")


def _bytes(value: Any) -> bytes:
    """The values in C order, as the bytes of integers of the same width: numpy has no bfloat16."""
    value = value.resolve_conj().resolve_neg().cpu()
    if value.is_complex():
        value = torch.view_as_real(value)
    width = _SAME_WIDTH.get(value.element_size())
    if width is None:
        raise Refused(f"a tensor of {_name(value.dtype)} has elements of no usual width")
    try:
        array = value.view(width).numpy()
    except RuntimeError as error:  # inside torch.func and torch.vmap, and zeros that have no memory
        raise Refused("the values of this tensor cannot be read here") from error
    return encoded_bytes(array)
