"""Plays events to the core on a fake clock and compares the commands that come back."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from batcher_contract import BatcherSettings
from batcher_sidecar.core import (
    FREE,
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

START_S = 1000.0
"""What the monotonic clock shows when a play begins; all times of a play count from there."""


@dataclass
class Served:
    """What came of serving all calls to their end."""

    calls: list[str] = field(default_factory=list)
    """The members of each call, in the order the calls were made."""
    answered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Playbook:
    """One batcher, and requests known by names.

    Every event demands that all commands before it have been expected, and so does the end.
    Commands are written as text:

    * ``send a b (size)``: a batch of requests a and b, cut because of its size;
      ``send a[0:4] (size)`` the first piece of one request;
    * ``repeat a``: a call for a alone, of a batch that failed;
    * ``answer a``: a has its own part; ``answer a: a[0:4] a[4:8]`` the parts of its pieces;
    * ``fail a: why``, ``refuse a: why``, ``cancel a b``.

    ``WakeAt`` is obeyed by ``until`` and not expected.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = BatcherSettings(**settings)
        self._batcher = Batcher(self._settings)
        self._now_s = 0.0
        self._wake_s = inf
        self._pending: list[str] = []
        self._requests: dict[str, Request] = {}
        self._flying: dict[str, Call] = {}

    # --- events ---------------------------------------------------------------------------------

    def arrive(
        self,
        names: str,
        instances: int = 1,
        *,
        key: str = "key",
        path: str = "/v1/models/m:predict",
        alone: bool = False,
        terms: Terms = FREE,
    ) -> None:
        """Requests of these names arrive, one after the other at the same moment."""
        for name in names.split():
            assert name not in self._requests, f"{name} has arrived before"
            request = Request(key, path, instances, name, alone=alone, terms=terms)
            self._requests[name] = request
            self._handle(request)

    def answer(self, names: str) -> None:
        """The model server answers the call in flight for these requests."""
        call = self._flying.pop(names)
        self._handle(Answered(call, [part_of(member, call) for member in call.members]))

    def fail(self, names: str, failure: str = "500", *, isolable: bool = True) -> None:
        """The call in flight for these requests has no usable answer."""
        self._handle(Failed(self._flying.pop(names), failure, isolable))

    def cannot_divide(self, names: str) -> None:
        """The call in flight for these requests is answered, but not by rows."""
        self._handle(Indivisible(self._flying.pop(names)))

    def leave(self, names: str) -> None:
        """The clients of these requests go away."""
        for name in names.split():
            self._handle(Left(self._requests[name]))

    def drain(self, *, active: bool = True) -> None:
        """Draining begins, or is called off."""
        self._handle(Draining(active))

    def change(self, **settings: Any) -> None:
        """Other settings."""
        self._settings = replace(self._settings, **settings)
        self._handle(SettingsChanged(self._settings))

    def terms_changed(self) -> None:
        """Terms of requests that wait are others now."""
        self._handle(TermsChanged())

    def until(self, when_s: float) -> None:
        """Let time pass, with a tick at each moment the core asked for."""
        self.settled()
        while self._wake_s <= when_s:
            self._now_s = max(self._now_s, self._wake_s)
            self._wake_s = inf
            self._commands(Tick())
            assert self._wake_s > self._now_s, "a tick asks for another one at once"
        self._now_s = when_s

    def oversleep(self, when_s: float) -> None:
        """Let time pass without the ticks that were asked for: the loop was busy."""
        self.settled()
        self._now_s = when_s

    def serve(self, bad: Iterable[str] = ()) -> Served:
        """Answer all calls until none is in flight; those that hold a bad request fail.

        What has not been expected yet counts as served.
        """
        served = Served()
        wrong = frozenset(bad)
        while True:
            for command in self._pending:
                kind, _, what = command.partition(" ")
                if kind in ("send", "repeat"):
                    served.calls.append(what.partition(" (")[0])
                elif kind == "answer":
                    served.answered.append(what)
                elif kind == "fail":
                    served.failed.append(what.partition(":")[0])
                else:
                    raise AssertionError(f"unexpected: {command}")
            self._pending.clear()
            if not self._flying:
                return served
            names = next(iter(self._flying))
            if wrong.isdisjoint(names.split()):
                self.answer(names)
            else:
                self.fail(names)

    # --- expectations ---------------------------------------------------------------------------

    def expect(self, *commands: str) -> None:
        """Compare with all commands since the last expectation, in any order."""
        pending, self._pending = self._pending, []
        assert sorted(pending) == sorted(commands)

    def settled(self) -> None:
        """Nothing is left to expect."""
        assert self._pending == [], "these commands were not expected"

    @property
    def waiting(self) -> int:
        """Requests that wait for a call."""
        return self._batcher.waiting

    @property
    def in_flight(self) -> int:
        """Batches that hold a slot."""
        return self._batcher.in_flight

    # --- the core -------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        if not isinstance(event, Request | Left):
            self.settled()
        self._commands(event)

    def _commands(self, event: Event) -> None:
        for command in self._batcher.handle(event, START_S + self._now_s):
            if isinstance(command, WakeAt):
                self._wake_s = command.when_s - START_S
            else:
                self._pending += self._told(command)

    def _told(self, command: Command) -> list[str]:
        if isinstance(command, Answer):
            return [
                f"answer {member.payload}"
                if part == member.payload
                else f"answer {member.payload}: {' '.join(part)}"
                for member, part in zip(command.members, command.parts, strict=True)
            ]
        return [self._told_one(command)]

    def _told_one(self, command: Command) -> str:
        match command:
            case Send(call):
                names = names_of(call)
                assert names not in self._flying
                self._flying[names] = call
                if call.isolating:
                    return f"repeat {names}"
                return f"send {names} ({call.trigger})"
            case Fail(request, _, failure):
                return f"fail {request.payload}: {failure}"
            case Refuse(request, reason):
                return f"refuse {request.payload}: {reason}"
            case Cancel(call):
                names = next(names for names, other in self._flying.items() if other is call)
                del self._flying[names]
                return f"cancel {names}"
        raise AssertionError(f"unknown command {command}")


def names_of(call: Call) -> str:
    """Return the names of a call's members, with the rows where it is a piece."""
    return " ".join([part_of(member, call) for member in call.members])


def part_of(member: Request, call: Call) -> str:
    """Return what a model server answers to a member of a call."""
    name: str = member.payload
    if call.rows is None:
        return name
    return f"{name}[{call.rows[0]}:{call.rows[1]}]"
