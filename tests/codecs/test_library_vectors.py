"""The bytes of values of libraries never change (docs/reference/values-v1.md)."""

from __future__ import annotations

import json
import re
import warnings

import pytest

from scalable_cas.codecs import decode, encode, libraries
from tests.codecs.make_library_vectors import FILE, namespace, shown
from tests.codecs.same_values import identical
from tests.codecs.test_vectors import PAGE

VECTORS = json.loads(FILE.read_text())["values"]
NAMES = namespace()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector):
    needs = re.findall(r"\b(np|pd|pa|sp|xr)\.", vector["value"])
    for short in [*needs, *(["pa"] if vector["name"].startswith("pyarrow") else [])]:
        if short not in NAMES:
            pytest.skip(f"{short} is not installed")
    if "StringDType" in vector["value"] and not hasattr(NAMES["np"].dtypes, "StringDType"):
        pytest.skip("numpy 1 has no StringDType")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # of np.matrix, where one is made
        value = eval(vector["value"], dict(NAMES))
    encoded = encode(value)
    assert encoded.codec == vector["codec"]
    if vector["bytes"] == "us":
        assert (encoded.head.hex(), [*map(shown, encoded.buffers)]) == (vector["head"], vector["buffers"])
    buffers = [bytes(buffer) for buffer in encoded.buffers]
    for trusted in (True, False):
        back = decode(vector["codec"], bytes.fromhex(vector["head"]), buffers, trusted=trusted)
        assert identical(value, back), back


def test_every_kind_of_value_has_a_vector_and_a_line_in_the_page():
    heads = b"".join(bytes.fromhex(vector["head"]) for vector in VECTORS)
    for library in libraries._HANDLERS:
        if library in ("polars", "torch"):  # the one's bytes are its own, the other is not installed here
            continue
        pytest.importorskip(library)
        for name in libraries._handlers(library).RAISE:
            assert f"`{name}`" in PAGE, name
            assert (
                bytes([0xA0 + len(name)]) + name.encode() in heads
                or b"\xd9" + bytes([len(name)]) + name.encode() in heads
            ), name
    for name in ("polars.DataFrame", "polars.Series", "torch.Tensor", "torch.Parameter"):
        assert f"`{name}`" in PAGE
