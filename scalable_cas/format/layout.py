"""Where things lie in a store, and the file that says which format it has (format-v1, section 3)."""

from __future__ import annotations

from scalable_cas.errors import MalformedObject, StoreVersionError

FORMAT_VERSION = 1
FORMAT_FILE = "format"
CONFIG_FILE = "config.json"
OBJECTS = "objects"
JOURNAL = "journal"
INDEX = "index"
TMP = "tmp"
BALLAST = "tmp/ballast"  # holds nothing: space for the day when the disk is full
QUARANTINE = "quarantine"
PACKS = "pack"  # in `OBJECTS`
SEGMENT_SUFFIX = ".seg"

#: Features that this program knows, per operation. A store that names another one is refused for that
#: operation, by name.
FEATURES = frozenset(("chunked", "shuffle"))
KNOWN_FEATURES: dict[str, frozenset[str]] = dict.fromkeys(("read", "write", "gc", "verify"), FEATURES)


def object_path(oid: bytes) -> str:
    """The path of a loose object below ``objects/``: two digits, a slash, sixty-two digits."""
    name = oid.hex()
    return f"{name[:2]}/{name[2:]}"


_TEMPLATE = b"""{
  "format": 1,
  "id": "%s",
  "hash": "blake3-256",
  "call_key": 1,
  "features": %s
}
"""
_PLAIN_FEATURES = b'{"read": [], "write": [], "gc": [], "verify": []}'


class StoreFormat:
    """The content of the ``format`` file. ``store_id`` is 16 random bytes."""

    __slots__ = ("features", "store_id")

    def __init__(self, store_id: bytes, features: dict[str, list[str]] | None = None) -> None:
        self.store_id = store_id
        self.features = features or {name: [] for name in KNOWN_FEATURES}

    def pack(self) -> bytes:
        """JSON, so that a person can read it."""
        import json

        return _TEMPLATE % (self.store_id.hex().encode(), json.dumps(self.features).encode())

    def uses(self, feature: str) -> bool:
        """Whether every operation asks for a feature."""
        return all(feature in self.features.get(operation, ()) for operation in KNOWN_FEATURES)

    def with_feature(self, feature: str) -> StoreFormat:
        """The same for a store that uses one more feature, which every operation must know: whoever does not
        would take such objects for damaged ones, and their parts for garbage.
        """
        more = {name: set(self.features.get(name, ())) | {feature} for name in KNOWN_FEATURES}
        return StoreFormat(
            self.store_id, {**self.features, **{name: sorted(found) for name, found in more.items()}}
        )

    def check(self, operation: str, path: str) -> None:
        """Refuse ``operation`` ("read", "write", "gc" or "verify") if the store uses a feature that it needs
        and that we lack.

        Raises:
            StoreVersionError: naming the feature.
        """
        unknown = sorted(set(self.features.get(operation, [])) - KNOWN_FEATURES[operation])
        if unknown:
            raise StoreVersionError(
                path, f"it uses the feature {unknown[0]!r}, which this version needs to know to {operation}"
            )


def unpack_format(data: bytes, path: str) -> StoreFormat:
    """Read a ``format`` file.

    Raises:
        StoreVersionError: a newer format.
        MalformedObject: not such a file.
    """
    start = _TEMPLATE.index(b"%s")
    # the common file is recognised without a JSON parser: importing one costs more than a hit may
    plain_id = data[start : start + 32]
    if data == _TEMPLATE % (plain_id, _PLAIN_FEATURES) and not set(plain_id) - set(b"0123456789abcdef"):
        return StoreFormat(bytes.fromhex(plain_id.decode("ascii", "replace")))
    import json

    try:
        content = json.loads(data)
        version = content["format"]
        # looked at first: what else there is may be another thing in a later format
        if type(version) is int and version > FORMAT_VERSION:
            raise StoreVersionError(
                path, f"it has format {version}; this program knows up to {FORMAT_VERSION}"
            )
        store_id = bytes.fromhex(content["id"])
        features = {str(name): [str(item) for item in items] for name, items in content["features"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedObject("format file", f"{path} is not one") from error
    if type(version) is not int or version < 1 or len(store_id) != 16:
        raise MalformedObject("format file", f"{path} has no format number or no id")
    return StoreFormat(store_id, features)
