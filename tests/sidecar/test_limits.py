"""Limits of queue, bodies and heads; readers and writers that are slow."""

import asyncio
import json
import time
from typing import Final

import pytest

from tests.sidecar.kit.answers import Gate, chunk, says
from tests.sidecar.kit.client import PREDICT, Response, predict, request
from tests.sidecar.kit.rig import LONG, RigFactory
from tests.sidecar.kit.scripted import Early, Exchange
from tests.sidecar.kit.wire import Wire

FULL_AT_TWO: Final = ("--max-queue-size", "2", *LONG)
BYTES: Final = ("--max-queue-bytes", "100000", "--max-body-bytes", "90000", *LONG)
SMALL_BODIES: Final = ("--max-body-bytes", "2000", "--max-batchsize", "1")
LINGER_S: Final = 2.0


def padded(size: int, row: object = "x") -> bytes:
    """A predict body of that size."""
    body = json.dumps({"instances": [row]}).encode()
    return body + b" " * (size - len(body))


def head(*headers: tuple[str, str], target: str = PREDICT, method: str = "POST") -> bytes:
    return request(method, target, headers)


def assert_busy(response: Response) -> None:
    assert response.status == 429
    assert int(response.header("Retry-After")) >= 1
    assert response.error


async def test_more_requests_than_the_queue_holds_get_429(make_rig: RigFactory) -> None:
    rig = await make_rig(*FULL_AT_TWO, shared=True)
    for row in (1, 2):
        await rig.send(predict([row]))
    await rig.settle()
    assert_busy(await rig.ask(predict([3])))
    assert rig.model.calls == []


async def test_who_leaves_makes_room(make_rig: RigFactory) -> None:
    rig = await make_rig(*FULL_AT_TWO, "--max-batchsize", "2", shared=True)
    leaver = await rig.send(predict([1], k=1))
    stayer = await rig.send(predict([2], k=2))
    await rig.settle()
    leaver.close()
    await rig.settle()
    third = await rig.send(predict([3], k=2))
    assert [answer.status for answer in await rig.answers(stayer, third)] == [200, 200]


async def test_forwarded_requests_take_no_room_in_the_queue(make_rig: RigFactory) -> None:
    rig = await make_rig(*FULL_AT_TWO, shared=True)
    for row in (1, 2):
        await rig.send(predict([row]))
    await rig.settle()
    assert (await rig.ask(request("POST", "/other", body=b"x"))).body == b"x"


async def test_a_declared_body_that_the_queue_has_no_room_for_gets_429_before_it_is_sent(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*BYTES, shared=True)
    await rig.send(request("POST", PREDICT, body=padded(60_000)))
    await rig.settle()
    client = await rig.send(head(("Content-Length", "60000")))
    assert_busy(await client.response())
    await client.expect_end()


async def test_bytes_are_reserved_from_the_declared_length(make_rig: RigFactory) -> None:
    rig = await make_rig(*BYTES, shared=True)
    await rig.send(head(("Content-Length", "80000")) + b'{"inst')
    await rig.settle()
    assert_busy(await rig.ask(request("POST", PREDICT, body=padded(60_000))))


async def test_a_chunked_body_that_the_queue_has_no_room_for_gets_429(make_rig: RigFactory) -> None:
    rig = await make_rig(*BYTES, shared=True)
    await rig.send(request("POST", PREDICT, body=padded(60_000)))
    await rig.settle()
    client = await rig.send(head(("Transfer-Encoding", "chunked")) + chunk(padded(60_000)))
    assert_busy(await client.response())


async def test_room_for_bytes_comes_back_with_the_answer(make_rig: RigFactory) -> None:
    rig = await make_rig(*BYTES, "--max-batchsize", "1", shared=True)
    client = await rig.connect()
    for _ in range(5):
        assert (await client.ask(request("POST", PREDICT, body=padded(60_000)))).status == 200


async def test_an_answer_that_is_not_taken_holds_its_room(make_rig: RigFactory) -> None:
    flags = ("--max-queue-bytes", str(48 << 20), "--max-body-bytes", str(32 << 20))
    rig = await make_rig(*flags, "--max-batchsize", "1", shared=True)
    huge = b'{"predictions":["' + b"x" * (40 << 20) + b'"]}'
    rig.model.then.append(says(200, huge))
    idle = await rig.connect()
    idle.pause_reading()
    idle.send(predict([1]))
    await rig.model.until(lambda: len(rig.model.calls) == 1 and rig.model.in_flight == 0)
    await idle.until_bytes_wait()
    client = await rig.send(head(("Content-Length", str(30 << 20))))
    assert_busy(await client.response())
    idle.resume_reading()
    assert len((await idle.response()).body) > 40 << 20
    again = await rig.send(head(("Content-Length", "18")) + b'{"instances": [2]}')
    assert (await again.response()).predictions == [2]


@pytest.mark.parametrize("size", [1999, 2000])
async def test_a_body_up_to_the_limit_passes(make_rig: RigFactory, size: int) -> None:
    rig = await make_rig(*SMALL_BODIES, shared=True)
    assert (await rig.ask(request("POST", PREDICT, body=padded(size)))).predictions == ["x"]
    chunks = chunk(padded(size)) + b"0\r\n\r\n"
    client = await rig.send(head(("Transfer-Encoding", "chunked")) + chunks)
    assert (await client.response()).predictions == ["x"]


async def test_a_declared_body_beyond_the_limit_gets_413_before_it_is_sent(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*SMALL_BODIES, shared=True)
    client = await rig.send(head(("Content-Length", "2001")))
    response = await client.response()
    assert response.status == 413
    assert response.error
    assert response.header("Connection").lower() == "close"
    await client.expect_end()


