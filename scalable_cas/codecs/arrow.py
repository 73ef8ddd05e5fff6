"""Tables, batches and arrays of Arrow, down and up again, as Arrow IPC streams.

Each column is a stream of its own, with one batch for each of its chunks: so a column is shared by all tables
that have it, and its chunks come back as they were. Reading copies nothing: arrays lie in the buffer that was
read.
"""

from __future__ import annotations

import pyarrow as pa

from scalable_cas.codecs import arrow_stream
from scalable_cas.codecs.tags import NotPlain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode

_MOST_DEPTH = 64  # types within types: Arrow walks them with a recursion of its own


def lowering() -> dict[type, Lower]:
    """The way down by exact type."""
    arrays = [
        kind
        for kind in vars(pa).values()
        if isinstance(kind, type) and issubclass(kind, pa.Array) and not issubclass(kind, pa.ExtensionArray)
    ]
    return {
        pa.Table: _lower_table,
        pa.RecordBatch: _lower_batch,
        pa.ChunkedArray: lambda state, value: state.library(
            "pyarrow.ChunkedArray", lower_chunked(state, value)
        ),
        pa.Schema: lambda state, value: state.library("pyarrow.Schema", _lower_schema(state, value)),
        **dict.fromkeys(arrays, _lower_array),
    }


# --- down ---------------------------------------------------------------------------------------------------


def _see_that_it_is_plain(kind: Any, depth: int = 0) -> None:
    """See that no extension type is in a type.

    Raises:
        NotPlain: one is.
    """
    if isinstance(kind, pa.BaseExtensionType) or depth > _MOST_DEPTH:
        raise NotPlain("an Arrow type of an extension")
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    if pa.types.is_dictionary(kind):
        inner.append(kind.value_type)
    elif pa.types.is_run_end_encoded(kind):
        inner = [kind.value_type]
    for part in inner:
        _see_that_it_is_plain(part, depth + 1)


def _lower_schema(state: Lowering, schema: Any) -> Any:
    for field in schema:
        _see_that_it_is_plain(field.type)
    data = schema.serialize()
    if b"ARROW:extension:name" in data.to_pybytes():
        raise NotPlain("an Arrow schema with the mark of an extension")
    return state.memory(memoryview(data))


