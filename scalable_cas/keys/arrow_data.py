"""The logical content of Arrow arrays: what one reads out of them, however it lies in memory.

The same rows may be cut into other chunks, start in the middle of a longer buffer, or have any bytes under
their nulls. So content is not the buffers: missing rows are a byte each, values under them are zero or left
out, lengths stand for offsets, and chunks follow each other. docs/reference/key-v1.md has the layouts.

Only pyarrow's own functions are used, no numpy: a null that is filled, a length, a mask are one call each,
on ``ROWS`` rows at a time, so that no column is copied.
"""

from __future__ import annotations

from operator import sub

from .nodes import Raw, Refused, Viewed, typed_node
from .streams import ROWS, Stream, encode_pieces, sizes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .nodes import Node, Walk

    Parts = list[Any]

# Of few texts Python subtracts the offsets faster than calls into Arrow return: 7 against 15 µs for 16 texts,
# the same at 256.
_FEW = 128
_SIGNED = {1: "int8", 2: "int16", 4: "int32", 8: "int64"}


def type_name(kind: Any) -> str:
    """Arrow's own name of a type's layout, as in its enumeration of types: ``INT64``, ``LARGE_STRING``, …"""
    if not _names:
        import pyarrow as pa

        _names.update((number, name[5:]) for name, number in vars(pa.lib).items() if name.startswith("Type_"))
    return _names.get(kind.id, "EXTENSION")


_names: dict[int, str] = {}


def data_of(kind: Any, chunks: Sequence[Any]) -> Viewed:
    """The content of arrays of one type that follow each other, as a part of a node."""
    return Viewed((kind, chunks), _node)


def _node(value: tuple[Any, Sequence[Any]], _: Walk) -> Node:
    import pyarrow as pa

    kind, chunks = value
    try:
        return typed_node("arrow.data", _parts(kind, [chunk for chunk in chunks if len(chunk)]))
    except (pa.lib.ArrowNotImplementedError, pa.lib.ArrowInvalid, OverflowError) as error:
        raise Refused(f"Arrow has no way to take such data apart (type {type_name(kind)})") from error


def _parts(kind: Any, chunks: list[Any]) -> Parts:
    import pyarrow as pa

    types = pa.types
    if types.is_null(kind):
        return [sum(map(len, chunks))]
    if types.is_run_end_encoded(kind):
        import pyarrow.compute as pc

        return _parts(kind.value_type, [pc.run_end_decode(chunk) for chunk in chunks])
    if types.is_union(kind):
        return _union(kind, chunks)
    if types.is_dictionary(kind):
        return _dictionary(kind, chunks)
    if isinstance(kind, pa.lib.BaseExtensionType):
        return _parts(kind.storage_type, [chunk.storage for chunk in chunks])
    head = [sum(map(len, chunks)), _missing(chunks)]
    if types.is_struct(kind):
        return [*head, *_struct(kind, chunks)]
    if types.is_map(kind):
        entry = pa.struct([kind.key_field, kind.item_field])
        plain = pa.list_(entry)
        return [*head, *_list(entry, [chunk.cast(plain) for chunk in chunks])]
    if types.is_nested(kind):  # the other kinds of lists
        return [*head, *_list(kind.value_type, chunks)]
    return [*head, *(Raw(part) for part in _flat(kind, chunks))]


def texts_of(chunks: Sequence[Any]) -> tuple[bytes | None, bytes, bytes]:
    """Missing ones, lengths and joined UTF-8 of string arrays, as ``streams.encode_texts`` gives them."""
    filled = [chunk for chunk in chunks if len(chunk)]
    missing = _missing(filled)
    lengths, data = _texts(filled)
    return None if missing is None else missing.data, lengths, data


def _blocks(chunks: Sequence[Any]) -> Iterator[Any]:
    for chunk in chunks:
        for start in range(0, len(chunk), ROWS):
            yield chunk.slice(start, ROWS)


def _missing(chunks: Sequence[Any]) -> Raw | None:
    """A byte for each row, 1 if it is null; None if no row is."""
    if not any(chunk.null_count for chunk in chunks):
        return None
    import pyarrow.compute as pc

    pieces = (_bytes(pc.is_null(block).cast("uint8"), 1) for block in _blocks(chunks))
    return Raw(encode_pieces(pieces, sum(map(len, chunks))))


def _bytes(array: Any, width: int) -> memoryview:
    """The values of an array of ``width`` bytes each, as they lie in memory."""
    start = array.offset * width
    return memoryview(array.buffers()[1])[start : start + len(array) * width]


# --- flat types --------------------------------------------------------------------------------------------


def _flat(kind: Any, chunks: Sequence[Any]) -> Sequence[bytes]:
    import pyarrow as pa

    types = pa.types
    if types.is_boolean(kind):
        return [encode_pieces(_filled(block.cast("uint8"), 1) for block in _blocks(chunks))]
    for holds in (types.is_string, types.is_large_string, types.is_string_view):
        if holds(kind):
            return _texts(chunks)
    for holds in (types.is_binary, types.is_large_binary, types.is_binary_view):
        if holds(kind):
            return _texts(chunks)
    width = kind.bit_width // 8
    total = width * sum(map(len, chunks))
    if width == 0:  # fixed_size_binary(0)
        return [encode_pieces(())]
    return [encode_pieces(_values(chunks, width), total)]


def _values(chunks: Sequence[Any], width: int) -> Iterator[memoryview]:
    for chunk in chunks:
        if chunk.null_count:
            for block in _blocks([chunk]):
                yield _filled(block, width)
        else:
            yield _bytes(chunk, width)


