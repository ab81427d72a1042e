"""A client of the data port: sends as the scenario says, and reads answers with h11."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import h11

from batcher_sidecar.flow import READ_AHEAD_BYTES
from tests.fuzz.engine import Fault
from tests.fuzz.messages import H2_PREFACE

if TYPE_CHECKING:
    from tests.fuzz.network import Link
    from tests.fuzz.scenario import Client, Control
    from tests.fuzz.virtual import VirtualLoop

__all__ = ["Answer", "Caller"]

_MAX_HEAD_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Answer:
    """One answer as far as it has come."""

    status: int
    headers: list[tuple[bytes, bytes]]
    interim: list[int]
    raw: bytes = b""
    body: bytes = b""
    complete: bool = False
    ended_s: float = 0.0
    """When its last byte came."""

    @property
    def says_close(self) -> bool:
        """Tell whether it is the connection's last."""
        return (b"connection", b"close") in self.headers


@dataclass(slots=True)
class Received:
    """All that a client has got."""

    answers: list[Answer] = field(default_factory=list)
    rest: bytes = b""
    """What follows the last answer: of a tunnel, or nobody's."""


class Caller:
    """One connection (``network.Peer``)."""

    def __init__(self, loop: VirtualLoop, script: Client) -> None:
        self.script = script
        self.link: Link | None = None
        self.sent_s: list[float] = []
        """When the last byte of each message was sent."""
        self.sent_bytes = 0
        self.ended = False
        self.was_reset = False
        self.left = False
        """It has closed its own end."""
        self.left_s: float | None = None
        """When it closed or half-closed its own end, while all it had sent could be seen."""
        self._half_closed = False
        self._loop = loop
        self._data = b"".join([message.data.encode("latin-1") for message in script.messages])
        sizes = [len(message.data) for message in script.messages]
        self._ends = list(itertools.accumulate(sizes))
        self._got: list[tuple[float, bytes]] = []

    def start(self, link: Link) -> None:
        """Begin the script."""
        self.link = link
        begins = [0, *self._ends]
        cuts = [
            (begin + min(offset, len(message.data)), wait_ms)
            for begin, message in zip(begins, self.script.messages, strict=False)
            for offset, wait_ms in message.cuts
        ]
        self._send_pieces([*cuts, (len(self._data), 0)])
        for at_ms, control in self.script.controls:
            self._loop.call_later(at_ms / 1000, self._control, control)

    def leave(self) -> None:
        """Close."""
        if self.link is not None and not self.left:
            self.left = True
            self.link.leave(reset=False)

    def _send_pieces(self, cuts: list[tuple[int, int]]) -> None:
        """Send up to the first cut, then wait."""
        if self.link is None or self.left or self._half_closed:
            return
        offset, wait_ms = cuts.pop(0)
        self.link.send(self._data[self.sent_bytes : offset])
        self.sent_bytes = offset
        while len(self.sent_s) < len(self._ends) and (
            self._ends[len(self.sent_s)] <= self.sent_bytes
        ):
            self.sent_s.append(self._loop.time())
        if cuts:
            self._loop.call_later(wait_ms / 1000, self._send_pieces, cuts)

    def _control(self, control: Control) -> None:
        if self.link is None or self.left:
            return
        match control:
            case "pause" | "resume":
                self.link.read_on(wanted=control == "resume")
            case "half_close":
                self._note_leaving()
                self._half_closed = True
                self.link.end()
            case "close":
                self._note_leaving()
                self.leave()

    def _note_leaving(self) -> None:
        if self.left_s is None and self.sent_bytes <= READ_AHEAD_BYTES:
            self.left_s = self._loop.time()

    # --- from the sidecar -----------------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        """Keep what comes."""
        self._got.append((self._loop.time(), data))

    def on_end(self, *, reset: bool) -> None:
        """The sidecar has closed: so does this end."""
        self.ended = True
        self.was_reset = reset
        if self.link is not None:
            self.link.leave(reset=False)

    # --- afterwards -----------------------------------------------------------------------------

    @property
    def raw(self) -> bytes:
        """All bytes that came."""
        return b"".join([data for _, data in self._got])

    def received(self) -> Received:
        """Read the answers.

        Raises:
            Fault: they are no HTTP.
        """
        data = self.raw
        received = Received()
        methods = [message.method for message in self.script.messages if message.kind != "hostile"]
        if data and self._data.startswith(H2_PREFACE):
            received.rest = data
            return received
        while data:
            number = len(received.answers)
            method = methods[number] if number < len(methods) else "POST"
            ended = self.ended and not self.was_reset
            answer, rest = _read(data, method, ended=ended)
            if rest and answer.says_close and method == "HEAD":
                # Refused before its head was complete, so that nobody knew it was a HEAD.
                answer, rest = _read(data, "POST", ended=ended)
            data = rest
            received.answers.append(answer)
            answer.ended_s = self._arrival_s(len(self.raw) - len(data))
            if answer.status == 101 or not answer.complete:
                break
        received.rest = data
        return received

    def _arrival_s(self, size: int) -> float:
        """Return when so many bytes had come."""
        for time_s, data in self._got:
            size -= len(data)
            if size <= 0:
                return time_s
        return 0.0


def _read(data: bytes, method: str, *, ended: bool) -> tuple[Answer, bytes]:
    """Read one answer; return it and what follows it."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
    headers = [("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "websocket")]
    parser.send(h11.Request(method=method, target="/", headers=headers))
    parser.send(h11.EndOfMessage())
    parser.receive_data(data)
    answer = Answer(0, [], [])
    body: list[bytes] = []
    try:
        _take(parser, answer, body)
    except h11.RemoteProtocolError as error:
        raise Fault("an answer is no HTTP", f"{error}: {data[:500]!r}") from None
    if ended and not answer.complete and answer.status != 101:
        try:
            parser.receive_data(b"")
            _take(parser, answer, body)
        except h11.RemoteProtocolError:
            answer.complete = False  # it breaks off
    answer.body = b"".join(body)
    rest = parser.trailing_data[0] if answer.complete or answer.status == 101 else b""
    answer.raw = data[: len(data) - len(rest)]
    return answer, rest


def _take(parser: h11.Connection, answer: Answer, body: list[bytes]) -> None:
    """Enter into the answer what the parser has."""
    while not isinstance(event := parser.next_event(), type):
        if isinstance(event, h11.InformationalResponse) and event.status_code != 101:
            answer.interim.append(event.status_code)
        elif isinstance(event, h11.Response | h11.InformationalResponse):
            answer.status = event.status_code
            answer.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h11.Data):
            body.append(bytes(event.data))
        else:
            answer.complete = isinstance(event, h11.EndOfMessage)
            break
