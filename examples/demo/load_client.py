"""Many callers at once, each asking for one prediction after the other.

    python load_client.py --port 9081 --path /v1/models/iris:predict --cases cases.json
        --callers 64 --seconds 3 --warm-up 0.5

A caller is a kept-alive connection that sends the next request when it has its answer. Every answer
is compared with the expected one. Prints one JSON object (see `Result`). It runs in a process of
its own and does little per request, so that what is measured is the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Result"]

GRACE_S = 10.0  # for answers outstanding at the end


@dataclass
class Result:
    """What was measured, warm-up left out except in `answered`."""

    answered: int = 0
    """Answers received in all, warm-up included."""

    seconds: float = 0.0
    """How long was measured."""

    latencies_us: list[int] = field(default_factory=list)
    """Request sent to answer complete, of every right answer in the measured time."""

    wrong: int = 0
    """Answers that were not 200 with the expected prediction, warm-up included."""

    first_wrong: str = ""
    """The first of them."""

    cpu_share: float = 0.0
    """Share of one core that this program itself used: near 1 it would be the bottleneck."""


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load, case: int) -> None:
        self._load = load
        self._case = case
        self._body = bytearray()
        self._sent_s = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(f"a caller's connection was lost: {exc}"))

    def on_body(self, body: bytes) -> None:
        """Part of an answer (called by the parser)."""
        self._body += body

    def on_message_complete(self) -> None:
        """A whole answer (called by the parser)."""
        load = self._load
        now_s = time.perf_counter()
        right = load.check(self._parser.get_status_code(), self._body, self._case)
        if right and load.measure_from_s <= self._sent_s and now_s <= load.measure_until_s:
            load.result.latencies_us.append(round((now_s - self._sent_s) * 1e6))
        self._body.clear()
        if now_s >= load.measure_until_s:
            self.done.set_result(None)
            self._transport.close()
        elif not self._parser.should_keep_alive():
            self.done.set_exception(ConnectionError("the server closes after each answer"))
            self._transport.close()
        else:
            self._case = (self._case + 1) % len(load.requests)
            self._send()

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._load.requests[self._case])


class Load:
    """The requests, what they should be answered, and what was measured."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        cases = json.loads(Path(arguments.cases).read_text())
        self.expected: list[list[int]] = [[species] for species in cases["predictions"]]
        self.requests = [
            self._request(arguments, json.dumps({"instances": [row]}).encode())
            for row in cases["instances"]
        ]
        self.result = Result()
        now_s = time.perf_counter()
        self.measure_from_s = now_s + arguments.warm_up
        self.measure_until_s = self.measure_from_s + arguments.seconds

    @staticmethod
    def _request(arguments: argparse.Namespace, body: bytes) -> bytes:
        head = (
            f"POST {arguments.path} HTTP/1.1\r\nHost: 127.0.0.1:{arguments.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def check(self, status: int, body: bytearray, case: int) -> bool:
        """Count an answer and tell whether it is what it should be."""
        self.result.answered += 1
        try:
            right = status == 200 and json.loads(body)["predictions"] == self.expected[case]
        except (ValueError, KeyError, TypeError):
            right = False
        if not right:
            self.result.wrong += 1
            self.result.first_wrong = self.result.first_wrong or f"{status} {bytes(body[:200])!r}"
        return right

    async def run(self, port: int, callers: int) -> None:
        """Let the callers call until the time is over."""
        loop = asyncio.get_running_loop()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        connections = [
            await loop.create_connection(
                partial(Caller, self, number % len(self.requests)),
                "127.0.0.1",
                port,
            )
            for number in range(callers)
        ]
        async with asyncio.timeout_at(
            loop.time() + self.measure_until_s - time.perf_counter() + GRACE_S
        ):
            await asyncio.gather(*[protocol.done for _, protocol in connections])
        elapsed_s = time.perf_counter() - began_s
        self.result.cpu_share = (time.process_time() - cpu_s) / elapsed_s
        self.result.seconds = self.measure_until_s - self.measure_from_s


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    """Run the load and print what was measured."""
    parser = argparse.ArgumentParser(description="Concurrent callers of a model server.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--cases", required=True, help="JSON: instances, and their predictions")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to measure")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before measuring")
    arguments = parser.parse_args()
    load = Load(arguments)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(load.run(arguments.port, arguments.callers))
    sys.stdout.write(json.dumps(asdict(load.result)) + "\n")


if __name__ == "__main__":
    main()