def _filled(block: Any, width: int) -> memoryview:
    """The values of a block, zero where they are null."""
    if block.null_count:
        import pyarrow as pa
        import pyarrow.compute as pc

        if width in _SIGNED:
            block = pc.fill_null(block.view(_SIGNED[width]), 0)
        else:
            plain = pa.binary(width)
            block = pc.fill_null(block.view(plain), pa.scalar(bytes(width), plain))
    return _bytes(block, width)


def _texts(chunks: Sequence[Any]) -> tuple[bytes, bytes]:
    import pyarrow.compute as pc

    rows = sum(map(len, chunks))
    lengths, data = Stream(4 * rows), Stream(8 * rows)
    for piece in _blocks(chunks):
        block = _plain(piece)
        if len(block) <= _FEW and not block.null_count:
            offsets = _offsets(block)
            lengths.write(sizes_of(map(sub, offsets[1:], offsets)))
        else:
            sizes = pc.binary_length(block)
            if block.null_count:
                sizes = pc.fill_null(sizes, 0)
            lengths.write(_u32(sizes))
            offsets = _offsets(block)
            if block.null_count and (pc.sum(sizes).as_py() or 0) != offsets[-1] - offsets[0]:
                block = pc.drop_null(block)  # there are bytes under its nulls
                offsets = _offsets(block)
        content = block.buffers()[2]
        if content is not None:
            data.write(memoryview(content)[offsets[0] : offsets[-1]])
    return lengths.encoded(), data.encoded()


def _plain(block: Any) -> Any:
    """Texts with offsets in place of views: those are what can be measured."""
    import pyarrow as pa

    if pa.types.is_string_view(block.type):
        return block.cast("large_string")
    return block.cast("large_binary") if pa.types.is_binary_view(block.type) else block


def _offsets(block: Any) -> Sequence[int]:
    """Where each text of a block starts in its buffer, and where the last one ends."""
    import pyarrow as pa

    offsets = block.buffers()[1]
    if offsets is None:  # Arrow allows that for no rows
        return (0,)
    large = pa.types.is_large_string(block.type) or pa.types.is_large_binary(block.type)
    numbers = memoryview(offsets).cast("q" if large else "i")[block.offset : block.offset + len(block) + 1]
    return numbers.tolist() if len(numbers) <= _FEW + 1 else numbers


def _u32(sizes: Any) -> memoryview:
    # int32 lengths are never negative, so their bytes are those of u32
    return _bytes(sizes if sizes.type.bit_width == 32 else sizes.cast("uint32"), 4)


# --- nested types ------------------------------------------------------------------------------------------


def _list(inner: Any, chunks: Sequence[Any]) -> Parts:
    """Lengths and the items of all lists. ``flatten`` leaves out what lies under nulls."""
    import pyarrow.compute as pc

    lengths = Stream(4 * sum(map(len, chunks)))
    for block in _blocks(chunks):
        sizes = pc.list_value_length(block)
        lengths.write(_u32(pc.fill_null(sizes, 0) if block.null_count else sizes))
    return [Raw(lengths.encoded()), data_of(inner, [chunk.flatten() for chunk in chunks])]


def _struct(kind: Any, chunks: Sequence[Any]) -> Parts:
    """The fields, of the rows that are not null.

    Not by ``flatten``, which would do without the copy: it puts the nulls of the struct into its fields, and
    the interpreter aborts if one of them is a union (pyarrow 18 to 26).
    """
    import pyarrow.compute as pc

    whole = [pc.drop_null(chunk) if chunk.null_count else chunk for chunk in chunks]
    return [
        data_of(kind.field(place).type, [chunk.field(place) for chunk in whole])
        for place in range(kind.num_fields)
    ]


def _dictionary(kind: Any, chunks: Sequence[Any]) -> Parts:
    """Dictionary and indices. The order of the dictionary is seen by ``to_pandas`` and in the indices, so it
    counts; how it is shared out over chunks does not.
    """
    import pyarrow as pa

    if not chunks:
        return [data_of(kind.value_type, []), data_of(kind.index_type, [])]
    if len(chunks) > 1:
        chunks = pa.chunked_array(chunks).unify_dictionaries().chunks
    return [
        data_of(kind.value_type, [chunks[0].dictionary]),
        data_of(kind.index_type, [chunk.indices for chunk in chunks]),
    ]


def _union(kind: Any, chunks: Sequence[Any]) -> Parts:
    """Which type each row has, and the rows of each type in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = [_whole(chunk, 1, pa.int8()) for chunk in chunks]
    parts: Parts = [sum(map(len, chunks)), Raw(encode_pieces(_bytes(code, 1) for code in codes))]
    pick: Callable[[Any, Any, int], Any]
    if kind.mode == "dense":

        def pick(chunk: Any, wanted: Any, place: int) -> Any:
            return chunk.field(place).take(_whole(chunk, 2, pa.int32()).filter(wanted))
    else:

        def pick(chunk: Any, wanted: Any, place: int) -> Any:
            return chunk.field(place).filter(wanted)

    for place, code in enumerate(kind.type_codes):
        number = pa.scalar(code, pa.int8())
        rows = [
            pick(chunk, pc.equal(which, number), place) for chunk, which in zip(chunks, codes, strict=True)
        ]
        parts.append(data_of(kind.field(place).type, rows))
    return parts


def _whole(chunk: Any, place: int, kind: Any) -> Any:
    """A buffer of a union as an array. Its ``type_codes`` and ``offsets`` ignore where a slice starts
    (pyarrow 18 to 26).
    """
    import pyarrow as pa

    return pa.Array.from_buffers(kind, len(chunk), [None, chunk.buffers()[place]], offset=chunk.offset)
