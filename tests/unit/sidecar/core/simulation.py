"""A model server and clients around the core, and the rules told a second time to judge it.

The rules are told in the plainest way, by looking at everything that waits after each event, with
no thought of speed; so a fault in the core's book-keeping is not repeated here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any

from batcher_sidecar.core import (
    Answer,
    Answered,
    Batcher,
    Call,
    Cancel,
    Command,
    Draining,
    Event,
    Fail,
    Failed,
    Indivisible,
    Left,
    Refuse,
    Request,
    Send,
    SettingsChanged,
    Terms,
    TermsChanged,
    Tick,
    WakeAt,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from batcher_contract import BatcherSettings

_SPARE_TOKENS = 1e-6
_UNBATCHED_S = 60.0
_BURST_CALLS = 64


@dataclass(eq=False)
class Client:
    """One request as its client knows it."""

    number: int
    bad: bool
    """Whatever call it is in fails."""
    path: str
    key: Hashable
    instances: int
    alone: bool
    terms: Terms
    arrived_s: float
    deadline_s: float
    request: Request = field(init=False)

    def __post_init__(self) -> None:
        self.request = Request(self.key, self.path, self.instances, self, self.alone, self.terms)


@dataclass(eq=False)
class Failure:
    """What a failed call is told to its members as."""

    members: list[Client]
    """Who waited for the call when it failed."""
    isolable: bool
    of_several: bool


@dataclass(eq=False)
class Slot:
    """A batch, from the cut to the end of its last call."""

    members: list[Client]
    call: Call | None = None  # in flight
    flying: list[Client] = field(default_factory=list)
    repeats: int = 0
    rows_sent: int = 0
    failed: list[Failure] = field(default_factory=list)
    """Failures that were isolated."""
    apart: list[Client] = field(default_factory=list)
    """Members of calls whose answers could not be divided."""
    culprits: int = 0
    served_whole: bool = False


class Simulation:
    """Gives events to a batcher, and after each compares what it did with the rules."""

    def __init__(self, settings: BatcherSettings) -> None:
        self.settings = settings
        self.now_s = 0.0
        self._seen_s = -inf  # the time of the last event
        self.draining = False
        self.waiting: list[Client] = []
        self.slots: list[Slot] = []
        self.live: list[Client] = []
        """Neither ended nor gone."""
        self.broken = False
        """A rule was broken: what follows from that is of no interest."""
        self._batcher = Batcher(settings)
        self._wake_s = inf
        self._count = 0
        self._tokens: float = _BURST_CALLS
        self._strikes: dict[Hashable, int] = {}
        self._unbatched_until_s: dict[Hashable, float] = {}
        self._terms: dict[str, Terms] = {key: Terms() for key in "xyz"}

    # --- events ---------------------------------------------------------------------------------

    def arrive(self, path: str, key: str, instances: int, *, alone: bool, bad: bool) -> None:
        """A request arrives."""
        self._count += 1
        of = (self._count, bad, path, (path, key), instances, alone)
        deadline_s = self.now_s + self.settings.timeout_s
        client = Client(*of, self._terms[key], self.now_s, deadline_s)
        full = len(self.waiting) >= self.settings.max_queue_size
        self.live.append(client)
        if not full:
            self.waiting.append(client)
        self._handle(client.request)
        assert (client not in self.live) <= full, "refused although there was room"
        assert full <= (client not in self.live), "queued although there was no room"

    def serve(self, slot: Slot, *, down: bool = False, by_rows: bool = True) -> None:
        """The model server ends a slot's call.

        ``down`` is for reasons of its own; not ``by_rows`` is an answer that cannot be divided.
        """
        call = slot.call
        assert call is not None
        slot.call = None
        if down or any(client.bad for client in slot.flying):
            waiters = [client for client in slot.flying if client in self.live]
            failure = Failure(waiters, not down, of_several=len(slot.flying) > 1)
            if failure.isolable and failure.of_several and self.settings.isolate_failures:
                slot.failed.append(failure)
            elif failure.isolable and slot.failed:
                slot.culprits += 1
            self._handle(Failed(call, failure, failure.isolable))
        elif not by_rows and len(slot.flying) > 1:
            slot.apart += slot.flying
            self._handle(Indivisible(call))
        else:
            if len(slot.flying) > 1 and not slot.failed:
                slot.served_whole = True
            rows = call.rows
            parts = [
                (client.number, *(rows or (0, client.instances)))  # whose rows, and which
                for client in slot.flying
            ]
            self._handle(Answered(call, parts))

    def learn(self, key: str, *, single: bool, whole: bool, max_rows: int) -> None:
        """The terms of a key change."""
        terms = self._terms[key]
        terms.single, terms.whole, terms.max_rows = single, whole, max_rows
        self._handle(TermsChanged())

    def leave(self, client: Client) -> None:
        """A client goes away."""
        self.live.remove(client)
        if client in self.waiting:
            self.waiting.remove(client)
        self._handle(Left(client.request))

    def drain(self, *, active: bool) -> None:
        """Draining begins or is called off."""
        self.draining = active
        self._handle(Draining(active))

    def change(self, **settings: Any) -> None:
        """Other settings."""
        self.settings = replace(self.settings, **settings)
        self._handle(SettingsChanged(self.settings))

    def advance(self, duration_s: float) -> None:
        """Time passes, with a tick at each moment asked for, or late for those that are past."""
        until_s = self.now_s + duration_s
        while self._wake_s <= until_s:
            self.now_s = max(self.now_s, self._wake_s)
            self._wake_s = inf
            self._handle(Tick())
            assert self._wake_s > self.now_s, "a tick asks for another one at once"
            assert all(client.deadline_s > self.now_s for client in self.live)
        self.now_s = until_s

    def finish(self) -> None:
        """Let everything end; the batcher must hold and want nothing afterwards."""
        for _ in range(10_000):
            calls = [slot for slot in self.slots if slot.call is not None]
            if calls:
                self.serve(calls[0])
            elif self.live:
                self.advance(max(0.0, self._wake_s - self.now_s))
            else:
                break
        assert not self.live
        for _ in range(100):
            if self._wake_s == inf:
                break
            self.advance(self._wake_s - self.now_s)
        assert self._wake_s == inf
        assert (self._batcher.waiting, self._batcher.in_flight) == (0, 0)

    # --- commands -------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        self._follow(self._batcher.handle(event, self.now_s))

    def _follow(self, commands: list[Command]) -> None:
        self.broken = True
        for command in commands:
            match command:
                case WakeAt(when_s):
                    assert when_s > self.now_s, "a moment in the past is asked for"
                    self._wake_s = when_s
                case Send(call):
                    self._sent(call)
                case Answer(call, requests, parts):
                    for request, part in zip(requests, parts, strict=True):
                        pieces = part if call.rows is not None else [part]
                        self._answered(request.payload, pieces)
                case Fail(request, _, failure):
                    assert isinstance(failure, Failure)
                    self._failed(request.payload, failure)
                case Refuse(request, reason):
                    self._refused(request.payload, reason)
                case Cancel(call):
                    slot = next(slot for slot in self.slots if slot.call is call)
                    assert not any(client in self.live for client in slot.flying)
                    slot.call = None
        self._release()
        self._check()
        self._seen_s = self.now_s
        self.broken = False

    def _sent(self, call: Call) -> None:
        members: list[Client] = [request.payload for request in call.members]
        assert members
        assert all(client in self.live for client in members), "sent although nobody waits"
        assert all(client.deadline_s > self.now_s for client in members), "sent too late"
        for slot in self.slots:
            if members[0] in slot.members:
                self._sent_again(slot, call, members)
                break
        else:
            slot = self._cut(call, members)
        slot.call = call
        slot.flying = members
        if slot.repeats and members[0] not in slot.apart:
            assert self._tokens >= 1 - _SPARE_TOKENS, "more calls than the budget holds"
            self._tokens -= 1
        self._tokens = min(_BURST_CALLS, self._tokens + 0.2)

    def _sent_again(self, slot: Slot, call: Call, members: list[Client]) -> None:
        """A piece after the first one, or a half."""
        assert slot.call is None, "two calls at once in one slot"
        assert members == [client for client in slot.members if client in members]
        if call.rows is not None:
            assert not call.isolating
            assert call.rows[0] == slot.rows_sent < call.rows[1] <= members[0].instances
            slot.rows_sent = call.rows[1]
            return
        assert call.isolating
        if members[0] in slot.apart:
            assert len(members) == 1
            return
        slot.repeats += 1
        assert slot.repeats <= 2 * len(slot.members) - 2
        assert any(
            set(members) < set(failure.members) or members == failure.members[:1]
            for failure in slot.failed
        ), "a half holds somebody who was not in the whole"

    def _cut(self, call: Call, members: list[Client]) -> Slot:
        self._release()
        first, limits = members[0], self.settings
        queue = self._queue(first)
        trigger, _ = self._due(queue)
        assert trigger is not None, "sent too early"
        assert (call.trigger, call.isolating) == (trigger, False)
        in_flight = [slot for slot in self.slots if slot.members[0].path == first.path]
        assert len(in_flight) < limits.max_concurrency
        reach = 1 if trigger == "alone" else self._reach(first)
        assert members == self._run(queue, reach)
        for other in self.waiting[: self.waiting.index(first)]:
            if other.path == first.path:
                assert self._due(self._queue(other))[0] is None, "not its turn"
        slot = Slot(members)
        instances = sum(client.instances for client in members)
        cap = limits.hard_max_batch_size
        if cap and instances > cap and not (len(members) == 1 and first.terms.whole):
            assert len(members) == 1
            assert call.rows == (0, cap)
            slot.rows_sent = cap
        else:
            assert (call.rows, call.instances) == (None, instances)
        self.slots.append(slot)
        self.waiting = [client for client in self.waiting if client not in members]
        return slot

    def _answered(self, client: Client, parts: Sequence[tuple[int, int, int]]) -> None:
        assert not client.bad
        stop = 0
        for part in parts:
            assert part[:2] == (client.number, stop), "rows of somebody else, or in disorder"
            stop = part[2]
        assert stop == client.instances
        self.live.remove(client)

    def _failed(self, client: Client, failure: Failure) -> None:
        assert client in failure.members, "a failure of somebody else"
        if failure.isolable and failure.of_several and self.settings.isolate_failures:
            assert self._tokens < 1 + _SPARE_TOKENS, "not isolated although it was paid for"
        self.live.remove(client)

    def _refused(self, client: Client, reason: str) -> None:
        if reason == "deadline":
            assert self._seen_s < client.deadline_s <= self.now_s
        else:
            assert client not in self.waiting
            assert len(self.waiting) >= self.settings.max_queue_size
        self.live.remove(client)
        if client in self.waiting:
            self.waiting.remove(client)

    # --- the rules ------------------------------------------------------------------------------

    def _queue(self, client: Client) -> list[Client]:
        """Return who waits beside a client, oldest first."""
        beside = [each for each in self.waiting if each.path == client.path]
        if client.alone:
            return [each for each in beside if each.alone]
        return [each for each in beside if each.key == client.key and not each.alone]

    def _due(self, queue: list[Client]) -> tuple[str | None, float]:
        """Return why the oldest may leave now, and when its window ends if that decides."""
        oldest = queue[0]
        unbatched = self._unbatched_until_s.get(oldest.key, -inf) > self.now_s
        if oldest.alone or oldest.terms.single or unbatched:
            return "alone", -inf
        if sum(client.instances for client in queue) >= self._reach(oldest):
            return "size", -inf
        if self.draining:
            return "drain", -inf
        window_end_s = oldest.arrived_s + self.settings.max_latency_ms / 1000
        return ("latency" if window_end_s <= self.now_s else None), window_end_s

    def _reach(self, client: Client) -> float:
        """Return how many instances fill a batch."""
        return min(self.settings.max_batch_size, client.terms.max_rows or inf)

    def _run(self, queue: list[Client], reach: float) -> list[Client]:
        """Return the shortest run that reaches a number of instances, within the hard cap."""
        cap = min(self.settings.hard_max_batch_size or inf, queue[0].terms.max_rows or inf)
        for count in range(1, len(queue) + 1):
            instances = sum(client.instances for client in queue[:count])
            if instances > cap and count > 1:
                return queue[: count - 1]
            if instances >= reach:
                return queue[:count]
        return queue

    def _release(self) -> None:
        """Free the slots without a call, and learn from what happened in them."""
        for slot in [slot for slot in self.slots if slot.call is None]:
            self.slots.remove(slot)
            key = slot.members[0].key
            if slot.apart:
                continue
            if slot.served_whole or (slot.failed and slot.culprits == 1):
                self._strikes.pop(key, None)
            elif slot.failed:
                strikes = self._strikes.pop(key, 0) + 1
                if strikes < 2:
                    self._strikes[key] = strikes
                else:
                    self._unbatched_until_s[key] = self.now_s + _UNBATCHED_S

    def _check(self) -> None:
        held = [client for slot in self.slots for client in slot.members]
        assert not [c for c in self.live if c not in held and c not in self.waiting], "forgotten"
        assert self._batcher.waiting == len(self.waiting)
        assert self._batcher.in_flight == len(self.slots)
        assert all(self._wake_s <= client.deadline_s > self.now_s for client in self.live)
        for client in self.waiting:
            slots = [slot for slot in self.slots if slot.members[0].path == client.path]
            if len(slots) < self.settings.max_concurrency:
                trigger, window_end_s = self._due(self._queue(client))
                assert trigger is None, "a slot is free and not granted"
                assert self._wake_s <= window_end_s, "nobody would notice the end of the window"
