"""Predict requests whose body nobody could answer: refused with words that help."""

from typing import Final

import pytest

from tests.sidecar.kit.client import PREDICT, predict, request
from tests.sidecar.kit.rig import PAIR, RigFactory

UNREADABLE: Final = "can't Unmarshal body"
NO_INSTANCES: Final = "no instances in the request"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"", UNREADABLE, id="nothing"),
        pytest.param(b"   ", UNREADABLE, id="spaces"),
        pytest.param(b"not JSON", UNREADABLE, id="words"),
        pytest.param(b"<xml/>", UNREADABLE, id="XML"),
        pytest.param(b'{"instances":[1]', UNREADABLE, id="cut"),
        pytest.param(b'{"instances":[1}', UNREADABLE, id="open list"),
        pytest.param(b'{"instances":[1,]}', UNREADABLE, id="comma"),
        pytest.param(b"{'instances':[1]}", UNREADABLE, id="quotes"),
        pytest.param(b'{"instances":[1]} x', UNREADABLE, id="more after it"),
        pytest.param(b'{"instances":[1]}{"instances":[2]}', UNREADABLE, id="two of them"),
        pytest.param(b'{"instances":[01]}', UNREADABLE, id="number"),
        pytest.param(b'{"instances":["a\nb"]}', UNREADABLE, id="control in a string"),
        pytest.param(b'{"instances":["\xff\xfe"]}', UNREADABLE, id="UTF-8 in a row"),
        pytest.param(b'{"p":"\xc3","instances":[1]}', UNREADABLE, id="UTF-8 in a field"),
        pytest.param(b'{"p\xff":1,"instances":[1]}', UNREADABLE, id="UTF-8 in a key"),
        pytest.param(b'{"instances":["\\x"]}', UNREADABLE, id="escape"),
        pytest.param(b'{"instances":[truth]}', UNREADABLE, id="literal"),
        pytest.param(b'{"instances":{"a":1}}', UNREADABLE, id="instances an object"),
        pytest.param(b'{"instances":"abc"}', UNREADABLE, id="instances a string"),
        pytest.param(b'{"instances":7}', UNREADABLE, id="instances a number"),
        pytest.param(b'{"instances":[]}', NO_INSTANCES, id="empty"),
        pytest.param(b'{"instances": [ ] }', NO_INSTANCES, id="empty, with spaces"),
    ],
)
async def test_a_body_nobody_could_answer_gets_400(
    make_rig: RigFactory, body: bytes, words: str
) -> None:
    rig = await make_rig(*PAIR, shared=True)
    client = await rig.connect()
    response = await client.ask(request("POST", PREDICT, body=body))
    assert response.status == 400
    assert words in response.error
    assert response.header("Content-Type").startswith("application/json")
    assert rig.model.calls == []
    # The connection is as good as before.
    assert (await client.ask(predict([1, 2]))).predictions == [1, 2]


async def test_null_instances_get_400(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    response = await rig.ask(request("POST", PREDICT, body=b'{"instances":null}'))
    assert response.status == 400
    assert rig.model.calls == []


async def test_a_bad_body_harms_nobody_who_waits(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    waiting = await rig.send(predict([1]))
    await rig.settle()
    assert (await rig.ask(request("POST", PREDICT, body=b"not JSON"))).status == 400
    other = await rig.send(predict([2]))
    one, two = await rig.answers(waiting, other)
    assert (one.predictions, two.predictions) == ([1], [2])
    assert one.batch_id == two.batch_id
