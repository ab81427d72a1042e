"""Scenarios at random: honest and hostile clients, settings, and a model server with bad days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.fuzz.messages import Writer
from tests.fuzz.mutate import cuts
from tests.fuzz.scenario import Behaviour, Client, Scenario

if TYPE_CHECKING:
    import random

    from tests.fuzz.scenario import Control

__all__ = ["scenario"]

_BODIES: Final = (
    "", "{}", "[]", "null", '{"predictions":null}', '{"predictions":{}}', '{"predictions":[]}',
    '{"predictions":[1]}', '{"predictions":[1,2]}', '{"predictions":[NaN]}',
    '{"predictions":["\xff"]}', '{"predictions":["\xc3\xa9"],"predictions":[3]}',
    '{"predictions":[1],"batchId":"x","message":[2]}', '{"predictions":[1', '{"error":"x"}',
    "<html>", "[" * 5000, '{"predictions":[' + "[" * 5000,
)  # fmt: skip
_RAW: Final = (
    "\0", "\r\n\r\n", "HTTP", "HTTP/1.1", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nx",
    "SSH-2.0-x\r\n", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 O\tK \xe9\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 101 Switch\r\n\r\nabc",
    "HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nabc",
    "HTTP/1.1 100 C\r\n\r\n" * 50,
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF1\r\nabc",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nX:" + "a" * 70_000 + "\r\n\r\n",
    "HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 20_000,
)  # fmt: skip
_LINES: Final = (
    "Connection: close", "Connection: x-model", "Content-Encoding: gzip",
    "Content-Encoding: identity", "Content-Length: 1", "Transfer-Encoding: chunked",
    "Keep-Alive: timeout=1", "X-Bad: a\x01b", "X-Empty:", "X y: z", " folded", "Trailer: x",
    "Upgrade: h2c", "X-High: \xff", "ETag: x", "Set-Cookie: a=b", "X-Batch-Id: theirs",
    "X-Batch-Size: 77", "Server-Timing: theirs", "Date: now", "Date: then",
    "Connection: content-length", "Connection: content-type, set-cookie", "X-Bare: a\rb", "nocolon",
    "Proxy-Connection: close", "Content-Type: text/html",
)  # fmt: skip
_EXTRA: Final = ("\r\n", "x", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n999999999", "\0" * 100)
_WAITS_MS: Final = (0, 0, 0, 1, 5, 60, 900)
_LONG_MS: Final = (9_000, 11_000, 29_000, 31_000, 61_000)


def scenario(rng: random.Random) -> Scenario:
    """Make a scenario."""
    calm = rng.random() < 0.35  # honest model server and default limits: answers are known
    alike = rng.random() < 0.08
    count = rng.choice((1, 1, 2, 3, 4))
    made = Scenario([_client(rng, number, calm, alike=alike) for number in range(count)])
    made.behaviours = [_good(rng) if calm else _any(rng) for _ in range(rng.choice((0, 1, 2, 5)))]
    made.settings = _settings(rng, calm)
    made.window_bytes = rng.choice((65536, 65536, 4096, 64, 1))
    if sum(len(message.data) for client in made.clients for message in client.messages) > 5_000:
        made.window_bytes = max(made.window_bytes, 256)
    made.high_water_bytes = rng.choice((65536, 65536, 4096, 64, 0))
    made.probe_ms = rng.choice((0, 0, 5, 1000))
    if alike and not calm:  # batches are taken apart again and again
        for behaviour in made.behaviours:
            behaviour.do, behaviour.poison = "echo", rng.choice((1, 2, 7))
            behaviour.status = rng.choice((400, 500))
    if rng.random() < 0.05:
        made.stop_ms = rng.choice((0, 1, 5, 6, 50, 1000, 5000))
    if not calm:
        if rng.random() < 0.3:
            made.connects = [rng.choice((0, 0, 1, 30, 4000, -1, -2)) for _ in range(3)]
        if rng.random() < 0.15:
            made.drain_ms = rng.choice((0, 1, 5, 50, 2000))
            if rng.random() < 0.3:
                made.undrain_ms = made.drain_ms + rng.choice((0, 1, 50))
    return made


def _client(rng: random.Random, number: int, calm: bool, *, alike: bool) -> Client:
    writer = Writer(rng, number)
    if alike:
        messages = [writer.plain() for _ in range(rng.choice((5, 20, 50)))]
    elif rng.random() < 0.6:
        if rng.random() < 0.08:
            messages = [writer.tunnel()]
        else:
            count = rng.choice((1, 1, 2, 3, 5, 20))
            messages = [writer.honest() for _ in range(count)]
            if rng.random() < 0.05:
                messages.append(writer.tunnel())
    else:
        messages = [writer.hostile() for _ in range(rng.choice((1, 1, 2, 4)))]
    client = Client(messages, number, start_ms=rng.choice((0, 0, 0, 1, 5, 100, 4100)))
    apart = rng.random() < 0.2  # each message when the one before may have been answered
    for message in messages:
        places = cuts(rng, len(message.data)) if rng.random() < 0.5 else []
        if apart and message is not messages[0]:
            places.insert(0, 0)
        message.cuts = [(place, rng.choice(_WAITS_MS)) for place in places]
        if places and not calm and rng.random() < 0.02:
            message.cuts[-1] = (places[-1], rng.choice(_LONG_MS))
    if len(messages) > 2 and rng.random() < 0.1:
        # In use for as long as a connection may be idle, with something on its way just then.
        messages[1].cuts.insert(0, (0, 310_000))
        messages[2].cuts.insert(0, (0, 310_000 - rng.choice((0, 1, 5, 60))))
    if rng.random() < 0.2:
        client.controls = _controls(rng)
    return client


def _controls(rng: random.Random) -> list[tuple[int, Control]]:
    at_ms = rng.choice((0, 0, 1, 5, 50, 1000))
    if rng.random() < 0.4:
        last: tuple[Control, ...] = ("half_close", "close")
        return [(at_ms, rng.choice(last))]
    until_ms = at_ms + rng.choice((0, 1, 50, 5000, 59_000, 125_000))
    return [(at_ms, "pause"), (until_ms, "resume")]


def _good(rng: random.Random) -> Behaviour:
    """Answer as one should, in any form."""
    return Behaviour(
        delay_ms=rng.choice((0, 0, 0, 1, 5)),
        framing=rng.choice(("length", "length", "chunked", "close")),
        piece_bytes=rng.choice((0, 0, 1, 10, 100)),
        gap_ms=rng.choice((0, 0, 1)),
        then=rng.choice(("keep", "keep", "keep", "say_close")),
        interim=rng.choice(([], [], [], [100], [102, 103])),
        more_fields=rng.random() < 0.2,
    )


def _any(rng: random.Random) -> Behaviour:
    """Answer anyhow."""
    made = _good(rng)
    made.delay_ms = rng.choice((0, 0, 0, 1, 5, 100, 2000, 20_000))
    made.gap_ms = rng.choice((0, 0, 1, 50))
    made.do = rng.choice(
        ("echo", "echo", "echo", "echo", "status", "count", "body", "raw", "silent")
    )
    made.status = rng.choice((200, 204, 304, 400, 401, 413, 422, 429, 500, 500, 502, 503, 404, 599))
    made.off_by = rng.choice((-1, 1))
    if made.do in ("body", "raw"):
        made.body = rng.choice(_BODIES if made.do == "body" else _RAW)
    if rng.random() < 0.15:
        made.permille = rng.choice((0, 10, 200, 500, 900, 990, 999))
    if rng.random() < 0.3:
        made.then = rng.choice(("say_close", "close", "reset"))
    if made.do == "silent" and rng.random() < 0.7:
        made.then = rng.choice(("close", "reset"))
        made.delay_ms = 0
    made.early = rng.random() < 0.12
    made.deaf_ms = rng.choice((0, 0, 0, 0, 0, 5, 3000))
    if rng.random() < 0.2:
        made.lines = rng.sample(_LINES, rng.choice((1, 1, 3)))
    elif made.do != "raw" and rng.random() < 0.1:
        made.extra = rng.choice(_EXTRA)
    if rng.random() < 0.15:
        made.poison = rng.choice((1, 2, 3))
        made.status = max(made.status, 400)
    return made


def _settings(rng: random.Random, calm: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    size = rng.choice((1, 2, 3, 8, 32))
    if rng.random() < 0.8:
        settings["max_batch_size"] = size
        settings["max_latency_ms"] = rng.choice((1, 5, 50, 1000))
        settings["max_concurrency"] = rng.choice((1, 1, 2, 4))
    if rng.random() < 0.2:
        settings["hard_max_batch_size"] = settings.get("max_batch_size", 32) + rng.choice((0, 1, 5))
    if rng.random() < 0.2:
        settings["isolate_failures"] = False
    if rng.random() < 0.1:
        settings["row_signature"] = "type"
    if rng.random() < 0.1:
        settings["batch_key_headers"] = ["x-key"]
    if rng.random() < 0.05:
        settings["enable_batcher"] = False
    if not calm:
        if rng.random() < 0.4:
            settings["timeout_s"] = rng.choice((1.5, 6.0, 30.0))
            settings.setdefault("max_latency_ms", 1000)
        if rng.random() < 0.15:
            settings["max_queue_size"] = rng.choice((1, 2, 4))
        if rng.random() < 0.15:
            settings["max_queue_bytes"] = rng.choice((100, 400, 5000))
        if rng.random() < 0.1:
            settings["max_body_bytes"] = rng.choice((30, 100, 1000))
    return settings
