"""One heap for every moment the core waits for: ends of windows and deadlines."""

from __future__ import annotations

import heapq
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Something that waits in a ``TimerHeap``."""

    def waits_for(self, when_s: float) -> bool:
        """Tell whether the entry made for ``when_s`` still counts."""
        ...


T = TypeVar("T", bound=Timed)

_COMPACT_ABOVE = 64


class TimerHeap(Generic[T]):
    """Entries are not removed when they lose their point, only skipped, and swept when most have.

    So setting and forgetting a timer cost O(1) amortised in the common case that times rise, and
    memory stays within twice the entries that count.
    """

    __slots__ = ("_entries", "_serial", "_sweep_at")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, T]] = []
        self._serial = 0
        self._sweep_at = _COMPACT_ABOVE

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, when_s: float, item: T) -> None:
        """Wait for ``when_s`` on behalf of ``item``."""
        self._serial += 1
        heapq.heappush(self._entries, (when_s, self._serial, item))
        if len(self._entries) > self._sweep_at:
            self._entries = [entry for entry in self._entries if entry[2].waits_for(entry[0])]
            heapq.heapify(self._entries)
            self._sweep_at = max(_COMPACT_ABOVE, 2 * len(self._entries))

    def next_s(self) -> float | None:
        """Return the earliest time that still counts, or None."""
        entries = self._entries
        while entries:
            when_s, _, item = entries[0]
            if item.waits_for(when_s):
                return when_s
            heapq.heappop(entries)
        return None

    def pop_due(self, now_s: float) -> T | None:
        """Remove and return the item with the earliest time if that time has come, else None."""
        when_s = self.next_s()
        if when_s is None or when_s > now_s:
            return None
        return heapq.heappop(self._entries)[2]
