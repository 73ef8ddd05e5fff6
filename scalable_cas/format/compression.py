"""zstd with declared, checked and bounded sizes; the only module that imports zstandard.

python-zstandard ignores ``max_output_size`` when a frame declares its own size, and silently ignores what
follows the first frame. So before anything is decompressed the declared size is compared with the size we
expect, and the frame must end exactly where the payload ends.

Contexts are not thread-safe, and making one costs about 2 µs each way, so each thread keeps its own.
"""

from __future__ import annotations

from scalable_cas.errors import MalformedObject
from scalable_cas.format.shuffle import ITEMS, shuffle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    import zstandard

    Content = bytes | bytearray | memoryview

#: Level 1: level 3 gains at most 3 % on most scientific data and costs 30-50 % of the speed (measured on six
#: kinds of data).
LEVEL = 1
#: Where level 3 gains 2.5 % or more it is read no slower, mostly faster (counts and flags: 0.79 and 0.85 GB/s
#: to 0.85 and 1.11), and costs 0 to 23 % of the speed of writing; so it is asked of large content that is not
#: shuffled (docs/decisions/0010).
HIGHER, WORTH_HIGHER = 3, 0.975
#: Under this size a frame's own overhead eats the gain (ratio 0.96 at 200 B, 1.5 at 512 B), and a file takes
#: a disk block anyway.
SMALLEST = 512
#: A blob that loses less than 5 % stays raw: reading it back is then a copy, and it can be mapped.
WORTH = 0.95
#: Numbers must lose 18 %: shuffled, those drawn at random lose 16 % (their exponents) and smooth ones 21 to
#: 35 %, and either is read three times as slowly as raw (docs/decisions/0010).
WORTH_NUMBERS = 0.82
#: Large content of which nobody said that it is numbers (the bytes of an array, a binary file) is tried as
#: numbers of so many bytes. Those of 2 gain 4 % and are read at two thirds of the speed.
GUESSES = (8, 4)
#: It is shuffled where that gains 10 %. What gains less is read more slowly then, what gains more is mostly
#: read faster (docs/decisions/0010).
WORTH_GUESS = 0.9
#: What loses less than 1 % as it is has no numbers in it: even the digits of random ones have exponents.
NO_NUMBERS = 0.99
#: A frame holds at most so many times its own bytes: four of them stand for one block of 128 KiB.
MOST = (128 << 10) // 4
#: Probe: four samples of 16 KiB over the content (one sample predicted 10.2 where the truth was 2.4).
SAMPLE = 16 << 10
SAMPLES = 4

_local: threading.local | None = None


def _context() -> threading.local:
    # zstandard takes 9 ms to import and a hit on a small value never needs it.
    global _local
    if _local is None:
        import threading

        _local = threading.local()
    return _local


def _compressor(level: int) -> zstandard.ZstdCompressor:
    context = _context()
    found: zstandard.ZstdCompressor | None = getattr(context, f"c{level}", None)
    if found is None:
        import zstandard

        found = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False)
        setattr(context, f"c{level}", found)
    return found


def _decompressor() -> zstandard.ZstdDecompressor:
    context = _context()
    found: zstandard.ZstdDecompressor | None = getattr(context, "d", None)
    if found is None:
        import zstandard

        found = context.d = zstandard.ZstdDecompressor()
    return found


def plan(content: Content, item: int = 1) -> int | None:
    """How ``content`` is best stored, judged by samples: None raw, 0 one zstd frame, or the item size if it
    is shuffled first. ``item``: the size in bytes of the numbers that it is made of.
    """
    size = len(content)
    if size < SMALLEST:
        return None
    if size <= SAMPLE * SAMPLES:
        if item not in ITEMS:
            return 0  # the compression itself is the probe: see `compress_as`
        return plan_of([memoryview(content)], item)
    view, step = memoryview(content), (size - SAMPLE) // (SAMPLES - 1)
    starts = (at - at % item for at in range(0, step * SAMPLES, step))
    return plan_of([view[at : at + SAMPLE] for at in starts], item)


def plan_of(samples: Sequence[Content], item: int) -> int | None:
    """The same, from samples that begin with whole items."""
    total, plain = sum(map(len, samples)), _size(samples)
    if item not in ITEMS:
        return 0 if plain < WORTH * total else None
    shuffled = _size([shuffle(sample, item) for sample in samples])
    if min(plain, shuffled) >= WORTH_NUMBERS * total:
        return None
    return item if shuffled <= plain else 0


