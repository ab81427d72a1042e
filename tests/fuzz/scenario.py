"""What one run of the data port depends on: who sends what when, and how the model server behaves.

Bytes stand as Latin-1 text, so that a scenario can be read and written as JSON. Numbers with nine
digits that start with a 9 are *tags*: they stand in targets and rows, and tell whose these are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.fuzz.engine import smaller_bytes, smaller_list

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Behaviour", "Client", "Kind", "Message", "Scenario", "Tag", "smaller_scenarios", "tag",
    "tags_in",
]  # fmt: skip

_TAG: Final = re.compile(rb"(?<!\d)9\d{8}(?!\d)")

Kind = Literal["predict", "forward", "bypassed", "probe", "refused", "upgrade", "hostile"]
Control = Literal["pause", "resume", "half_close", "close"]


@dataclass(frozen=True, slots=True)
class Tag:
    """Whose row it is. Requests of different groups must not share a batch."""

    client: int
    message: int
    row: int
    group: int


def tag(client: int, message: int, row: int = 0, group: int = 0) -> int:
    """Write a tag as a number."""
    return 900_000_000 + client * 1_000_000 + message * 10_000 + row * 100 + group


def tags_in(data: bytes) -> set[Tag]:
    """Find all tags."""
    found = set()
    for digits in _TAG.findall(data):
        rest, group = divmod(int(digits) - 900_000_000, 100)
        rest, row = divmod(rest, 100)
        client, message = divmod(rest, 100)
        found.add(Tag(client, message, row, group))
    return found


@dataclass(slots=True)
class Message:
    """One request, or bytes that are none."""

    data: str
    kind: Kind = "hostile"
    method: str = "POST"
    rows: list[Any] = field(default_factory=list)
    """Of a predict request: its instances, which an honest model gives back as predictions."""
    answer: str = ""
    """Of a forwarded request: the body that an honest model answers with."""
    status: int = 200
    """That of an honest answer."""
    closes: bool = False
    """It asks for the connection to be closed after it."""
    cuts: list[tuple[int, int]] = field(default_factory=list)
    """Where its bytes are cut, and how long the client waits there, ms."""

    def slow(self, timeout_s: float) -> bool:
        """Tell whether it may take too long to arrive."""
        head_bytes = self.data.find("\r\n\r\n") + 4
        in_head_ms = [wait_ms for at, wait_ms in self.cuts if 0 < at < head_bytes]
        in_body_ms = [wait_ms for at, wait_ms in self.cuts if at >= head_bytes]
        return (
            sum(in_head_ms) > 9_900
            or max(in_body_ms, default=0) > 29_000
            or sum(in_body_ms) > timeout_s * 1000 - 100
        )


@dataclass(slots=True)
class Client:
    """A connection to the data port."""

    messages: list[Message]
    number: int = 0
    """As its tags have it."""
    start_ms: int = 0
    controls: list[tuple[int, Control]] = field(default_factory=list)
    """What else it does, and when after its start."""

    @property
    def honest(self) -> bool:
        """Tell whether all it sends are requests as they should be, so its answers are known."""
        return all(message.kind != "hostile" for message in self.messages)

    @property
    def steady(self) -> bool:
        """Tell whether it waits for all answers and reads them as they come."""
        return not self.controls

    def slow(self, timeout_s: float) -> bool:
        """Tell whether a request of it may take too long to arrive."""
        return any(message.slow(timeout_s) for message in self.messages)

    @property
    def lasts_ms(self) -> int:
        """Return when its last byte is sent."""
        waits_ms = [wait_ms for message in self.messages for _, wait_ms in message.cuts]
        return self.start_ms + sum(waits_ms)


@dataclass(slots=True)
class Behaviour:
    """How the model server treats one request."""

    do: Literal["echo", "status", "count", "body", "raw", "silent"] = "echo"
    status: int = 200
    off_by: int = 0
    """How many predictions more than instances."""
    body: str = ""
    delay_ms: int = 0
    framing: Literal["length", "chunked", "close"] = "length"
    piece_bytes: int = 0
    """The answer comes in pieces of that size; 0 for whole."""
    gap_ms: int = 0
    permille: int = 1000
    """How much of the answer is sent."""
    then: Literal["keep", "say_close", "close", "reset"] = "keep"
    extra: str = ""
    """What follows the answer at once."""
    early: bool = False
    """It answers before it has read the request's body."""
    deaf_ms: int = 0
    """How long it stops reading after the request's head."""
    lines: list[str] = field(default_factory=list)
    """More header lines of the answer."""
    interim: list[int] = field(default_factory=list)
    """Statuses of 1xx answers before it."""
    more_fields: bool = False
    """A predict answer holds more than predictions."""
    poison: int = 0
    """If above 0: what holds a row whose number is a multiple of it fails with ``status``."""

    @property
    def truthful(self) -> bool:
        """Tell whether every caller must get its answer, and soon."""
        plain = self.do == "echo" and self.permille == 1000 and not self.poison
        polite = self.then in ("keep", "say_close") and not (self.extra or self.lines or self.early)
        return plain and polite and self.delay_ms <= 5 and self.gap_ms <= 1 and not self.deaf_ms


