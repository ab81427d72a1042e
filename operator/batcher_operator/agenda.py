"""Which InferenceService is looked at next, and when: rules without a clock or a loop.

What has changed comes first, then what failed before and is due again, then what is only looked at
because all are from time to time. One that fails waits longer each time, and lets nobody else wait.
"""

import heapq
from collections.abc import Callable, Collection
from typing import Final

from batcher_operator.views import Key

__all__ = ["Agenda"]

_ALL_AGAIN_S: Final = 300.0
"""How often all are looked at: not everything that they refer to is watched."""

_FIRST_RETRY_S: Final = 0.25
_LAST_RETRY_S: Final = 60.0
_IN_A_ROW: Final = 8
"""How many go before one of the rest, which so gets its turn, however much changes."""


class Agenda:
    """InferenceServices that are to be looked at, never one of them twice at a time.

    Times are seconds of any clock that does not go back. All are due at the beginning.
    """

    def __init__(self, all_keys: Callable[[], Collection[Key]]) -> None:
        self._all_keys = all_keys
        self._all_due_s = float("-inf")
        self._changed: dict[Key, None] = {}
        self._failed: dict[Key, float] = {}
        self._due: list[tuple[float, Key]] = []
        """When those that failed are due; some may have changed, or failed again, since."""

        self._rest: dict[Key, None] = {}
        self._busy: set[Key] = set()
        self._tries: dict[Key, int] = {}
        self._in_a_row = 0

    def add(self, keys: Collection[Key]) -> None:
        """Have these looked at soon: they have changed."""
        for key in keys:
            self._failed.pop(key, None)
            self._rest.pop(key, None)
            self._changed[key] = None

    def add_all(self) -> None:
        """Have all looked at, after those that have changed."""
        for key in self._all_keys():
            if key not in self._changed:
                self._failed.pop(key, None)
                self._rest[key] = None

    def next(self, now_s: float) -> Key | None:
        """Which is to be looked at now, if one is."""
        if now_s >= self._all_due_s:
            self._all_due_s = now_s + _ALL_AGAIN_S
            self.add_all()
        orders = (self._changed, self._failed_until(now_s), self._rest)
        for waiting in orders if self._in_a_row < _IN_A_ROW else reversed(orders):
            for key in waiting:
                if key not in self._busy:
                    return key
        return None

    def take(self, key: Key) -> int:
        """Begin to look at one; how many times in a row it failed."""
        self._in_a_row = 0 if key in self._rest else self._in_a_row + 1
        self._changed.pop(key, None)
        self._failed.pop(key, None)
        self._rest.pop(key, None)
        self._busy.add(key)
        return self._tries.get(key, 0)

    def end(self, key: Key, now_s: float, failed: bool) -> None:
        """A look has ended; one that failed comes again."""
        self._busy.discard(key)
        if not failed:
            self._tries.pop(key, None)
            return
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        if key not in self._changed and key not in self._rest:
            # Bounded before it is a power: it may fail for months.
            due_s = now_s + min(_FIRST_RETRY_S * 2 ** min(tries - 1, 16), _LAST_RETRY_S)
            self._failed[key] = due_s
            heapq.heappush(self._due, (due_s, key))

    @property
    def due_s(self) -> float:
        """When to ask for the next, if none is due now and nothing changes before."""
        self._drop_settled()
        return min(self._all_due_s, self._due[0][0] if self._due else float("inf"))

    def _failed_until(self, now_s: float) -> list[Key]:
        self._drop_settled()
        return [key for due_s, key in self._due[:1] if due_s <= now_s]

    def _drop_settled(self) -> None:
        while self._due and self._failed.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
