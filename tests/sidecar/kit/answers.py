"""Scripts of the scripted model server: what it does with one request."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.sidecar.kit.scripted import Early, Exchange, Script
from tests.sidecar.kit.wire import Wire

__all__ = [
    "Gate",
    "after",
    "chunked",
    "close_after_answer",
    "closes",
    "doubled",
    "echo",
    "failing_if",
    "gone_in_head",
    "never",
    "resets",
    "says",
    "sends",
    "streaming",
    "switching_to_echo",
    "with_fields",
    "wrong_count",
]

JSON_HEADERS = (("Content-Type", "application/json"),)


async def echo(exchange: Exchange) -> None:
    """Each row's prediction is the row, to the letter; anything but a predict: its body."""
    if exchange.call.target.split("?")[0].endswith(":predict"):
        rows = b",".join(exchange.call.raw_rows)
        exchange.answer(200, b'{"predictions":[' + rows + b"]}")
    else:
        exchange.answer(200, exchange.call.body)


async def doubled(exchange: Exchange) -> None:
    """Each row is a number; its prediction is twice that."""
    rows = [2 * row for row in exchange.call.rows]
    exchange.answer(200, json.dumps({"predictions": rows}).encode())


def with_fields(**fields: object) -> Script:
    """`echo` with more top-level fields in the answer."""

    async def script(exchange: Exchange) -> None:
        content = {**fields, "predictions": exchange.call.rows}
        exchange.answer(200, json.dumps(content).encode())

    return script


def says(
    status: int, body: bytes = b"", headers: tuple[tuple[str, str], ...] = JSON_HEADERS
) -> Script:
    """This status, these headers, this body."""

    async def script(exchange: Exchange) -> None:
        exchange.answer(status, body, headers)

    return script


def sends(data: bytes, *, then_close: bool = False) -> Script:
    """Exactly these bytes."""

    async def script(exchange: Exchange) -> None:
        exchange.send(data)
        if then_close:
            exchange.wire.close()

    return script


def wrong_count(by: int) -> Script:
    """As many predictions as instances, and `by`."""

    async def script(exchange: Exchange) -> None:
        count = len(exchange.call.rows) + by
        exchange.answer(200, json.dumps({"predictions": [0] * count}).encode())

    return script


def failing_if(poisoned: Callable[[Any], bool], failure: Script) -> Script:
    """`echo`, but `failure` for every call that holds a poisoned row."""

    async def script(exchange: Exchange) -> None:
        poison = any(poisoned(row) for row in exchange.call.rows)
        await (failure if poison else echo)(exchange)

    return script


async def never(exchange: Exchange) -> None:
    """Hold the connection open, say nothing, until the caller leaves."""
    await exchange.call.gone.wait()


async def closes(exchange: Exchange) -> None:
    """Close without a byte of answer."""
    exchange.wire.close()


async def resets(exchange: Exchange) -> None:
    """Reset the connection without a byte of answer."""
    exchange.wire.reset()


gone_in_head = sends(b"HTTP/1.1 200 OK\r\nContent-Ty", then_close=True)


async def close_after_answer(exchange: Exchange) -> None:
    """`echo`, then close although nothing announced it."""
    await echo(exchange)
    exchange.wire.close()


def after(delay_s: float, then: Script) -> Script:
    """Take that long, as a slow model does."""

    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(delay_s)
        await then(exchange)

    return script


class Gate:
    """A script that holds every call until the test lets it go on with `then`."""

    def __init__(self, then: Script = echo) -> None:
        self.then = then
        self._open = False
        self._held: list[asyncio.Event] = []

    async def __call__(self, exchange: Exchange) -> None:
        if not self._open:
            go = asyncio.Event()
            self._held.append(go)
            await go.wait()
        await self.then(exchange)

    def release(self, which: int = 0) -> None:
        """Let one held call go on: the oldest, or the one at `which`."""
        self._held.pop(which).set()

    def open(self) -> None:
        """Let go of all that are held and of all that will come."""
        self._open = True
        for go in self._held:
            go.set()
        self._held.clear()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(
    pieces: Iterable[bytes], trailers: bytes = b"", head: bytes = b"Content-Type: text/plain\r\n"
) -> Script:
    """A chunked answer, all at once."""
    body = b"".join(chunk(piece) for piece in pieces)
    start = b"HTTP/1.1 200 OK\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n"
    return sends(start + body + b"0\r\n" + trailers + b"\r\n")


def streaming(pieces: "asyncio.Queue[bytes | None]") -> Script:
    """A chunked answer, piece by piece as the test supplies them; None ends it."""

    async def script(exchange: Exchange) -> None:
        exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        while (piece := await pieces.get()) is not None:
            exchange.send(chunk(piece))
        exchange.send(b"0\r\n\r\n")

    return script


async def echo_bytes(wire: Wire) -> None:
    """Send back whatever comes until the other end closes, then close."""
    while data := await wire.read_some(within_s=3600.0):
        wire.send(data)
    wire.close()


@Early
async def switching_to_echo(exchange: Exchange) -> None:
    """Agree to an upgrade, then send back whatever comes."""
    upgrade = exchange.call.header("upgrade")
    head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n"
    exchange.send(f"{head}\r\n".encode())
    await echo_bytes(exchange.wire)