@dataclass(slots=True)
class Scenario:
    """Everything that one run depends on."""

    clients: list[Client]
    behaviours: list[Behaviour] = field(default_factory=list)
    """The n-th request to the model server gets the n-th; after the last they start anew."""
    connects: list[int] = field(default_factory=list)
    """How long the n-th connection to it takes, ms; -1: refused, -2: no answer at all."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from the defaults of ``BatcherSettings``."""
    window_bytes: int = 65536
    """What a connection takes while nobody reads at its other end."""
    high_water_bytes: int = 65536
    """What is written beyond that before writing must pause."""
    drain_ms: int = -1
    undrain_ms: int = -1
    probe_ms: int = 0
    """How long a readiness probe takes."""
    stop_ms: int = -1
    """When the sidecar ends, whatever is going on; -1: when all is done."""

    @property
    def benign(self) -> bool:
        """Tell whether every honest request must be answered as it should be."""
        roomy = not self.settings.keys() & {
            "max_queue_size", "max_queue_bytes", "max_body_bytes", "timeout_s",
        }  # fmt: skip
        return (
            roomy
            and self.drain_ms < 0
            and not any(client.slow(300) for client in self.clients)
            and all(0 <= connect <= 5 for connect in self.connects)
            and all(behaviour.truthful for behaviour in self.behaviours)
        )


def smaller_scenarios(scenario: Scenario) -> Iterator[Scenario]:
    """Name simpler scenarios, the boldest cuts first."""
    for clients in smaller_list(scenario.clients):
        yield replace(scenario, clients=clients)
    for index, client in enumerate(scenario.clients):
        for messages in smaller_list(client.messages):
            yield _with(scenario, index, replace(client, messages=messages))
    for behaviours in smaller_list(scenario.behaviours):
        yield replace(scenario, behaviours=behaviours)
    yield from _plainer(scenario, ("clients", "behaviours"))
    for key in scenario.settings:
        settings = {name: value for name, value in scenario.settings.items() if name != key}
        yield replace(scenario, settings=settings)
    for index, client in enumerate(scenario.clients):
        for less in _plainer(client, ("messages", "number")):
            yield _with(scenario, index, less)
        for controls in smaller_list(client.controls):
            yield _with(scenario, index, replace(client, controls=controls))
    for index, behaviour in enumerate(scenario.behaviours):
        for plainer in _plainer(behaviour, ()):
            behaviours = [*scenario.behaviours]
            behaviours[index] = plainer
            yield replace(scenario, behaviours=behaviours)
    yield from _smaller_messages(scenario)


def _smaller_messages(scenario: Scenario) -> Iterator[Scenario]:
    for index, client in enumerate(scenario.clients):
        for number, message in enumerate(client.messages):
            if message.kind == "hostile":
                less = [replace(message, data=data) for data in smaller_bytes(message.data)]
            elif message.rows and isinstance(message.rows[0], str) and message.kind == "predict":
                less = [plain] if len((plain := _plain(message)).data) < len(message.data) else []
            else:
                less = []
            less += [replace(message, cuts=cuts) for cuts in smaller_list(message.cuts)]
            less += [replace(message, cuts=[(at, 0) for at, _ in message.cuts])] * any(
                wait_ms for _, wait_ms in message.cuts
            )
            for candidate in less:
                messages = [*client.messages]
                messages[number] = candidate
                yield _with(scenario, index, replace(client, messages=messages))


def _plain(message: Message) -> Message:
    """Write a predict request with one of the rows in the plainest way."""
    body = f'{{"instances":["{message.rows[0][:9]}"]}}'
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return Message(head + body, "predict", rows=[message.rows[0][:9]], cuts=message.cuts)


def _with(scenario: Scenario, index: int, client: Client) -> Scenario:
    clients = [*scenario.clients]
    clients[index] = client
    return replace(scenario, clients=clients)


def _plainer(thing: Any, kept: tuple[str, ...]) -> Iterator[Any]:
    """Name copies with one field at its default."""
    blank = type(thing)(**{name: getattr(thing, name) for name in kept})
    for each in fields(thing):
        if getattr(thing, each.name) != getattr(blank, each.name):
            yield replace(thing, **{each.name: getattr(blank, each.name)})
