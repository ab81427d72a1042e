"""Nothing of a request that has ended waits for the garbage collector: bodies are large."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
import uvloop

from batcher_contract import BatcherSettings
from tests.sidecar.kit.answers import Gate, echo, echo_bytes, never, resets, says, switching_to_echo
from tests.sidecar.kit.client import PREDICT, body_of, predict, request
from tests.unit.sidecar.stand import Stand, standing

Scenario = Callable[[Stand], Awaitable[None]]

# Kept for the next request, or until the time that a timer was set for.
KEPT: Final = {"UpstreamConnection", "KeyQueue", "PathQueues", "Batch"}
AT_ONCE: Final = BatcherSettings(max_batch_size=1)
PAIRS: Final = BatcherSettings(max_batch_size=2, max_latency_ms=60_000)
BRIEF: Final = BatcherSettings(max_batch_size=1, timeout_s=0.05, max_latency_ms=10)
SMALL: Final = BatcherSettings(max_batch_size=1, max_body_bytes=2000)
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ROWS: Final = ["x" * 1000]
CHUNKED: Final = [("Transfer-Encoding", "chunked")]


async def answered(stand: Stand) -> None:
    client = await stand.connect()
    for _ in range(2):
        assert (await client.ask(predict(ROWS))).predictions == ROWS
    client.close()


async def cut_upload(stand: Stand) -> None:
    client = await stand.send(predict(ROWS)[:-100])
    await stand.until(lambda: stand.port.budget.used_bytes > 0)
    client.close()


async def cut_chunked_upload(stand: Stand) -> None:
    client = await stand.send(request("POST", PREDICT, CHUNKED) + b"10\r\n" + b" " * 10)
    await stand.until(lambda: stand.port.budget.used_bytes > 0)
    client.reset()


async def left_in_the_queue(stand: Stand) -> None:
    client = await stand.send(predict(ROWS))
    await stand.until(lambda: stand.port.budget.used_bytes > 0)
    client.close()


async def left_in_flight(stand: Stand) -> None:
    stand.model.otherwise = never
    clients = [await stand.send(predict(ROWS)) for _ in range(2)]
    await stand.model.until(lambda: stand.model.in_flight > 0)
    for client in clients:
        client.close()
    await stand.model.until(lambda: stand.model.in_flight == 0)


async def left_a_call_that_goes_on(stand: Stand) -> None:
    stand.model.otherwise = gate = Gate()
    leaver, stayer = [await stand.send(predict(ROWS)) for _ in range(2)]
    await stand.model.until(lambda: stand.model.in_flight > 0)
    leaver.close()
    await stand.until(lambda: stand.connections == 1)
    gate.open()
    assert (await stayer.response()).predictions == ROWS
    stayer.close()


async def too_late(stand: Stand) -> None:
    stand.model.otherwise = never
    client = await stand.send(predict(ROWS))
    assert (await client.response()).status == 504
    client.close()


async def failed(stand: Stand) -> None:
    stand.model.otherwise = resets
    client = await stand.send(predict(ROWS) + request("GET", "/x"))
    assert (await client.response()).status == 502
    assert (await client.response("GET")).status == 502
    client.close()


async def left_pipelined(stand: Stand) -> None:
    stand.model.otherwise = never
    columnar = request("POST", PREDICT, body=b'{"inputs": []}')
    clients = [
        await stand.send(predict(ROWS) + columnar),
        await stand.send(predict(ROWS) * 2 + predict(ROWS)[:-100]),
    ]
    await stand.model.until(lambda: stand.model.in_flight == 3)
    for client in clients:
        client.close()
    await stand.model.until(lambda: stand.model.in_flight == 0)


async def refused(stand: Stand) -> None:
    for data in (
        request("POST", PREDICT, body=b"no JSON"),
        request("POST", PREDICT, CHUNKED) + b"800\r\n" + b" " * 2048,
        request("POST", PREDICT, CHUNKED) + b"400\r\n" + b" " * 1024 + b"\r\nno size\r\n",
        predict(ROWS) + b"no request\r\n\r\n",
    ):
        client = await stand.send(data)
        await client.response()
        client.close()


async def forwarded(stand: Stand) -> None:
    stand.model.otherwise = says(200, b"{}")
    client = await stand.connect()
    for data in (
        request("GET", "/x"),
        request("POST", "/x", body=body_of(ROWS)),
        request("POST", PREDICT, body=b'{"inputs": []}'),
    ):
        assert (await client.ask(data)).status == 200
    client.close()


async def cut_forwarded_upload(stand: Stand) -> None:
    heads = len(stand.model.calls)
    client = await stand.send(request("POST", "/x", [("Content-Length", "5000")]) + b"x" * 4000)
    await stand.model.wait_heads(heads + 1)
    client.close()
    await stand.model.until(lambda: stand.model.in_flight == 0)


async def bad_forwarded_upload(stand: Stand) -> None:
    client = await stand.send(request("POST", "/x", CHUNKED) + b"3\r\nabc\r\nno size\r\n")
    assert (await client.response()).status == 400
    client.close()


async def tunnelled(stand: Stand) -> None:
    stand.model.otherwise = switching_to_echo
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    client = await stand.send(request("GET", "/x", upgrade))
    assert (await client.response("GET")).status == 101
    client.send(b"hello")
    assert await client.read_exactly(5) == b"hello"
    client.reset()


async def tunnelled_from_the_start(stand: Stand) -> None:
    stand.model.tunnel = echo_bytes
    client = await stand.send(PREFACE)
    assert await client.read_exactly(len(PREFACE)) == PREFACE
    client.half_close()
    await client.expect_end()
    client.close()


def counted() -> Counter[str]:
    kinds = Counter(map(type, gc.get_objects()))
    return Counter(
        {
            kind.__name__: count
            for kind, count in kinds.items()
            if str(kind.__module__).startswith("batcher_sidecar.") and kind.__name__ not in KEPT
        }
    )


async def assert_that_nothing_stays(scenario: Scenario, settings: BatcherSettings) -> None:
    async with standing(settings=settings) as stand:
        await scenario(stand)
        await stand.until(lambda: stand.connections == 0)
        stand.model.otherwise = echo
        gc.collect()
        before = counted()
        gc.disable()
        try:
            for _ in range(3):
                await scenario(stand)
            await stand.until(lambda: stand.connections == 0)
            assert stand.port.budget.used_bytes == 0
            left = counted() - before
        finally:
            gc.enable()
        assert not left


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(
    ("scenario", "settings"),
    [
        (answered, AT_ONCE),
        (cut_upload, AT_ONCE),
        (cut_chunked_upload, AT_ONCE),
        (left_in_the_queue, PAIRS),
        (left_in_flight, AT_ONCE),
        (left_in_flight, PAIRS),
        (left_a_call_that_goes_on, PAIRS),
        (too_late, BRIEF),
        (failed, AT_ONCE),
        (left_pipelined, AT_ONCE),
        (refused, SMALL),
        (forwarded, AT_ONCE),
        (cut_forwarded_upload, AT_ONCE),
        (bad_forwarded_upload, AT_ONCE),
        (tunnelled, AT_ONCE),
        (tunnelled_from_the_start, AT_ONCE),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_nothing_of_what_has_ended_stays(
    scenario: Scenario, settings: BatcherSettings, new_loop: Callable[[], Any]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(assert_that_nothing_stays(scenario, settings))
