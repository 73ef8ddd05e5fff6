"""On what terms an entry is decoded: one of our own, on any; one from elsewhere as `store.trust` says.
Keeps I7.
"""

from __future__ import annotations

from scalable_cas.errors import UntrustedEntry
from scalable_cas.format import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scalable_cas.store.core import StoreCore


class Terms:
    """``foreign``: it came from elsewhere, so files are put back only below the working directory;
    ``trusted``: decoding may run code.
    """

    __slots__ = ("foreign", "trusted")

    def __init__(self, *, foreign: bool, trusted: bool) -> None:
        self.foreign = foreign
        self.trusted = trusted

    def take(self, size: int) -> None:
        """Before memory is taken for a buffer of that many bytes.

        Raises:
            UntrustedEntry: it is more than an entry that is not trusted may have.
        """


OWN = Terms(foreign=False, trusted=True)
SIGNED = Terms(foreign=True, trusted=True)  # by somebody in the user's list


class Untrusted(Terms):
    """Only by codecs that run no code, and within bounds. ``taken``: bytes of its root."""

    __slots__ = ("_codec", "_store", "_taken")

    def __init__(self, store: StoreCore, codec: str, taken: int) -> None:
        super().__init__(foreign=True, trusted=False)
        self._store = store
        self._codec = codec
        self._taken = 0
        self.take(taken)

    def take(self, size: int) -> None:
        """As `Terms.take`."""
        from scalable_cas.store.trust import check_untrusted  # only then

        self._taken += size
        check_untrusted(self._store, self._codec, self._taken)


def decode_foreign(
    store: StoreCore, rowkey: bytes, row: bytes, codec: str, decode: Callable[[Terms], Any]
) -> Any:
    """What ``decode`` makes of an entry that came from elsewhere. Plain data needs nobody's trust, so the
    list is not looked at for it.

    Raises:
        UntrustedEntry: its signer is not trusted, and it needs that he is: one line with the remedy.
    """
    from scalable_cas.store import trust  # only then

    try:
        return decode(Untrusted(store, codec, rows.REF.unpack_from(row)[8]))
    except UntrustedEntry as error:
        if not trust.trust_list().trusts(rows.signer_of(row)):
            raise trust.refusal_in(store, rowkey, row, error) from error
    return decode(SIGNED)
