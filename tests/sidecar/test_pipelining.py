"""Several requests on one connection before the first answer."""

from typing import Final

import pytest

from tests.sidecar.kit.answers import Gate
from tests.sidecar.kit.client import predict, request
from tests.sidecar.kit.rig import LONG, RigFactory

ONE: Final = ("--max-batchsize", "1")
GET: Final = request("GET", "/x")
MOST: Final = 16


async def test_pipelined_predicts_share_a_batch(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "3", *LONG, shared=True)
    client = await rig.send(b"".join(predict([row]) for row in range(3)))
    answers = [await client.response() for _ in range(3)]
    assert [answer.predictions for answer in answers] == [[0], [1], [2]]
    assert len({answer.batch_id for answer in answers}) == 1


async def test_no_more_than_sixteen_are_outstanding(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "32", "--max-latency", "200", shared=True)
    rig.model.otherwise = gate = Gate()
    client = await rig.send(b"".join(predict([row]) for row in range(40)))
    [call] = await rig.model.wait_calls(1)
    assert call.rows == list(range(MOST))
    await rig.settle()
    assert len(rig.model.calls) == 1
    gate.open()
    for row in range(40):
        assert (await client.response()).predictions == [row]


async def test_answers_keep_the_order_of_requests(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.otherwise = gate = Gate()
    client = await rig.send(b"".join(predict([at], f"/{at}:predict") for at in range(3)))
    await rig.model.wait_calls(3)
    gate.release(2)
    await rig.model.until(lambda: rig.model.in_flight == 2)
    gate.release(1)
    await rig.model.until(lambda: rig.model.in_flight == 1)
    await rig.settle()
    assert client.received_bytes == 0
    gate.open()
    assert [(await client.response()).predictions for _ in range(3)] == [[0], [1], [2]]


async def test_a_forwarded_request_starts_only_at_the_head_of_its_connection(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.otherwise = gate = Gate()
    client = await rig.send(predict([1]) + GET + predict([2], "/other:predict"))
    await rig.model.wait_calls(1)
    await rig.settle()
    assert "/x" not in [call.target for call in rig.model.calls]
    gate.open()
    assert (await client.response()).predictions == [1]
    assert (await client.response("GET")).status == 200
    assert (await client.response()).predictions == [2]


async def test_a_refusal_waits_for_its_turn_and_ends_the_connection(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.otherwise = gate = Gate()
    client = await rig.send(predict([1]) + b"GET /x HTTP/1.1\r\n\r\n" + GET)
    await rig.model.wait_calls(1)
    await rig.settle()
    assert client.received_bytes == 0
    gate.open()
    assert (await client.response()).predictions == [1]
    assert (await client.response()).status == 400
    await client.expect_end()
    assert len(rig.model.calls) == 1


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(predict([1], headers=[("Connection", "close")]), id="predict"),
        pytest.param(request("GET", "/last", [("Connection", "close")]), id="forwarded"),
        pytest.param(request("GET", "/last", version="1.0"), id="1.0"),
        pytest.param(
            request("GET", "/last", [("User-Agent", "kube-probe/1.34"), ("Connection", "close")]),
            id="probe",
        ),
    ],
)
async def test_nothing_after_close_is_answered(make_rig: RigFactory, last: bytes) -> None:
    rig = await make_rig(*ONE, shared=True)
    client = await rig.send(last + GET + predict([2]))
    assert (await client.response("GET")).status == 200
    await client.expect_end()
    assert len(rig.model.calls) <= 1
    assert "/x" not in [call.target for call in rig.model.calls]


async def test_a_client_that_reads_nothing_gets_no_more_answers_made(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    text = "x" * (1 << 20)
    client = await rig.connect()
    client.pause_reading()
    requests = 64
    for _ in range(requests):
        client.send(predict([text]))
    assert not await client.drained(1.0)
    # What 16 answers, the kernel and a bounded read-ahead hold; not all of them.
    assert len(rig.model.calls) < requests
    client.resume_reading()
    for _ in range(requests):
        assert (await client.response()).predictions == [text]


async def test_bytes_that_come_one_by_one_make_the_same_requests(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    client = await rig.connect()
    for byte in predict([1]) + GET + predict([2]):
        client.send(bytes([byte]))
        await rig.sidecar.admin_status("/livez") if byte == 10 else None
    assert (await client.response()).predictions == [1]
    assert (await client.response("GET")).status == 200
    assert (await client.response()).predictions == [2]
