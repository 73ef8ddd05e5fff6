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
#: Images that are made once: nobody writes to what is in them, as in those of containers on clusters.
NEVER_WRITTEN = frozenset(("squashfs", "erofs", "cramfs", "iso9660"))
#: File systems of this machine that keep a ctime which no program can set, to the clock tick, and count the
#: first write through a memory map after each flush as a change. Not here: tmpfs (a page that is written
#: through a map again never gets a new time: seen), zfs (the time comes with the flush), FAT and exFAT (ctime
#: is mtime), FUSE (sshfs and others invent a ctime), all that is unknown.
TRUE_STATS = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "overlay"))
#: The same across a network, once a file is open. Not AFS (no ctime), nor what passes a host's files through.
TRUE_REMOTE_STATS = frozenset(("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3"))


def network_type(path: str, mountinfo: str = "/proc/self/mountinfo") -> str | None:
    """The type of the network file system that holds ``path``, or None if it is local (or cannot be told, as
    outside Linux).

    FUSE mounts count as networks, except those known to be local.
    """
    kind = file_system(path, mountinfo)
    if kind in REMOTE_TYPES or (kind.startswith("fuse") and kind not in ("fuse.fuse-overlayfs", "fuseblk")):
        return kind
    return None


def file_system(path: str, mountinfo: str = "/proc/self/mountinfo") -> str:
    """The type of the file system that holds ``path``; empty if that cannot be told (not Linux). 100 µs."""
    try:
        with open(mountinfo, "rb") as file:
            lines = os.fsdecode(file.read()).split("\n")  # as `realpath` decodes, whatever the locale
    except OSError:
        return ""
    real = os.path.realpath(path)
    best = ("", "")
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, types = left.split(" "), right.split()
        if len(fields) < 5 or not types:
            continue
        point = _unescape(fields[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):  # a later mount on the same point covers the earlier one
            best = (point, types[0])
    return best[1]


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(code, character)
    return text
