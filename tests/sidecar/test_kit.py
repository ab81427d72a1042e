"""The test kit against itself: a client straight at the scripted model server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.sidecar.kit import answers
from tests.sidecar.kit.client import Answer, Client, connect, predict, request
from tests.sidecar.kit.scripted import Early, Exchange, Script, ScriptedModel
from tests.sidecar.kit.wire import Truncated


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(answers.echo) as model:
        yield model


@pytest.fixture
async def client(model: ScriptedModel) -> AsyncIterator[Client]:
    client = await connect(model.port)
    yield client
    client.close()


async def test_a_predict_is_recorded_and_answered_to_the_letter(
    model: ScriptedModel, client: Client
) -> None:
    body = b'{"instances": [1.0, 9007199254740993]}'
    answer = await client.ask(request("POST", "/m:predict", [("X-A", "1"), ("x-a", "2")], body))
    assert (answer.status, answer.body) == (200, b'{"predictions":[1.0,9007199254740993]}')
    [call] = model.calls
    assert (call.method, call.target, call.version) == ("POST", "/m:predict", "HTTP/1.1")
    assert call.headers == [
        ("Host", "test"),
        ("X-A", "1"),
        ("x-a", "2"),
        ("Content-Length", str(len(body))),
    ]
    assert (call.body, call.complete, call.connection) == (body, True, 0)


async def test_calls_on_one_connection_share_its_number(
    model: ScriptedModel, client: Client
) -> None:
    await client.ask(predict([1]))
    await client.ask(predict([2]))
    other = await connect(model.port)
    await other.ask(predict([3]))
    other.close()
    assert [call.connection for call in model.calls] == [0, 0, 1]


async def test_scripts_are_taken_one_per_call(model: ScriptedModel, client: Client) -> None:
    model.then.extend([answers.says(503), answers.doubled])
    assert (await client.ask(predict([1]))).status == 503
    assert (await client.ask(predict([2]))).predictions == [4]
    assert (await client.ask(predict([3]))).predictions == [3]


async def test_a_gate_holds_until_released(model: ScriptedModel, client: Client) -> None:
    gate = answers.Gate()
    model.otherwise = gate
    client.send(predict([1]))
    await model.wait_calls(1)
    assert model.in_flight == 1
    gate.release()
    assert (await client.response()).predictions == [1]


async def test_a_chunked_body_is_read_piece_by_piece(model: ScriptedModel, client: Client) -> None:
    pieces: list[bytes] = []
    first = asyncio.Event()

    async def reading(exchange: Exchange) -> None:
        while piece := await exchange.read_piece():
            pieces.append(piece)
            first.set()
        exchange.answer(200)

    model.otherwise = Early(reading)
    client.send(request("POST", "/", [("Transfer-Encoding", "chunked")]) + answers.chunk(b"ab"))
    await first.wait()
    client.send(answers.chunk(b"c") + b"0\r\nT: 1\r\n\r\n")
    assert (await client.response()).status == 200
    assert pieces == [b"ab", b"c"]
    assert model.calls[0].body == b"abc"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answers.closes, id="close"),
        pytest.param(answers.resets, id="reset"),
        pytest.param(answers.gone_in_head, id="close in the head"),
        pytest.param(
            answers.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", then_close=True),
            id="close in the body",
        ),
        pytest.param(
            answers.sends(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
                then_close=True,
            ),
            id="close between chunks",
        ),
    ],
)
async def test_a_cut_answer_is_told_from_a_whole_one(
    model: ScriptedModel, client: Client, script: Script
) -> None:
    model.otherwise = script
    with pytest.raises(Truncated):
        await client.ask(predict([1]))


async def test_an_answer_delimited_by_its_end_is_whole(
    model: ScriptedModel, client: Client
) -> None:
    model.otherwise = answers.sends(b"HTTP/1.0 200 OK\r\n\r\nab", then_close=True)
    answer = await client.ask(predict([1]))
    assert (answer.version, answer.body) == ("1.0", b"ab")


async def test_interim_answers_are_told_from_the_final_one(
    model: ScriptedModel, client: Client
) -> None:
    model.otherwise = answers.sends(
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    )
    answer = await client.ask(predict([1]))
    assert (answer.interim, answer.status) == ([103], 204)


async def test_pipelined_answers_are_read_one_by_one(client: Client) -> None:
    client.send(predict([1]) + predict([2]))
    assert (await client.response()).predictions == [1]
    assert (await client.response()).predictions == [2]


async def test_a_caller_that_leaves_is_noticed(model: ScriptedModel, client: Client) -> None:
    model.otherwise = answers.never
    client.send(predict([1]))
    [call] = await model.wait_calls(1)
    assert not call.gone.is_set()
    client.close()
    await asyncio.wait_for(call.gone.wait(), 5)


async def test_a_stream_is_seen_as_it_arrives(model: ScriptedModel, client: Client) -> None:
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    model.otherwise = answers.streaming(pieces)
    client.send(predict([1]))
    answer = Answer(client)
    pieces.put_nowait(b"one")
    assert (await answer.head()).status == 200
    assert await answer.piece() == b"one"
    pieces.put_nowait(b"two")
    assert await answer.piece() == b"two"
    pieces.put_nowait(None)
    assert await answer.piece() == b""


async def test_an_upgraded_connection_carries_any_bytes(
    client: Client, model: ScriptedModel
) -> None:
    model.otherwise = answers.switching_to_echo
    head = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    assert (await client.ask(request("GET", "/", head), "GET")).status == 101
    client.send(b"\x00\xff")
    assert await client.read_exactly(2) == b"\x00\xff"
    client.half_close()
    await client.expect_end()


async def test_a_server_that_refuses_resumes_on_its_port(model: ScriptedModel) -> None:
    await model.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect(model.port)
    await model.listen()
    again = await connect(model.port)
    assert (await again.ask(predict([1]))).status == 200
    again.close()


async def test_an_idle_connection_is_closed_when_told_so(
    model: ScriptedModel, client: Client
) -> None:
    model.idle_close_s = 0.01
    await client.ask(predict([1]))
    await client.expect_end()


async def test_probes_are_not_calls(model: ScriptedModel, client: Client) -> None:
    model.probe_path = "/ready"
    assert (await client.ask(request("GET", "/ready"), "GET")).status == 200
    model.healthy = False
    assert (await client.ask(request("GET", "/ready"), "GET")).status == 503
    assert (len(model.probes), model.calls) == (2, [])


async def test_an_error_in_a_script_fails_its_test() -> None:
    async def broken(exchange: Exchange) -> None:
        raise ZeroDivisionError

    model = ScriptedModel(broken)
    await model.listen()
    client = await connect(model.port)
    client.send(predict([1]))
    await model.wait_heads(1)
    with pytest.raises(BaseExceptionGroup):
        await model.stop()
    client.close()
