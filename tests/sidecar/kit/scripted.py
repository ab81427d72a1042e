"""A model server that records what it is asked and answers as the test tells it to.

It lives in the test's own event loop. Each request takes the next script of `then`, else
`otherwise`; scripts are in `answers`. A script may answer, hold back, misbehave or do nothing.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.sidecar.kit.wire import BOUND_S, Truncated, Wire

__all__ = ["Call", "Early", "Exchange", "Script", "ScriptedModel"]


@dataclass(slots=True, kw_only=True)
class Call:
    """One request as the model server saw it."""

    connection: int
    """Which of the connections that ever carried a request, counted from 0."""
    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    head: bytes
    head_at_s: float
    """When its head was complete, on the clock of `time.monotonic`."""
    body: bytes = b""
    chunked: bool = False
    complete: bool = False
    """Whether the body came to its proper end."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """The caller ended the connection while its script was at work."""

    def named(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        values = self.named(name)
        assert len(values) == 1, f"{name} is there {len(values)} times in {self.headers}"
        return values[0]

    @property
    def rows(self) -> list[Any]:
        rows = json.loads(self.body)["instances"]
        assert isinstance(rows, list)
        return rows

    @property
    def raw_rows(self) -> list[bytes]:
        """The instances as they were spelt."""
        fields = msgspec.json.decode(self.body, type=dict[str, msgspec.Raw])
        rows = msgspec.json.decode(fields["instances"], type=list[msgspec.Raw])
        return [bytes(row) for row in rows]


class Exchange:
    """One request being answered."""

    def __init__(self, model: "ScriptedModel", wire: Wire, call: Call) -> None:
        self.model = model
        self.wire = wire
        self.call = call
        self._pieces: list[bytes] = []
        self._received_bytes = 0

    async def read_piece(self) -> bytes:
        """The next part of the body as it arrives; empty at its end."""
        call, wire = self.call, self.wire
        if call.complete:
            return b""
        piece = b""
        if call.chunked:
            size = int((await wire.read_until(b"\r\n")).split(b";")[0], 16)
            if size:
                piece = (await wire.read_exactly(size + 2))[:-2]
            else:
                while await wire.read_until(b"\r\n") != b"\r\n":
                    pass
        elif left := int((call.named("content-length") or ["0"])[0]) - self._received_bytes:
            await wire.until(lambda: bool(wire.buffer))
            piece = await wire.read_exactly(min(left, len(wire.buffer)))
        self._pieces.append(piece)
        self._received_bytes += len(piece)
        if not piece:
            call.body = b"".join(self._pieces)
            call.complete = True
        self.model.changed()
        return piece

    async def read_body(self) -> bytes:
        while await self.read_piece():
            pass
        return self.call.body

    def send(self, data: bytes) -> None:
        self.wire.send(data)

    def answer(
        self,
        status: int = 200,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),),
    ) -> None:
        """One whole answer with a Content-Length."""
        lines = [f"HTTP/1.1 {status} Scripted"]
        lines += [f"{name}: {value}" for name, value in headers]
        if not self.model.keep_alive:
            lines.append("Connection: close")
        lines += [f"Content-Length: {len(body)}", "", ""]
        if self.call.method == "HEAD":
            body = b""
        self.send("\r\n".join(lines).encode("latin-1") + body)
        if not self.model.keep_alive:
            self.wire.close()


Script = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Early:
    """A script that starts at the head and reads the body itself."""

    run: Script


class ScriptedModel:
    """The server; `async with` listens and cleans up."""

    def __init__(self, otherwise: Script | Early, port: int = 0, host: str = "127.0.0.1") -> None:
        self.otherwise: Script | Early = otherwise
        self.then: deque[Script | Early] = deque()
        self.port = port
        self.calls: list[Call] = []
        self.keep_alive = True
        self.idle_close_s: float | None = None
        """How long a connection may be idle after an answer before this end closes it."""
        self.probe_path: str | None = None
        """Target of readiness probes: answered by `healthy`, never recorded as calls."""
        self.healthy = True
        self.probes_hang = False
        self.probes: list[Call] = []
        self.tunnel: Callable[[Wire], Awaitable[None]] | None = None
        """Takes whole connections instead of reading HTTP from them."""
        self.in_flight = 0
        self.peak_in_flight = 0
        self.wires: set[Wire] = set()
        self._host = host
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._connections = 0
        self._errors: list[BaseException] = []

    async def __aenter__(self) -> "ScriptedModel":
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._accept, self._host, self.port, family=socket.AF_INET, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stop listening and drop every connection, as a crash does; `listen` resumes."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for wire in tuple(self.wires):
            wire.abort()
            await wire.expect_lost()

    async def stop(self) -> None:
        """Stop for good.

        Raises:
            BaseExceptionGroup: what went wrong in scripts, if anything.
        """
        await self.refuse()
        if self._errors:
            raise BaseExceptionGroup("scripts failed", self._errors)

    def changed(self) -> None:
        self._changed.set()

    async def until(self, reached: Callable[[], bool], within_s: float = BOUND_S) -> None:
        """Wait until `reached`, looked at whenever something happens here."""
        try:
            async with asyncio.timeout(within_s):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            seen = [(call.method, call.target, call.body[:80]) for call in self.calls]
            raise AssertionError(f"not within {within_s} s; calls so far: {seen}") from None

    async def wait_calls(self, count: int, within_s: float = BOUND_S) -> list[Call]:
        """The first `count` calls that came to the end of their bodies, in order of heads."""
        await self.until(lambda: sum(call.complete for call in self.calls) >= count, within_s)
        return [call for call in self.calls if call.complete][:count]

    async def wait_heads(self, count: int, within_s: float = BOUND_S) -> list[Call]:
        await self.until(lambda: len(self.calls) >= count, within_s)
        return self.calls[:count]

    def _accept(self) -> Wire:
        wire = _Accepted()
        wire.model = self
        return wire

    def take(self, wire: "_Accepted") -> None:
        """Serve a connection that was just accepted."""
        self.wires.add(wire)
        task = asyncio.get_running_loop().create_task(self._serve(wire))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def _serve(self, wire: "_Accepted") -> None:
        if self.tunnel is not None:
            await self.tunnel(wire)
            return
        number: int | None = None
        idle_s: float | None = None
        while (head := await self._head(wire, idle_s)) is not None:
            idle_s = self.idle_close_s
            if number is None:
                number = self._connections
            call = _call(head, number)
            if call.target == self.probe_path:
                with contextlib.suppress(Truncated):
                    await self._answer_probe(Exchange(self, wire, call))
                continue
            if number == self._connections:
                self._connections += 1
            wire.call = call
            await self._perform(Exchange(self, wire, call))
            wire.call = None
        wire.close()

    async def _head(self, wire: Wire, idle_s: float | None) -> bytes | None:
        """The next head, or None when the connection is at its end."""
        try:
            async with asyncio.timeout(idle_s):
                await wire.until(lambda: bool(wire.buffer), within_s=3600.0)
            return await wire.read_until(b"\r\n\r\n")
        except (Truncated, TimeoutError):
            return None

    async def _answer_probe(self, exchange: Exchange) -> None:
        self.probes.append(exchange.call)
        await exchange.read_body()
        if self.probes_hang:
            await exchange.wire.until(lambda: False, within_s=3600.0)
        exchange.answer(200 if self.healthy else 503)
        self.changed()

    async def _perform(self, exchange: Exchange) -> None:
        call = exchange.call
        script = self.then.popleft() if self.then else self.otherwise
        self.calls.append(call)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self.changed()
        try:
            if isinstance(script, Early):
                await script.run(exchange)
            else:
                await exchange.read_body()
                await script(exchange)
        except Truncated:
            pass  # the caller left; `gone` says so
        finally:
            self.in_flight -= 1
            self.changed()


class _Accepted(Wire):
    model: ScriptedModel
    call: Call | None = None
    closed_here = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.model.take(self)

    def eof_received(self) -> bool:
        self._left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.model.wires.discard(self)
        if not self.closed_here:
            self._left()
        self.model.changed()

    def close(self) -> None:
        self.closed_here = True
        super().close()

    def abort(self) -> None:
        self.closed_here = True
        super().abort()

    def _left(self) -> None:
        if self.call is not None:
            self.call.gone.set()
        self.model.changed()


def _call(head: bytes, connection: int) -> Call:
    request_line, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, version = request_line.split(" ")
    headers = []
    for line in lines:
        name, _, value = line.partition(":")
        headers.append((name, value.strip(" \t")))
    call = Call(
        connection=connection,
        method=method,
        target=target,
        version=version,
        headers=headers,
        head=head,
        head_at_s=time.monotonic(),
    )
    call.chunked = any(value.lower() == "chunked" for value in call.named("transfer-encoding"))
    return call