def plan_large(samples: Sequence[Content], item: int) -> tuple[int | None, int]:
    """How large content with these samples is best stored: as `plan_of` says, and the level. Of content of
    which nothing is known (``item`` 1) it is found out whether it is numbers.
    """
    if item in ITEMS:
        filter_ = plan_of(samples, item)
        return filter_, _best_level(samples)[0] if filter_ == 0 else LEVEL
    level, plain = _best_level(samples)
    total = sum(map(len, samples))
    stored = plain < WORTH * total
    if plain < NO_NUMBERS * total and not all(bytes(sample).isascii() for sample in samples):
        least = WORTH_GUESS * plain if stored else WORTH_NUMBERS * total
        size, guess = min((_size([shuffle(sample, n) for sample in samples]), n) for n in GUESSES)
        if size < least:
            return guess, LEVEL
    return (0, level) if stored else (None, LEVEL)


def _best_level(samples: Sequence[Content]) -> tuple[int, int]:
    """The level at which content is best stored as it is, and what its samples take then."""
    usual, higher = _size(samples), _size(samples, HIGHER)
    return (HIGHER, higher) if higher <= WORTH_HIGHER * usual else (LEVEL, usual)


def _size(samples: Sequence[Content], level: int = LEVEL) -> int:
    return sum(len(_compressor(level).compress(sample)) for sample in samples)


def compress_as(content: Content, filter_: int, level: int = LEVEL) -> bytes | None:
    """One zstd frame that declares its size, of ``content`` shuffled by ``filter_`` bytes unless that is 0;
    None where it gains less than 5 %.
    """
    packed = _compressor(level).compress(shuffle(content, filter_) if filter_ else content)
    return packed if len(packed) < WORTH * len(content) else None


def compress(content: Content) -> bytes | None:
    """One zstd frame of ``content`` as it is, or None where that gains less than 5 %."""
    return None if plan(content) is None else compress_as(content, 0)


def decompress(payload: bytes | memoryview, raw_size: int) -> bytes:
    """Return exactly ``raw_size`` bytes out of one frame that fills ``payload``.

    Raises:
        MalformedObject: not one whole frame, another declared size, bytes after the frame, or damaged data.
    """
    import zstandard

    try:
        declared = zstandard.get_frame_parameters(payload).content_size
    except zstandard.ZstdError as error:
        raise MalformedObject("zstd frame", str(error)) from error
    if declared != raw_size:
        raise MalformedObject("zstd frame", f"declares {declared} bytes where {raw_size} are expected")
    if raw_size > len(payload) * MOST:  # else its memory would be taken before the frame is looked at
        raise MalformedObject("zstd frame", f"declares {raw_size} bytes, more than any of its length holds")
    try:
        # In one call, which takes the memory at once: with one that grows it takes 1.8 times as long.
        content = _decompressor().decompress(payload, allow_extra_data=False)
        if not raw_size:  # then that looks at nothing but the size
            stepper = _decompressor().decompressobj()
            stepper.decompress(payload)
            if not stepper.eof or stepper.unused_data:
                raise MalformedObject("zstd frame", "ends early or is followed by other bytes")
    except zstandard.ZstdError as error:
        raise MalformedObject("zstd frame", str(error)) from error
    if len(content) != raw_size:
        raise MalformedObject("zstd frame", "ends early")
    return content


def decompress_stream(file: BinaryIO, raw_size: int) -> Iterator[memoryview]:
    """Yield the content of the one frame that is the rest of ``file``, in pieces of up to a megabyte; each is
    only good until the next is asked for.

    Raises:
        MalformedObject: not one whole frame, another size, bytes after the frame, or damaged data.
    """
    import zstandard

    buffer = memoryview(bytearray(min(1 << 20, raw_size + 1)))
    total = 0
    try:
        start = file.read(32)  # longer than any frame header
        declared = zstandard.get_frame_parameters(start).content_size
        if declared != raw_size:
            raise MalformedObject("zstd frame", f"declares {declared} bytes where {raw_size} are expected")
        file.seek(-len(start), 1)
        # across frames: so that a second frame behind the first shows as content that is too long
        with _decompressor().stream_reader(
            file, read_size=1 << 20, read_across_frames=True, closefd=False
        ) as reader:
            while count := reader.readinto(buffer):
                total += count
                if total > raw_size:
                    raise MalformedObject("zstd frame", "is followed by another")
                yield buffer[:count]
    except zstandard.ZstdError as error:
        raise MalformedObject("zstd frame", str(error)) from error
    if total != raw_size:
        raise MalformedObject("zstd frame", "ends early")
