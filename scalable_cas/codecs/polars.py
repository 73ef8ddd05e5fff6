"""Frames and series of polars, down and up again, as Arrow IPC streams that polars writes itself, one for
each column.

Only trusted bytes are read: polars' reader follows lengths that it has not checked. In each of three searches
over streams with one to three damaged bytes, one among the first 3,000 ended the process (polars 2.1), while
pyarrow, after `arrow_stream.check`, refused 24,000 of them with an exception or gave a valid array.
"""

from __future__ import annotations

import io

import polars as pl

from scalable_cas.codecs import arrow_stream
from scalable_cas.codecs.tags import NotPlain
from scalable_cas.errors import MalformedObject, UntrustedEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scalable_cas.codecs.lifting import Reader
    from scalable_cas.codecs.lowering import Lowering
    from scalable_cas.codecs.tags import Lower, RaiseNode


def lowering() -> dict[type, Lower]:
    """The way down by exact type."""
    return {pl.DataFrame: _lower_frame, pl.Series: _lower_series}


def _lower_frame(state: Lowering, frame: Any) -> Any:
    state.once(frame)
    _without_attributes(frame)
    return state.library(
        "polars.DataFrame", frame.height, [_stream(state, item) for item in frame.get_columns()]
    )


def _lower_series(state: Lowering, series: Any) -> Any:
    state.once(series)
    _without_attributes(series)
    return state.library("polars.Series", _stream(state, series))


def added(value: Any) -> set[str]:
    """The attributes that a frame or series was given."""
    return {*vars(value)} - {"_df", "_s"}


def _without_attributes(value: Any) -> None:
    if added(value):
        raise NotPlain("a frame or series that was given attributes")


def _stream(state: Lowering, series: Any) -> Any:
    if "Object" in str(series.dtype):  # also inside others; a field of that name only costs the general codec
        raise NotPlain("a column of Python objects")
    stream = io.BytesIO()
    series.to_frame().write_ipc_stream(stream)
    content = stream.getbuffer()
    arrow_stream.check(content)
    return state.memory(content)


def _series(reader: Reader, part: Any) -> Any:
    if not reader.trusted:
        raise UntrustedEntry("a value of polars", "its reader is not safe on bytes of somebody else's")
    view = reader.memory(part)
    arrow_stream.check(view)
    try:
        frame = pl.read_ipc_stream(io.BytesIO(view))
    except pl.exceptions.PanicException as error:  # no Exception, but a BaseException
        raise MalformedObject("polars value", str(error)) from error
    (column,) = frame.get_columns()
    return column


def _raise_frame(reader: Reader, items: list[Any]) -> Any:
    height, streams = items
    if type(height) is not int or type(streams) is not list:
        raise TypeError("not the parts of a frame")
    columns = [_series(reader, part) for part in streams]
    frame = pl.DataFrame(columns)
    if frame.height != height or frame.width != len(columns):
        raise ValueError("columns of another height")
    return frame


RAISE: dict[str, RaiseNode] = {
    "polars.DataFrame": _raise_frame,
    "polars.Series": lambda reader, items: _series(reader, *items),
}
