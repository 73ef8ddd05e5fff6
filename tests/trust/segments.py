"""Segments and keys for the tests of this folder, and the vectors: `python -m tests.trust.segments` prints
`fixtures/segments-v1.json`, which is only added to.
"""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from scalable_cas.format import segment
from scalable_cas.format.kinds import BLOB, VALUE
from scalable_cas.format.record import Record, tombstone

VECTORS = Path(__file__).parents[2] / "fixtures/segments-v1.json"
REMOTE, NONCE = bytes(range(16)), bytes(range(16, 32))


class Signer:
    """A key pair made from a seed of 32 bytes, by the library and not by our code."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        self.sign = self._key.sign


def verify(signer: bytes, digest: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, digest)
    except InvalidSignature:
        return False
    return True


ALICE, MALLORY = Signer(b"a" * 32), Signer(b"m" * 32)


def make(records=(), places=(), signer=None, remote=REMOTE, nonce=NONCE, created=10**18):
    """A segment, and its bytes signed by ``signer``."""
    public = signer.public if signer else b""
    made = segment.Segment(remote, public, nonce, created, tuple(records), tuple(places))
    return made, segment.pack(made, signer.sign if signer else None)


def sample_records(count: int) -> list[bytes]:
    return [
        Record(
            bytes([n]) * 32,
            b"function",
            "module.function",
            codec="plain",
            kind=VALUE,
            oid=bytes([200 + n]) * 32,
            size=100 + n,
            total=100 + n,
            created=10**18 + n,
            seconds=0.5,
            parts=[("a", "i", bytes([n]) * 32)],
            sequence=n,
        ).pack()
        for n in range(count)
    ]


def _vectors():
    stone = tombstone(bytes(40), "module.function", created=10**18, sequence=9).pack()
    places = [
        segment.ObjectPlace(bytes([200 + n]) * 32, VALUE, n % 2, 100 + n, b"\x11" * 32, 64 + 200 * n, 164 + n)
        for n in range(3)
    ]
    places.append(segment.ObjectPlace(b"\x99" * 32, BLOB, 0, 10**9, b"", 0, 10**9 + 64))
    yield "empty", None, make()
    yield "raw", ALICE, make([stone], (), ALICE)
    yield "compressed", ALICE, make([*sample_records(3), stone], places, ALICE)


def main() -> None:
    found = []
    for name, signer, (made, data) in _vectors():
        found.append(
            {
                "name": name,
                "seed": signer.seed.hex() if signer else "",
                "remote": made.remote_id.hex(),
                "signer": made.signer.hex(),
                "nonce": made.nonce.hex(),
                "created": made.created,
                "records": [item.hex() for item in made.records],
                "places": [
                    [
                        place.oid.hex(),
                        place.kind,
                        place.coding,
                        place.raw_size,
                        place.holder.hex(),
                        place.offset,
                        place.length,
                    ]
                    for place in made.places
                ],
                "segment": data.hex(),
            }
        )
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
