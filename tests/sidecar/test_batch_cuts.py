"""When a batch leaves, with whom, and how many at a time."""

import asyncio
import time
from typing import Final

from tests.sidecar.kit.answers import Gate, says
from tests.sidecar.kit.client import Client, predict
from tests.sidecar.kit.rig import LONG, Rig, RigFactory


async def send_in_order(rig: Rig, *requests: bytes) -> list[Client]:
    """Each is read before the next is sent."""
    clients = []
    for data in requests:
        clients.append(await rig.send(data))
        await rig.settle()
    return clients


async def test_twenty_and_thirty_two_make_one_batch_of_fifty_two(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "32", *LONG, shared=True)
    clients = await send_in_order(rig, predict(range(20)), predict(range(100, 132)))
    small, large = await rig.answers(*clients)
    [call] = rig.model.calls
    assert call.rows == [*range(20), *range(100, 132)]
    assert small.predictions == list(range(20))
    assert large.predictions == list(range(100, 132))
    assert small.batch_id == large.batch_id
    assert small.header("X-Batch-Size") == large.header("X-Batch-Size") == "52"


async def test_a_request_that_alone_reaches_the_size_leaves_at_once(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "32", *LONG, shared=True)
    assert (await rig.ask(predict(range(100)))).predictions == list(range(100))
    assert len(rig.model.calls) == 1


async def test_the_shortest_run_that_reaches_the_size_is_cut(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "4", "--max-concurrency", "1", *LONG, shared=True)
    rig.model.otherwise = gate = Gate()
    waiting = [predict([base] * 3) for base in (1, 2, 3, 4)]
    clients = await send_in_order(rig, predict([0] * 4), *waiting)
    gate.release()
    await rig.model.wait_calls(2)
    gate.release()
    await rig.model.wait_calls(3)
    gate.open()
    await rig.answers(*clients)
    assert [call.rows for call in rig.model.calls] == [
        [0] * 4,
        [1] * 3 + [2] * 3,
        [3] * 3 + [4] * 3,
    ]


async def test_all_that_wait_leave_when_the_oldest_has_waited_its_window(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "32", "--max-latency", "1000", shared=True)
    start_s = time.monotonic()
    first = await rig.send(predict([1]))
    await asyncio.sleep(0.5)
    second = await rig.send(predict([2]))
    await rig.answers(first, second)
    [call] = rig.model.calls
    assert call.rows == [1, 2]
    assert 1.0 <= call.head_at_s - start_s < 1.45


async def test_the_window_starts_with_the_last_byte(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "32", "--max-latency", "400", shared=True)
    data = predict([1])
    client = await rig.send(data[:-1])
    await asyncio.sleep(0.5)
    last_byte_s = time.monotonic()
    client.send(data[-1:])
    await client.response()
    assert 0.4 <= rig.model.calls[0].head_at_s - last_byte_s < 0.4 + 0.5


