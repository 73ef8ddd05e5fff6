"""Is a folder on a network file system? LMDB must not be there: two nodes that share it lose acknowledged
writes in silence.

``/proc/self/mountinfo`` is read instead of calling ``statfs`` through ctypes, whose structure differs between
platforms.
"""

from __future__ import annotations

import os

REMOTE_TYPES = frozenset(
    (
        "nfs",
        "nfs4",
        "lustre",
        "gpfs",
        "beegfs",
        "ceph",
        "glusterfs",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "9p",
        "pvfs2",
        "orangefs",
        "wekafs",
        "panfs",
        "ocfs2",
        "gfs2",
        "virtiofs",
    )
)


def network_type(path: str, mountinfo: str = "/proc/self/mountinfo") -> str | None:
    """The type of the network file system that holds ``path``, or None if it is local (or cannot be told, as
    outside Linux).

    FUSE mounts count as networks, except those known to be local.
    """
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    best = ("", "")
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, types = left.split(), right.split()
        if len(fields) < 5 or not types:
            continue
        point = _unescape(fields[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):  # a later mount on the same point covers the earlier one
            best = (point, types[0])
    kind = best[1]
    if kind in REMOTE_TYPES or (kind.startswith("fuse") and kind not in ("fuse.fuse-overlayfs", "fuseblk")):
        return kind
    return None


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(code, character)
    return text
