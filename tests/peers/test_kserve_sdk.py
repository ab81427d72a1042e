"""KServe's Python model server behind the sidecar, asked in the Open Inference Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.peers.kit.callers import OF_SEVERAL_TENSORS, every_type, many, scenario, with_ids
from tests.peers.kit.messages import BINARY
from tests.peers.kit.programs import START_S
from tests.peers.kit.scenes import Scene, play
from tests.peers.kit.triton import DATATYPES

if TYPE_CHECKING:
    from tests.peers.kit.side_by_side import SideBySide

pytestmark = pytest.mark.timeout(START_S)

KNOWN: Final = tuple(kind for kind in DATATYPES if kind != "BF16")
IN_JSON: Final = tuple(kind for kind in KNOWN if kind != "FP16")
TEXTS_ONLY: Final = [{"name": "TEXTS"}]
TWO_FORMS: Final = [
    {"name": "TEXTS", "parameters": {"binary_data": True}},
    {"name": "TOTAL", "parameters": {"binary_data": True}},
]

SCENARIOS: Final = (
    every_type("every datatype, flat JSON", IN_JSON),
    every_type("every datatype, nested JSON", IN_JSON, nested=True),
    every_type("every datatype, binary", KNOWN, binary=KNOWN, parameters=BINARY),
    every_type("binary in, JSON out", IN_JSON, binary=IN_JSON),
    every_type("JSON in, binary out", IN_JSON, parameters=BINARY),
    *OF_SEVERAL_TENSORS,
    scenario("a model that tells its shapes", "told", many, {}, {"binary": True}),
    scenario(
        "requested outputs",
        "told",
        many,
        {},
        {"outputs": []},
        {"outputs": TEXTS_ONLY},
        {"outputs": TWO_FORMS},
    ),
    with_ids("told", many),
)


@pytest.fixture(scope="module", params=SCENARIOS, ids=lambda each: each.title)
def scene(request: pytest.FixtureRequest, kserve_server: SideBySide) -> Scene:
    return play(kserve_server, request.param)


def test_each_caller_gets_what_it_gets_alone(scene: Scene) -> None:
    scene.check_contents()
    scene.check_ids()


def test_callers_share_calls(scene: Scene) -> None:
    scene.check_batches()
