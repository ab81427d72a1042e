"""Which headers pass, up and down."""

import re
from typing import Final

import pytest

from tests.sidecar.kit.answers import says, sends
from tests.sidecar.kit.client import PREDICT, Headers, Response, body_of, predict, request
from tests.sidecar.kit.rig import PAIR, Rig, RigFactory
from tests.sidecar.kit.scripted import Call

ONE: Final = ("--max-batchsize", "1")
KEYED: Final = ("--batch-key-headers", "authorization,x-tenant")
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

HOP_BY_HOP: Final = [
    ("Connection", "keep-alive, X-Hop"),
    ("X-Hop", "named by Connection"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("TE", "trailers"),
    ("Trailer", "X-Sum"),
    ("Upgrade", "h2c"),
]


async def send_two(rig: Rig, one: Headers, other: Headers) -> tuple[list[Response], Call]:
    """Two members of one batch, and the call it made."""
    first = await rig.send(predict([1], headers=one))
    await rig.settle()
    second = await rig.send(predict([2], headers=other))
    responses = await rig.answers(first, second)
    assert [response.status for response in responses] == [200, 200]
    [call] = rig.model.calls
    return responses, call


async def test_a_lone_member_sends_all_its_headers_up(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    own = [
        ("Authorization", "Bearer a"),
        ("X-Request-Id", "1"),
        ("Cookie", "a=1"),
        ("X-Twice", "a"),
        ("X-Twice", "b"),
        ("X-Latin", "caf\u00e9"),
        ("User-Agent", "any/1"),
    ]
    await rig.ask(predict([1], headers=own))
    [call] = rig.model.calls
    for name, _ in own:
        sent = [value for key, value in own if key == name]
        assert ", ".join(call.named(name)) == ", ".join(sent)


async def test_what_all_members_sent_alike_goes_up_once(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    own = [("X-Tenant", "a"), ("X-Twice", "a"), ("X-Twice", "b"), ("Authorization", "Bearer a")]
    _, call = await send_two(rig, own, [(name.lower(), value) for name, value in own])
    assert call.named("X-Tenant") == ["a"]
    assert ", ".join(call.named("X-Twice")) == "a, b"
    assert call.named("Authorization") == ["Bearer a"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([("X-Any", "a")], [("X-Any", "b")], id="values"),
        pytest.param([("X-Any", "a")], [], id="second lacks it"),
        pytest.param([], [("X-Any", "a")], id="first lacks it"),
        pytest.param([("X-Any", "a")], [("X-Any", "a"), ("X-Any", "a")], id="times"),
        pytest.param(
            [("X-Any", "a"), ("X-Any", "b")], [("X-Any", "b"), ("X-Any", "a")], id="order"
        ),
    ],
)
async def test_what_members_sent_differently_goes_up_for_nobody(
    make_rig: RigFactory, one: Headers, other: Headers
) -> None:
    rig = await make_rig(*PAIR, shared=True)
    _, call = await send_two(rig, one, other)
    assert call.named("X-Any") == []


DIGESTS: Final = [
    ("Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ=="),
    ("Digest", "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="),
    ("Content-Digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
    ("Repr-Digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
]


async def test_digests_of_one_body_do_not_go_up_with_another(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    _, call = await send_two(rig, DIGESTS, DIGESTS)
    for name, _ in DIGESTS:
        assert call.named(name) == []


async def test_digests_go_up_with_the_body_they_were_made_of(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    await rig.ask(predict([1], headers=DIGESTS))
    [call] = rig.model.calls
    for name, value in DIGESTS:
        assert call.header(name) == value


async def test_digests_do_not_go_up_with_a_piece_of_their_body(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, "--hard-max-batch-size", "1", shared=True)
    assert (await rig.ask(predict([1, 2], headers=DIGESTS))).predictions == [1, 2]
    for call in rig.model.calls:
        assert [call.named(name) for name, _ in DIGESTS] == [[], [], [], []]


async def test_a_credential_never_serves_somebody_elses_rows(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    _, call = await send_two(rig, [("Authorization", "Bearer a"), ("Cookie", "a=1")], [])
    assert call.named("Authorization") == []
    assert call.named("Cookie") == []


async def test_key_headers_go_up(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, *KEYED, shared=True)
    own = [("Authorization", "Bearer a"), ("X-Tenant", "t")]
    _, call = await send_two(rig, own, own)
    assert call.header("Authorization") == "Bearer a"
    assert call.header("X-Tenant") == "t"


@pytest.mark.parametrize("flags", [ONE, PAIR])
async def test_hop_by_hop_headers_never_go_up(make_rig: RigFactory, flags: tuple[str, ...]) -> None:
    rig = await make_rig(*flags, shared=True)
    if flags is ONE:
        assert (await rig.ask(predict([1], headers=HOP_BY_HOP))).status == 200
    else:
        await send_two(rig, HOP_BY_HOP, HOP_BY_HOP)
    [call] = rig.model.calls
    for name, value in HOP_BY_HOP:
        assert value not in call.named(name), name


async def test_hop_by_hop_headers_of_forwarded_requests_never_go_up(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    assert (await rig.ask(request("POST", "/x", HOP_BY_HOP, b"1"))).body == b"1"
    [call] = rig.model.calls
    for name, value in HOP_BY_HOP:
        assert value not in call.named(name), name


@pytest.mark.parametrize("named", ["Host", "content-length", "close, HOST", "x-tenant"])
@pytest.mark.parametrize("data", [predict([1]), request("GET", "/x")], ids=["predict", "GET"])
async def test_connection_must_not_name_what_requests_are_told_apart_by(
    make_rig: RigFactory, named: str, data: bytes
) -> None:
    rig = await make_rig(*ONE, *KEYED, shared=True)
    head, _, rest = data.partition(b"\r\n")
    response = await rig.ask(head + b"\r\nConnection: " + named.encode() + b"\r\n" + rest)
    assert response.status == 400
    assert response.error
    assert rig.model.calls == []


async def test_framing_and_host_of_a_batch_are_those_of_its_call(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept-Encoding", "gzip, br"),
    ]
    await rig.ask(request("POST", PREDICT, headers, b' {"instances" : [ 1 ] } '))
    [call] = rig.model.calls
    assert call.header("Host") == f"127.0.0.1:{rig.model.port}"
    assert call.header("Content-Type") == "application/json"
    assert call.header("Accept-Encoding") == "identity"
    assert call.header("Content-Length") == str(len(call.body))
    assert call.named("Transfer-Encoding") == []


async def test_a_chunked_predict_goes_up_with_its_length(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    body = body_of([1])
    data = request("POST", PREDICT, [("Transfer-Encoding", "chunked")])
    data += b"%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(body), body)
    assert (await rig.ask(data)).predictions == [1]
    [call] = rig.model.calls
    assert call.header("Content-Length") == str(len(call.body))
    assert call.named("Transfer-Encoding") == []
    assert call.named("X-Trailer") == []


async def test_a_batch_of_several_has_one_traceparent(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    _, call = await send_two(rig, [("traceparent", TRACE)], [("traceparent", OTHER_TRACE)])
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", call.header("traceparent"))


async def test_a_lone_member_stays_in_its_trace(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    await rig.ask(predict([1], headers=[("traceparent", TRACE)]))
    [call] = rig.model.calls
    assert call.header("traceparent").split("-")[1] == TRACE.split("-")[1]


DOWN: Final = (
    ("Content-Type", "application/json"),
    ("Server", "scripted"),
    ("X-Model", "m"),
    ("X-Twice", "a"),
    ("X-Twice", "b"),
)
ONLY_FOR_ONE: Final = (
    ("Set-Cookie", "a=1"),
    ("ETag", '"e"'),
    ("Digest", "sha-256=x"),
    ("Content-Digest", "sha-256=:x:"),
    ("Repr-Digest", "sha-256=:x:"),
    ("Content-MD5", "x"),
)


async def test_the_model_servers_headers_come_down(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    rig.model.otherwise = says(200, b'{"predictions":[1,2]}', DOWN)
    responses, _ = await send_two(rig, (), ())
    for response in responses:
        for name, _value in DOWN:
            assert response.named(name) == [value for key, value in DOWN if key == name]


async def test_what_concerns_one_answer_never_comes_down_to_several(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    rig.model.otherwise = says(200, b'{"predictions":[1,2]}', ONLY_FOR_ONE)
    responses, _ = await send_two(rig, (), ())
    for response in responses:
        for name, _value in ONLY_FOR_ONE:
            assert response.named(name) == []


async def test_a_lone_member_gets_its_cookie(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.otherwise = says(200, b'{"predictions":[1]}', ONLY_FOR_ONE)
    response = await rig.ask(predict([1]))
    assert response.predictions == [1]
    assert response.header("Set-Cookie") == "a=1"


@pytest.mark.parametrize("target", [PREDICT, "/v2/x"])
async def test_framing_of_an_answer_is_always_ours(make_rig: RigFactory, target: str) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.otherwise = sends(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\r\n"
        b'13\r\n{"predictions":[1]}\r\n0\r\nX-Sum: 1\r\n\r\n'
    )
    client = await rig.connect()
    for _ in range(2):
        response = await client.ask(predict([1], target))
        assert response.predictions == [1]
        for name in ("X-Hop", "Keep-Alive", "Trailer", "X-Sum"):
            assert response.named(name) == []
        lengths, codings = response.named("Content-Length"), response.named("Transfer-Encoding")
        assert (len(lengths), codings) in [(1, []), (0, ["chunked"])]


async def test_what_a_model_server_says_of_batches_is_replaced(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    claims = (("X-Batch-Id", "mine"), ("X-Batch-Size", "99"))
    rig.model.otherwise = says(200, b'{"predictions":[1]}', claims)
    response = await rig.ask(predict([1]))
    assert response.header("X-Batch-Id") == response.batch_id
    assert response.header("X-Batch-Size") == "1"


async def test_a_forwarded_answer_is_not_marked_as_a_batch(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    response = await rig.ask(request("POST", "/x", body=b"1"))
    assert response.named("X-Batch-Id") == []
    assert response.named("X-Batch-Size") == []


async def test_expect_is_answered_here_and_goes_no_further(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    expect = [("Expect", "100-continue")]
    for target in (PREDICT, "/x"):
        body = body_of([1])
        client = await rig.send(request("POST", target, [*expect, ("Content-Length", "18")]))
        assert len(body) == 18
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        response = await client.ask(body)
        assert response.status == 200
        assert rig.model.calls[-1].named("Expect") == []


async def test_a_client_that_does_not_wait_for_100_is_served(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    response = await rig.ask(predict([1], headers=[("Expect", "100-continue")]))
    assert response.predictions == [1]


async def test_a_client_of_1_0_never_gets_100(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    data = request("POST", "/x", [("Expect", "100-continue")], b"1", version="1.0")
    response = await rig.ask(data)
    assert (response.status, response.interim, response.body) == (200, [], b"1")


async def test_many_headers_pass(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    own = [(f"X-Header-{at}", "v" * 50) for at in range(60)]
    assert (await rig.ask(predict([1], headers=own))).status == 200
    [call] = rig.model.calls
    assert [call.header(name) for name, _ in own] == ["v" * 50] * 60
