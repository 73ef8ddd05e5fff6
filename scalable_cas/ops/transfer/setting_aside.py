"""Files of segments that are damaged in a remote, and of which nobody has a copy, out of the way: while one
lies there no collector removes anything, and whoever has its entries does not send them again.

Only damage that is certain counts: a file whose digest is another than it says, or than its name says, or
that is not what its name says. What is merely refused here stays: a segment for another place, one whose
signature does not fit, or a whole one of a version that is not known here.

A file is first put back if this store has a copy. Else what is whole of a joined file is written anew, as
segments by themselves; the damaged bytes are kept below ``quarantine/``, which nobody reads; and the file is
removed if it still is the same then. Keeps I2: what it held had been lost before, and the next push of who
has it sends it again.
"""

from __future__ import annotations

from blake3 import blake3

from scalable_cas.errors import MalformedObject, RemoteFileMissing, UntrustedEntry
from scalable_cas.format import joined as joins
from scalable_cas.format import remote_layout as layout
from scalable_cas.format import segment as segments
from scalable_cas.ops.transfer.compaction import LARGEST
from scalable_cas.ops.transfer.mending import mend_segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scalable_cas.ops.transfer.repository import Repository

#: A file is read only up to this length: as much as a joined file may become, when one of the largest
#: segments is joined with others.
_LONGEST = 2 * LARGEST + segments.LARGEST


def repair_segments(repository: Repository) -> list[str]:
    """Mend what `verify_remote` found to be wrong with segments; returns what was done, in words.

    Raises:
        RemoteError: the remote could not be read, or not be written; what was done so far is right.
        StoreVersionError: it uses a feature that writing or gc must know.
        StoreReadOnly, StoreBusy: the view cannot be brought up to date.
    """
    for operation in ("write", "gc"):
        repository.format.check(operation, repository.url)
    bad = set(repository.view.bad_files())
    mend_segments(repository)
    left = set(repository.view.bad_files()) if bad else bad
    done = [f"{name} is put back as it was" for name in sorted(bad - left)]
    aside = [name for name in sorted(left) if _set_aside(repository, name)]
    done += [f"{name} is set aside; push again what it held" for name in aside]
    if aside:
        repository.view.note_files(dict.fromkeys(left.difference(aside), "refused"))
        repository.refresh()
    return done


def _set_aside(repository: Repository, name: str) -> bool:
    """Move a file to quarantine if it is damaged; False if it is not, or not there."""
    remote = repository.remote
    try:
        data = remote.get(name, largest=_LONGEST)
        if not _is_damaged(name, data):
            return False
        for target, content in _whole_parts(repository, name, data):
            remote.put(target, content)
        remote.put(layout.quarantine_name(name, blake3(data).digest()), data)
        if remote.get(name, largest=_LONGEST) != data:  # somebody has put it back meanwhile
            return False
    except RemoteFileMissing:
        return False
    remote.delete([name])
    return True


def _is_damaged(name: str, data: bytes) -> bool:
    id_ = layout.joined_id(name)
    if id_ is not None:
        return bool(blake3(data).digest() != id_)
    try:
        found = segments.unpack(data, remote_id=None, verify=None)
    except MalformedObject:
        return not segments.has_its_digest(data)
    return found.nonce != layout.segment_number(name)


def _whole_parts(repository: Repository, name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """File and bytes of each segment that can be saved of a damaged joined file: from it, as far as its table
    can be read, and from copies of ours.
    """
    id_ = layout.joined_id(name)
    if id_ is None:
        return
    numbers = set(repository.view.joined().get(id_, ()))
    pieces: dict[bytes, bytes] = {}
    try:
        for part in joins.unpack_table(data, len(data)):
            numbers.add(part.number)
            pieces[part.number] = data[part.offset : part.offset + part.length]
    except MalformedObject:
        pass
    for number in sorted(numbers):
        for piece in (pieces.get(number), repository.copy(number)):
            try:
                found = segments.unpack(piece or b"", remote_id=repository.remote_id, verify=None)
            except (MalformedObject, UntrustedEntry):
                continue
            if piece is not None and found.nonce == number:
                yield layout.segment_name(found.created, number), piece
                break
