"""Who reads slowly, or not at all, on either side: nothing piles up, nobody else is held up."""

import asyncio
import contextlib
import socket
from typing import Final

from tests.sidecar.kit.answers import chunk, echo
from tests.sidecar.kit.client import predict, request
from tests.sidecar.kit.rig import RigFactory
from tests.sidecar.kit.scripted import Early, Exchange

ONE: Final = ("--max-batchsize", "1")
MOST_BYTES: Final = 64 << 20


async def test_a_connection_that_carried_a_slow_readers_answer_is_read_again(
    make_rig: RigFactory,
) -> None:
    """The end of an answer may come while the client's side has stopped the reading."""
    rig = await make_rig(*ONE, shared=True)
    size = 100_000

    async def answer(exchange: Exchange) -> None:
        if exchange.call.target == "/slow":
            exchange.answer(200, b"x" * size)
        else:
            await echo(exchange)

    rig.model.otherwise = answer
    slow = await rig.connect()
    slow.pause_reading()
    for number in range(1, 200):
        slow.send(request("GET", "/slow"))
        try:
            await rig.model.wait_calls(number, within_s=1)
        except AssertionError:
            break
    else:
        raise AssertionError("the client never held anything up")
    for row in range(3):
        assert (await rig.ask(predict([row]))).predictions == [row]


async def test_a_client_whose_upload_was_not_wanted_is_heard_again(make_rig: RigFactory) -> None:
    """An answer may come before the model server has taken the body from us."""
    rig = await make_rig(shared=True)
    size = 16 << 20
    answered = asyncio.Event()

    async def early(exchange: Exchange) -> None:
        exchange.wire.pause_reading()
        await answered.wait()
        exchange.answer(200, b"early")
        await exchange.call.gone.wait()

    rig.model.then.append(Early(early))
    client = await rig.connect()
    body = b'{"inputs":"' + b"x" * size + b'"}'
    client.send(request("POST", "/v1/models/m:predict", (), body))
    await rig.model.wait_heads(1)
    await rig.settle()
    answered.set()
    assert (await client.response()).body == b"early"
    rig.model.otherwise = echo
    assert (await client.ask(request("POST", "/x", (), b"next"))).body == b"next"


async def test_a_stream_behind_answers_that_nobody_takes_is_paused(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    sent = 0
    stalled = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        nonlocal sent
        if exchange.call.target != "/stream":
            return await echo(exchange)
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = chunk(b"x" * (1 << 18))
        while sent < 2 * MOST_BYTES and await exchange.wire.drained(0.5):
            exchange.send(piece)
            sent += len(piece)
        stalled.set()
        await exchange.call.gone.wait()

    rig.model.otherwise = answer
    client = await rig.connect()
    client.pause_reading()
    client.send(predict(["y" * (16 << 20)]) + request("GET", "/stream"))
    async with asyncio.timeout(20):
        await stalled.wait()
    assert sent < MOST_BYTES


async def test_an_upload_waits_for_the_connection_to_the_model_server(
    make_rig: RigFactory,
) -> None:
    """A model server that hangs accepts nothing once its backlog is full."""
    rig = await make_rig(shared=True, model=False)
    address = ("127.0.0.1", rig.sidecar.component_port)
    with contextlib.ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind(address)
        full.listen(0)
        for _ in range(2):  # the first fills the backlog
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        piece, most = b"x" * (1 << 18), 512
        client = await rig.connect()
        client.send(request("PUT", "/x", [("Content-Length", str(len(piece) * most))]))
        count = 0
        while count < most and await client.drained(0.5):
            client.send(piece)
            count += 1
        assert count * len(piece) < MOST_BYTES / 2
        assert (await client.response()).status == 503
