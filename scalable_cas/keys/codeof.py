"""What ``_code=`` puts into the key of a function: nothing, its own code, or that of all it reaches."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .deps import Dependencies


class CodeOf:
    """The code of one function as a text. It is made at the first call, not at decoration: reading the source
    takes milliseconds, and what a function reaches is not all there yet when it is decorated. ``own`` is the
    text for "self" where it is known already.
    """

    def __init__(self, function: Any, mode: str | None, own: str | None) -> None:
        self._function = function
        self._mode = mode
        self._own = own
        self._deps: Dependencies | None = None
        self._busy: set[int] = set()  # threads that are at it

    def reached(self) -> dict[str, bytes]:
        """What the text for "deps" was made of: name -> a short digest; nothing in other modes."""
        return {} if self._deps is None else self._deps.reached()

    def now(self) -> str | None:
        """The text at this moment; None where the code is no part of the key, or nobody can see it.

        Own code is that of the first call. What is reached is looked at again each time.
        """
        if self._mode is None:
            return None
        if self._mode == "self":
            if self._own is None:
                from .own import own_code

                self._own = own_code(self._function)
            return self._own
        import threading

        me = threading.get_ident()
        if me in self._busy:  # a constant holds cached functions that reach each other
            return "deps"
        self._busy.add(me)
        try:
            if self._deps is None:
                from .deps import Dependencies

                self._deps = Dependencies(self._function)
            return self._deps.now()
        finally:
            self._busy.discard(me)
