"""The simulation with a busy loop: time passes without the ticks that were asked for.

What then happens is told by a second batcher, to which ticks do not come late: whatever event comes
first, all that was due before must be done as if the tick had come just before that event.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from batcher_sidecar.core import (
    Answer,
    Answered,
    Batcher,
    Call,
    Command,
    Event,
    Fail,
    Failed,
    Indivisible,
    Left,
    Refuse,
    Request,
    Send,
    Tick,
    WakeAt,
)
from tests.unit.sidecar.core.simulation import Simulation, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher_contract import BatcherSettings


class Twins(Batcher):
    """A batcher with another beside it that is spared the ticks of ``catch_up``."""

    def __init__(self, settings: BatcherSettings) -> None:
        super().__init__(settings)
        self._late = Batcher(settings)
        self._late_of: dict[Request | Call, Any] = {}
        self._done: list[Command] = []

    def catch_up(self, now_s: float) -> list[Command]:
        """Give a tick to the one alone."""
        commands = super().handle(Tick(), now_s)
        self._done += commands
        return commands

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Give an event to both; they must have done the same by now."""
        commands = super().handle(event, now_s)
        done, self._done = self._done + commands, []
        late = self._late.handle(self._for_late(event), now_s)
        ours, theirs = dict(told(done)), dict(told(late))
        assert sorted(theirs) == sorted(ours), "what was due was not done as if the tick had come"
        for sentence, command in ours.items():
            if isinstance(command, Send):
                self._late_of[command.call] = theirs[sentence].call
        return commands

    def _for_late(self, event: Event) -> Event:
        late_of = self._late_of
        match event:
            case Request():
                late = Request(
                    event.key, event.path, event.instances, event.payload, event.alone,
                    event.terms,
                )  # fmt: skip
                late_of[event] = late
                return late
            case Answered(call, parts):
                return Answered(late_of[call], parts)
            case Failed(call, failure, isolable):
                return Failed(late_of[call], failure, isolable)
            case Indivisible(call):
                return Indivisible(late_of[call])
            case Left(request):
                return Left(late_of[request])
        return event


def told(commands: list[Command]) -> Iterator[tuple[str, Any]]:
    """Return what commands do, in words that tell them apart."""
    for command in commands:
        match command:
            case WakeAt():
                pass
            case Fail(request) | Refuse(request):
                yield f"{type(command).__name__} {request.payload.number}", command
            case Answer(call, requests):
                yield f"Answer {[request.payload.number for request in requests]}", command
            case _:
                call = command.call
                members = [request.payload.number for request in call.members]
                words = f"{members} {call.rows} {call.trigger} {call.isolating}"
                yield f"{type(command).__name__} {words}", command


class LateSimulation(Simulation):
    """The simulation, in which time may also pass unnoticed."""

    def __init__(self, settings: BatcherSettings) -> None:
        super().__init__(settings)
        self._batcher = self._twins = Twins(settings)

    def oversleep(self, duration_s: float) -> None:
        """Time passes, and no tick comes."""
        self.now_s += duration_s

    def arrive(self, *args: Any, **kwargs: Any) -> None:
        """A request arrives."""
        self._catch_up()
        super().arrive(*args, **kwargs)

    def serve(self, slot: Slot, **kwargs: Any) -> None:
        """The model server ends a slot's call."""
        if any(client in self.live and client.deadline_s <= self.now_s for client in slot.flying):
            self.advance(0)  # who has an answer is not late any more, unless he was told before
        self._catch_up()
        if slot.call is not None:
            super().serve(slot, **kwargs)

    def leave(self, client: Any) -> None:
        """A client goes away."""
        self.advance(0)
        if client in self.live:
            super().leave(client)

    def drain(self, *, active: bool) -> None:
        """Draining begins or is called off."""
        self._catch_up()
        super().drain(active=active)

    def change(self, **settings: Any) -> None:
        """Other settings."""
        self._catch_up()
        super().change(**settings)

    def _catch_up(self) -> None:
        if self._wake_s <= self.now_s:
            self._wake_s = inf
            self._follow(self._twins.catch_up(self.now_s))
