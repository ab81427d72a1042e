"""Triton behind the sidecar: every caller gets what Triton alone gives it, and shares calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.peers.kit.callers import (
    OF_SEVERAL_TENSORS,
    every_type,
    many,
    numbers,
    scenario,
    typed,
    with_ids,
)
from tests.peers.kit.messages import BINARY
from tests.peers.kit.programs import START_S
from tests.peers.kit.scenes import Scene, play
from tests.peers.kit.triton import DATATYPES

if TYPE_CHECKING:
    from tests.peers.kit.side_by_side import SideBySide

pytestmark = pytest.mark.timeout(START_S)

IN_JSON: Final = tuple(kind for kind in DATATYPES if kind not in {"FP16", "BF16"})
TEXTS_ONLY: Final = [{"name": "TEXTS"}]
TWO: Final = [{"name": "TWICE"}, {"name": "TOTAL"}]
TWO_FORMS: Final = [
    {"name": "TEXTS", "parameters": {"binary_data": True}},
    {"name": "TOTAL", "parameters": {"binary_data": False}},
]
BY_TYPE: Final = {"datatypes": DATATYPES, "binary": DATATYPES, "parameters": BINARY}

SCENARIOS: Final = (
    every_type("every datatype, flat JSON", IN_JSON),
    every_type("every datatype, nested JSON", IN_JSON, nested=True),
    every_type("every datatype, binary", DATATYPES, binary=DATATYPES, parameters=BINARY),
    every_type("binary in, JSON out", IN_JSON, binary=IN_JSON),
    every_type("JSON in, binary out", IN_JSON, parameters=BINARY),
    every_type("some of them binary", DATATYPES, binary=DATATYPES[5:], parameters=BINARY),
    every_type("strings of dynamic number", ["BYTES"], dims=(2, 7)),
    every_type("no elements", ["FP32"], dims=(2, 0), parameters=BINARY, batched=False),
    *OF_SEVERAL_TENSORS,
    scenario(
        "requested outputs",
        "many",
        many,
        {},
        {"outputs": []},
        {"outputs": TEXTS_ONLY},
        {"outputs": TWO},
        {"outputs": TWO_FORMS},
    ),
    scenario("a version in the path", "picky", numbers, {}, {"path": "versions/1/infer"}),
    scenario("no max_batch_size", "plain", numbers, {}, {"binary": True}, batched=False),
    with_ids("picky", numbers),
    scenario("one datatype or another", "types", typed, BY_TYPE, {"datatypes": ["INT8"]}),
)


@pytest.fixture(scope="module", params=SCENARIOS, ids=lambda each: each.title)
def scene(request: pytest.FixtureRequest, triton_server: SideBySide) -> Scene:
    return play(triton_server, request.param)


def test_each_caller_gets_what_it_gets_alone(scene: Scene) -> None:
    scene.check_contents()
    scene.check_ids()


def test_callers_share_calls(scene: Scene) -> None:
    scene.check_batches()
