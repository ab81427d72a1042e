"""What is not batched: passed on as it came, answered as it was."""

import json
from typing import Final

import pytest

from tests.sidecar.kit.answers import Gate, chunked, echo, says, sends
from tests.sidecar.kit.client import PREDICT, Headers, body_of, predict, request
from tests.sidecar.kit.rig import LONG, RigFactory
from tests.sidecar.kit.scripted import Exchange

BODY: Final = body_of([1])
DEEP: Final = b'{"instances":[' + b"[" * 5000 + b"]" * 5000 + b"]}"


async def mirror(exchange: Exchange) -> None:
    """Answer the body, whatever the path."""
    exchange.answer(200, exchange.call.body, (("Content-Type", "text/x-any"), ("ETag", '"1"')))


@pytest.mark.parametrize(
    ("method", "target", "headers", "body"),
    [
        pytest.param("GET", "/v1/models/m", (), None, id="GET"),
        pytest.param("GET", PREDICT, (), None, id="GET of a predict path"),
        pytest.param("PUT", PREDICT, (), BODY, id="PUT"),
        pytest.param("PATCH", "/x", (), BODY, id="PATCH"),
        pytest.param("DELETE", "/x", (), None, id="DELETE"),
        pytest.param("OPTIONS", "/x", (), None, id="OPTIONS"),
        pytest.param("POST", "/v1/models/m:explain", (), BODY, id="other path"),
        pytest.param("POST", "/v2/models/m/generate", (), BODY, id="v2"),
        pytest.param("POST", "/x", (), b"", id="empty body"),
        pytest.param("GET", "/a%20b/%2e%2E//c?q=%7e&&r", (), None, id="odd target"),
        pytest.param("POST", PREDICT, [("Content-Encoding", "gzip")], b"\x1f\x8b?", id="encoding"),
        pytest.param(
            "POST",
            PREDICT,
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-type", "t"), ("ce-source", "s")],
            BODY,
            id="CloudEvent",
        ),
        pytest.param("POST", PREDICT, [("X-Batch-Bypass", "true")], BODY, id="bypass"),
        pytest.param("POST", PREDICT, (), b'{"inputs": {"a": [1, 2]}}', id="columnar"),
        pytest.param("POST", PREDICT, (), b"{}", id="no instances"),
        pytest.param("POST", PREDICT, (), b'{"instances":[[1.0,NaN]]}', id="NaN"),
        pytest.param("POST", PREDICT, (), b'{"instances":[Infinity]}', id="Infinity"),
        pytest.param("POST", PREDICT, (), b'{"instances":[-Infinity,1]}', id="-Infinity"),
        pytest.param("POST", PREDICT, (), b'{"p":NaN,"instances":[1]}', id="NaN in a field"),
        pytest.param("POST", PREDICT, (), DEEP, id="nesting"),
    ],
)
async def test_what_is_not_batched_passes_as_it_came_and_at_once(
    make_rig: RigFactory, method: str, target: str, headers: Headers, body: bytes | None
) -> None:
    rig = await make_rig(*LONG, shared=True)
    rig.model.otherwise = mirror
    response = await rig.ask(request(method, target, headers, body), method)
    [call] = rig.model.calls
    assert (call.method, call.target, call.body) == (method, target, body or b"")
    for name, value in headers:
        if name != "X-Batch-Bypass":
            assert call.header(name) == value
    assert (response.status, response.body) == (200, body or b"")
    assert response.header("Content-Type") == "text/x-any"
    assert response.header("ETag") == '"1"'


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("Content-Encoding", "identity")], id="identity"),
        pytest.param([("X-Batch-Bypass", "false")], id="no bypass"),
        pytest.param([("X-Ce-Any", "1")], id="no CloudEvent"),
    ],
)
async def test_what_only_looks_like_an_exception_is_batched(
    make_rig: RigFactory, headers: Headers
) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    assert (await rig.ask(predict([1], headers=headers))).batch_id


async def test_without_the_flag_nothing_is_batched(make_rig: RigFactory) -> None:
    rig = await make_rig(batching=False, shared=True)
    rig.model.otherwise = mirror
    body = b' {"instances" : [1 ] }'
    response = await rig.ask(request("POST", PREDICT, [("X-A", "1")], body))
    [call] = rig.model.calls
    assert (call.target, call.body, call.header("X-A")) == (PREDICT, body, "1")
    assert response.body == body


@pytest.mark.parametrize("body", [b"", b"not JSON", b'{"instances":[]}'])
async def test_without_the_flag_bodies_are_none_of_our_business(
    make_rig: RigFactory, body: bytes
) -> None:
    rig = await make_rig(batching=False, shared=True)
    rig.model.otherwise = mirror
    assert (await rig.ask(request("POST", PREDICT, body=body))).body == body


