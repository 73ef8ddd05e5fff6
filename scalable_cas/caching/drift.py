"""What a hit does about code that changed since: `project.on_code_change`.

A function is known by its name, so an entry may have been made by other code than the function has now. Each
row carries 8 bytes of the fingerprint of its maker's bytecode. A hit compares them with those that were found
good before (store/reader.py); only others come here, where the record is read and the syntax compared. That
is once per function, process and version of the code, so a hit costs nothing more.
"""

from __future__ import annotations

from scalable_cas.errors import CodeChanged, StaleCodeWarning
from scalable_cas.format import rows
from scalable_cas.store import saying

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType
    from typing import Any

    from scalable_cas.format.record import Record
    from scalable_cas.keys.call import CallKeyer
    from scalable_cas.store.core import StoreCore
    from scalable_cas.store.telemetry import Counters

_REMEDY = (
    'count _version up if that changes results, or put the code into the key with _code="self", or set '
    "project.on_code_change in scalable.yaml"
)

REFUSED = "it was stored by other code, and project.on_code_change refuses it"

_said: set[str] = set()  # functions that were warned about
_decorated: dict[bytes, CodeType] = {}  # identity -> the code that was decorated under it first


class CodeGuard:
    """Compares the code of one function with that of stored entries. ``mode`` is one of
    `config.CODE_CHANGES`.
    """

    def __init__(self, keyer: CallKeyer) -> None:
        self._keyer = keyer
        self._forms: tuple[str, ...] | None = None
        self._mark: bytes | None = None
        self._counters: Counters | None = None
        self.mode = "warn"

    def watch(self, counters: Counters, mode: str) -> None:
        """Judge the hits that are counted there, from now on and by this mode."""
        if counters is not self._counters or mode != self.mode:
            counters.codes = {rows.UNKNOWN_CODE}
            counters.accepts = self.accepts
            self._counters = counters
            self.mode = mode

    def forms(self) -> tuple[str, ...]:
        """The fingerprints to be kept with an entry. Taken before the first run: during a long one the source
        may be edited.
        """
        if self._forms is None:
            from scalable_cas.keys.own import code_forms

            try:
                self._forms = code_forms(self._keyer.function)
            except RecursionError:  # the caller's own stack is nearly full: not known this time
                return ()
        return self._forms

    def accepts(self, store: StoreCore, rowkey: bytes, code: bytes) -> bool:
        """Whether an entry may be used. In the mode "warn" it may, and its function is warned about once.

        Raises:
            CodeChanged: in the mode "error".
            StaleCodeWarning: where the program made errors of warnings.
        """
        record = None if self.mode == "ignore" else self._other(store, rowkey, code)
        if record is not None and self.mode == "recompute":
            return False
        if record is not None and self.mode == "error":
            raise CodeChanged(self._keyer.name, _when(record), _REMEDY)
        if self._counters is not None:
            self._counters.codes.add(code)
        if record is not None and self._keyer.name not in _said:
            _said.add(self._keyer.name)
            made = f"a stored result of {_when(record)} was made by other code than the function has now"
            saying.warn(
                f"{self._keyer.name}: {made}; it is returned. To be safe, {_REMEDY}", StaleCodeWarning
            )
        return True

    def has(self, store: StoreCore | None, rowkey: bytes, limit: int | None) -> bool:
        """Whether a call would be a hit."""
        return store is not None and store.contains(rowkey, limit) and not self.refuses(store, rowkey)

    def refuses(self, store: StoreCore, rowkey: bytes) -> bool:
        """Whether an entry that is stored is not used for its code; warns of nothing."""
        if self.mode not in ("recompute", "error"):
            return False
        pending = store.writer.visible.get(rowkey)
        row = rows.REF.unpack_from(store.index.ref(rowkey) or bytes(rows.REF_FIXED))
        code: bytes = row[-1] if pending is None else rows.code_mark(pending.record.code)
        return self._other(store, rowkey, code) is not None

    def refuses_code(self, code: Sequence[str]) -> bool:
        """Whether an entry that this code made is not used for it; warns of nothing."""
        if self.mode not in ("recompute", "error") or self._keyer.code_in_key:
            return False
        from scalable_cas.keys.own import is_other_code

        return is_other_code(code, self.forms())

    def _other(self, store: StoreCore, rowkey: bytes, code: bytes) -> Record | None:
        """The record of an entry that is known to have been made by other code."""
        if self._keyer.code_in_key or code in (rows.UNKNOWN_CODE, self._own_mark()):
            return None
        from scalable_cas.keys.own import is_other_code

        pending = store.writer.visible.get(rowkey)
        record = pending.record if pending is not None else store.index.record(rowkey)
        return record if record is not None and is_other_code(record.code, self.forms()) else None

    def _own_mark(self) -> bytes:
        """The 8 bytes in a row that this very code made. A process that only hits reads no source for it."""
        if self._mark is None:
            from scalable_cas.keys.own import compiled_form

            form = compiled_form(self._keyer.function)
            self._mark = rows.code_mark(() if form is None else (form,))
        return self._mark


def _when(record: Record) -> str:
    import datetime as dt

    moment = dt.datetime.fromtimestamp(record.created / 1e9).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}" + (f" from {record.origin}" if record.origin else "")


def note_decorated(keyer: CallKeyer) -> None:
    """Warn if another function was decorated under this name and version, in this process, and has other
    code: the two would share their entries. Factories and reloaded modules decorate the same code again.
    """
    if keyer.code_in_key:
        return
    code: Any = getattr(keyer.definition, "__code__", None)
    first = _decorated.setdefault(keyer.identity, code) if code is not None else None
    if first is None or first is code:
        return
    from scalable_cas.keys.own import is_other_code, known_forms

    both = known_forms(first), known_forms(code)
    if len(both[0]) == len(both[1]) and is_other_code(*both) and keyer.name not in _said:
        _said.add(keyer.name)
        text = "is decorated a second time, with other code; the two share their stored results"
        saying.warn(f'{keyer.name} {text}: rename one, or use _version or _code="self"', StaleCodeWarning)
