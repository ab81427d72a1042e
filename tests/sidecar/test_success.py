"""What a caller gets when all went well."""

import json
from typing import Final
from uuid import UUID

import pytest

from tests.sidecar.kit.answers import says, with_fields
from tests.sidecar.kit.client import PREDICT, predict, request
from tests.sidecar.kit.rig import LONG, PAIR, RigFactory

ONE: Final = ("--max-batchsize", "1")
THREE: Final = ("--max-batchsize", "3", *LONG)


async def test_an_answer_holds_message_batch_id_and_predictions(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    response = await rig.ask(predict([[1, 2], [3, 4]]))
    content = response.json()
    assert content == {
        "message": "",
        "batchId": content["batchId"],
        "predictions": [[1, 2], [3, 4]],
    }
    assert UUID(content["batchId"]).version == 4
    assert str(UUID(content["batchId"])) == content["batchId"]
    assert response.header("Content-Type") == "application/json"


async def test_members_share_the_batch_id_and_get_their_own_rows(make_rig: RigFactory) -> None:
    rig = await make_rig(*THREE, shared=True)
    one, two = await rig.answers(await rig.send(predict([1])), await rig.send(predict([2, 3])))
    assert one.predictions == [1]
    assert two.predictions == [2, 3]
    assert one.batch_id == two.batch_id == one.header("X-Batch-Id") == two.header("X-Batch-Id")
    assert one.header("X-Batch-Size") == two.header("X-Batch-Size") == "3"


async def test_each_batch_has_an_id_of_its_own(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    client = await rig.connect()
    ids = [(await client.ask(predict([1]))).batch_id for _ in range(5)]
    assert len(set(ids)) == 5


async def test_a_lone_member_gets_every_other_field_of_the_answer(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    fields = {"model_name": "m", "n": 1.5, "scores": [1], "more": [1, 2], "nested": {"a": [1]}}
    rig.model.otherwise = with_fields(**fields)
    content = (await rig.ask(predict([7]))).json()
    assert content["predictions"] == [7]
    assert {name: content[name] for name in fields} == fields


async def test_of_several_members_each_gets_scalars_and_its_part_of_long_arrays(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*THREE, shared=True)
    scalars = {"model_name": "m", "version": 3, "final": True, "note": None}
    rig.model.otherwise = with_fields(
        **scalars, scores=[[0.1], [0.2], [0.3]], classes=["a", "b"], nested={"a": 1}
    )
    first = await rig.send(predict([1]))
    await rig.settle()
    second = await rig.send(predict([2, 3]))
    one, two = await rig.answers(first, second)
    own = {"message": "", "batchId": one.batch_id}
    assert one.json() == {**own, **scalars, "scores": [[0.1]], "predictions": [1]}
    assert two.json() == {**own, **scalars, "scores": [[0.2], [0.3]], "predictions": [2, 3]}


@pytest.mark.parametrize("rows", [[1], [1, 2, 3]], ids=["one member", "several"])
async def test_an_answer_that_was_a_batchs_before_has_no_field_twice(
    make_rig: RigFactory, rows: list[int]
) -> None:
    # As when the model server passes on what another batcher behind it answered.
    rig = await make_rig("--max-batchsize", str(len(rows)), shared=True)
    rig.model.otherwise = with_fields(message="theirs", batchId="theirs")
    clients = [await rig.send(predict([row])) for row in rows]
    for response in await rig.answers(*clients):
        pairs = json.loads(response.body, object_pairs_hook=list)
        assert sorted(name for name, _ in pairs) == ["batchId", "message", "predictions"]
        assert response.batch_id == response.header("X-Batch-Id")
        assert response.json()["message"] == ""


@pytest.mark.parametrize(
    "row",
    [
        b"9007199254740993",
        b"1.0",
        b"-0.0",
        b"1e400",
        b"0.1000000000000000055511151231257827",
        b'"\\u00e9\\ud83d\\ude00\\/"',
        b'"\xc3\xa9 }],[{ \\" \\\\"',
        b'{"b": [1.50, {"a":null}], "a" : true}',
        b"[[], [[]], {}]",
    ],
)
async def test_rows_and_predictions_pass_to_the_letter(make_rig: RigFactory, row: bytes) -> None:
    rig = await make_rig(*PAIR, shared=True)
    data = request("POST", PREDICT, body=b'{"instances":[' + row + b"]}")
    responses = await rig.answers(await rig.send(data), await rig.send(data))
    assert rig.model.calls[0].raw_rows == [row, row]
    for response in responses:
        assert b'"predictions":[' + row + b"]" in response.body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"predictions": [1, 2]}', id="too many"),
        pytest.param(b'{"predictions": []}', id="none"),
        pytest.param(b'{"outputs": [1]}', id="no predictions"),
        pytest.param(b'{"predictions": {"a": 1}}', id="no list"),
        pytest.param(b'{"predictions": [NaN]}', id="NaN"),
        pytest.param(b"<html>all is well</html>", id="not JSON"),
        pytest.param(b"", id="empty"),
    ],
)
async def test_an_answer_to_one_member_that_has_no_prediction_per_row_passes_unchanged(
    make_rig: RigFactory, body: bytes
) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.otherwise = says(200, body, (("Content-Type", "text/x-any"), ("X-Model", "m")))
    response = await rig.ask(predict([1]))
    assert (response.status, response.body) == (200, body)
    assert response.header("Content-Type") == "text/x-any"
    assert response.header("X-Model") == "m"


async def test_an_answer_tells_how_long_queue_and_model_took(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-latency", "100", shared=True)
    timing = (await rig.ask(predict([1]))).header("Server-Timing")
    metrics = dict(part.strip().split(";dur=") for part in timing.split(","))
    assert set(metrics) == {"queue", "model"}
    assert 100 <= float(metrics["queue"]) < 1000
    assert 0 <= float(metrics["model"]) < 1000
