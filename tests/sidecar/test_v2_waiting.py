"""What holds for everybody who waits holds for callers of the Open Inference Protocol, too."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.sidecar.kit.answers import Gate, closes, never
from tests.sidecar.kit.client import Client
from tests.sidecar.kit.process import until
from tests.sidecar.kit.rig import LONG, PAIR, Rig, RigFactory
from tests.sidecar.kit.scripted import Script
from tests.sidecar.kit.v2 import (
    FIXED,
    OTHER,
    ROW,
    VARIABLE,
    V2Model,
    answered,
    bypassed,
    echo_tensors,
    metric,
    numbers,
    strings,
    together,
)

MIB: Final = 1 << 20
GONE_S: Final = 5.0


async def queued_bytes(rig: Rig) -> float:
    return await metric(rig, "inference_batcher_queued_bytes")


# --- deadlines, and leaving -----------------------------------------------------------------------


async def test_who_is_not_answered_in_time_gets_504(make_rig: RigFactory) -> None:
    rig = await make_rig("--timeout", "1", "--max-latency", "10", "--max-batchsize", "2")
    model = V2Model(rig)
    await model.known()
    model.otherwise = never
    clients = [await rig.send(model.infer(numbers(rows))) for rows in (ROW, OTHER)]
    assert [response.status for response in await rig.answers(*clients)] == [504, 504]
    [call] = model.calls
    await asyncio.wait_for(call.gone.wait(), GONE_S)
    assert await queued_bytes(rig) == 0


async def test_a_call_that_all_have_left_is_cancelled(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig)
    await model.known()
    model.otherwise = never
    clients = [await rig.send(model.infer(numbers(rows))) for rows in (ROW, OTHER)]
    await rig.model.until(lambda: len(model.calls) == 1)
    for client in clients:
        assert not model.calls[0].gone.is_set()
        client.close()
        await rig.settle()
    await asyncio.wait_for(model.calls[0].gone.wait(), GONE_S)
    assert await queued_bytes(rig) == 0


async def test_who_stays_gets_its_own_rows(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig)
    await model.known()
    model.otherwise = gate = Gate(echo_tensors)
    leaver = await rig.send(model.infer(numbers(ROW)))
    await rig.settle()
    stayer = await rig.send(model.infer(numbers(OTHER)))
    await rig.model.until(lambda: len(model.calls) == 1)
    leaver.close()
    await rig.settle()
    gate.open()
    response = await stayer.response()
    assert answered(response).outputs[0]["data"] == OTHER
    assert response.header("X-Batch-Size") == "2"


# --- bytes ----------------------------------------------------------------------------------------


async def large_in_flight(
    rig: Rig, model: V2Model, size: int, answer: Script = never
) -> list[Client]:
    """A small and a large caller of a call that is not answered so far."""
    model.otherwise = answer
    before = len(model.calls)
    small = await rig.send(model.infer(strings([b"x"])))
    await rig.settle()
    large = await rig.send(model.infer(strings([b"y" * size])))
    await rig.model.until(lambda: len(model.calls) == before + 1)
    return [small, large]


async def test_bytes_of_who_left_are_held_until_the_call_ends(make_rig: RigFactory) -> None:
    """The call still refers to them, since what is large is not copied."""
    rig = await make_rig(*PAIR, "--max-queue-bytes", str(40 * MIB))
    model = V2Model(rig)
    await model.known(model.infer(strings([b"z"])))
    small, large = await large_in_flight(rig, model, 30 * MIB)
    large.close()
    await rig.settle()
    assert await queued_bytes(rig) > 30 * MIB
    refused = await rig.ask(model.infer(strings([b"y" * (20 * MIB)])))
    assert refused.status == 429
    assert int(refused.header("Retry-After")) >= 1
    small.close()
    await rig.settle()
    assert await queued_bytes(rig) == 0


async def test_bytes_of_who_was_too_late_are_held_until_the_call_ends(
    make_rig: RigFactory,
) -> None:
    flags = ("--max-batchsize", "3", "--max-latency", "2500", "--timeout", "4")
    rig = await make_rig(*flags)
    model = V2Model(rig)
    await model.known(model.infer(strings([b"z"])))
    model.otherwise = gate = Gate(echo_tensors)
    large = await rig.send(model.infer(strings([b"y" * (8 * MIB)])))
    await rig.settle()
    await asyncio.sleep(1.5)  # so much more time has who comes later
    later = await rig.send(model.infer(strings([b"x"])))
    await rig.model.until(lambda: len(model.calls) == 1)
    assert (await large.response()).status == 504
    assert await queued_bytes(rig) > 8 * MIB
    gate.open()
    assert answered(await later.response()).blobs == [strings([b"x"])[1]]
    assert await queued_bytes(rig) == 0


async def test_bytes_of_a_call_that_answers_are_given_back_with_those_of_who_left(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*PAIR)
    model = V2Model(rig)
    await model.known(model.infer(strings([b"z"])))
    gate = Gate(echo_tensors)
    small, large = await large_in_flight(rig, model, 8 * MIB, gate)
    large.close()
    await rig.settle()
    gate.open()
    assert answered(await small.response()).blobs == [strings([b"x"])[1]]
    assert await queued_bytes(rig) == 0


async def test_who_finds_no_room_is_refused(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, "--max-queue-bytes", str(4 * MIB), shared=True)
    model = V2Model(rig)
    await model.known(model.infer(strings([b"z"])))
    waiting = await rig.send(model.infer(strings([b"a" * (3 * MIB)])))
    await rig.settle()
    response = await rig.ask(model.infer(strings([b"b" * (2 * MIB)])))
    assert response.status == 429
    assert int(response.header("Retry-After")) >= 1
    mate = await rig.send(model.infer(strings([b"c"])))
    first, second = await rig.answers(waiting, mate)
    assert answered(first).blobs == [strings([b"a" * (3 * MIB)])[1]]
    assert answered(second).blobs == [strings([b"c"])[1]]


# --- headers --------------------------------------------------------------------------------------


async def test_a_credential_serves_nobody_elses_rows(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig)
    await model.known()
    mine, other, shared = ("Authorization", "me"), ("Authorization", "you"), ("X-Team", "a")
    await together(
        rig,
        model.infer(numbers(ROW), headers=[mine, shared]),
        model.infer(numbers(OTHER), headers=[other, shared]),
    )
    [call] = model.calls
    assert call.named("Authorization") == []
    assert call.header("X-Team") == "a"


async def test_headers_of_the_key_keep_apart_and_are_proved_apart(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, "--batch-key-headers", "authorization", shared=True)
    model = V2Model(rig)
    mine, other = [("Authorization", "me")], [("Authorization", "you")]
    await model.known(model.infer(numbers(ROW), headers=mine))
    first = await rig.ask(model.infer(numbers(ROW), headers=other))
    assert first.header("X-Batch-Size") == "1"
    asked = [model.infer(numbers(ROW), headers=of) for of in (mine, other, other, mine)]
    responses = await together(rig, *asked)
    assert {response.header("X-Batch-Size") for response in responses} == {"2"}
    assert [call.header("Authorization") for call in model.calls] == ["you", "you", "me"]


# --- drain, and live settings ---------------------------------------------------------------------


async def test_a_drain_ends_windows(make_rig: RigFactory) -> None:
    rig = await make_rig("--drain-quiet", "0.5", "--max-batchsize", "9", *LONG)
    rig.sidecar.may_end = True
    model = V2Model(rig)
    await model.known()
    clients = [await rig.send(model.infer(numbers(rows))) for rows in (ROW, OTHER)]
    await rig.settle()
    rig.sidecar.terminate()
    responses = await rig.answers(*clients)
    assert {response.header("X-Batch-Size") for response in responses} == {"2"}
    assert {response.header("Connection") for response in responses} == {"close"}
    assert [answered(response).outputs[0]["data"] for response in responses] == [ROW, OTHER]
    assert await rig.sidecar.exit_code() == 0


async def test_other_settings_keep_what_the_model_takes(
    make_rig: RigFactory, tmp_path: Path
) -> None:
    file = tmp_path / "settings.json"
    rig = await make_rig("--max-batchsize", "9", *LONG, "--settings-file", str(file))
    model = V2Model(rig, VARIABLE, {"max_batch_size": 4})
    await model.known()
    waiting = [await rig.send(model.infer(numbers(ROW))) for _ in range(3)]
    await rig.settle()
    assert model.calls == []

    async def has(size: int) -> bool:
        shown = json.loads((await rig.admin("/config")).body)
        return bool(shown["settings"]["max_batch_size"] == size)

    file.write_text('{"max-batchsize": "3"}')
    responses = await rig.answers(*waiting)
    assert {response.header("X-Batch-Size") for response in responses} == {"3"}
    file.write_text('{"max-batchsize": "100"}')
    await until(lambda: has(100), "the other size")
    responses = await together(rig, *[model.infer(numbers(ROW)) for _ in range(4)])
    assert {response.header("X-Batch-Size") for response in responses} == {"4"}


# --- sequences ------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["parameters", "unbatchable", "tensors", "form", "nan"])
async def test_a_step_of_a_sequence_is_never_repeated(make_rig: RigFactory, why: str) -> None:
    rig = await make_rig("--max-batchsize", "1")
    model = V2Model(rig, FIXED if why == "unbatchable" else VARIABLE)
    answered(await rig.ask(model.infer(numbers(ROW))))
    await rig.model.until(lambda: len(model.questions) == (1 if why == "unbatchable" else 2))
    await rig.model.until(lambda: rig.model.in_flight == 0)
    await rig.settle()
    rig.model.calls.clear()
    tensor, _ = numbers(ROW)
    step = {"sequence_id": 7}
    fields: dict[str, Any] = {"parameters": step}
    if why == "tensors":
        tensor |= {"datatype": "STRING", "parameters": step}
        fields = {}
    elif why == "form":
        tensor["own"] = 1
    elif why == "nan":
        tensor["data"] = [[1, 2, 3, float("nan")]]
    model.then.append(closes)
    response = await rig.ask(model.infer((tensor, None), **fields))
    assert response.status == 502
    assert len(model.calls) == 1
    assert await bypassed(rig, why) == 1