async def test_a_chunked_body_beyond_the_limit_gets_413_when_it_goes_beyond(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*SMALL_BODIES, shared=True)
    client = await rig.send(head(("Transfer-Encoding", "chunked")) + chunk(padded(2000)))
    await rig.settle()
    assert not client.ended
    client.send(chunk(b" "))
    assert (await client.response()).status == 413
    await client.expect_end()
    assert rig.model.calls == []


async def test_a_body_beyond_the_limit_is_not_asked_for(make_rig: RigFactory) -> None:
    rig = await make_rig(*SMALL_BODIES, shared=True)
    client = await rig.send(head(("Content-Length", "2001"), ("Expect", "100-continue")))
    response = await client.response()
    assert (response.status, response.interim) == (413, [])


async def test_only_candidates_have_a_body_limit(make_rig: RigFactory) -> None:
    rig = await make_rig(*SMALL_BODIES, shared=True)
    response = await rig.ask(request("POST", "/m:explain", body=b"x" * 100_000))
    assert (response.status, len(response.body)) == (200, 100_000)


async def test_a_refused_client_may_send_on_and_still_reads_its_refusal(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*SMALL_BODIES, shared=True)
    client = await rig.send(head(("Content-Length", str(1 << 20))) + b" " * (1 << 20))
    assert (await client.response()).status == 413
    await client.expect_end()
    assert not client.was_reset


async def test_lingering_ends(make_rig: RigFactory) -> None:
    rig = await make_rig(*SMALL_BODIES, shared=True)
    client = await rig.send(head(("Content-Length", str(1 << 30))))
    assert (await client.response()).status == 413
    await client.expect_end()
    start_s = time.monotonic()
    while not client.lost.is_set():
        assert time.monotonic() - start_s < LINGER_S + 2
        client.send(b" ")
        await asyncio.sleep(0.02)


async def test_who_writes_slowly_holds_up_nobody(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", "--max-concurrency", "1", shared=True)
    data = predict([1])
    slow = await rig.connect()
    for at in range(len(data) - 1):
        slow.send(data[at : at + 1])
        if at % 40 == 0:
            await rig.settle()
    assert (await rig.ask(predict([2]))).predictions == [2]
    slow.send(data[-1:])
    assert (await slow.response()).predictions == [1]


async def test_who_does_not_read_holds_up_neither_its_batch_nor_the_next(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "2", "--max-concurrency", "1", *LONG, shared=True)
    text = "x" * (8 << 20)
    idle = await rig.connect()
    idle.pause_reading()
    idle.send(predict([text]))
    assert (await rig.ask(predict(["y"]))).predictions == ["y"]
    assert (await rig.ask(predict(["z", "z"]))).predictions == ["z", "z"]
    idle.resume_reading()
    assert (await idle.response()).predictions == [text]


async def send_until_stalled(wire: Wire, piece: bytes, most: int) -> int:
    """Send until nobody takes more for half a second; how many pieces that were."""
    count = 0
    while count < most and await wire.drained(0.5):
        wire.send(piece)
        count += 1
    return count


async def test_a_slow_reader_pauses_the_model_server(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    size = 1 << 18
    stalled: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def endless(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        stalled.set_result(await send_until_stalled(exchange.wire, chunk(b"x" * size), 1024))
        assert await exchange.wire.drained()
        exchange.send(b"0\r\n\r\n")

    rig.model.otherwise = endless
    client = await rig.connect()
    client.pause_reading()
    client.send(request("GET", "/stream"))
    pieces = await stalled
    # What the kernel holds on two connections, and a bounded part of ours.
    assert pieces * size < 64 << 20
    client.resume_reading()
    assert len((await client.response("GET")).body) == pieces * size


async def test_a_model_server_that_reads_slowly_pauses_the_client(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    go = asyncio.Event()

    async def reluctant(exchange: Exchange) -> None:
        exchange.wire.pause_reading()
        await go.wait()
        exchange.wire.resume_reading()
        exchange.answer(200, str(len(await exchange.read_body())).encode())

    rig.model.otherwise = Early(reluctant)
    piece, most = b"x" * (1 << 18), 256
    client = await rig.send(head(("Content-Length", str(len(piece) * most)), target="/upload"))
    await rig.model.wait_heads(1)
    sent = await send_until_stalled(client, piece, most)
    assert sent < most / 2
    go.set()
    for _ in range(sent, most):
        assert await client.drained()
        client.send(piece)
    assert (await client.response()).body == str(len(piece) * most).encode()


async def test_a_waiting_client_may_not_send_without_end(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    rig.model.otherwise = gate = Gate()
    client = await rig.send(predict([1]))
    await rig.model.wait_calls(1)
    client.send(request("POST", "/other", [("Content-Length", str(256 << 20))]))
    assert await send_until_stalled(client, b"x" * (1 << 18), 256) < 256
    gate.open()
    assert (await client.response()).predictions == [1]


async def test_a_client_that_resets_while_it_is_written_to_harms_nobody(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    client = await rig.connect()
    client.pause_reading()
    client.send(predict(["x" * (8 << 20)]))
    await rig.model.wait_calls(1)
    client.reset()
    assert (await rig.ask(predict([2]))).predictions == [2]


async def test_a_head_that_does_not_end_gets_408(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    client = await rig.send(head()[:-2])
    response = await client.response(within_s=20)
    assert response.status == 408
    assert response.error
    await client.expect_end()
