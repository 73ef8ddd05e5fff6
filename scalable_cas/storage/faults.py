"""Which faults of the file system mean that a store cannot be written; our error for them."""

from __future__ import annotations

import errno

from scalable_cas.errors import StoreFull, StoreReadOnly

#: Errors after which a store is of no use for writing, now; everything else is a defect and stays visible as
#: OSError. The second group is what is met where the store, or its parent, is removed or replaced under us.
UNWRITABLE = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG),
        *(errno.EMFILE, errno.ENFILE, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENAMETOOLONG),
        *(errno.ENOMEM, errno.ENOLCK, errno.EBUSY, errno.ENOENT, errno.EEXIST, errno.EISDIR),
        *(errno.ENOTEMPTY, errno.ENXIO, errno.ENODEV),
    )
)


def unwritable(error: OSError, path: str) -> StoreReadOnly:
    """Our error for a failed change. Anything that is no question of space, rights or health is raised as it
    is.
    """
    if error.errno not in UNWRITABLE:
        raise error
    kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreReadOnly
    return kind(path, error.strerror or str(error))
