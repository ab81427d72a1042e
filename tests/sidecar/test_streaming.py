"""Streams and tunnels: every byte passes as it comes, both ways."""

import asyncio
from typing import Final

import pytest

from tests.sidecar.kit.answers import (
    chunk,
    closes,
    echo_bytes,
    never,
    says,
    streaming,
    switching_to_echo,
)
from tests.sidecar.kit.client import PREDICT, Answer, Headers, body_of, request
from tests.sidecar.kit.rig import RigFactory
from tests.sidecar.kit.scripted import Early, Exchange
from tests.sidecar.kit.wire import BOUND_S, Truncated, Wire

WEBSOCKET: Final = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def test_an_answer_streams_piece_by_piece(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    rig.model.otherwise = streaming(pieces)
    client = await rig.send(request("POST", "/v1/completions", body=b'{"stream":true}'))
    answer = Answer(client)
    head = await answer.head()
    assert head.header("Content-Type") == "text/event-stream"
    for number in range(5):
        event = b"data: %d\n\n" % number
        pieces.put_nowait(event)
        assert await answer.piece() == event
    pieces.put_nowait(None)
    assert await answer.piece() == b""


async def test_an_answer_delimited_by_its_end_streams_too(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    go = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst")
        await go.wait()
        exchange.send(b"second")
        exchange.wire.close()

    rig.model.otherwise = script
    answer = Answer(await rig.send(request("GET", "/x")), "GET")
    await answer.head()
    assert await answer.piece() == b"first"
    go.set()
    assert await answer.piece() == b"second"
    assert await answer.piece() == b""


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_an_upload_streams_piece_by_piece(make_rig: RigFactory, framing: str) -> None:
    rig = await make_rig(shared=True)
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def reading(exchange: Exchange) -> None:
        while piece := await exchange.read_piece():
            arrived.put_nowait(piece)
        exchange.answer(200, exchange.call.body)

    rig.model.otherwise = Early(reading)
    header = ("Transfer-Encoding", "chunked") if framing == "chunked" else ("Content-Length", "15")
    client = await rig.send(request("POST", "/upload", [header]))
    for piece in (b"first", b"secon", b"third"):
        client.send(chunk(piece) if framing == "chunked" else piece)
        assert await asyncio.wait_for(arrived.get(), BOUND_S) == piece
    if framing == "chunked":
        client.send(b"0\r\n\r\n")
    assert (await client.response()).body == b"firstseconthird"


async def test_both_directions_stream_at_once(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)

    async def talking(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while piece := await exchange.read_piece():
            exchange.send(chunk(piece.upper()))
        exchange.send(b"0\r\n\r\n")

    rig.model.otherwise = Early(talking)
    client = await rig.send(request("POST", "/talk", [("Transfer-Encoding", "chunked")]))
    answer = Answer(client)
    for piece in (b"one", b"two"):
        client.send(chunk(piece))
        await answer.head() if piece == b"one" else None
        assert await answer.piece() == piece.upper()
    client.send(b"0\r\n\r\n")
    assert await answer.piece() == b""


async def test_an_upload_cut_by_its_client_never_looks_whole(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    ends: asyncio.Queue[Exception] = asyncio.Queue()

    async def reading(exchange: Exchange) -> None:
        try:
            await exchange.read_body()
        except Truncated as error:
            ends.put_nowait(error)

    rig.model.otherwise = Early(reading)
    head = request("POST", "/upload", [("Transfer-Encoding", "chunked")])
    client = await rig.send(head + chunk(b"first"))
    await rig.model.wait_heads(1)
    client.close()
    assert await asyncio.wait_for(ends.get(), BOUND_S)
    assert not rig.model.calls[0].complete


async def test_a_bad_chunk_in_mid_upload_never_looks_whole(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    rig.model.otherwise = never
    head = request("POST", "/upload", [("Transfer-Encoding", "chunked")])
    client = await rig.send(head + chunk(b"first"))
    [call] = await rig.model.wait_heads(1)
    client.send(b"zz\r\nmore\r\n")
    assert (await client.response()).status == 400
    await client.expect_end()
    await rig.settle()
    await rig.model.until(lambda: rig.model.in_flight == 0)
    assert not call.complete


@pytest.mark.parametrize("connection", ["Upgrade", "upgrade", "keep-alive, Upgrade"])
async def test_a_websocket_is_tunnelled_after_101(make_rig: RigFactory, connection: str) -> None:
    rig = await make_rig(shared=True)
    rig.model.otherwise = switching_to_echo
    headers = [("Connection", connection), *WEBSOCKET[1:]]
    client = await rig.send(request("GET", "/ws?room=1", headers))
    response = await client.response("GET")
    assert response.status == 101
    assert response.header("Upgrade").lower() == "websocket"
    assert response.header("Connection").lower() == "upgrade"
    [call] = rig.model.calls
    assert call.target == "/ws?room=1"
    assert call.header("Upgrade") == "websocket"
    assert call.header("Connection").lower() == "upgrade"
    assert call.header("Sec-WebSocket-Key") == "dGhlIHNhbXBsZSBub25jZQ=="
    for data in (b"\x81\x05hello", b"\x00" * 100_000, b"GET / HTTP/1.1\r\n\r\n"):
        client.send(data)
        assert await client.read_exactly(len(data)) == data
    client.close()
    await rig.model.until(lambda: rig.model.in_flight == 0)


async def test_a_tunnel_ends_when_the_model_server_ends_it(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)

    async def script(exchange: Exchange) -> None:
        exchange.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            b"bye"
        )
        exchange.wire.close()

    rig.model.otherwise = script
    client = await rig.send(request("GET", "/ws", WEBSOCKET))
    assert (await client.response("GET")).status == 101
    assert await client.read_all() == b"bye"


async def test_a_refused_websocket_is_answered_like_any_request(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    rig.model.then.append(says(403, b"no"))
    client = await rig.connect()
    response = await client.ask(request("GET", "/ws", WEBSOCKET), "GET")
    assert (response.status, response.body) == (403, b"no")
    assert (await client.ask(request("POST", "/x", body=b"1"))).body == b"1"


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        pytest.param("POST", WEBSOCKET, b"", id="POST"),
        pytest.param("GET", WEBSOCKET, b"body", id="with a body"),
        pytest.param("GET", WEBSOCKET[1:], None, id="not named by Connection"),
        pytest.param(
            "GET",
            [
                ("Connection", "Upgrade, HTTP2-Settings"),
                ("Upgrade", "h2c"),
                ("HTTP2-Settings", "A"),
            ],
            None,
            id="h2c",
        ),
        pytest.param("GET", [("Connection", "Upgrade"), ("Upgrade", "TLS/1.0")], None, id="TLS"),
    ],
)
async def test_any_other_upgrade_is_dropped(
    make_rig: RigFactory, method: str, headers: Headers, body: bytes | None
) -> None:
    rig = await make_rig(shared=True)
    response = await rig.ask(request(method, "/ws", headers, body), method)
    assert (response.status, response.body) == (200, body or b"")
    [call] = rig.model.calls
    assert call.named("Upgrade") == []
    assert call.named("HTTP2-Settings") == []


async def test_a_predict_with_an_upgrade_is_batched(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    response = await rig.ask(request("POST", PREDICT, WEBSOCKET, body_of([1])))
    assert response.batch_id
    assert rig.model.calls[0].named("Upgrade") == []


async def test_a_switch_nobody_asked_for_means_502(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    rig.model.otherwise = switching_to_echo_anyhow
    response = await rig.ask(request("GET", "/x"), "GET")
    assert response.status == 502


async def switching_to_echo_anyhow(exchange: Exchange) -> None:
    exchange.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: any\r\n\r\n"
    )
    await never(exchange)


@pytest.mark.parametrize("split", [None, 1, 3, 14, 20])
async def test_an_http2_preface_makes_a_tunnel(make_rig: RigFactory, split: int | None) -> None:
    rig = await make_rig(shared=True)
    rig.model.tunnel = echo_bytes
    client = await rig.connect()
    if split is None:
        client.send(PREFACE + b"\x00\x00\x00\x04")
    else:
        client.send(PREFACE[:split])
        await rig.settle()
        client.send(PREFACE[split:] + b"\x00\x00\x00\x04")
    assert await client.read_exactly(28) == PREFACE + b"\x00\x00\x00\x04"
    client.send(b"\xff" * 200_000)
    assert await client.read_exactly(200_000) == b"\xff" * 200_000
    client.close()
    await rig.model.until(lambda: not rig.model.wires)


async def test_an_http2_tunnel_ends_when_the_model_server_ends_it(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)

    async def hang_up(wire: Wire) -> None:
        await wire.read_exactly(len(PREFACE))
        wire.send(b"goaway")
        wire.close()

    rig.model.tunnel = hang_up
    client = await rig.send(PREFACE)
    assert await client.read_all() == b"goaway"


async def test_an_http2_client_is_closed_when_the_model_server_is_gone(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(shared=True, model=False)
    client = await rig.send(PREFACE)
    await client.expect_end()


async def test_a_failed_websocket_is_told_so(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    rig.model.otherwise = closes
    assert (await rig.ask(request("GET", "/ws", WEBSOCKET), "GET")).status == 502
