"""Segments: what one writer says about many calls, in one signed file (docs/reference/segment-v1.md).

The problem: a record names a key, an object and a codec, and whoever can change one of them chooses what a
reader gets. A signature for each record would cost 61 µs each; a signature for the pack that holds the
objects would not bind the key. So the records and the places of the objects are joined, and the whole is
signed once, with the remote that it is for: 100,000 entries cost one verification.

Everything here may come from an enemy. Sizes and counts are checked against the file and against limits
before memory is taken; digest and signature before anything is decompressed. Keeps I5 and I7.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from blake3 import blake3

from scalable_cas.errors import MalformedObject, UntrustedEntry
from scalable_cas.format.compression import compress, decompress
from scalable_cas.format.header import HEADER_BYTES, RAW, ZSTD
from scalable_cas.format.kinds import KIND_NAMES
from scalable_cas.format.record import LONGEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAGIC = b"SCASSEG1"
CONTEXT = "scalable_cas 2026-11 segment v1"
#: Limits of one segment. A push of 100,000 results is 30 MB of body; whoever has more writes several.
MOST_RECORDS = MOST_PLACES = 1 << 19
LARGEST_BODY = 128 << 20
#: Names, digests and keys are random, 32 bytes in every 64 of a place and at least 32 in every record, so
#: honest bodies expand sixfold at most; small ones may do what they like.
MOST_EXPANSION = 32
FREE_EXPANSION = 4 << 20
DIGEST_BYTES, SIGNATURE_BYTES = 32, 64
UNSIGNED = b""
NO_SIGNER = bytes(32)
_OWN = 0xFFFFFFFF  # the holder of an object that is a file of its own

# magic, features, coding, 0, remote, nonce, created, records, places, holders, 0, raw size, stored size, 0,
# signer
_HEAD = Struct("<8sIB3s16s16sQIII4sQQ8s32s")
HEAD_BYTES = _HEAD.size
#: No segment is longer than this, so nothing longer need be read.
LARGEST = HEAD_BYTES + LARGEST_BODY + DIGEST_BYTES + SIGNATURE_BYTES
_PLACE = Struct("<32sBB2sIQQQ")
PLACE_BYTES = _PLACE.size
_LARGEST_RAW = 1 << 48
_LAST_BYTE = 1 << 63
#: The latest time that a reader tells from later ones (ns).
LATEST = (1 << 63) - 1


class ObjectPlace(NamedTuple):
    """Where an object can be had: at ``offset`` of the pack ``holder`` (32 bytes), or as a file of its own
    (``holder`` is empty, ``offset`` 0). ``length``: of the encoded object, header included, in bytes.
    """

    oid: bytes
    kind: int
    coding: int
    raw_size: int
    holder: bytes
    offset: int
    length: int


class Segment(NamedTuple):
    """What a segment says. ``remote_id`` 16 bytes; ``signer`` 32 bytes, empty if nobody signed it; ``nonce``
    16 random bytes; ``created`` in ns since 1970; ``records`` as their writers packed them.
    """

    remote_id: bytes
    signer: bytes
    nonce: bytes
    created: int
    records: tuple[bytes, ...]
    places: tuple[ObjectPlace, ...]


def pack(segment: Segment, sign: Callable[[bytes], bytes] | None) -> bytes:
    """The bytes of a segment. ``sign`` makes the 64-byte signature of a digest with the key of
    ``segment.signer``; None for an unsigned one.

    Raises:
        ValueError: more than one segment can hold, or a signer without ``sign``, or the reverse.
    """
    if bool(segment.signer) != (sign is not None):
        raise ValueError("a segment has a signer exactly if it is signed")
    holders, body = _body(segment)
    too_many = len(segment.records) > MOST_RECORDS or len(segment.places) > MOST_PLACES
    if too_many or len(body) > LARGEST_BODY or any(len(item) > LONGEST for item in segment.records):
        raise ValueError("that is more than one segment can hold; write several")
    packed = compress(body)
    if packed is not None and _expands_too_far(len(body), len(packed)):
        packed = None
    stored = body if packed is None else packed
    head = _HEAD.pack(
        MAGIC,
        0,
        RAW if packed is None else ZSTD,
        bytes(3),
        segment.remote_id,
        segment.nonce,
        segment.created,
        len(segment.records),
        len(segment.places),
        holders,
        bytes(4),
        len(body),
        len(stored),
        bytes(8),
        segment.signer or NO_SIGNER,
    )
    digest = blake3(head + stored, derive_key_context=CONTEXT).digest()
    return b"".join((head, stored, digest, b"" if sign is None else sign(digest)))


def _body(segment: Segment) -> tuple[int, bytes]:
    """The number of holders, and the body."""
    numbers: dict[bytes, int] = {b"": _OWN}
    rows = []
    for oid, kind, coding, raw_size, holder, offset, length in segment.places:
        number = numbers.get(holder)
        if number is None:
            number = numbers[holder] = len(numbers) - 1
        rows.append(_PLACE.pack(oid, kind, coding, b"", number, raw_size, offset, length))
    lengths = [len(item) for item in segment.records]
    holders = list(numbers)[1:]
    parts = (Struct(f"<{len(lengths)}I").pack(*lengths), *segment.records, *holders, *rows)
    return len(holders), b"".join(parts)


def unpack(
    data: bytes, *, remote_id: bytes | None, verify: Callable[[bytes, bytes, bytes], bool] | None
) -> Segment:
    """Read a segment. ``remote_id``: what it must be for, None for any. ``verify(signer, digest, signature)``
    says whether a signature fits; without it nothing is attributed, and the segment comes back as unsigned.

    Raises:
        MalformedObject: not a segment, damaged, above a limit, or of a version that is not known here.
        UntrustedEntry: it is for another remote, or its signature does not fit.
    """
    fields = _head(data)
    _, _, coding, _, remote, nonce, created, records, places, holders, _, raw_size, stored, _, signer = fields
    end = HEAD_BYTES + stored
    digest = data[end : end + DIGEST_BYTES]
    view = memoryview(data)
    if blake3(view[:end], derive_key_context=CONTEXT).digest() != digest:
        raise MalformedObject("segment", "it is damaged: its digest does not match")
    if remote_id is not None and remote != remote_id:
        raise UntrustedEntry("a segment", f"it was written for another place ({remote.hex()})")
    if signer == NO_SIGNER or verify is None:
        signer = UNSIGNED
    elif not verify(signer, digest, data[end + DIGEST_BYTES :]):
        raise UntrustedEntry("a segment", "its signature does not fit")
    body = bytes(view[HEAD_BYTES:end])
    if coding == ZSTD:
        body = decompress(body, raw_size)
    return Segment(remote, signer, nonce, created, *_parts(body, records, holders, places))


def has_its_digest(data: bytes) -> bool:
    """Whether the digest of all that is before it stands at the end, or before a signature: such a file is as
    its writer made it, also where `unpack` refuses it.
    """
    for behind in (0, SIGNATURE_BYTES):
        end = len(data) - behind - DIGEST_BYTES
        if end > 0:
            digest = blake3(memoryview(data)[:end], derive_key_context=CONTEXT).digest()
            if digest == data[end : end + DIGEST_BYTES]:
                return True
    return False


def _head(data: bytes) -> tuple[Any, ...]:
    """The fields of the head, each within its limits, and the file exactly as long as they say."""
    if len(data) < HEAD_BYTES + DIGEST_BYTES or data[:8] != MAGIC:
        raise MalformedObject("segment", "it does not start as one, or ends early")
    fields = _HEAD.unpack_from(data)
    _, features, coding, zero1, _, _, _, records, places, holders, zero2, raw_size, stored, zero3, signer = (
        fields
    )
    if features or coding not in (RAW, ZSTD) or any(zero1) or any(zero2) or any(zero3):
        raise MalformedObject("segment", "it is of a version that is not known here")
    if records > MOST_RECORDS or places > MOST_PLACES or holders > places or raw_size > LARGEST_BODY:
        raise MalformedObject("segment", "it claims more than one segment may hold")
    if _expands_too_far(raw_size, stored) or (coding == RAW and stored != raw_size):
        raise MalformedObject("segment", f"{stored} bytes are said to be {raw_size}")
    signature = 0 if signer == NO_SIGNER else SIGNATURE_BYTES
    if len(data) != HEAD_BYTES + stored + DIGEST_BYTES + signature:
        raise MalformedObject("segment", f"its length, {len(data)} bytes, is not what its head says")
    return fields


def _expands_too_far(raw_size: int, stored: int) -> bool:
    return raw_size > FREE_EXPANSION and raw_size > MOST_EXPANSION * stored


def _parts(
    body: bytes, records: int, holders: int, places: int
) -> tuple[tuple[bytes, ...], tuple[ObjectPlace, ...]]:
    """The records and places of a body, which they must fill."""
    at = 4 * records
    rest = len(body) - at - 32 * holders - _PLACE.size * places
    if rest < 0:
        raise MalformedObject("segment", "its body ends early")
    lengths = Struct(f"<{records}I").unpack_from(body)
    if sum(lengths) != rest or (lengths and not 0 < min(lengths) <= max(lengths) <= LONGEST):
        raise MalformedObject("segment", "its records do not fill their place")
    found = []
    for length in lengths:
        found.append(body[at : at + length])
        at += length
    names = [body[at + 32 * number : at + 32 * (number + 1)] for number in range(holders)]
    at += 32 * holders
    return tuple(found), tuple(_place(row, names) for row in _PLACE.iter_unpack(memoryview(body)[at:]))


def _place(row: tuple[bytes, int, int, bytes, int, int, int, int], holders: list[bytes]) -> ObjectPlace:
    oid, kind, coding, zero, number, raw_size, offset, length = row
    wrong = kind not in KIND_NAMES or any(zero) or raw_size >= _LARGEST_RAW or length < HEADER_BYTES
    if number == _OWN:
        wrong = wrong or offset != 0
        holder = b""
    else:
        wrong = wrong or number >= len(holders) or offset < HEADER_BYTES
        holder = b"" if wrong else holders[number]
    if wrong or offset + length >= _LAST_BYTE:
        raise MalformedObject("segment", f"the place of object {oid.hex()} is none")
    return ObjectPlace(oid, kind, coding, raw_size, holder, offset, length)
