"""What every codec promises (`scalable_cas.codecs.Codec`), as tests that its author runs.

With pytest, a class is enough; each promise is a test of its own:

    from scalable_cas.testing.codecs import CodecSuite

    class TestMyCodec(CodecSuite):
        codec = MyCodec()
        samples = (lambda: MyType(1), lambda: MyType(2))

Samples are functions, so that a value can be made twice. `equal` says whether two values are the same, if
`==` does not. Nothing here needs pytest: a promise that is not kept is an `AssertionError` that says which.
"""

from __future__ import annotations

import copy

from scalable_cas.codecs import base
from scalable_cas.codecs.encoded import OUT_OF_BAND, Encoded
from scalable_cas.errors import MalformedObject, ScalableCasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from scalable_cas.codecs.base import Codec

__all__ = ["CodecSuite", "check_codec"]

#: Values that no codec but their own may take. A codec is asked for every value that is not plain data.
_FOREIGN: tuple[Any, ...] = (object(), type("Foreign", (), {})(), len, ValueError("x"), {1: object()})
#: Places of a head that are damaged one by one; more than these, evenly spread, would only take longer.
_PLACES = 200
#: Bytes that damaged bytes may make a decoder take, beyond twice those of the value: what Python itself needs
#: to raise an error, and a library for its tables.
_ALLOWANCE = 4 << 20


class CodecSuite:
    """The promises of a codec. A subclass sets `codec` and `samples`, and `equal` where `==` will not do."""

    codec: Codec
    samples: Sequence[Callable[[], Any]] = ()

    def equal(self, left: Any, right: Any) -> bool:
        """Whether two values cannot be told apart by those who use them."""
        return type(left) is type(right) and bool(left == right)

    # --- the promises ---------------------------------------------------------------------------------------

    def test_its_name_is_allowed(self) -> None:
        """1 to 64 characters of `a-z 0-9 . -`, and not the name of a codec of scalable_cas."""
        try:
            base.check_name(self.codec.name)
        except ValueError as error:
            raise AssertionError(str(error)) from error

    def test_it_leaves_other_values_alone(self) -> None:
        """`encode` returns `None` for what is not its own, and raises nothing."""
        for value in _FOREIGN:
            _see(self.codec.encode(value) is None, f"it took a value of type {type(value).__name__}")

    def test_values_come_back(self) -> None:
        """From bytes, from writable memory and from views, whatever the store has at hand."""
        for value, encoded in self._encoded():
            for form in (bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))):
                back = self._decode(encoded.head, [form(data) for data in _copies(encoded)])
                _see(self.equal(value, back), f"{value!r} came back as {back!r}")
            back = self._decode(memoryview(encoded.head), _copies(encoded))
            _see(self.equal(value, back), "a head that is a memoryview was read differently")

    def test_equal_values_have_equal_bytes(self) -> None:
        """Made twice, and from a copy: only so are two results stored once."""
        for place, (_, encoded) in enumerate(self._encoded()):
            for again in (self.samples[place](), copy.deepcopy(self.samples[place]())):
                other = self._encode(again)
                same = other.head == encoded.head and _copies(other) == _copies(encoded)
                _see(same, "the same value was encoded to other bytes")

    def test_a_value_is_not_changed_by_being_encoded(self) -> None:
        """The caller of the function gets the same object that was stored."""
        for make in self.samples:
            value = make()
            self._encode(value)
            _see(self.equal(value, make()), f"encoding changed {value!r}")

    def test_what_comes_back_has_memory_of_its_own(self) -> None:
        """Two callers that get the same stored value do not see each other's changes, nor does the store."""
        for _, encoded in self._encoded():
            data = _copies(encoded)
            one, two = self._decode(encoded.head, data), self._decode(encoded.head, data)
            _see(one is not two or _is_immutable(one), "two hits gave one object")
            _see(data == _copies(encoded), "decoding changed the stored bytes")

    def test_large_parts_are_buffers(self) -> None:
        """Buffers are large, so that a value is not scattered over small objects."""
        for value, encoded in self._encoded():
            small = [size for size in map(len, _copies(encoded)) if size < OUT_OF_BAND]
            _see(
                not small,
                f"{value!r} has a buffer of {small} bytes: less than {OUT_OF_BAND} belong into the head",
            )

    def test_strangers_are_read_safely_or_not_at_all(self) -> None:
        """A codec whose name does not contain `pickle` decodes bytes of somebody who is not trusted."""
        if "pickle" in self.codec.name:
            return
        for value, encoded in self._encoded():
            back = self.codec.decode(encoded.head, _copies(encoded), trusted=False)
            _see(self.equal(value, back), f"{value!r} came back as {back!r} when it was not trusted")

    def test_damage_is_an_error_and_little_memory(self) -> None:
        """A head that is cut, longer or altered, buffers that are missing, of other sizes or too many: an
        error of scalable_cas, or a value; never another exception, and no memory for sizes that are only
        claimed.
        """
        if "pickle" in self.codec.name:
            return
        import tracemalloc

        for _, encoded in self._encoded():
            data = _copies(encoded)
            size = len(encoded.head) + sum(map(len, data))
            self._try(encoded.head, data)  # what is imported for it counts for itself
            tracemalloc.start()
            try:
                for head, buffers in _damaged(encoded.head, data):
                    tracemalloc.reset_peak()
                    before = tracemalloc.get_traced_memory()[0]
                    self._try(head, buffers)
                    taken = tracemalloc.get_traced_memory()[1] - before
                    _see(
                        taken <= 2 * size + _ALLOWANCE,
                        f"{taken} bytes were taken for a damaged value of {size}",
                    )
            finally:
                tracemalloc.stop()

    def test_other_bytes_are_malformed(self) -> None:
        """Nothing at all, and bytes of nobody's."""
        for head in (b"", b"\x00", b"\xff" * 64):
            if any(encoded.head == head for _, encoded in self._encoded()):
                continue
            try:
                self.codec.decode(head, [], trusted=True)
            except MalformedObject:
                continue
            except Exception as error:
                raise AssertionError(f"{head!r} raised {type(error).__name__}: {error}") from error
            raise AssertionError(f"{head!r} was taken for a value")

    # --- helpers --------------------------------------------------------------------------------------------

    def _encoded(self) -> Iterator[tuple[Any, Encoded]]:
        _see(bool(self.samples), "samples are missing: functions that make values of the codec")
        for make in self.samples:
            value = make()
            yield value, self._encode(value)

    def _encode(self, value: Any) -> Encoded:
        encoded = self.codec.encode(value)
        if encoded is None:
            raise AssertionError(f"it left a value of its own: {value!r}")
        _see(type(encoded) is Encoded, "encode returns an Encoded")
        _see(
            encoded.codec == self.codec.name,
            f"it is called {self.codec.name!r} and encodes as {encoded.codec!r}",
        )
        _see(type(encoded.head) is bytes, "the head is bytes")
        return encoded

    def _decode(self, head: Any, buffers: list[Any]) -> Any:
        return self.codec.decode(head, buffers, trusted=True)

    def _try(self, head: bytes, buffers: list[Any]) -> None:
        try:
            self.codec.decode(head, buffers, trusted=False)
        except ScalableCasError:
            return
        except Exception as error:
            raise AssertionError(f"damaged bytes raised {type(error).__name__}: {error}") from error


