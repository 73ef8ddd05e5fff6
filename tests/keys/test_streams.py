"""Pieces have the encoding of their joined bytes, and texts the same one however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalable_cas.keys import streams
from scalable_cas.keys.digest import LARGE
from scalable_cas.keys.nodes import Refused
from scalable_cas.keys.streams import encode_pieces, encode_texts
from scalable_cas.keys.tags import encode_bytes


@given(st.lists(st.binary(max_size=40) | st.integers(0, 1100).map(bytes), max_size=6))
def test_pieces(pieces):
    joined = b"".join(pieces)
    assert encode_pieces(pieces) == encode_bytes(joined)
    assert encode_pieces([memoryview(piece) for piece in pieces], LARGE) == encode_bytes(joined)


def test_many_threads_make_no_difference():
    pieces = [bytes([i]) * (1 << 20) for i in range(4)]
    assert encode_pieces(pieces, 4 << 20) == encode_pieces(pieces) == encode_bytes(b"".join(pieces))


def texts(items):
    return encode_texts(len(items), lambda start, stop: items[start:stop], lambda item: item is None)


@given(
    st.lists(st.none() | st.text(st.characters(exclude_categories=()), max_size=3), max_size=9),
    st.integers(1, 4),
)
def test_texts(items, rows):
    raw = [(item or "").encode("utf-8", "surrogatepass") for item in items]
    wanted = (
        encode_bytes(bytes(item is None for item in items)) if None in items else None,
        encode_bytes(b"".join(len(item).to_bytes(4, "little") for item in raw)),
        encode_bytes(b"".join(raw)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "ROWS", rows)
        assert texts(items) == wanted


class Text(str):
    pass


@pytest.mark.parametrize("item", [1, b"a", Text("a"), float("nan")])
def test_what_is_no_text(item):
    with pytest.raises(Refused, match="no plain str"):
        texts(["a", item])


def test_a_length_beyond_four_bytes():
    assert streams.sizes_of([1, 2**32 - 1]) == bytes([1, 0, 0, 0, 255, 255, 255, 255])
    with pytest.raises(Refused, match="4 GiB"):
        streams.sizes_of([2**32])
