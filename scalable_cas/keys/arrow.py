"""pyarrow: schemas, arrays, tables, scalars and buffers, by type and logical content (arrow_data.py)."""

from __future__ import annotations

from .arrow_data import data_of, type_name
from .nodes import Labelled, Raw, Refused, column_label, typed_node
from .tags import encode_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .nodes import Decompose, Node, Walk
    from .registry import Handlers

# Extension types that Arrow itself defines: the name says all that the storage does not. Others may have
# parameters and methods that only their own code knows.
_OWN_EXTENSIONS = frozenset({"arrow.bool8", "arrow.json", "arrow.uuid"})


def arrow_handlers() -> Handlers:
    """Everything of pyarrow that is a value. Readers, datasets and file systems are refused."""
    import pyarrow as pa

    lib = pa.lib
    families: list[tuple[type, Decompose]] = [
        (lib.DataType, _of_type),
        (lib.Array, lambda value, _: typed_node("pyarrow.Array", (value.type, data_of(value.type, [value])))),
        (lib.Scalar, _of_scalar),
        (lib.Field, _of_field),
        (lib.Schema, _of_schema),
        (lib.ChunkedArray, _of_chunked),
        (lib.RecordBatch, _of_table),
        (lib.Table, _of_table),
        (lib.Buffer, _of_buffer),
    ]
    nodes: dict[type, Decompose] = {}
    for kind in vars(lib).values():
        if isinstance(kind, type):
            for base, node in families:
                if issubclass(kind, base):
                    nodes[kind] = node
    return {}, nodes


def _of_type(kind: Any, _: Walk) -> Node:
    import pyarrow as pa

    if isinstance(kind, pa.lib.BaseExtensionType):
        if kind.extension_name not in _OWN_EXTENSIONS:
            raise Refused("an Arrow extension type has no encoding; pass its storage")
        return typed_node("pyarrow.DataType", ("EXTENSION", kind.extension_name, kind.storage_type))
    return typed_node("pyarrow.DataType", (type_name(kind), *_parameters(kind)))


def _parameters(kind: Any) -> tuple[Any, ...]:
    """What a type has beside its name."""
    import pyarrow as pa

    types = pa.types
    if types.is_timestamp(kind):
        return kind.unit, kind.tz
    if types.is_time(kind) or types.is_duration(kind):
        return (kind.unit,)
    if types.is_decimal(kind):
        return kind.precision, kind.scale
    if types.is_fixed_size_binary(kind):
        return (kind.byte_width,)
    if types.is_map(kind):
        return kind.key_field, kind.item_field, kind.keys_sorted
    if types.is_fixed_size_list(kind):
        return kind.list_size, kind.value_field
    if types.is_struct(kind):
        return tuple(kind.field(place) for place in range(kind.num_fields))
    if types.is_union(kind):
        return [*kind.type_codes], *(kind.field(place) for place in range(kind.num_fields))
    if types.is_dictionary(kind):
        return kind.index_type, kind.value_type, kind.ordered
    if types.is_run_end_encoded(kind):
        return kind.run_end_type, kind.value_type
    return (kind.value_field,) if types.is_nested(kind) else ()


def _of_scalar(value: Any, _: Walk) -> Node:
    import pyarrow as pa

    try:
        content = pa.repeat(value, 1) if value.is_valid else pa.nulls(1, value.type)
    except pa.lib.ArrowNotImplementedError as error:
        raise Refused("Arrow cannot make an array of this scalar") from error
    return typed_node("pyarrow.Scalar", (value.type, data_of(value.type, [content])))


def _of_field(value: Any, _: Walk) -> Node:
    return typed_node("pyarrow.Field", (value.name, value.type, value.nullable, value.metadata))


def _of_schema(value: Any, _: Walk) -> Node:
    fields = [value.field(place) for place in range(len(value))]
    parts = Labelled([value.metadata, *fields])
    parts.label = lambda place: column_label(fields[place - 1].name) if place else ".metadata"
    return typed_node("pyarrow.Schema", parts)


def _of_chunked(value: Any, _: Walk) -> Node:
    return typed_node("pyarrow.ChunkedArray", (value.type, data_of(value.type, value.chunks)))


def _of_table(value: Any, _: Walk) -> Node:
    import pyarrow as pa

    schema = value.schema
    table = isinstance(value, pa.Table)
    columns = [
        data_of(field.type, column.chunks if table else [column])
        for field, column in zip(schema, value.columns, strict=True)
    ]
    parts = Labelled([schema, value.num_rows, *columns])
    parts.label = lambda place: column_label(schema.field(place - 2).name) if place > 1 else ""
    return typed_node("pyarrow.Table" if table else "pyarrow.RecordBatch", parts)


def _of_buffer(value: Any, _: Walk) -> Node:
    if not value.is_cpu:
        raise Refused("this buffer lies in the memory of a device")
    return typed_node("pyarrow.Buffer", (Raw(encode_bytes(memoryview(value))),))
