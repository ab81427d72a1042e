"""One timer for all that a connection waits for, cheap to set again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_NEVER_S = float("inf")


def _nobody() -> None:
    """Stands where nobody is called back any more."""


class Deadline:
    """Calls back when a time has come that may be moved at will.

    Moving it later only stores the new time: the timer fires at the old one and sets itself anew.
    """

    __slots__ = ("_callback", "_handle", "_loop", "_when_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._when_s = _NEVER_S
        self._handle: asyncio.TimerHandle | None = None

    def set_in(self, delay_s: float) -> None:
        """Call back in ``delay_s`` seconds, not at the time set before."""
        self._set(self._loop.time() + delay_s)

    def off(self) -> None:
        """Do not call back."""
        self._when_s = _NEVER_S

    def close(self) -> None:
        """Never call back again, and forget whom."""
        self._when_s = _NEVER_S
        self._callback = _nobody
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self, when_s: float) -> None:
        self._when_s = when_s
        if self._handle is None or self._handle.when() > when_s:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_at(when_s, self._fire)

    def _fire(self) -> None:
        self._handle = None
        if self._when_s == _NEVER_S:
            return
        if self._loop.time() < self._when_s - 0.001:
            self._set(self._when_s)
            return
        self._when_s = _NEVER_S
        self._callback()