def check_codec(
    codec: Codec, samples: Sequence[Callable[[], Any]], equal: Callable[[Any, Any], bool] | None = None
) -> None:
    """Run the whole suite at once.

    Raises:
        AssertionError: a promise is not kept.
    """
    suite = CodecSuite()
    suite.codec, suite.samples = codec, samples
    if equal is not None:
        suite.equal = equal  # type: ignore[method-assign, assignment]
    for name in sorted(vars(CodecSuite)):
        if name.startswith("test_"):
            getattr(suite, name)()


def _see(kept: bool, otherwise: str) -> None:
    if not kept:
        raise AssertionError(otherwise)


def _copies(encoded: Encoded) -> list[bytes]:
    return [memoryview(buffer).tobytes() for buffer in encoded.buffers]


def _is_immutable(value: Any) -> bool:
    return type(value) in (int, float, complex, str, bytes, bool, type(None)) or value is copy.copy(value)


def _damaged(head: bytes, buffers: list[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    step = max(1, len(head) // _PLACES)
    for at in range(0, len(head), step):
        yield head[:at], buffers
        yield head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :], buffers
        yield head[:at] + b"\xff" + head[at + 1 :], buffers
        yield head[:at] + b"\xff\xff\xff\xff" + head[at + 4 :], buffers
    yield head + b"\x00", buffers
    yield head, [*buffers, b"more"]
    for place in range(len(buffers)):
        yield head, buffers[:place] + buffers[place + 1 :]
        yield head, [*buffers[:place], buffers[place][:-1], *buffers[place + 1 :]]
        yield head, [*buffers[:place], b"", *buffers[place + 1 :]]
