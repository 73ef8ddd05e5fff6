"""The user's signing key, and Ed25519: the only module that loads `cryptography`, and only when a signature
is made or checked.

The key is made at first use, in the user's own folder, never in a store or a repository: whoever reads it can
sign in the user's name. Its file holds the public half too, so that asking "is that mine?" loads nothing.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode

from scalable_cas.errors import ConfigError, StoreReadOnly, not_installed
from scalable_cas.storage import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

KEY_FILE = "signing.key"
KEY_BYTES, SIGNATURE_BYTES = 32, 64
#: How a public key is written, before its base64.
PREFIX = "ed25519:"
_HEAD = "# scalable-cas signing key, version 1: whoever can read this file can sign in your name"
_LONGEST = 4096


class SigningKey:
    """A key pair. ``public``: 32 bytes."""

    __slots__ = ("_seed", "public")

    def __init__(self, seed: bytes, public: bytes) -> None:
        self._seed = seed
        self.public = public

    def __repr__(self) -> str:  # never the seed, wherever it is printed
        return f"SigningKey({key_text(self.public)})"

    def sign(self, digest: bytes) -> bytes:
        """The 64-byte signature of a digest (RFC 8032)."""
        signature: bytes = _ed25519().Ed25519PrivateKey.from_private_bytes(self._seed).sign(digest)
        return signature


def verify(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) over ``digest`` was made with the key whose public half this is."""
    ed25519 = _ed25519()
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, digest)
    except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no point of the curve
        return False
    return True


def _ed25519() -> Any:
    """The module of `cryptography` that has the keys.

    Raises:
        ConfigError: it cannot be imported.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise not_installed("signatures", "cryptography", error) from error
    return ed25519


def key_text(public: bytes) -> str:
    """A public key as people see it: ``ed25519:BASE64``."""
    return PREFIX + b64encode(public).decode()


def parse_key(text: str) -> bytes:
    """The public key (32 bytes) behind ``ed25519:BASE64``.

    Raises:
        ValueError: it is none. Only one way of writing a key is taken, so that two lines never mean one key.
    """
    wanted = f"{text!r} is not a key; a key is ed25519: and 44 characters, as `trust show-key` prints it"
    try:
        key = b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise ValueError(wanted) from error
    if len(key) != KEY_BYTES or key_text(key) != text:
        raise ValueError(wanted)
    return key


def signing_key(places: Sequence[str]) -> SigningKey:
    """The key in the first of some folders that can have one, made if there is none: what once had to lie in
    a temporary folder is not who the user is for ever.

    Raises:
        ConfigError: a key file that others could read or have written, or that is damaged: it is not used,
            and not replaced.
        StoreReadOnly: no folder can hold it.
    """
    for place in places:
        found = _load(f"{place}/{KEY_FILE}")
        if found is None:
            try:
                _make(place)
            except StoreReadOnly:
                continue
            found = _load(f"{place}/{KEY_FILE}")  # ours, or that of a process which was quicker
        if found is not None:
            return found
    raise StoreReadOnly(places[0], "no place for your signing key; set XDG_CONFIG_HOME to a folder of yours")


def find_keys(places: Sequence[str]) -> list[SigningKey]:
    """The keys that there are in these folders.

    Raises:
        ConfigError: as `signing_key`, of the first folder; the others may be anybody's.
    """
    found = []
    for place in places:
        try:
            key = _load(f"{place}/{KEY_FILE}")
        except ConfigError:
            if place == places[0]:
                raise
            continue
        found += [key] if key is not None else []
    return found


def _make(place: str) -> None:
    seed = os.urandom(KEY_BYTES)
    public = _ed25519().Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    lines = (_HEAD, f"private {key_text(seed)}", f"public {key_text(public)}", "")
    fs.make_folder(place)
    fs.write_new(place, f"{place}/{KEY_FILE}", ("\n".join(lines).encode(),), sync=True, mode=0o600)


def _load(path: str) -> SigningKey | None:
    data = read_private(path, _LONGEST, secret=True)
    if data is None:
        return None
    try:
        head, private, public, end = data.decode("ascii").split("\n")
        pair = parse_key(private.removeprefix("private ")), parse_key(public.removeprefix("public "))
    except ValueError as error:
        raise ConfigError(path, "it is not a signing key; move it away, and a new one is made") from error
    if head != _HEAD or end:
        raise ConfigError(path, "it is a signing key of a version that is not known here")
    return SigningKey(*pair)


def read_private(path: str, longest: int, *, secret: bool) -> bytes | None:
    """The bytes of a file that nobody but this user may have written, nor read if it is ``secret``; None if
    there is none.

    Raises:
        ConfigError: it belongs to somebody else, or others may write (read) it, or it is longer.
    """
    try:
        # a list may be a link into a folder that keeps one's settings; a key is nowhere else
        follow = os.O_NOFOLLOW if secret else 0
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | follow)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(path, error.strerror or str(error)) from error
    try:
        seen = os.fstat(fd)
        if seen.st_uid != os.geteuid():
            raise ConfigError(path, "it belongs to another user, so it is not used")
        if seen.st_mode & (0o077 if secret else 0o022):
            others = "can read" if secret else "can write"
            raise ConfigError(
                path, f"others {others} it, so it is not used; `chmod 600 {path}`, or remove it"
            )
        data = os.read(fd, longest + 1)
    except OSError as error:
        raise ConfigError(path, error.strerror or str(error)) from error
    finally:
        os.close(fd)
    if len(data) > longest:
        raise ConfigError(path, f"it is longer than {longest} bytes")
    return data
