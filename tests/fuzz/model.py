"""The model server: reads with h11, answers and misbehaves as the scenario says."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import h11

from tests.fuzz.engine import Fault
from tests.fuzz.json_text import strict_loads
from tests.fuzz.messages import H2_PREFACE
from tests.fuzz.network import Link
from tests.fuzz.scenario import Behaviour, tags_in

if TYPE_CHECKING:
    from tests.fuzz.scenario import Scenario
    from tests.fuzz.virtual import VirtualLoop

__all__ = ["Call", "Model"]

_PLAIN: Final = Behaviour()
_HANDSHAKE: Final = b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@dataclass(slots=True)
class Call:
    """One request as the model server saw it."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    behaviour: Behaviour
    began_s: float
    body: bytes = b""
    complete: bool = False

    def header(self, name: bytes) -> bytes | None:
        """Return the value of a header, the first if there are several."""
        return next((value for key, value in self.headers if key == name), None)

    def rows(self) -> list[Any] | None:
        """Return the instances, or None if it is no request for predictions."""
        if not self.target.partition(b"?")[0].endswith((b":predict", b"%3Apredict")):
            return None
        if self.header(b"content-encoding") not in (None, b"identity"):
            return None
        try:
            content = strict_loads(self.body)
        except (ValueError, RecursionError):
            return None
        rows = content.get("instances") if isinstance(content, dict) else None
        return rows if isinstance(rows, list) else None


class Model:
    """Accepts connections and remembers the calls."""

    def __init__(self, loop: VirtualLoop, scenario: Scenario) -> None:
        self.loop = loop
        self.links: list[Link] = []
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self._scenario = scenario
        self._connections: list[_Connection] = []
        self._closed = False
        loop.connect = self._connect

    async def _connect(self, factory: Any) -> tuple[Link, Any]:
        scenario = self._scenario
        number = len(self._connections)
        connection = _Connection(self)
        self._connections.append(connection)
        delay_ms = scenario.connects[number % len(scenario.connects)] if scenario.connects else 0
        if delay_ms == -1 or self._closed:
            raise ConnectionRefusedError(111, "Connection refused")
        await asyncio.sleep(delay_ms / 1000 if delay_ms >= 0 else 3600)
        link = connection.link = Link(
            self.loop,
            connection,
            window_bytes=scenario.window_bytes,
            high_water_bytes=scenario.high_water_bytes,
        )
        self.links.append(link)
        protocol = factory()
        made = self.loop.create_future()
        link.open(protocol)
        self.loop.call_soon(_finish, made)
        try:
            await made
        except asyncio.CancelledError:
            link.abort()
            raise
        return link, protocol

    def behaviour(self) -> Behaviour:
        """Return what to do with the next call."""
        behaviours = self._scenario.behaviours
        return behaviours[len(self.calls) % len(behaviours)] if behaviours else _PLAIN

    def close(self) -> None:
        """Leave all connections and accept no more."""
        self._closed = True
        for connection in self._connections:
            connection.leave(reset=False)


