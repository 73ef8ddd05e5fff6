"""Encoded objects that come from elsewhere: checked first, then put in place under their names, byte for byte
as they came. Keeps I1, I5 and I7.

What is claimed of an object (sizes, kind) may be an enemy's claim. Content is decompressed in memory only up
to a limit; what is larger goes to a draft in ``tmp/`` first and is read back a megabyte at a time.
"""

from __future__ import annotations

import os

from scalable_cas.errors import CorruptObject, MalformedObject, ObjectUnreadable, StoreReadOnly
from scalable_cas.format import header as encoded
from scalable_cas.format.kinds import hasher
from scalable_cas.format.layout import TMP
from scalable_cas.storage import fs
from scalable_cas.storage.drafts import temporary_name
from scalable_cas.storage.loose import Placed, checked, own_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scalable_cas.format.header import Header
    from scalable_cas.storage.objects import Objects

#: Content that is decompressed in memory at once, in bytes: four jobs of it are what one large array takes.
IN_MEMORY = 64 << 20


def check_bytes(oid: bytes, data: bytes) -> tuple[Header, bytes | memoryview | None]:
    """Check an encoded object; returns its header and its content, None where that is too large to be
    decompressed in memory: then nothing but the header was checked, and `put_bytes` checks the rest.

    Raises:
        CorruptObject: it is not the object of that name.
    """
    head = own_header(oid, data)
    if encoded.HEADER_BYTES + head.stored_size != len(data):
        raise CorruptObject(oid.hex(), f"{len(data)} bytes came of {encoded.HEADER_BYTES + head.stored_size}")
    if head.raw_size > IN_MEMORY and head.coding != encoded.RAW:
        return head, None
    return checked(oid, data)


def put_bytes(objects: Objects, oid: bytes, data: bytes, *, whole: bool) -> Placed:
    """Put an encoded object in place as a file of its own. ``whole``: its content was checked.

    Raises:
        CorruptObject: it is not the object of that name.
        StoreReadOnly, ObjectUnreadable: it cannot be written.
    """
    draft = draft_path(objects.root)
    fs.write_draft(f"{objects.root}/{TMP}", draft, (data,))
    return put_file(objects, oid, draft, whole=whole)


def draft_path(root: str) -> str:
    """A path for an unfinished file."""
    return f"{root}/{TMP}/{temporary_name()}"


def put_file(objects: Objects, oid: bytes, draft: str, *, whole: bool = False) -> Placed:
    """Put the encoded object in the file ``draft`` in place; the draft is gone afterwards, also where it is
    refused. A copy that is there already is kept if it is whole, else it is set aside.

    Raises:
        CorruptObject: it is not the object of that name.
        StoreReadOnly, ObjectUnreadable: it cannot be written.
    """
    try:
        head = _check_file(oid, draft, whole=whole)
        path = objects.loose.path(oid)
        for _ in range(2):
            seen = fs.publish(draft, path)
            if seen is not None:
                return Placed(seen.st_ino, seen.st_mtime_ns, seen.st_size, head.coding)
            there = objects.loose.whole(head.kind, oid, head.raw_size)
            if there is not None:
                return there
            objects.loose.quarantine(oid)
    finally:
        fs.remove(draft)
    raise ObjectUnreadable(oid.hex(), "a damaged copy cannot be replaced")


def _check_file(oid: bytes, draft: str, *, whole: bool) -> Header:
    try:
        with open(draft, "rb", buffering=0) as file:
            head = own_header(oid, file.read(encoded.HEADER_BYTES))
            length = os.fstat(file.fileno()).st_size
            if length != encoded.HEADER_BYTES + head.stored_size:
                raise CorruptObject(oid.hex(), f"{length} bytes came of {head.stored_size}")
            if whole:
                return head
            running = hasher(head.kind)
            for piece in encoded.decode_stream(head, file):
                running.update(piece)
    except MalformedObject as error:
        raise CorruptObject(oid.hex(), error.reason) from error
    except OSError as error:
        raise StoreReadOnly(draft, error.strerror or str(error)) from error
    if running.digest() != oid:
        raise CorruptObject(oid.hex(), "its content has another digest")
    return head
