"""When a key's waiting requests may leave (rules 2 and 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher_contract import BatcherSettings
    from batcher_sidecar.core.model import Terms, Trigger
    from batcher_sidecar.core.queues import KeyQueue


class WindowPolicy:
    """Strategy ``window``: leave at ``max_batch_size`` instances or when the window is over."""

    __slots__ = ("_max_batch_size", "_window_s", "draining")

    def __init__(self, settings: BatcherSettings, *, draining: bool) -> None:
        self._window_s = settings.max_latency_ms / 1000
        self._max_batch_size = settings.max_batch_size
        self.draining = draining

    def trigger(self, queue: KeyQueue, now_s: float) -> Trigger | None:
        """Return why the oldest of a non-empty queue may leave now, or None."""
        if queue.single_until_s > now_s or queue.terms.single:
            return "alone"
        if queue.instances >= queue.reach:
            return "size"
        if self.draining:
            return "drain"
        if now_s >= self.window_end_s(queue):
            return "latency"
        return None

    def full(self, queue: KeyQueue) -> bool:
        """Tell whether a queue holds enough for a batch."""
        return queue.instances >= queue.reach or queue.terms.single

    def reach(self, terms: Terms) -> int:
        """Return how many instances fill a batch on these terms."""
        max_rows = terms.max_rows
        return min(self._max_batch_size, max_rows) if max_rows else self._max_batch_size

    def window_end_s(self, queue: KeyQueue) -> float:
        """Return when the window of a non-empty queue's oldest request is over."""
        return queue.oldest().arrived_s + self._window_s