async def test_no_more_batches_of_a_path_are_in_flight_than_allowed(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", "--max-concurrency", "2", *LONG, shared=True)
    rig.model.otherwise = gate = Gate()
    clients = await send_in_order(rig, *(predict([row]) for row in range(5)))
    await rig.model.wait_calls(2)
    await rig.settle()
    assert len(rig.model.calls) == 2
    gate.release()
    await rig.model.wait_calls(3)
    await rig.settle()
    assert len(rig.model.calls) == 3
    gate.open()
    for row, response in enumerate(await rig.answers(*clients)):
        assert response.predictions == [row]
    assert rig.model.peak_in_flight == 2


async def test_keys_of_one_path_share_its_slots(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", "--max-concurrency", "2", *LONG, shared=True)
    rig.model.otherwise = gate = Gate()
    clients = await send_in_order(rig, *(predict([1], k=key) for key in range(4)))
    await rig.settle()
    assert len(rig.model.calls) == 2
    gate.open()
    await rig.answers(*clients)
    assert rig.model.peak_in_flight == 2


async def test_each_path_has_slots_of_its_own(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", "--max-concurrency", "1", *LONG, shared=True)
    rig.model.otherwise = gate = Gate()
    clients = [await rig.send(predict([1], f"/{model}:predict")) for model in "abc"]
    await rig.model.wait_calls(3)
    gate.open()
    await rig.answers(*clients)


async def test_who_comes_while_a_due_batch_has_no_slot_joins_it(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-latency", "50", "--max-concurrency", "1", shared=True)
    rig.model.otherwise = gate = Gate()
    first = await rig.send(predict([1]))
    await rig.model.wait_calls(1)
    due = await rig.send(predict([2]))
    await asyncio.sleep(0.2)
    late = await rig.send(predict([3]))
    await rig.settle()
    gate.open()
    await rig.answers(first, due, late)
    assert [call.rows for call in rig.model.calls] == [[1], [2, 3]]


async def test_a_slot_goes_to_the_key_whose_oldest_request_is_oldest(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", "--max-concurrency", "1", *LONG, shared=True)
    rig.model.otherwise = gate = Gate()
    requests = [predict([0], k="f"), predict([1], k="x"), predict([2], k="y"), predict([3], k="x")]
    clients = await send_in_order(rig, *requests)
    gate.open()
    await rig.answers(*clients)
    assert [call.rows for call in rig.model.calls] == [[0], [1], [2], [3]]


CAPPED: Final = (
    *("--max-batchsize", "4"),
    *("--hard-max-batch-size", "4"),
    *("--max-concurrency", "1"),
    *LONG,
)


async def test_a_run_stops_before_the_request_that_would_exceed_the_hard_cap(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*CAPPED, shared=True)
    rig.model.otherwise = gate = Gate()
    requests = [predict([0] * 4), predict([1] * 3), predict([2] * 3)]
    clients = await send_in_order(rig, *requests)
    gate.release()
    await rig.model.wait_calls(2)
    gate.open()
    clients.append(await rig.send(predict([3])))
    await rig.answers(*clients)
    assert [call.rows for call in rig.model.calls] == [[0] * 4, [1] * 3, [2, 2, 2, 3]]


async def test_a_request_beyond_the_hard_cap_is_split(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "4", "--hard-max-batch-size", "4", *LONG, shared=True)
    response = await rig.ask(predict(range(10)))
    assert response.predictions == list(range(10))
    assert response.batch_id == response.header("X-Batch-Id")
    assert [call.rows for call in rig.model.calls] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert rig.model.peak_in_flight == 1


async def test_the_pieces_of_a_split_request_fail_as_one(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "4", "--hard-max-batch-size", "4", *LONG, shared=True)
    rig.model.then.extend([rig.model.otherwise, says(500, b'{"error":"no"}')])
    assert (await rig.ask(predict(range(10)))).status == 500
    assert len(rig.model.calls) == 2


async def test_other_requests_never_join_a_piece(make_rig: RigFactory) -> None:
    rig = await make_rig(*CAPPED, shared=True)
    rig.model.otherwise = gate = Gate()
    clients = await send_in_order(rig, predict(range(5)), predict([9] * 4))
    gate.open()
    split, other = await rig.answers(*clients)
    assert split.predictions == list(range(5))
    assert other.predictions == [9] * 4
    assert sorted(call.rows for call in rig.model.calls) == [[0, 1, 2, 3], [4], [9] * 4]


async def test_a_storm_of_callers_gets_each_its_own(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "8", "--max-latency", "20", shared=True)

    async def caller(number: int) -> None:
        client = await rig.connect()
        for turn in range(10):
            rows = [number * 1000 + turn * 10 + at for at in range(1 + (number + turn) % 4)]
            assert (await client.ask(predict(rows))).predictions == rows

    async with asyncio.TaskGroup() as group:
        for number in range(24):
            group.create_task(caller(number))
    sent = sorted(row for call in rig.model.calls for row in call.rows)
    assert len(sent) == len(set(sent))
