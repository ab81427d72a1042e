"""Nobody is given other callers' data because an answer has the batch's length by chance."""

import asyncio
import json
from typing import Any, Final

import pytest

from tests.sidecar.kit.answers import Gate, closes, says
from tests.sidecar.kit.client import request
from tests.sidecar.kit.rig import LONG, PAIR, Rig, RigFactory
from tests.sidecar.kit.scripted import Exchange
from tests.sidecar.kit.v2 import (
    ROW,
    VARIABLE,
    V2Model,
    answer_tensors,
    answered,
    bypassed,
    echo_tensors,
    message_of,
    metric,
    numbers,
    together,
)

UNDIVIDED: Final = "inference_batcher_undivided_batches_total"


def asked_of(exchange: Exchange) -> dict[str, Any]:
    call = exchange.call
    return message_of(call.body, call.named("Inference-Header-Content-Length"), "inputs").content


async def turned(exchange: Exchange) -> None:
    """The columns of the input: four, however many rows are asked for."""
    rows = asked_of(exchange)["inputs"][0]["data"]
    columns = [list(column) for column in zip(*rows, strict=True)]
    shape = [len(columns), len(rows)]
    output = {"name": "t", "shape": shape, "datatype": "FP32", "data": columns}
    answer_tensors(exchange, [output])


async def scores(exchange: Exchange) -> None:
    """`score` is by rows; `classes` are the model's four labels, whoever asks."""
    asked = asked_of(exchange)
    rows = asked["inputs"][0]["data"]
    found = {
        "score": {"shape": [len(rows)], "datatype": "FP32", "data": [sum(row) for row in rows]},
        "classes": {"shape": [4], "datatype": "BYTES", "data": ["a", "b", "c", "d"]},
    }
    wanted = [output["name"] for output in asked["outputs"]]
    answer_tensors(exchange, [{"name": name, **found[name]} for name in wanted])


async def total(exchange: Exchange) -> None:
    """One row of all."""
    value = float(sum(map(sum, asked_of(exchange)["inputs"][0]["data"])))
    output = {"name": "total", "shape": [1], "datatype": "FP32", "data": [value]}
    answer_tensors(exchange, [output])


def rows_of(model: V2Model) -> list[int]:
    return [asked.content["inputs"][0]["shape"][0] for asked in model.requests]


def own_rows(count: int) -> list[list[float]]:
    return [[float(10 * number + column) for column in range(4)] for number in range(count)]


@pytest.mark.parametrize("metadata", [None, {"name": "m"}], ids=["none", "without shapes"])
async def test_a_batch_as_long_as_what_proved_its_key_is_asked_for_one_by_one(
    make_rig: RigFactory, metadata: object
) -> None:
    rig = await make_rig("--max-batchsize", "4", "--max-concurrency", "1", *LONG)
    model = V2Model(rig, metadata, otherwise=turned)
    model.then += [echo_tensors] * (1 + (metadata is None))
    await model.known()
    model.then += [turned]
    answered(await rig.ask(model.infer(numbers(ROW * 4, name="z"))))  # the model has four columns
    rig.model.calls.clear()
    mine = own_rows(4)
    responses = await together(rig, *[model.infer(numbers([row], name="z")) for row in mine])
    for row, response in zip(mine, responses, strict=True):
        [output] = answered(response).outputs
        assert (output["shape"], output["data"]) == ([4, 1], [[value] for value in row])
    assert rows_of(model) == [4, 1, 1, 1, 1]
    assert await metric(rig, UNDIVIDED) == 1
    assert "output 't' has shape [4, 1] for 1 rows" in rig.sidecar.output


async def test_where_it_was_no_chance_the_key_is_batched_from_then_on(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "4", "--max-concurrency", "1", *LONG)
    model = V2Model(rig)
    await model.known(model.infer(numbers(ROW * 4, name="z")))
    for calls in ([4, 1, 1, 1, 1], [4]):
        mine = own_rows(4)
        responses = await together(rig, *[model.infer(numbers([row], name="z")) for row in mine])
        for row, response in zip(mine, responses, strict=True):
            assert answered(response).outputs[0]["data"] == [row]
        assert rows_of(model) == calls
        rig.model.calls.clear()
    assert await metric(rig, "inference_batcher_unbatchable_models") == 0
    assert "is not batched" not in rig.sidecar.output


async def test_other_outputs_are_not_proved_by_those_that_were_asked_for(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "4", *LONG)
    model = V2Model(rig, otherwise=scores)
    model.then += [echo_tensors]
    honest = [{"name": "score"}]
    await model.known(model.infer(numbers(ROW), outputs=honest))
    both = [*honest, {"name": "classes"}]
    asked = [model.infer(numbers([row]), outputs=both) for row in own_rows(4)]
    for response in await together(rig, *asked):
        assert answered(response).outputs[1]["data"] == ["a", "b", "c", "d"]


async def test_nothing_is_sent_in_pieces_that_one_count_of_rows_proved(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "1", "--hard-max-batch-size", "1", *LONG)
    model = V2Model(rig, otherwise=total)
    await model.known()
    [output] = answered(await rig.ask(model.infer(numbers([ROW[0]] * 3)))).outputs
    assert (output["shape"], output["data"]) == ([1], [31.5])
    assert rows_of(model) == [3]
    assert await bypassed(rig, "unbatchable") == 1


async def test_a_configuration_that_tells_of_batches_is_enough_for_pieces(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "1", "--hard-max-batch-size", "1", *LONG)
    model = V2Model(rig, config={"max_batch_size": 8})
    await model.known()
    response = await rig.ask(model.infer(numbers(own_rows(3))))
    assert answered(response).outputs[0]["data"] == own_rows(3)
    assert rows_of(model) == [1, 1, 1]


