"""What waits: per path the keys, per key the requests in order of arrival (rules 2, 4 and 5)."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from batcher_sidecar.core.model import Request, Terms

NEVER_S = float("inf")
_SWEEP_ABOVE = 64


class KeyQueue:
    """Waiting requests of one key, oldest first."""

    __slots__ = (
        "due", "instances", "key", "path", "reach", "requests", "rising", "single_until_s",
        "terms", "timer_s",
    )  # fmt: skip

    def __init__(
        self, path: PathQueues, key: Hashable, single_until_s: float, reach: int, terms: Terms
    ) -> None:
        self.path = path
        self.key = key
        self.requests: OrderedDict[Request, None] = OrderedDict()
        self.instances = 0
        self.reach = reach  # so many instances fill a batch
        self.terms = terms
        self.due = False  # in the path's heap of due keys
        self.timer_s = NEVER_S  # when to look again: the end of the window, or a deadline
        self.single_until_s = single_until_s  # until then each request travels alone
        self.rising = True  # no deadline lies before that of an older request

    def waits_for(self, when_s: float) -> bool:
        """Tell whether the timer set for ``when_s`` still counts."""
        return self.timer_s == when_s and bool(self.requests)

    def oldest(self) -> Request:
        """Return the request that has waited longest. The queue must not be empty."""
        return next(iter(self.requests))

    def add(self, request: Request) -> None:
        """Append a request that has just arrived."""
        self.requests[request] = None
        self.instances += request.instances
        request.queue = self

    def remove(self, request: Request) -> None:
        """Take out a request that left or whose deadline has passed."""
        del self.requests[request]
        self.instances -= request.instances
        request.queue = None

    def earliest_deadline_s(self) -> float:
        """Return the earliest deadline in a non-empty queue."""
        if self.rising:
            return self.oldest().deadline_s
        return min([request.deadline_s for request in self.requests])

    def late(self, now_s: float) -> list[Request]:
        """Return those whose deadlines have passed; looks no further than it must."""
        late: list[Request] = []
        for request in self.requests:
            if request.deadline_s <= now_s:
                late.append(request)
            elif self.rising:
                break
        return late

    def cut(self, reach: int, hard_cap: int) -> list[Request]:
        """Take the shortest run of the oldest requests whose instances reach ``reach``, or all.

        With a ``hard_cap`` (> 0) or ``max_rows`` in its terms the run stops before the request that
        would exceed it, but holds at least one.
        """
        requests = self.requests
        max_rows = self.terms.max_rows
        if max_rows:
            hard_cap = min(max_rows, hard_cap or max_rows)
        if not hard_cap and self.instances - next(reversed(requests)).instances < reach:
            whole = list(requests)
            requests.clear()
            self.instances = 0
            for request in whole:
                request.queue = None
            return whole
        run: list[Request] = []
        instances = 0
        while requests and instances < reach:
            request, _ = requests.popitem(last=False)
            if hard_cap and run and instances + request.instances > hard_cap:
                requests[request] = None
                requests.move_to_end(request, last=False)
                break
            instances += request.instances
            request.queue = None
            run.append(request)
        self.instances -= instances
        return run


class PathQueues:
    """The keys of one path, and how many batches of it are in flight."""

    __slots__ = ("_due", "in_flight", "path", "queues")

    def __init__(self, path: Hashable) -> None:
        self.path = path
        self.queues: dict[Hashable, KeyQueue] = {}
        self.in_flight = 0
        # Ordered by the arrival of each due key's oldest request. An entry may be too early (its
        # oldest has gone since), never too late: next_due() puts it right.
        self._due: list[tuple[int, KeyQueue]] = []

    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is in flight."""
        return not self.queues and not self.in_flight

    def forget(self, queue: KeyQueue) -> None:
        """Take out a key that nobody waits with any more; heaps may hold on to it for a while."""
        del self.queues[queue.key]
        del queue.key, queue.path

    def mark_due(self, queue: KeyQueue) -> None:
        """Enter a key whose requests may leave with the next slot."""
        queue.due = True
        heapq.heappush(self._due, (queue.oldest().seq, queue))
        if len(self._due) > _SWEEP_ABOVE + 2 * len(self.queues):  # most of them have emptied since
            self._due = [entry for entry in self._due if entry[1].requests]
            heapq.heapify(self._due)

    def next_due(self) -> KeyQueue | None:
        """Return the due key whose oldest request is oldest, or None."""
        heap = self._due
        while heap:
            seq, queue = heap[0]
            if not queue.requests:
                self.drop_next_due()
                continue
            oldest_seq = queue.oldest().seq
            if oldest_seq == seq:
                return queue
            heapq.heapreplace(heap, (oldest_seq, queue))
        return None

    def drop_next_due(self) -> None:
        """Take the key that ``next_due`` returned off the heap: it is empty or no longer due."""
        heapq.heappop(self._due)[1].due = False
