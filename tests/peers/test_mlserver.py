"""MLServer behind the sidecar: scikit-learn's runtime and one of our own, in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from tests.peers.kit.callers import every_type, many, scenario, with_ids
from tests.peers.kit.messages import Message, message, tensor
from tests.peers.kit.programs import START_S
from tests.peers.kit.scenes import Scene, play
from tests.peers.kit.triton import DATATYPES

if TYPE_CHECKING:
    from tests.peers.kit.side_by_side import SideBySide

pytestmark = pytest.mark.timeout(START_S)

KNOWN: Final = tuple(kind for kind in DATATYPES if kind not in {"BF16", "FP16"})
BOTH: Final = [{"name": "predict_proba"}, {"name": "predict"}]


def flowers(rows: int, seed: int, **more: Any) -> Message:
    """Measurements in the range of those the model was trained on."""
    measured = np.random.default_rng(seed).uniform((4, 2, 1, 0), (8, 4.5, 7, 2.5), (rows, 4))
    return message([tensor("flowers", "FP64", measured.round(1))], **more)


SCENARIOS: Final = (
    scenario("iris", "iris", flowers, {}, {"outputs": []}, {"outputs": BOTH}),
    every_type("every datatype, flat", KNOWN),
    every_type("every datatype, nested", KNOWN, nested=True),
    scenario("several inputs and outputs", "many", many, {}, {"biased": True}),
    scenario("dynamic shapes", "many", many, {"length": 1}, {"length": 4}),
    scenario("a model that tells its shapes", "told", many, {}),
    scenario("requested outputs", "many", many, {}, {"outputs": [{"name": "TEXTS"}]}),
    with_ids("iris", flowers),
)


@pytest.fixture(scope="module", params=SCENARIOS, ids=lambda each: each.title)
def scene(request: pytest.FixtureRequest, mlserver_server: SideBySide) -> Scene:
    return play(mlserver_server, request.param)


def test_each_caller_gets_what_it_gets_alone(scene: Scene) -> None:
    scene.check_contents()
    scene.check_ids()


def test_callers_share_calls(scene: Scene) -> None:
    scene.check_batches()
