"""Check a bundle, without a store: every byte, every object, every signature, and that nothing is missing."""

from __future__ import annotations

from scalable_cas import clock
from scalable_cas.errors import CorruptObject, MalformedObject, ScalableCasError
from scalable_cas.format import bundle, segment
from scalable_cas.format import record as records
from scalable_cas.format.chunking import ChunkList
from scalable_cas.format.kinds import BLOB, hasher
from scalable_cas.format.segment import ObjectPlace
from scalable_cas.ops.unbundling import BadBundle, BundleFile, UnreadableBundle, table_of_pack
from scalable_cas.storage import incoming, signing
from scalable_cas.storage.reading import checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scalable_cas.format.segment import Segment
    from scalable_cas.storage.incoming import Checked


class BundleCheck:
    """What a check found: counts of ``entries`` and ``objects``, ``bytes``, ``seconds`` it took;
    ``origins``, how many entries each signer vouches for; ``findings``, a line for each fault, none if all is
    well.
    """

    def __init__(self) -> None:
        self.entries = 0
        self.objects = 0
        self.bytes = 0
        self.seconds = 0.0
        self.origins: dict[str, int] = {}
        self.findings: list[str] = []


class _There:
    """An object that is in the bundle: where, and what it names."""

    __slots__ = ("children", "listed", "place")

    def __init__(self, found: Checked, holder: bytes, offset: int, length: int) -> None:
        head = found.head
        self.place = ObjectPlace(head.oid, head.kind, head.coding, head.raw_size, holder, offset, length)
        self.children = found.children
        self.listed = found.listed


def check_bundle(path: str, progress: Callable[[int, int], None] | None = None) -> BundleCheck:
    """Read all of a bundle. Damage is a finding, not an error.

    Raises:
        UnreadableBundle: there is no such file, or it may not be read.
    """
    result = BundleCheck()
    start = clock.monotonic()
    try:
        with BundleFile(path) as file:
            result.bytes = file.size
            if not file.is_sound(progress):
                result.findings.append("damaged: the digest of the whole does not match")
            _check(file, result)
    except UnreadableBundle:
        raise
    except BadBundle as error:
        result.findings.append(error.reason)
    result.seconds = clock.monotonic() - start
    return result


def _check(file: BundleFile, result: BundleCheck) -> None:
    there: dict[bytes, _There] = {}
    packs = {part.name: part.offset for part in file.parts if part.type == bundle.PACK}
    for part in file.parts:
        if part.type != bundle.SEGMENT:
            there.update(_objects(file, part, result))
    result.objects = len(there)
    for found in there.values():
        if found.listed is not None and not _is_made_up(file, found, there, packs):
            result.findings.append(f"object {found.place.oid.hex()}: its chunks make up another content")
    placed: set[bytes] = set()
    roots: list[tuple[str, bytes]] = []
    for part in file.parts:
        if part.type == bundle.SEGMENT:
            made = _segment(file, part, result)
            if made is not None:
                _check_segment(made, there, placed, roots, result)
    for key, root in roots:
        if (missing := _missing(root, there, placed)) is not None:
            result.findings.append(f"entry {key}: the object {missing.hex()} is missing")


def _objects(file: BundleFile, part: bundle.Part, result: BundleCheck) -> Iterator[tuple[bytes, _There]]:
    """The whole objects of a part; what is wrong with it becomes a finding."""
    if part.type == bundle.OBJECT:
        try:
            with file.window(part) as window:
                yield (
                    part.name,
                    _There(incoming.check_stream(part.name, window, part.length), b"", 0, part.length),
                )
        except CorruptObject as error:
            result.findings.append(str(error))
        return
    try:
        data = file.read(part)
        table = table_of_pack(file, part, data)
    except BadBundle as error:
        result.findings.append(error.reason)
        return
    for member in table:
        try:
            found = incoming.check(member.oid, data[member.offset : member.offset + member.length])
        except CorruptObject as error:
            result.findings.append(str(error))
            continue
        yield member.oid, _There(found, part.name, member.offset, member.length)


def _is_made_up(file: BundleFile, blob: _There, there: dict[bytes, _There], packs: dict[bytes, int]) -> bool:
    """Whether the chunks of a blob make up what its name promises; one that is missing is another finding."""
    running = hasher(BLOB)
    assert blob.listed is not None
    for name, length in blob.listed.chunks:
        chunk = there.get(name)
        if chunk is None:
            return True
        place = chunk.place
        start = packs.get(place.holder, 0) + place.offset
        if not place.holder:
            start = next(part.offset for part in file.parts if part.name == name)
        try:
            head, content = checked(name, b"".join(file.pieces(start, place.length)), length)
        except CorruptObject:
            return False
        if isinstance(content, ChunkList) or head.kind != BLOB or len(content) != length:
            return False
        running.update(content)
    return running.digest() == blob.place.oid


def _segment(file: BundleFile, part: bundle.Part, result: BundleCheck) -> Segment | None:
    try:
        return segment.unpack(file.read(part), remote_id=bundle.REMOTE_ID, verify=signing.verify)
    except MalformedObject as error:
        result.findings.append(f"damaged: the segment at {part.offset}: {error.reason}")
    except ScalableCasError as error:  # a signature, or another remote's
        result.findings.append(str(error))
    return None


def _check_segment(
    made: Segment,
    there: dict[bytes, _There],
    placed: set[bytes],
    roots: list[tuple[str, bytes]],
    result: BundleCheck,
) -> None:
    for place in made.places:
        found = there.get(place.oid)
        if found is None or found.place != place:
            result.findings.append(f"object {place.oid.hex()} is not where a segment says")
        else:
            placed.add(place.oid)
    origin = records.origin_of(made.signer)
    result.entries += len(made.records)
    result.origins[origin] = result.origins.get(origin, 0) + len(made.records)
    for data in made.records:
        try:
            record = records.unpack(data)
        except MalformedObject as error:
            result.findings.append(str(error))
            continue
        found = there.get(record.oid)
        if found is not None and (found.place.kind, found.place.raw_size) != (record.kind, record.size):
            result.findings.append(f"entry {record.key.hex()} does not fit its object")
        if record.type == records.REF:
            roots.append((record.key.hex(), record.oid))


def _missing(root: bytes, there: dict[bytes, _There], placed: set[bytes]) -> bytes | None:
    """The first object that an entry needs and that is not in the bundle."""
    seen: set[bytes] = set()
    queue = [root]
    while queue:
        oid = queue.pop()
        if oid in seen:
            continue
        seen.add(oid)
        if oid not in placed:
            return oid
        queue.extend(there[oid].children or ())
    return None