# --- until it is proved ---------------------------------------------------------------------------


@pytest.mark.parametrize("config", [None, {"max_batch_size": 9}], ids=["no limit", "9 rows"])
async def test_what_waits_behind_a_cold_model_is_batched_with_its_first_answer(
    make_rig: RigFactory, config: object
) -> None:
    flags = ("--max-batchsize", "12", "--max-concurrency", "2", "--max-latency", "50")
    rig = await make_rig(*flags)
    model = V2Model(rig, config=config)
    model.otherwise = gate = Gate(echo_tensors)
    mine = own_rows(20)
    clients = [await rig.send(model.infer(numbers([row]))) for row in mine]
    await rig.model.until(lambda: len(model.questions) == 2 and rig.model.in_flight == 2)
    await rig.settle()
    assert rows_of(model) == [1, 1]
    gate.open()
    for row, response in zip(mine, await rig.answers(*clients), strict=True):
        assert answered(response).outputs[0]["data"] == [row]
    assert rows_of(model)[:2] == [1, 1]
    assert sorted(rows_of(model)[2:]) == ([6, 12] if config is None else [9, 9])


@pytest.mark.parametrize("encoded", [False, True])
async def test_a_model_whose_answers_cannot_be_read_is_forwarded_to(
    make_rig: RigFactory, encoded: bool
) -> None:
    rig = await make_rig(*PAIR)
    text = b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[NaN]}]}'
    headers = (("Content-Encoding", "br"),) if encoded else ()
    model = V2Model(rig, otherwise=says(200, text, headers))
    for _ in range(3):
        response = await rig.ask(model.infer(numbers(ROW)))
        assert (response.status, response.body) == (200, text)
    assert await bypassed(rig, "unbatchable") == 2
    assert await metric(rig, "inference_batcher_unbatchable_models") == 1
    assert rig.sidecar.output.count("is not batched where its answers cannot be read") == 1


async def test_a_cap_that_is_set_meanwhile_sends_nothing_unproved_in_pieces(
    make_rig: RigFactory, tmp_path: Any
) -> None:
    file = tmp_path / "settings.json"
    flags = ("--max-batchsize", "4", "--max-concurrency", "1", "--settings-file", str(file))
    rig = await make_rig(*flags, *LONG)
    model = V2Model(rig)
    model.otherwise = gate = Gate(total)
    clients = []
    for rows in (ROW, ROW * 3):
        clients.append(await rig.send(model.infer(numbers(rows))))
        await rig.settle()
    file.write_text(json.dumps({"max-batchsize": "1", "hard-max-batch-size": "1"}))

    async def applied() -> bool:
        shown = json.loads((await rig.admin("/config")).body)
        return bool(shown["settings"]["hard_max_batch_size"] == 1)

    async with asyncio.timeout(20):
        while not await applied():
            await rig.settle()
    gate.open()
    one, three = await rig.answers(*clients)
    assert answered(one).outputs[0]["data"] == [10.5]
    assert answered(three).outputs[0]["data"] == [31.5]
    assert rows_of(model) == [1, 3]


# --- a model that is another one ------------------------------------------------------------------


async def expect_alone(rig: Rig, model: V2Model) -> None:
    """Four callers of one row each, of a model that has become `turned`."""
    model.otherwise = turned
    mine = own_rows(4)
    responses = await together(rig, *[model.infer(numbers([row])) for row in mine])
    for row, response in zip(mine, responses, strict=True):
        assert answered(response).outputs[0]["data"] == [[value] for value in row]
    assert rows_of(model) == [1, 1, 1, 1]


@pytest.mark.parametrize("noticed_by", ["a call", "anything"])
async def test_after_a_restart_everything_is_proved_anew(
    make_rig: RigFactory, noticed_by: str
) -> None:
    rig = await make_rig("--max-batchsize", "4", *LONG)
    model = V2Model(rig)
    await model.known(model.infer(numbers(ROW * 4)))
    await rig.model.stop()
    if noticed_by == "a call":
        assert (await rig.ask(model.infer(numbers(ROW * 4)))).status == 503
    else:
        assert (await rig.ask(request("GET", "/v2"), "GET")).status == 503
    await rig.model.listen()
    await expect_alone(rig, model)


async def test_after_a_lost_connection_the_model_is_proved_anew(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "4", *LONG)
    model = V2Model(rig)
    await model.known(model.infer(numbers(ROW * 4)))
    model.then += [closes, closes]  # a kept connection may just have been dead
    assert (await rig.ask(model.infer(numbers(ROW * 4)))).status == 502
    rig.model.calls.clear()
    await expect_alone(rig, model)


async def test_when_the_model_server_is_not_ready_everything_is_proved_anew(
    make_rig: RigFactory,
) -> None:
    probe = json.dumps({"httpGet": {"path": "/ready", "port": "PORT"}}).replace('"PORT"', "PORT")
    rig = await make_rig("--max-batchsize", "4", *LONG, probe=probe)
    model = V2Model(rig)

    async def both(exchange: Exchange) -> None:
        if exchange.call.target == "/ready":
            exchange.answer(status, b"")
        else:
            await model(exchange)

    rig.model.otherwise = both
    status = 200
    await rig.until_ready()
    rig.model.calls.clear()
    model.metadata = VARIABLE
    answered(await rig.ask(model.infer(numbers(ROW))))
    await rig.model.until(lambda: f"{model.target}/config" in model.questions)
    await rig.model.until(lambda: rig.model.in_flight == 0)
    await rig.settle()
    assert answered(await rig.ask(model.infer(numbers(ROW * 4)))).outputs[0]["shape"] == [4, 4]
    status = 503
    await rig.until_ready(False)
    status = 200
    await rig.until_ready()
    rig.model.calls.clear()
    await expect_alone(rig, model)
