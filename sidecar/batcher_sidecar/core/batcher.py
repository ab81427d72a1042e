"""The state machine: events in, commands out. The rules it keeps stand in ``core/__init__.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batcher_sidecar.core.isolation import CallBudget, KeyMemory
from batcher_sidecar.core.model import (
    Answer,
    Answered,
    Batch,
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
    TermsChanged,
    Tick,
    WakeAt,
)
from batcher_sidecar.core.policy import WindowPolicy
from batcher_sidecar.core.queues import NEVER_S, KeyQueue, PathQueues
from batcher_sidecar.core.timers import TimerHeap

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from batcher_contract import BatcherSettings

_LATE_LATER: Final = frozenset([Answered, Failed, Left, TermsChanged, Tick])
"""Events that come before what was due is done: it may be late no more, or leave on other terms."""
_ALONE: Final = object()  # the key under which requests that share with nobody wait in their path


class Batcher:
    """Every request's way from arrival to answer. One instance serves all paths and keys."""

    def __init__(self, settings: BatcherSettings) -> None:
        self._settings = settings
        self._policy = WindowPolicy(settings, draining=False)
        self._paths: dict[Hashable, PathQueues] = {}
        self._timers: TimerHeap[Batch | KeyQueue] = TimerHeap()
        self._wake_s = NEVER_S  # when something is to be looked at
        self._announced_s = NEVER_S  # the last WakeAt that has not come yet
        self._memory = KeyMemory()
        self._budget = CallBudget()
        self._seq = 0
        self.waiting = 0
        """Requests that wait for a call."""
        self.in_flight = 0
        """Batches that hold a slot."""
        self._handlers: dict[type, Callable[[Any, float, list[Command]], None]] = {
            Request: self._arrived,
            Answered: self._answered,
            Failed: self._failed,
            Indivisible: self._indivisible,
            Left: self._left,
            Tick: self._tick,
            Draining: self._draining,
            SettingsChanged: self._settings_changed,
            TermsChanged: self._review,
        }

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Take an event at a time not before the last one; return what is to be done, in order."""
        out: list[Command] = []
        if now_s >= self._wake_s and type(event) not in _LATE_LATER:
            self._tick(Tick(), now_s, out)  # it is late: large bodies may keep the loop busy long
        self._handlers[type(event)](event, now_s, out)
        if self._wake_s < self._announced_s:
            self._announced_s = self._wake_s
            # First, as carrying out the others may lead to events that ask for an earlier time.
            out.insert(0, WakeAt(self._wake_s))
        return out

    def _wait(self, when_s: float, item: Batch | KeyQueue) -> None:
        """Wait for a deadline or for the end of a window."""
        self._timers.add(when_s, item)
        if when_s < self._wake_s:
            self._wake_s = when_s

    # --- arrival, and the cut -------------------------------------------------------------------

    def _arrived(self, request: Request, now_s: float, out: list[Command]) -> None:
        if self.waiting >= self._settings.max_queue_size:
            request.done = True
            out.append(Refuse(request, "queue_full"))
            return
        self._seq += 1
        request.seq = self._seq
        request.arrived_s = now_s
        request.deadline_s = now_s + self._settings.timeout_s
        path = self._paths.get(request.path)
        if path is None:
            path = self._paths[request.path] = PathQueues(request.path)
        key = _ALONE if request.alone else request.key
        queue = path.queues.get(key)
        if queue is None:
            single_until_s = NEVER_S if request.alone else self._memory.unbatched_until_s(key)
            reach = self._policy.reach(request.terms)
            queue = path.queues[key] = KeyQueue(path, key, single_until_s, reach, request.terms)
        elif queue.terms is not request.terms and not request.alone:
            queue.terms = request.terms
            queue.reach = self._policy.reach(request.terms)
        queue.add(request)
        self.waiting += 1
        if not queue.due and (queue.timer_s == NEVER_S or self._policy.full(queue)):
            self._watch(queue, now_s)
            if queue.due:
                self._grant(path, now_s, out)
        if request.queue is not None and request.deadline_s < queue.timer_s:
            self._look_again(queue, request.deadline_s)

    def _watch(self, queue: KeyQueue, now_s: float) -> None:
        """Mark a waiting key as due, or see to it that the end of its window is not missed."""
        if self._policy.trigger(queue, now_s) is not None:
            queue.path.mark_due(queue)
        else:
            window_end_s = self._policy.window_end_s(queue)
            if window_end_s < queue.timer_s:
                self._look_again(queue, window_end_s)

    def _look_again(self, queue: KeyQueue, when_s: float) -> None:
        queue.timer_s = when_s
        self._wait(when_s, queue)

    def _grant(self, path: PathQueues, now_s: float, out: list[Command]) -> None:
        """Give the free slots of a path to what is due, and forget a path without any work."""
        while path.in_flight < self._settings.max_concurrency:
            queue = path.next_due()
            if queue is None:
                break
            if queue.timer_s <= now_s and self._refuse_late(queue, now_s, out):
                continue
            trigger = self._policy.trigger(queue, now_s)
            key = queue.key
            run: list[Request] = []
            if trigger is not None:
                reach = 1 if trigger == "alone" else queue.reach
                run = queue.cut(reach, self._settings.hard_max_batch_size)
                self.waiting -= len(run)
            if not queue.requests:
                path.drop_next_due()
                path.forget(queue)
            elif self._policy.trigger(queue, now_s) is None:
                path.drop_next_due()
                self._watch(queue, now_s)
            if trigger is not None:
                self._start(Batch(path, key, trigger, run), now_s, out)
        if path.idle():
            self._paths.pop(path.path, None)

    def _start(self, batch: Batch, now_s: float, out: list[Command]) -> None:
        run = batch.members
        batch.timer_s = min([member.deadline_s for member in run])
        self._wait(batch.timer_s, batch)
        batch.path.in_flight += 1
        self.in_flight += 1
        cap = self._settings.hard_max_batch_size
        total = run[0].instances
        if cap and len(run) == 1 and total > cap and not run[0].terms.whole:
            pieces = [(start, min(start + cap, total)) for start in range(0, total, cap)]
            batch.todo = [Call(batch, run, rows) for rows in reversed(pieces)]
        else:
            batch.todo = [Call(batch, run)]
        self._call_next(batch, now_s, out)

    # --- a batch in its slot --------------------------------------------------------------------

    def _call_next(self, batch: Batch, now_s: float, out: list[Command]) -> None:
        """Send the next call of a batch that anybody waits for, or give its slot away."""
        if now_s >= self._wake_s:
            self._tick(Tick(), now_s, out)  # or a younger key could get the slot
        if batch.timer_s <= now_s:
            self._refuse_late_members(batch, now_s, out)
        while batch.todo:
            call = batch.todo.pop()
            call.members = [member for member in call.members if not member.done]
            call.live = len(call.members)
            if not call.live:
                continue
            if call.failure is not None and not self._budget.take():
                self._fail(call, call.failure, out)
                continue
            self._budget.note_call()
            call.sent_s = now_s
            for member in call.members:
                member.call = call
            out.append(Send(call))
            return
        if batch.isolated and not batch.indivisible:
            self._memory.batch_isolated(batch.key, batch.culprits, now_s)
            self._apply_memory(batch, now_s)
        path = batch.path
        path.in_flight -= 1
        self.in_flight -= 1
        batch.end()
        self._grant(path, now_s, out)

    def _apply_memory(self, batch: Batch, now_s: float) -> None:
        queue = batch.path.queues.get(batch.key)
        if queue is not None and batch.key is not _ALONE:
            queue.single_until_s = self._memory.unbatched_until_s(batch.key)
            if not queue.due:
                self._watch(queue, now_s)

    def _answered(self, event: Answered, now_s: float, out: list[Command]) -> None:
        call = event.call
        if call.ended:
            return
        batch = call.batch
        parts = event.parts
        if call.rows is not None:
            batch.answered_parts.append(parts[0])
            parts = [batch.answered_parts]
        answer = Answer(call, [], [])
        if call.rows is None or not batch.todo:
            for member, part in zip(call.members, parts, strict=True):
                if not member.done:
                    member.done = True
                    answer.members.append(member)
                    answer.parts.append(part)
        self._end_call(call)
        key = batch.key
        self._call_next(batch, now_s, out)
        if len(call.members) > 1 and not batch.isolated:
            self._memory.batch_served(key)
        if answer.members:
            out.append(answer)  # after the next call: the model server should not wait for it

    def _failed(self, event: Failed, now_s: float, out: list[Command]) -> None:
        call = event.call
        if call.ended:
            return
        self._end_call(call)
        batch = call.batch
        if event.isolable and self._settings.isolate_failures and len(call.members) > 1:
            batch.isolated = True
            live = [member for member in call.members if not member.done]
            middle = (len(live) + 1) // 2
            for half in (live[middle:], live[:middle]):
                if half:
                    batch.todo.append(Call(batch, half, failure=event.failure))
        else:
            if batch.isolated and event.isolable:
                batch.culprits += 1
            self._fail(call, event.failure, out)
        self._call_next(batch, now_s, out)

    def _indivisible(self, event: Indivisible, now_s: float, out: list[Command]) -> None:
        call = event.call
        if call.ended:
            return
        self._end_call(call)
        batch = call.batch
        batch.indivisible = True
        batch.todo += [Call(batch, [member]) for member in reversed(call.members)]
        self._call_next(batch, now_s, out)

    def _end_call(self, call: Call) -> None:
        """Forget a call in flight; its members refer to it no more, so that both can go at once."""
        call.ended = True
        for member in call.members:
            member.call = None

    def _fail(self, call: Call, failure: object, out: list[Command]) -> None:
        for member in call.members:
            if not member.done:
                member.done = True
                out.append(Fail(member, call, failure))

    # --- leaving, and time ----------------------------------------------------------------------

    def _left(self, event: Left, now_s: float, out: list[Command]) -> None:
        request = event.request
        if request.done:
            return
        if request.queue is not None:
            request.done = True
            self._take_out(request, request.queue)
        else:
            self._end_member(request)
            self._cancel_deserted(request.call, now_s, out)

    def _take_out(self, request: Request, queue: KeyQueue) -> None:
        """Forget a waiting request, and its key and its path if nothing is left of them."""
        queue.remove(request)
        self.waiting -= 1
        if not queue.requests:
            path = queue.path
            path.forget(queue)
            if path.idle():
                self._paths.pop(path.path, None)

    def _end_member(self, request: Request) -> None:
        """Forget a request that is in a batch."""
        request.done = True
        if request.call is not None:
            request.call.live -= 1

    def _cancel_deserted(self, call: Call | None, now_s: float, out: list[Command]) -> None:
        """Cancel a call in flight that nobody waits for any more."""
        if call is not None and call.live == 0 and not call.ended:
            self._end_call(call)
            out.append(Cancel(call))
            self._call_next(call.batch, now_s, out)

    def _tick(self, _: Tick, now_s: float, out: list[Command]) -> None:
        paths: list[PathQueues] = []  # with a key that is newly due
        calls: list[Call] = []  # that lost a member
        while (item := self._timers.pop_due(now_s)) is not None:
            item.timer_s = NEVER_S
            if isinstance(item, KeyQueue):
                self._refuse_late(item, now_s, out)
                if item.requests and self._watch_again(item, now_s):
                    paths.append(item.path)
            else:
                calls += self._refuse_late_members(item, now_s, out)
                deadlines_s = [member.deadline_s for member in item.members if not member.done]
                if deadlines_s:
                    item.timer_s = min(deadlines_s)
                    self._wait(item.timer_s, item)
        # Slots are given only now that all is known that is due: it may be late for several keys.
        self._wake_s = self._announced_s = NEVER_S
        for call in calls:
            self._cancel_deserted(call, now_s, out)
        for path in paths:
            self._grant(path, now_s, out)
        self._memory.forget_expired(now_s)
        next_s = self._timers.next_s()
        self._wake_s = NEVER_S if next_s is None else next_s

    def _watch_again(self, queue: KeyQueue, now_s: float) -> bool:
        """See to a waiting key whose timer has run out; tell whether it is due since now."""
        newly_due = False
        if not queue.due:
            self._watch(queue, now_s)
            newly_due = queue.due
        deadline_s = queue.earliest_deadline_s()
        if deadline_s < queue.timer_s:
            self._look_again(queue, deadline_s)
        return newly_due

    def _refuse_late(self, queue: KeyQueue, now_s: float, out: list[Command]) -> bool:
        """Refuse those in a queue whose deadlines have passed; tell whether there were any."""
        late = queue.late(now_s)
        for request in late:
            request.done = True
            self._take_out(request, queue)
            out.append(Refuse(request, "deadline"))
        return bool(late)

    def _refuse_late_members(self, batch: Batch, now_s: float, out: list[Command]) -> set[Call]:
        """Refuse members whose deadlines have passed; return the calls that lost any of them."""
        calls: set[Call] = set()
        for member in batch.members:
            if not member.done and member.deadline_s <= now_s:
                self._end_member(member)
                out.append(Refuse(member, "deadline"))
                if member.call is not None:
                    calls.add(member.call)
        return calls

    def _draining(self, event: Draining, now_s: float, out: list[Command]) -> None:
        self._policy = WindowPolicy(self._settings, draining=event.active)
        self._review(event, now_s, out)

    def _settings_changed(self, event: SettingsChanged, now_s: float, out: list[Command]) -> None:
        sooner = event.settings.timeout_s < self._settings.timeout_s
        self._settings = event.settings
        self._policy = WindowPolicy(event.settings, draining=self._policy.draining)
        if sooner:
            for path in self._paths.values():
                for queue in path.queues.values():
                    queue.rising = False  # who comes now may have to go before those who wait
        self._review(event, now_s, out)

    def _review(self, _: Event, now_s: float, out: list[Command]) -> None:
        """Apply a new policy, or new terms, to what already waits."""
        for path in self._paths.values():
            for queue in path.queues.values():
                queue.reach = self._policy.reach(queue.terms)
                if not queue.due:
                    self._watch(queue, now_s)
        if now_s >= self._wake_s:
            self._tick(Tick(), now_s, out)  # only now, as new terms hold for what is late too
        for path in list(self._paths.values()):
            self._grant(path, now_s, out)
