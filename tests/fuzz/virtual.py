"""An event loop whose time passes only when there is nothing to do, so that hours take no time."""

from __future__ import annotations

import asyncio
import selectors
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from tests.fuzz.engine import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

__all__ = ["VirtualLoop"]

_START_S: Final = 1000.0
_STEP_S: Final = 1e-6
"""What a turn of the loop takes."""
_MAX_STEPS: Final = 1_000_000
"""Of the loop in one run; far above what any scenario needs."""

Factory = "Callable[[], asyncio.BaseProtocol]"


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on a clock of its own; watches no file descriptors."""

    def __init__(self) -> None:
        self._now_s = _START_S
        self._until_s = float("inf")
        self._steps = 0
        self._idle = False
        self.faults: list[Fault | BaseException] = []
        """What has reached the exception handler."""
        self.connect: Callable[[Any], Awaitable[tuple[Any, Any]]] | None = None
        """Makes the connections that ``create_connection`` is asked for."""
        super().__init__(_Selector(self))
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Return the virtual time, s."""
        return self._now_s

    async def create_connection(self, factory: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        """Connect to the model server of the scenario, whatever the address."""
        assert self.connect is not None
        return await self.connect(factory)

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Make everybody read this clock instead of the system's monotonic one."""
        with mock.patch.object(time, "monotonic", self.time):
            yield

    def run_until_idle(self, until_s: float) -> bool:
        """Run until nothing is left to do (True) or until that time has come (False)."""
        self._until_s = until_s
        self._idle = False
        self.run_forever()
        self._until_s = float("inf")
        return self._idle

    def pass_time(self, timeout_s: float | None) -> None:
        """Let the time pass that the loop would wait."""
        self._steps += 1
        self._now_s += _STEP_S
        if self._steps > _MAX_STEPS:
            self._steps = 0
            self.faults.append(Fault("the loop never comes to rest"))
            self.stop()
        elif timeout_s is None:
            self._idle = True
            self.stop()
        elif self._now_s + timeout_s > self._until_s:
            self._now_s = max(self._now_s, self._until_s)
            self.stop()
        else:
            self._now_s += timeout_s

    def _note(self, _: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        self.faults.append(error or Fault("exception handler", str(context.get("message"))))


class _Selector(selectors.SelectSelector):
    """Waits for nothing but the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.pass_time(timeout)
        return []
