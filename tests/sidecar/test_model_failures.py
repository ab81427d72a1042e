"""A model server that fails in every way: a true status each time, and nobody hangs."""

import asyncio
from typing import Final

import pytest

from tests.sidecar.kit import answers
from tests.sidecar.kit.answers import after, chunk, close_after_answer, echo, sends
from tests.sidecar.kit.client import predict, request
from tests.sidecar.kit.rig import RigFactory
from tests.sidecar.kit.scripted import Early, Exchange, Script
from tests.sidecar.kit.wire import Truncated

ONE: Final = ("--max-batchsize", "1")
GET: Final = request("GET", "/v2/models")

NOT_HTTP: Final = [
    pytest.param(sends(b"\x16\x03\x01\x00\x00nonsense\r\n\r\n" * 9), id="nonsense"),
    pytest.param(sends(b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"), id="version"),
    pytest.param(sends(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"), id="status"),
    pytest.param(sends(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), id="length"),
    pytest.param(
        sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        id="two lengths",
    ),
    pytest.param(sends(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"), id="header"),
    pytest.param(sends(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (4 << 20)), id="endless head"),
]
ENDED_EARLY: Final = [
    pytest.param(answers.closes, id="close"),
    pytest.param(answers.resets, id="reset"),
    pytest.param(answers.gone_in_head, id="close in the head"),
]
CUT_BODIES: Final = [
    pytest.param(
        sends(b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"predic', then_close=True),
        id="length",
    ),
    pytest.param(
        sends(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b'{"predic'),
            then_close=True,
        ),
        id="chunks",
    ),
    pytest.param(
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", then_close=True),
        id="in a chunk",
    ),
    pytest.param(
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n"),
        id="chunk size",
    ),
]


@pytest.mark.parametrize("data", [pytest.param(predict([1]), id="batched"), GET])
async def test_a_model_server_that_is_not_there_means_503(
    make_rig: RigFactory, data: bytes
) -> None:
    rig = await make_rig(*ONE, shared=True, model=False)
    client = await rig.connect()
    for _ in range(2):
        response = await client.ask(data)
        assert response.status == 503
        assert int(response.header("Retry-After")) >= 1
        assert response.error
    await rig.model.listen()
    assert (await client.ask(data)).status == 200


@pytest.mark.parametrize("failure", NOT_HTTP + ENDED_EARLY + CUT_BODIES)
async def test_an_unusable_answer_to_a_batch_means_502(
    make_rig: RigFactory, failure: Script
) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.then.append(failure)
    client = await rig.connect()
    response = await client.ask(predict([1]))
    assert response.status == 502
    assert response.error
    assert len(rig.model.calls) == 1
    assert (await client.ask(predict([2]))).predictions == [2]


@pytest.mark.parametrize("failure", NOT_HTTP + ENDED_EARLY)
async def test_an_unusable_answer_to_a_forwarded_request_means_502(
    make_rig: RigFactory, failure: Script
) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.then.append(failure)
    client = await rig.connect()
    response = await client.ask(request("POST", "/v2/x", body=b"1"))
    assert response.status == 502
    assert response.error
    assert len(rig.model.calls) == 1
    assert (await client.ask(request("POST", "/v2/x", body=b"2"))).body == b"2"


@pytest.mark.parametrize("failure", CUT_BODIES)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_cut_forwarded_answer_never_looks_whole(
    make_rig: RigFactory, failure: Script, version: str
) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.then.append(failure)
    client = await rig.send(request("GET", "/v2/x", version=version))
    try:
        await client.response("GET")
    except Truncated:
        return
    # Where the end of the connection ends the body, only a reset tells the cut.
    await client.expect_lost(within_s=2)
    assert client.was_reset


async def test_a_reset_in_mid_stream_never_looks_whole(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    go = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"first"))
        await go.wait()
        exchange.wire.reset()

    rig.model.otherwise = script
    client = await rig.send(GET)
    await client.until(lambda: b"first" in client.buffer)
    go.set()
    with pytest.raises(Truncated):
        await client.response("GET")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            sends(b'HTTP/1.0 200 OK\r\n\r\n{"predictions":[1]}', then_close=True), id="1.0"
        ),
        pytest.param(
            sends(
                b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"predictions":[1]}', then_close=True
            ),
            id="delimited by its end",
        ),
        pytest.param(
            answers.chunked([b'{"pred', b'ictions":[1]}'], trailers=b"X-Sum: 1\r\n"), id="trailers"
        ),
        pytest.param(
            sends(
                b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
                b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"predictions":[1]}'
            ),
            id="interim answers",
        ),
        pytest.param(
            sends(b'HTTP/1.1 200\r\ncontent-length:19\r\n\r\n{"predictions":[1]}'), id="no reason"
        ),
    ],
)
async def test_unusual_answers_are_understood(make_rig: RigFactory, script: Script) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.then.extend([script, script])
    assert (await rig.ask(predict([1]))).predictions == [1]
    response = await rig.ask(GET, "GET")
    assert (response.status, response.body) == (200, b'{"predictions":[1]}')
    assert (await rig.ask(predict([2]))).predictions == [2]


