"""Has InferenceServices looked at: a few at a time, each by one at a time, as the agenda has it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final, NoReturn

from batcher_operator.agenda import Agenda
from batcher_operator.kube import Conflict
from batcher_operator.views import Key

__all__ = ["Rounds"]

_AT_A_TIME: Final = 4
"""Looks that may go on at once: most of each is waiting for the API server."""

_ASK_AGAIN_S: Final = 2.0

_log = logging.getLogger(__name__)


class Rounds:
    """Calls `look` for each InferenceService that is to be looked at.

    `look` gets the number of times in a row that it failed before; it gives whether it came to its
    end, and may raise whatever it likes. Each time that it fails is told to `on_failure`.
    """

    def __init__(
        self,
        look: Callable[[Key, int], Awaitable[bool]],
        all_keys: Callable[[], Collection[Key]],
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._look = look
        self._on_failure = on_failure
        self._agenda = Agenda(all_keys)
        self._wake = asyncio.Event()
        self._free = _AT_A_TIME

    def look_at(self, keys: Collection[Key]) -> None:
        """Have these looked at, before those that have not changed."""
        # Labels may name nobody.
        self._agenda.add([key for key in keys if key.namespace and key.name])
        self._wake.set()

    def look_at_all(self) -> None:
        """Have all looked at, as after a runtime has changed."""
        self._agenda.add_all()
        self._wake.set()

    async def keep(self, begin: asyncio.Event, why_not: Callable[[], Awaitable[str]]) -> NoReturn:
        """Work for good from when `begin` is set, but not while `why_not` gives a reason."""
        await begin.wait()
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                until_s = await self._hand_out(group, why_not)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(until_s):
                        await self._wake.wait()

    async def _hand_out(
        self, group: asyncio.TaskGroup, why_not: Callable[[], Awaitable[str]]
    ) -> float | None:
        """Begin looks as far as there is room; when to come again if nothing happens before."""
        clock = asyncio.get_running_loop().time
        while self._free:
            if self._agenda.next(clock()) is None:
                return self._agenda.due_s
            if await why_not():
                return clock() + _ASK_AGAIN_S
            key = self._agenda.next(clock())
            if key is not None:
                self._free -= 1
                group.create_task(self._turn(key, self._agenda.take(key)))
        return None

    async def _turn(self, key: Key, tries: int) -> None:
        failed = True
        try:
            failed = not await self._look(key, tries)
            if failed:
                self._on_failure()
        except Conflict:
            pass  # Others write, too: what there is now is read anew.
        except OSError as error:
            self._on_failure()
            _log.warning("cannot look at %s/%s: %s", key.namespace, key.name, error)
        except Exception:
            # An object that nobody foresaw must not keep all others from being looked at.
            self._on_failure()
            _log.exception("cannot look at %s/%s", key.namespace, key.name)
        finally:
            self._free += 1
            self._agenda.end(key, asyncio.get_running_loop().time(), failed)
            self._wake.set()