def lower_chunked(state: Lowering, array: Any) -> Any:
    """Return the stream of a chunked array."""
    _see_that_it_is_plain(array.type)
    schema = pa.schema([pa.field("", array.type)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for chunk in array.chunks:
            writer.write_batch(pa.record_batch([chunk], schema=schema))
    return state.memory(memoryview(sink.getvalue()))


def _lower_table(state: Lowering, table: Any) -> Any:
    return state.library(
        "pyarrow.Table",
        _lower_schema(state, table.schema),
        table.num_rows,
        [lower_chunked(state, column) for column in table.columns],
    )


def _lower_batch(state: Lowering, batch: Any) -> Any:
    return state.library(
        "pyarrow.RecordBatch",
        _lower_schema(state, batch.schema),
        batch.num_rows,
        [lower_chunked(state, pa.chunked_array([column])) for column in batch.columns],
    )


def _lower_array(state: Lowering, array: Any) -> Any:
    return state.library("pyarrow.Array", lower_chunked(state, pa.chunked_array([array])))


# --- up -----------------------------------------------------------------------------------------------------


def _buffer(view: memoryview) -> Any:
    """Memory as Arrow's, copied only if it does not lie as numbers of eight bytes must."""
    buffer = pa.py_buffer(view)
    return buffer if buffer.address % 8 == 0 else pa.py_buffer(memoryview(bytearray(view)))


def _raise_schema(reader: Reader, part: Any) -> Any:
    view = reader.memory(part)
    arrow_stream.check(view)
    return pa.ipc.read_schema(_buffer(view))


def raise_chunked(reader: Reader, part: Any) -> Any:
    """Return the chunked array of a stream.

    Raises:
        ValueError, pa.ArrowException: the stream is not such an array.
    """
    view = reader.memory(part)
    arrow_stream.check(view)
    with pa.ipc.open_stream(_buffer(view)) as stream:
        if len(stream.schema) != 1:
            raise ValueError("a stream of other than one column")
        kind = stream.schema.field(0).type
        chunks = [batch.column(0) for batch in stream]
    array = pa.chunked_array(chunks, kind)
    array.validate(full=True)
    return array


def _raise_columns(reader: Reader, items: list[Any]) -> tuple[Any, list[Any], int]:
    described, length, streams = items
    schema = _raise_schema(reader, described)
    if type(length) is not int or type(streams) is not list or len(streams) != len(schema):
        raise TypeError("not a stream for each column")
    columns = [raise_chunked(reader, part) for part in streams]
    for field, column in zip(schema, columns, strict=True):
        if column.type != field.type or len(column) != length:
            raise ValueError("a column of another type or length")
    if not columns and length:
        raise ValueError("rows without columns")
    return schema, columns, length


def _raise_table(reader: Reader, items: list[Any]) -> Any:
    schema, columns, _ = _raise_columns(reader, items)
    return pa.Table.from_arrays(columns, schema=schema)


def _raise_batch(reader: Reader, items: list[Any]) -> Any:
    schema, columns, _ = _raise_columns(reader, items)
    return pa.RecordBatch.from_arrays([_only_chunk(column) for column in columns], schema=schema)


def _only_chunk(array: Any) -> Any:
    (chunk,) = array.chunks
    return chunk


# --- texts of pandas ----------------------------------------------------------------------------------------


def lower_arrow_texts(state: Lowering, array: Any) -> list[Any]:
    """Return mask, lengths and content of texts, as frame_arrays.py stores them."""
    import numpy as np
    import pyarrow.compute as pc

    from scalable_cas.codecs.texts import lower_lengths

    chunk = _one_chunk(array.cast(pa.large_string()))
    mask = None
    if chunk.null_count:
        mask = state.memory(
            np.ascontiguousarray(chunk.is_null().to_numpy(zero_copy_only=False)).view("u1").data
        )
        chunk = pc.fill_null(chunk, "")  # under a missing text may lie anything
    count = len(chunk)
    _, places, content = chunk.buffers()
    if not count or places is None:
        return [mask, [state.memory(b""), state.memory(b"")]]
    ends = np.frombuffer(places, "<i8")[chunk.offset : chunk.offset + count + 1]
    data = memoryview(b"") if content is None else memoryview(content)[int(ends[0]) : int(ends[-1])]
    return [mask, [lower_lengths(state, np.diff(ends)), state.memory(data)]]


def _one_chunk(array: Any) -> Any:
    if array.num_chunks == 1:
        return array.chunk(0)
    return pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)


def raise_arrow_texts(lengths: Any, content: memoryview, gone: Any) -> Any:
    """Return the texts as Arrow's, in the memory that was read.

    Raises:
        ValueError, pa.ArrowException: lengths and content do not fit, or it is not UTF-8.
    """
    import numpy as np

    ends = np.zeros(len(lengths) + 1, "<i8")
    np.cumsum(lengths, out=ends[1:])
    if int(ends[-1]) != len(content):
        raise ValueError("texts of another length")
    mask = None if gone is None else pa.py_buffer(np.packbits(~gone, bitorder="little"))
    array = pa.Array.from_buffers(
        pa.large_string(), len(lengths), [mask, pa.py_buffer(ends), pa.py_buffer(content)]
    )
    array.validate(full=True)
    return pa.chunked_array([array])


RAISE: dict[str, RaiseNode] = {
    "pyarrow.Table": _raise_table,
    "pyarrow.RecordBatch": _raise_batch,
    "pyarrow.ChunkedArray": lambda reader, items: raise_chunked(reader, *items),
    "pyarrow.Array": lambda reader, items: _only_chunk(raise_chunked(reader, *items)),
    "pyarrow.Schema": lambda reader, items: _raise_schema(reader, *items),
}