def _finish(made: asyncio.Future[None]) -> None:
    if not made.done():
        made.set_result(None)


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection of the sidecar to the model server (``network.Peer``)."""

    model: Model
    link: Link | None = None
    parser: h11.Connection | None = None
    call: Call | None = None
    answering: bool = False
    answered: bool = False
    tunnel: bool = False
    gone: bool = False
    waiting: bytearray = field(default_factory=bytearray)

    # --- from the sidecar -----------------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        """Read requests; a second one before the first is answered is the sidecar's fault."""
        if self.gone:
            return
        if self.tunnel:
            self._send(data)
            return
        self.waiting += data
        if self.parser is None and H2_PREFACE[:4].startswith(self.waiting[:4]):
            if len(self.waiting) >= 4:
                self.tunnel = True
                self._send(bytes(self.waiting))
            return
        self._read()

    def on_end(self, *, reset: bool) -> None:
        """The sidecar has closed."""
        self.leave(reset=False)

    def leave(self, *, reset: bool) -> None:
        """Close this end."""
        if not self.gone and self.link is not None:
            self.gone = True
            self.link.leave(reset=reset)

    def _read(self) -> None:
        if self.parser is None:
            self.parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        data, self.waiting = bytes(self.waiting), bytearray()
        if data:
            self.parser.receive_data(data)
        try:
            while self.parser is not None and (
                not isinstance(event := self.parser.next_event(), type)
            ):
                self._on_event(event)
        except h11.RemoteProtocolError as error:
            if not self.gone:
                self._blame("the model server gets what h11 refuses", f"{error}: {data[:500]!r}")

    def _on_event(self, event: h11.Event) -> None:
        if isinstance(event, h11.Request):
            headers = [(bytes(name), bytes(value)) for name, value in event.headers]
            behaviour = self.model.behaviour()
            self.call = Call(
                bytes(event.method), bytes(event.target), headers, behaviour, self.model.loop.time()
            )
            self.model.calls.append(self.call)
            if behaviour.deaf_ms and self.link is not None:
                self.link.read_on(wanted=False)
                self._later(behaviour.deaf_ms, self._hear)
            if behaviour.early:
                self._start()
        elif isinstance(event, h11.Data) and self.call is not None:
            self.call.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and self.call is not None:
            self.call.complete = True
            if self.answered:
                self._next()
            elif not self.answering:
                self._start()

    def _hear(self) -> None:
        if self.link is not None:
            self.link.read_on(wanted=True)

    def _blame(self, kind: str, detail: str) -> None:
        self.model.faults.append(Fault(kind, detail))
        self.leave(reset=True)

    # --- answering ------------------------------------------------------------------------------

    def _later(self, delay_ms: int, work: Any, *args: Any) -> None:
        if delay_ms:
            self.model.loop.call_later(delay_ms / 1000, work, *args)
        else:
            self.model.loop.call_soon(work, *args)

    def _send(self, data: bytes) -> None:
        if self.link is not None and not self.gone:
            self.link.send(data)

    def _start(self) -> None:
        self.answering = True
        call = self.call
        assert call is not None
        self._later(call.behaviour.delay_ms, self._answer, call)

    def _answer(self, call: Call) -> None:
        if self.gone:
            return
        behaviour = call.behaviour
        if behaviour.do == "silent":
            if behaviour.then in ("close", "reset"):
                self.leave(reset=behaviour.then == "reset")
            return
        upgrade = call.header(b"upgrade") == b"websocket"
        if behaviour.do == "echo" and upgrade:
            self._switch()
            return
        data = _render(call)
        sent = data[: len(data) * behaviour.permille // 1000]
        if behaviour.do == "raw" and behaviour.body.startswith("HTTP/1.1 101"):
            self.tunnel = True
        size = behaviour.piece_bytes or len(sent) or 1
        if behaviour.do == "raw" and (
            call.method == b"HEAD" or behaviour.body.startswith(("HTTP/1.1 204", "HTTP/1.1 304"))
        ):
            size = len(sent) or 1  # what comes later would stand where the next answer is expected
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        if len(pieces) > 50:
            pieces[50:] = [b"".join(pieces[50:])]
        if pieces and behaviour.permille == 1000 and behaviour.framing != "close":
            pieces[-1] += behaviour.extra.encode("latin-1")
        self._send_pieces(call, pieces)

    def _switch(self) -> None:
        assert self.parser is not None
        self.tunnel = True
        self._send(_HANDSHAKE + self.parser.trailing_data[0])

    def _send_pieces(self, call: Call, pieces: list[bytes]) -> None:
        if self.gone:
            return
        if pieces:
            self._send(pieces.pop(0))
        if pieces:
            self._later(call.behaviour.gap_ms, self._send_pieces, call, pieces)
            return
        behaviour = call.behaviour
        if behaviour.then in ("close", "reset"):
            self.leave(reset=behaviour.then == "reset")
        elif behaviour.then == "say_close" or behaviour.framing == "close":
            self.leave(reset=False)
        elif behaviour.permille == 1000:
            self.answered = True
            if call.complete:
                self._next()

    def _next(self) -> None:
        """Be ready for the next request."""
        call, parser = self.call, self.parser
        assert call is not None
        assert parser is not None
        rest = parser.trailing_data[0]
        if rest and not call.behaviour.early:
            self._blame("the model server gets more than the request", f"{rest[:500]!r}")
            return
        self.parser = None
        self.call = None
        self.answering = self.answered = False
        if rest:  # the next one, sent while this one's body was still on its way
            self.model.loop.call_soon(self.on_data, rest)


def _render(call: Call) -> bytes:
    """Write the whole answer to a call, its head first."""
    behaviour = call.behaviour
    status, body = _content(call)
    interim = [b"HTTP/1.1 %d Wait\r\nX-Wait: 1\r\n\r\n" % status for status in behaviour.interim]
    if behaviour.do == "raw":
        return b"".join(interim) + body
    lines = [b"HTTP/1.1 %d Told" % status, b"Content-Type: application/json", b"X-Model: 1"]
    lines.append(b"Set-Cookie: client=%b" % (call.header(b"x-client") or b"several"))
    lines += [line.encode("latin-1") for line in behaviour.lines]
    if behaviour.then == "say_close":
        lines.append(b"Connection: close")
    bodiless = call.method == b"HEAD" or status in (204, 304)
    if behaviour.framing == "length" and status != 204:
        lines.append(b"Content-Length: %d" % len(body))
    elif behaviour.framing == "chunked" and status != 204:
        lines.append(b"Transfer-Encoding: chunked")
        half = len(body) // 2
        halves = [half_ for half_ in (body[:half], body[half:]) if half_]
        body = b"".join([b"%x\r\n%b\r\n" % (len(half_), half_) for half_ in halves]) + b"0\r\n\r\n"
    return b"".join(interim) + b"\r\n".join([*lines, b"", b"" if bodiless else body])


def _content(call: Call) -> tuple[int, bytes]:
    """Return status and body of an answer."""
    behaviour, rows = call.behaviour, call.rows()
    failing = behaviour.do == "status"
    if behaviour.poison and rows:
        numbers = [tag.message + tag.row for tag in tags_in(json.dumps(rows).encode())]
        failing = any(number % behaviour.poison == 0 for number in numbers)
    if failing:
        return behaviour.status, b'{"error":"told to fail"}'
    if behaviour.do in ("body", "raw"):
        return 200, behaviour.body.encode("latin-1")
    if rows is None:
        return 200, b"echo %b %b" % (call.target, call.body)
    if behaviour.do == "count":
        rows = [*rows, *rows][: max(0, len(rows) + behaviour.off_by)]
    content: dict[str, Any] = {"predictions": rows}
    if behaviour.more_fields:
        content |= {"own": rows, "model_name": "m", "all": {"rows": rows}, "none": None}
    return 200, json.dumps(content).encode()