async def test_a_trickled_answer_is_waited_for(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)

    async def trickle(exchange: Exchange) -> None:
        for byte in b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"predictions":[1]}':
            exchange.send(bytes([byte]))
            await asyncio.sleep(0.001)

    rig.model.otherwise = trickle
    assert (await rig.ask(predict([1]))).predictions == [1]


async def test_a_huge_answer_is_split(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "2", "--max-latency", "30000", shared=True)
    texts = ["a" * (4 << 20), "b" * (4 << 20)]
    clients = [await rig.send(predict([text])) for text in texts]
    for text, response in zip(texts, await rig.answers(*clients), strict=True):
        assert response.predictions == [text]


@pytest.mark.parametrize("data", [pytest.param(predict([1]), id="batched"), GET])
async def test_connections_that_the_model_server_closes_when_idle_cost_nothing(
    make_rig: RigFactory, data: bytes
) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.idle_close_s = 0.0
    client = await rig.connect()
    for _ in range(20):
        assert (await client.ask(data)).status == 200


@pytest.mark.parametrize("data", [pytest.param(predict([1]), id="batched"), GET])
async def test_a_model_server_that_keeps_no_connection_is_no_problem(
    make_rig: RigFactory, data: bytes
) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.keep_alive = False
    client = await rig.connect()
    for _ in range(20):
        assert (await client.ask(data)).status == 200
    assert [call.connection for call in rig.model.calls] == list(range(20))


async def test_a_model_server_that_closes_unannounced_is_no_problem(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.otherwise = close_after_answer
    client = await rig.connect()
    for row in range(20):
        assert (await client.ask(predict([row]))).predictions == [row]


@pytest.mark.parametrize(
    "unasked",
    [
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"predictions":[6]}',
        b"\x00",
    ],
)
async def test_what_an_idle_connection_says_unasked_is_nobodys_answer(
    make_rig: RigFactory, unasked: bytes
) -> None:
    rig = await make_rig(*ONE, shared=True)
    assert (await rig.ask(predict([1]))).predictions == [1]
    for wire in tuple(rig.model.wires):
        wire.send(unasked)
    await rig.settle()
    assert (await rig.ask(predict([2]))).predictions == [2]
    assert (await rig.ask(GET, "GET")).status == 200


async def test_bytes_after_an_answer_are_nobodys_answer(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    whole = b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"predictions":[1]}'
    rig.model.then.append(sends(whole + whole))
    client = await rig.connect()
    assert (await client.ask(predict([1]))).predictions == [1]
    assert (await client.ask(predict([2]))).predictions == [2]
    connections = [call.connection for call in rig.model.calls]
    assert connections == [0, 1]


async def test_a_connection_that_was_answered_early_is_not_used_again(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(shared=True)

    async def hasty(exchange: Exchange) -> None:
        exchange.answer(413, b"too much")
        await exchange.call.gone.wait()

    rig.model.then.append(Early(hasty))
    head = request("POST", "/upload", [("Content-Length", str(1 << 20))])
    client = await rig.send(head + b"x" * 1000)
    assert (await client.response()).status == 413
    client.close()
    assert (await rig.ask(GET, "GET")).status == 200
    assert [call.connection for call in rig.model.calls] == [0, 1]


async def test_the_sidecar_survives_a_model_server_that_restarts(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "4", "--max-latency", "20", shared=True)
    rig.model.otherwise = after(0.01, echo)
    statuses: set[int] = set()
    over = asyncio.Event()

    async def caller(row: int) -> None:
        client = await rig.connect()
        while not over.is_set():
            response = await client.ask(predict([row]))
            statuses.add(response.status)
            if response.status == 200:
                assert response.predictions == [row]

    async with asyncio.TaskGroup() as group:
        for row in range(8):
            group.create_task(caller(row))
        for _ in range(3):
            seen = len(rig.model.calls)
            await rig.model.wait_calls(seen + 5)
            await rig.model.refuse()
            await asyncio.sleep(0.05)
            await rig.model.listen()
        over.set()
    assert statuses <= {200, 502, 503}
    assert (await rig.ask(predict([1]))).predictions == [1]
