"""A model server that costs next to nothing, so that what stands before it is what is measured.

It never parses JSON: every row of the workloads holds `SENTINEL` exactly once, and the number of
instances of a request is the number of times these bytes occur. The sentinel is a number that a
proxy which decodes and encodes the rows writes the same way again. Tensors in the binary form of
the Open Inference Protocol hold `BINARY_SENTINEL` instead, and are answered in that form.

Modes: ``instant`` answers at once; ``concurrent`` answers every call after
5 ms + 0.05 ms per instance, all calls in parallel; ``serial`` needs as long and works on one call
at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import heapq
import os
import struct
import sys
import time
from collections import deque
from typing import Final, Protocol, cast

import httptools
import uvloop

SENTINEL: Final = b"0.987654321"
BINARY_SENTINEL: Final = struct.pack("<f", 0.987654321)
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
BASE_MS: Final = 5.0
PER_INSTANCE_MS: Final = 0.05
MODES: Final = ("instant", "concurrent", "serial")

_CLOCK_MONOTONIC: Final = 1
_MODEL: Final = b'{"name":"m","ready":true}'
V1: Final = "v1"
V2: Final = "v2"
V2_BINARY: Final = "v2-binary"


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """A one-shot Linux timerfd: event loops round their own timers to whole milliseconds."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def arm(self, delay_s: float) -> None:
        """Fire once, `delay_s` seconds from now (at once where that is in the past)."""
        delay_ns = max(1, round(delay_s * 1e9))
        seconds, nanoseconds = divmod(delay_ns, 1_000_000_000)
        value = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
        self._libc.timerfd_settime(self.fd, 0, ctypes.byref(value), None)

    def acknowledge(self) -> None:
        """Take the expiry off the descriptor."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass  # armed again between the wake-up and this call


def answer(instances: int, form: str = V1) -> bytes:
    """The whole HTTP answer with one prediction per instance."""
    if form == V1:
        return respond(b'{"predictions":[' + b",".join([b"0"] * instances) + b"]}")
    output = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[%d,1],%b}]}'
    if form == V2:
        data = b",".join([b"0.0"] * instances)
        return respond(output % (instances, b'"data":[%b]' % data))
    head = output % (instances, b'"parameters":{"binary_data_size":%d}' % (4 * instances))
    length = b"%b: %d\r\n" % (HEADER_LENGTH.encode(), len(head))
    return respond(head + bytes(4 * instances), b"application/octet-stream", length)


def respond(body: bytes, kind: bytes = b"application/json", lines: bytes = b"") -> bytes:
    """A 200 with this body."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%bcontent-length: %d\r\n\r\n"
    return head % (kind, lines, len(body)) + body


class Model(Protocol):
    """Decides when a call is answered."""

    calls: int
    instances: int

    def predict(self, connection: Connection, instances: int) -> None: ...


class InstantModel:
    """Answers in the call that brought the request."""

    def __init__(self) -> None:
        self.calls = 0
        self.instances = 0
        self._answers: dict[tuple[int, str], bytes] = {}

    def predict(self, connection: Connection, instances: int) -> None:
        self.finish(connection, instances)

    def finish(self, connection: Connection, instances: int) -> None:
        """Write the answer, unless the caller has gone; only answered calls are counted."""
        if connection.gone:
            return
        self.calls += 1
        self.instances += instances
        key = (instances, connection.form)
        data = self._answers.get(key)
        if data is None:
            data = self._answers[key] = answer(*key)
        connection.answer(data)


class ConcurrentModel(InstantModel):
    """Every call takes its time, all of them in parallel."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._timer = Timer()
        self._due: list[tuple[float, int, Connection, int]] = []
        self._sequence = 0
        loop.add_reader(self._timer.fd, self._fired)

    def predict(self, connection: Connection, instances: int) -> None:
        now_s = time.monotonic()
        self._sequence += 1
        due_s = now_s + duration_s(instances)
        heapq.heappush(self._due, (due_s, self._sequence, connection, instances))
        if self._due[0][1] == self._sequence:
            self._timer.arm(due_s - now_s)

    def _fired(self) -> None:
        self._timer.acknowledge()
        now_s = time.monotonic()
        while self._due and self._due[0][0] <= now_s:
            _, _, connection, instances = heapq.heappop(self._due)
            self.finish(connection, instances)
        if self._due:
            self._timer.arm(self._due[0][0] - now_s)


class SerialModel(InstantModel):
    """Works on one call at a time, in the order of arrival; calls whose caller left are skipped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._timer = Timer()
        self._waiting: deque[tuple[Connection, int]] = deque()
        self._current: tuple[Connection, int] | None = None
        loop.add_reader(self._timer.fd, self._fired)

    def predict(self, connection: Connection, instances: int) -> None:
        self._waiting.append((connection, instances))
        if self._current is None:
            self._next()

    def _next(self) -> None:
        self._current = None
        while self._waiting and self._current is None:
            call = self._waiting.popleft()
            if not call[0].gone:
                self._current = call
                self._timer.arm(duration_s(call[1]))

    def _fired(self) -> None:
        self._timer.acknowledge()
        current = self._current
        self._next()
        if current is not None:
            self.finish(*current)


def duration_s(instances: int) -> float:
    """How long one call with so many instances takes, in seconds."""
    return (BASE_MS + PER_INSTANCE_MS * instances) / 1000


class Connection(asyncio.Protocol):
    """One caller; requests are expected one after the other, not pipelined."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body: list[bytes] = []
        self.form = V1
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            sys.stderr.write(f"predictor: unreadable request: {error}\n")
            if self._transport is not None:
                self._transport.abort()

    def on_message_begin(self) -> None:
        self.form = V1

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"inference-header-content-length":
            self.form = V2_BINARY

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        url, self._url = self._url, b""
        if self._parser.get_method() == b"POST":
            if self.form == V1 and url.endswith(b"/infer"):
                self.form = V2
            chunks = self._body
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            sentinel = BINARY_SENTINEL if self.form == V2_BINARY else SENTINEL
            self._model.predict(self, body.count(sentinel))
        elif url == b"/stats":
            counts = b'{"calls":%d,"instances":%d}'
            self.answer(respond(counts % (self._model.calls, self._model.instances)))
        else:
            self.answer(respond(_MODEL))

    def answer(self, data: bytes) -> None:
        """Write a whole answer and close where the caller asked for it."""
        transport = self._transport
        if transport is None or self.gone:
            return
        transport.write(data)
        if not self._parser.should_keep_alive():
            transport.close()


async def serve(port: int, mode: str) -> None:
    """Serve on loopback until the process is killed."""
    loop = asyncio.get_running_loop()
    model: Model
    if mode == "concurrent":
        model = ConcurrentModel(loop)
    elif mode == "serial":
        model = SerialModel(loop)
    else:
        model = InstantModel()
    server = await loop.create_server(
        lambda: Connection(model), "127.0.0.1", port, backlog=1024, reuse_address=True
    )
    gc.freeze()
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.predictor", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=MODES, default="instant")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.mode))


if __name__ == "__main__":
    main()
