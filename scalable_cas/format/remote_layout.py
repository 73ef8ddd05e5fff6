"""The layout of a remote: what its files are called, and the file that says which remote it is
(remote-layout-v1, sections 1 and 2).

Names of files in a remote are relative to its prefix, with ``/`` between their parts.
"""

from __future__ import annotations

import json

from blake3 import blake3

from scalable_cas.errors import MalformedObject, StoreVersionError
from scalable_cas.format.pack import PACK_SUFFIX

FORMAT_NAME = "format.json"
FORMAT_VERSION = 1
#: A longer ``format.json`` is none.
FORMAT_BYTES = 64 << 10
PACKS, BIGS, SEGMENTS = "packs/", "big/", "segments/"
JOINED, NOTICES = "segments/joined/", "segments/notices/"
QUARANTINE = "quarantine/"
SEGMENT_SUFFIX, JOINED_SUFFIX, NOTICE_SUFFIX = ".seg", ".join", ".json"
_DAY_NS = 86_400 * 10**9
_HEX = frozenset("0123456789abcdef")

#: Features of a remote that this program knows, per operation.
KNOWN_FEATURES: dict[str, frozenset[str]] = {"read": frozenset(), "write": frozenset(), "gc": frozenset()}


def pack_name(name: bytes) -> str:
    """The file of a pack, by the BLAKE3 of its bytes (32 bytes)."""
    text = name.hex()
    return f"{PACKS}{text[:2]}/{text}{PACK_SUFFIX}"


def big_name(oid: bytes) -> str:
    """The file of an object that lies by itself, by its name (32 bytes)."""
    text = oid.hex()
    return f"{BIGS}{text[:2]}/{text}"


def segment_name(created: int, number: bytes) -> str:
    """The file of a segment: its epoch is the UTC day of ``created`` (ns since 1970), its name its number
    (16 bytes). The epoch spreads files over folders; nothing is concluded from it.
    """
    return f"{SEGMENTS}{created // _DAY_NS:05d}/{number.hex()}{SEGMENT_SUFFIX}"


def joined_name(name: bytes) -> str:
    """The file of joined segments, by the BLAKE3 of its bytes (32 bytes)."""
    return f"{JOINED}{name.hex()}{JOINED_SUFFIX}"


def notice_name(number: bytes) -> str:
    """The file of a collector's notice, by its random number (16 bytes)."""
    return f"{NOTICES}{number.hex()}{NOTICE_SUFFIX}"


def quarantine_name(name: str, digest: bytes) -> str:
    """Where the damaged bytes of a file are kept: two of one name do not meet."""
    return f"{QUARANTINE}{name}.{digest[:8].hex()}"


def segment_number(name: str) -> bytes | None:
    """The number of the segment that a file is named after; None if it is no segment."""
    return _id_in(name, SEGMENTS, SEGMENT_SUFFIX, 16)


def joined_id(name: str) -> bytes | None:
    """The id in the name of a file of joined segments; None if it is none."""
    return _id_in(name, JOINED, JOINED_SUFFIX, 32)


def is_notice(name: str) -> bool:
    """Whether a file is a collector's notice."""
    return _id_in(name, NOTICES, NOTICE_SUFFIX, 16) is not None


def pack_id(name: str) -> bytes | None:
    """The id in the name of a pack's file; None if it is none."""
    return _id_in(name, PACKS, PACK_SUFFIX, 32)


def big_id(name: str) -> bytes | None:
    """The name of the object in the file ``name`` below ``big/``; None if it is none."""
    return _id_in(name, BIGS, "", 32)


def _id_in(name: str, prefix: str, suffix: str, length: int) -> bytes | None:
    last = name.rpartition("/")[2]
    text = last[: len(last) - len(suffix)] if last.endswith(suffix) else ""
    if not name.startswith(prefix) or len(text) != 2 * length or not _HEX.issuperset(text):
        return None
    return bytes.fromhex(text)


