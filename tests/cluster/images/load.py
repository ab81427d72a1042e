"""Many callers at once, each asking for predictions one after the other until stdin ends.

    python load.py --url http://iris.default/v1/models/iris:predict --callers 32 --think-ms 10

A caller keeps its connection as long as the server does. The name is looked up once, since a
Service keeps its address, and a lookup that is lost takes longer than a caller waits. Every row is
sent once in all, and every answer is held against what was sent: the model must answer each row
with itself. Nothing is sent twice. Prints how many requests were sent at every second, and in the
end one JSON object (see `Result`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = 20
CONNECT_S = 5.0
TELL_EVERY_S = 1.0


@dataclass
class Result:
    """What became of the requests."""

    sent: int = 0
    """Requests in all."""
    right: int = 0
    """Answered 200 with their own predictions."""
    wrong: int = 0
    """Answered 200 with something else."""
    statuses: dict[str, int] = field(default_factory=dict)
    """How many answers had which status."""
    lost: dict[str, int] = field(default_factory=dict)
    """Requests without a whole answer, by what happened."""
    batched: int = 0
    """Answers that came out of a batch of several instances."""
    without_sidecar: int = 0
    """Answers without the sidecar's header."""
    pods: dict[str, int] = field(default_factory=dict)
    """Answers by the pod whose model gave them."""
    connections: int = 0
    """Connections opened."""
    slowest_s: float = 0.0
    """The longest time to an answer, or to a loss."""
    seconds: float = 0.0
    """How long it took in all."""
    examples: list[str] = field(default_factory=list)
    """The first of what was not right: when in seconds, which caller, what."""


class Connection(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[None] | None = None
        self.reset()

    def reset(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.status = 0
        self.used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.used = True
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            state = "within its answer" if self.used else "before its answer"
            self._answer.set_exception(ConnectionError(f"lost {state} ({exc!r})"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header (called by the parser)."""
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        """Part of an answer (called by the parser)."""
        self.body += body

    def on_message_complete(self) -> None:
        """A whole answer (called by the parser)."""
        self.status = self._parser.get_status_code()
        self.keep = self._parser.should_keep_alive()
        if self._answer and not self._answer.done():
            self._answer.set_result(None)

    async def ask(self, request: bytes, within_s: float) -> None:
        self.reset()
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            raise ConnectionError("closed while idle")
        self.transport.write(request)
        async with asyncio.timeout(within_s):
            await self._answer


class Load:
    """The callers and what they found."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        url = urlsplit(arguments.url)
        self.host, self.port = cast("str", url.hostname), url.port or 80
        self.address = ""
        self.path = url.path
        self.arguments = arguments
        self.result = Result()
        self.statuses: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.pods: Counter[str] = Counter()
        self.stop = asyncio.Event()
        self.begun_s = time.perf_counter()

    async def run(self) -> Result:
        """Let the callers call until stdin ends, or the time is over."""
        loop = asyncio.get_running_loop()
        loop.add_reader(0, self.stop.set)
        loop.call_later(self.arguments.seconds, self.stop.set)
        self.address = await self._look_up()
        self._tell()
        async with asyncio.TaskGroup() as group:
            for number in range(self.arguments.callers):
                group.create_task(self._call(number))
        result = self.result
        result.statuses, result.lost = dict(self.statuses), dict(self.lost)
        result.pods, result.seconds = dict(self.pods), time.perf_counter() - self.begun_s
        return result

    async def _look_up(self) -> str:
        found = await asyncio.get_running_loop().getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        )
        return str(found[0][4][0])

    def _tell(self) -> None:
        sys.stdout.write(json.dumps({"sent": self.result.sent}) + "\n")
        sys.stdout.flush()
        if not self.stop.is_set():
            asyncio.get_running_loop().call_later(TELL_EVERY_S, self._tell)

    async def _call(self, caller: int) -> None:
        connection: Connection | None = None
        sequence = 0
        think_s = self.arguments.think_ms / 1000
        await asyncio.sleep(think_s * caller / self.arguments.callers)
        while not self.stop.is_set():
            if connection is not None and connection.transport.is_closing():
                connection = None  # the server closed it while it was idle, as servers may
            rows = [[caller, sequence, row] for row in range(self.arguments.rows)]
            sequence += 1
            begun_s = time.perf_counter()
            self.result.sent += 1
            try:
                connection = connection or await self._connect()
                await connection.ask(self._request(rows), self.arguments.timeout)
                self._judge(connection, rows, caller)
                if not connection.keep:
                    connection.transport.close()
                    connection = None
            except (OSError, httptools.HttpParserError) as error:
                what = str(error)
                if isinstance(error, TimeoutError):
                    what = f"no {'answer' if connection else 'connection'} in time"
                self.lost[what or repr(error)] += 1
                self._note(caller, what)
                if connection:
                    connection.transport.abort()
                connection = None
            took_s = time.perf_counter() - begun_s
            self.result.slowest_s = max(self.result.slowest_s, took_s)
            if think_s > took_s:
                await asyncio.sleep(think_s - took_s)
        if connection:
            connection.transport.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_S):
            _, protocol = await loop.create_connection(Connection, self.address, self.port)
        self.result.connections += 1
        return protocol

    def _request(self, rows: list[list[int]]) -> bytes:
        body = json.dumps({"instances": rows}).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _judge(self, answer: Connection, rows: list[list[int]], caller: int) -> None:
        self.statuses[str(answer.status)] += 1
        if answer.status != 200:
            self._note(caller, f"{answer.status} {bytes(answer.body[:200])!r}")
            return
        body: Any = json.loads(bytes(answer.body))
        if body.get("predictions") == rows:
            self.result.right += 1
        else:
            self.result.wrong += 1
            self._note(caller, f"wrong: {bytes(answer.body[:200])!r}")
        size = answer.headers.get("x-batch-size")
        self.result.without_sidecar += size is None
        self.result.batched += size is not None and int(size) > len(rows)
        self.pods[answer.headers.get("x-pod", "?")] += 1

    def _note(self, caller: int, what: str) -> None:
        if len(self.result.examples) < EXAMPLES:
            at_s = time.perf_counter() - self.begun_s
            self.result.examples.append(f"{at_s:.2f} s: caller {caller}: {what}")


def main() -> None:
    """Run the load and print what became of it."""
    parser = argparse.ArgumentParser(description="Concurrent callers of a model server.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--rows", type=int, default=1, help="instances of each request")
    parser.add_argument("--think-ms", type=float, default=10.0, help="least time between requests")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for an answer")
    parser.add_argument("--seconds", type=float, default=600.0, help="the longest it runs")
    load = partial(_run, parser.parse_args())
    with asyncio.Runner(loop_factory=cast("Callable[[], Any]", uvloop.new_event_loop)) as runner:
        result = runner.run(load())
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


async def _run(arguments: argparse.Namespace) -> Result:
    return await Load(arguments).run()


if __name__ == "__main__":
    main()
