"""What the core speaks of: requests and calls, events that come in, commands that go out."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from batcher_contract import BatcherSettings
    from batcher_sidecar.core.queues import KeyQueue, PathQueues

Trigger: TypeAlias = Literal["size", "latency", "drain", "alone"]
RefusalReason: TypeAlias = Literal["queue_full", "deadline"]


class Terms:
    """What the requests of one key may be done with; it may change while they wait.

    The core looks at it whenever a batch might be cut, and at all that waits on ``TermsChanged``.
    """

    __slots__ = ("max_rows", "single", "whole")

    def __init__(self) -> None:
        self.single = False
        """Each request travels alone."""
        self.whole = False
        """None is sent in pieces."""
        self.max_rows = 0
        """How many instances one call may carry for several; 0 where there is no limit."""


FREE: Final = Terms()
"""The terms of keys of which nothing needs to be known."""


class Request:
    """One predict request of one client; given to the batcher as an event, it has arrived.

    ``key`` decides who may share a batch, ``path`` whose slots it takes, ``instances`` (>= 1) what
    it counts. ``alone`` is for a request that must not share, whatever the ``terms`` of its key;
    those of its key's latest request hold for all that wait with it.
    ``payload`` is the codec's and the runtime's. The other attributes belong to the core.
    """

    __slots__ = (
        "alone",
        "arrived_s",
        "call",
        "deadline_s",
        "done",
        "instances",
        "key",
        "path",
        "payload",
        "queue",
        "seq",
        "terms",
    )

    def __init__(
        self,
        key: Hashable,
        path: Hashable,
        instances: int,
        payload: Any = None,
        alone: bool = False,
        terms: Terms = FREE,
    ) -> None:
        self.seq: int
        self.arrived_s: float
        self.deadline_s: float
        self.key = key
        self.path = path
        self.instances = instances
        self.payload = payload
        self.alone = alone
        self.terms = terms
        self.done = False
        self.queue: KeyQueue | None = None
        self.call: Call | None = None


class Batch:
    """One cut batch while it holds its slot: what is called for it now and what after that."""

    __slots__ = (
        "answered_parts", "culprits", "indivisible", "isolated", "key", "members", "path",
        "timer_s", "todo", "trigger",
    )  # fmt: skip

    def __init__(
        self, path: PathQueues, key: Hashable, trigger: Trigger, members: list[Request]
    ) -> None:
        self.path = path
        self.key = key
        self.trigger = trigger
        self.members = members
        self.timer_s = 0.0  # the earliest deadline among its members
        self.todo: list[Call] = []  # a stack: the last one is called next
        self.answered_parts: list[object] = []  # of the pieces of one oversized request
        self.isolated = False
        self.indivisible = False
        self.culprits = 0  # members that failed standing alone

    def waits_for(self, when_s: float) -> bool:
        """Tell whether the deadline set for ``when_s`` still counts."""
        return self.timer_s == when_s

    def end(self) -> None:
        """Let go of all that it holds: the timer heap may hold on to the batch for a while."""
        self.timer_s = inf
        self.members = []
        del self.key, self.path, self.answered_parts


class Call:
    """One request to the model server on behalf of ``members``.

    ``rows`` is the range of instances to send where a single member is sent in pieces, else None.
    ``payload`` is the runtime's.
    """

    __slots__ = ("batch", "ended", "failure", "live", "members", "payload", "rows", "sent_s")

    def __init__(
        self,
        batch: Batch,
        members: list[Request],
        rows: tuple[int, int] | None = None,
        failure: object = None,
    ) -> None:
        self.batch = batch
        self.members = members
        self.rows = rows
        self.failure = failure  # of the larger call that this one is a half of
        self.live = len(members)
        self.ended = False
        self.sent_s = 0.0
        self.payload: Any = None

    @property
    def trigger(self) -> Trigger:
        """What cut the batch."""
        return self.batch.trigger

    @property
    def isolating(self) -> bool:
        """True for a call that repeats part of one that served nobody."""
        return self.batch.isolated or self.batch.indivisible

    @property
    def instances(self) -> int:
        """How many instances the call carries."""
        if self.rows is not None:
            return self.rows[1] - self.rows[0]
        return sum([member.instances for member in self.members])


@dataclass(slots=True, eq=False)
class Answered:
    """The model server answered a call and the answer could be split: a part for each member."""

    call: Call
    parts: Sequence[object]


@dataclass(slots=True, eq=False)
class Failed:
    """A call has no usable answer. ``isolable``: one member alone may be the cause (rule 9)."""

    call: Call
    failure: object
    isolable: bool


@dataclass(slots=True, eq=False)
class Indivisible:
    """The answer to a call is good but not by rows: nobody can be given a part of it."""

    call: Call


@dataclass(slots=True, eq=False)
class Left:
    """The client of a request has gone."""

    request: Request


@dataclass(slots=True, eq=False)
class Tick:
    """The time of the last ``WakeAt`` has come."""


@dataclass(slots=True, eq=False)
class Draining:
    """Draining began (windows end at once) or, not ``active``, was called off."""

    active: bool = True


@dataclass(slots=True, eq=False)
class SettingsChanged:
    """Other numbers from now on, for what waits too; deadlines already given stay."""

    settings: BatcherSettings


@dataclass(slots=True, eq=False)
class TermsChanged:
    """The terms of keys have changed that requests wait with."""


Event: TypeAlias = (
    Request
    | Answered
    | Failed
    | Indivisible
    | Left
    | Tick
    | Draining
    | SettingsChanged
    | TermsChanged
)


@dataclass(slots=True, eq=False)
class Send:
    """Send this call to the model server."""

    call: Call


@dataclass(slots=True, eq=False)
class Answer:
    """Give each of these members of a call its part.

    Where one request was sent in pieces, its part is the list of theirs, in order.
    """

    call: Call
    members: list[Request]
    parts: list[Any]


@dataclass(slots=True, eq=False)
class Fail:
    """Give a member the failure of the call it was in."""

    request: Request
    call: Call
    failure: object


@dataclass(slots=True, eq=False)
class Refuse:
    """Refuse a request ourselves."""

    request: Request
    reason: RefusalReason


@dataclass(slots=True, eq=False)
class Cancel:
    """Nobody waits for this call any more; no event about it is wanted."""

    call: Call


@dataclass(slots=True, eq=False)
class WakeAt:
    """Send a ``Tick`` at this time. Replaces an earlier wish."""

    when_s: float


Command: TypeAlias = Send | Answer | Fail | Refuse | Cancel | WakeAt