class RemoteFormat:
    """The content of ``format.json``. ``remote_id`` is 16 random bytes: signatures bind it."""

    __slots__ = ("features", "remote_id")

    def __init__(self, remote_id: bytes, features: dict[str, list[str]] | None = None) -> None:
        self.remote_id = remote_id
        self.features = features or {name: [] for name in KNOWN_FEATURES}

    def pack(self) -> bytes:
        """JSON, so that a person can read it."""
        content = {
            "scalable_cas": "remote",
            "format": FORMAT_VERSION,
            "id": self.remote_id.hex(),
            "hash": "blake3-256",
            "features": self.features,
        }
        return (json.dumps(content | {"check": _check(content)}, indent=2) + "\n").encode()

    def check(self, operation: str, url: str) -> None:
        """Refuse ``operation`` ("read", "write" or "gc") if the remote uses a feature that it needs and that
        we lack.

        Raises:
            StoreVersionError: naming the feature.
        """
        unknown = sorted(set(self.features.get(operation, [])) - KNOWN_FEATURES[operation])
        if unknown:
            raise StoreVersionError(
                url, f"it uses the feature {unknown[0]!r}, which this version needs to know to {operation}"
            )


def _check(content: dict[str, object]) -> str:
    """The checksum in ``format.json``: a flipped bit would make of one remote another one, to which all that
    is here would be pushed.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return str(blake3(text.encode()).hexdigest(8))


_NO_REMOTE = (
    "something else than a remote's is there, or it is damaged; "
    "put a copy of it back, use another place, or check AWS_ENDPOINT_URL"
)


def unpack_format(data: bytes, url: str) -> RemoteFormat:
    """Read a ``format.json``.

    Raises:
        StoreVersionError: a newer format.
        MalformedObject: not such a file.
    """
    try:
        content = json.loads(data)
        version, remote_id = content["format"], bytes.fromhex(content["id"])
        features = {str(name): [str(item) for item in items] for name, items in content["features"].items()}
        ours = content["scalable_cas"] == "remote" and content.pop("check") == _check(content)
        ours = ours and features.keys() >= KNOWN_FEATURES.keys() and content["hash"] == "blake3-256"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedObject(FORMAT_NAME, _NO_REMOTE) from error
    if not ours or len(remote_id) != 16 or not isinstance(version, int):
        raise MalformedObject(FORMAT_NAME, _NO_REMOTE)
    if version > FORMAT_VERSION:
        raise StoreVersionError(url, f"it has format {version}; this program knows up to {FORMAT_VERSION}")
    return RemoteFormat(remote_id, features)


class Notice:
    """What a collector of a remote announces: ``phase`` "condemned" or "sweeping", when (``at``, ns since
    1970), and the ``packs`` and ``bigs`` (names, 32 bytes) that it means to remove.
    """

    __slots__ = ("at", "bigs", "packs", "phase")

    def __init__(self, phase: str, at: int, packs: frozenset[bytes], bigs: frozenset[bytes]) -> None:
        self.phase = phase
        self.at = at
        self.packs = packs
        self.bigs = bigs

    def pack(self) -> bytes:
        """The bytes of the file."""
        content = {
            "phase": self.phase,
            "at": self.at,
            "packs": sorted(name.hex() for name in self.packs),
            "bigs": sorted(name.hex() for name in self.bigs),
        }
        return (json.dumps(content) + "\n").encode()


def unpack_notice(data: bytes) -> Notice:
    """Read a notice.

    Raises:
        MalformedObject: not such a file.
    """
    try:
        content = json.loads(data)
        packs, bigs = (frozenset(map(bytes.fromhex, content[name])) for name in ("packs", "bigs"))
        phase, at = content["phase"], content["at"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedObject("notice", "not one") from error
    if phase not in ("condemned", "sweeping") or not isinstance(at, int):
        raise MalformedObject("notice", "of an unknown phase")
    return Notice(phase, at, packs, bigs)
