"""How long a request may take."""

import asyncio
import time
from typing import Final

from tests.sidecar.kit.answers import Gate, after, echo, never
from tests.sidecar.kit.client import predict, request
from tests.sidecar.kit.rig import RigFactory

QUICK: Final = ("--timeout", "0.5", "--max-latency", "10")


async def test_a_batched_request_that_takes_too_long_gets_504(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK, shared=True)
    rig.model.otherwise = never
    start_s = time.monotonic()
    response = await rig.ask(predict([1]))
    assert 0.5 <= time.monotonic() - start_s < 1.5
    assert response.status == 504
    assert response.error


async def test_the_deadline_runs_from_the_last_byte(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK, shared=True)
    rig.model.otherwise = never
    data = predict([1])
    client = await rig.send(data[:-1])
    await asyncio.sleep(0.4)
    start_s = time.monotonic()
    client.send(data[-1:])
    assert (await client.response()).status == 504
    assert time.monotonic() - start_s >= 0.5


async def test_a_call_whose_members_all_timed_out_is_cancelled(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK, "--max-batchsize", "2", shared=True)
    rig.model.otherwise = never
    clients = [await rig.send(predict([row])) for row in (1, 2)]
    assert [answer.status for answer in await rig.answers(*clients)] == [504, 504]
    [call] = rig.model.calls
    await asyncio.wait_for(call.gone.wait(), 5)


async def test_a_request_that_never_got_a_slot_times_out_too(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK, "--max-batchsize", "1", "--max-concurrency", "1", shared=True)
    rig.model.otherwise = never
    first = await rig.send(predict([1]))
    await rig.model.wait_calls(1)
    second = await rig.send(predict([2]))
    assert [answer.status for answer in await rig.answers(first, second)] == [504, 504]


async def test_a_slot_is_free_again_after_a_timeout(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK, "--max-batchsize", "1", "--max-concurrency", "1", shared=True)
    rig.model.then.append(never)
    assert (await rig.ask(predict([1]))).status == 504
    assert (await rig.ask(predict([2]))).predictions == [2]


async def test_each_member_has_its_own_deadline(make_rig: RigFactory) -> None:
    flags = ("--timeout", "1", "--max-latency", "900", "--max-batchsize", "2")
    rig = await make_rig(*flags, shared=True)
    rig.model.otherwise = gate = Gate()
    early = await rig.send(predict([1]))
    await asyncio.sleep(0.5)
    late = await rig.send(predict([2]))
    assert (await early.response()).status == 504
    gate.open()
    assert (await late.response()).predictions == [2]
    assert [call.rows for call in rig.model.calls] == [[1, 2]]


async def test_a_connection_is_fit_for_more_after_504(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK, shared=True)
    rig.model.then.append(never)
    client = await rig.connect()
    assert (await client.ask(predict([1]))).status == 504
    assert (await client.ask(predict([2]))).predictions == [2]


async def test_a_forwarded_request_may_take_as_long_as_it_takes(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK, shared=True)
    rig.model.otherwise = after(1.0, echo)
    response = await rig.ask(request("POST", "/v2/generate", body=b"long"))
    assert (response.status, response.body) == (200, b"long")