async def test_forwarded_requests_need_no_slot(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-concurrency", "1", "--max-batchsize", "1", *LONG, shared=True)
    rig.model.otherwise = gate = Gate()
    clients = [await rig.send(predict([1]))]
    clients += [await rig.send(request("POST", "/x", body=b"1")) for _ in range(20)]
    await rig.model.wait_calls(21)
    gate.open()
    await rig.answers(*clients)


async def test_a_connection_is_used_for_batched_and_forwarded_in_turn(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    client = await rig.connect()
    for row in range(5):
        assert (await client.ask(predict([row]))).predictions == [row]
        assert (await client.ask(request("PUT", "/x", body=b"y"), "PUT")).body == b"y"
    assert {call.connection for call in rig.model.calls} == {0}


async def test_an_encoded_answer_passes_as_it_is(make_rig: RigFactory) -> None:
    rig = await make_rig(*LONG, shared=True)
    body = b"\x1f\x8b\x08\x00\xff\x00"
    rig.model.otherwise = says(200, body, (("Content-Encoding", "gzip"), ("Vary", "x")))
    headers = [("Accept-Encoding", "gzip, br")]
    response = await rig.ask(request("GET", "/x", headers), "GET")
    assert rig.model.calls[0].header("Accept-Encoding") == "gzip, br"
    assert (response.body, response.header("Content-Encoding")) == (body, "gzip")


@pytest.mark.parametrize("status", [201, 206, 302, 400, 404, 410, 418, 429, 500, 503, 599])
async def test_any_status_passes(make_rig: RigFactory, status: int) -> None:
    rig = await make_rig(*LONG, shared=True)
    rig.model.otherwise = says(status, b"why", (("X-Why", "1"), ("Retry-After", "9")))
    response = await rig.ask(request("GET", "/x"), "GET")
    assert (response.status, response.body, response.header("X-Why")) == (status, b"why", "1")
    assert response.header("Retry-After") == "9"


@pytest.mark.parametrize(
    ("method", "answer", "status"),
    [
        pytest.param("HEAD", b"200 OK\r\nContent-Length: 1234\r\n", 200, id="HEAD"),
        pytest.param("HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n", 200, id="HEAD, chunked"),
        pytest.param("HEAD", b"404 Not Found\r\nContent-Length: 9\r\n", 404, id="HEAD, 404"),
        pytest.param("GET", b'304 Not Modified\r\nETag: "e"\r\n', 304, id="304"),
        pytest.param("GET", b"304 Not Modified\r\nContent-Length: 77\r\n", 304, id="304, length"),
        pytest.param("GET", b"204 No Content\r\n", 204, id="204"),
        pytest.param("DELETE", b"204 No Content\r\nX-Any: 1\r\n", 204, id="DELETE, 204"),
        pytest.param("GET", b"200 OK\r\nContent-Length: 0\r\n", 200, id="length 0"),
    ],
)
async def test_answers_without_a_body_end_with_their_head(
    make_rig: RigFactory, method: str, answer: bytes, status: int
) -> None:
    rig = await make_rig(*LONG, shared=True)
    rig.model.then.append(sends(b"HTTP/1.1 " + answer + b"\r\n"))
    client = await rig.connect()
    response = await client.ask(request(method, "/x"), method)
    assert (response.status, response.body) == (status, b"")
    if b"1234" in answer:
        assert response.header("Content-Length") == "1234"
    if b"ETag" in answer:
        assert response.header("ETag") == '"e"'
    assert (await client.ask(request("POST", "/y", body=b"next"))).body == b"next"


async def test_large_bodies_pass_both_ways(make_rig: RigFactory) -> None:
    rig = await make_rig(*LONG, shared=True)
    body = bytes(range(256)) * (1 << 16)
    response = await rig.ask(request("POST", "/x", body=body))
    assert response.body == body


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_chunked_answer_reaches_clients_of_any_version(
    make_rig: RigFactory, version: str
) -> None:
    rig = await make_rig(*LONG, shared=True)
    rig.model.otherwise = chunked([b"a" * 10, b"b" * 100_000, b"c"])
    client = await rig.send(request("GET", "/x", version=version))
    response = await client.response("GET")
    assert response.body == b"a" * 10 + b"b" * 100_000 + b"c"
    if version == "1.0":
        assert response.named("Transfer-Encoding") == []
        await client.expect_end()


async def test_a_chunked_upload_arrives_whole_without_its_trailers(make_rig: RigFactory) -> None:
    rig = await make_rig(*LONG, shared=True)
    data = request("POST", "/x", [("Transfer-Encoding", "chunked")])
    chunks = b"3;ext=1\r\nabc\r\n000A\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n"
    response = await rig.ask(data + chunks)
    assert response.body == b"abc0123456789"
    assert rig.model.calls[0].named("X-Trailer") == []


async def test_a_client_of_1_0_is_served_and_its_connection_closed(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    client = await rig.send(request("POST", PREDICT, (), BODY, host=None, version="1.0"))
    assert (await client.response()).predictions == [1]
    await client.expect_end()


async def test_a_client_that_asks_to_close_is_closed(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    for data in (predict([1], headers=[("Connection", "close")]),
                 request("POST", "/x", [("Connection", "close")], b"1")):  # fmt: skip
        client = await rig.send(data)
        response = await client.response()
        assert response.status == 200
        assert response.header("Connection").lower() == "close"
        await client.expect_end()


async def test_ipv6_clients_are_served(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    client = await rig.connect("::1")
    assert (await client.ask(predict([1]))).predictions == [1]


async def test_nothing_is_lost_when_many_use_it_at_once(make_rig: RigFactory) -> None:
    rig = await make_rig(*LONG, shared=True)
    rig.model.otherwise = echo
    clients = [await rig.connect() for _ in range(50)]
    for turn in range(3):
        for number, client in enumerate(clients):
            client.send(request("POST", "/x", body=json.dumps([turn, number]).encode()))
        for number, response in enumerate(await rig.answers(*clients)):
            assert response.json() == [turn, number]
