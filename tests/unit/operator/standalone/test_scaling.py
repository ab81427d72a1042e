"""How many pods there are, and whose choice it is."""

import pytest

from batcher_operator.standalone.scaling import (
    autoscaler_spec,
    fixed_replicas,
    replicas_to_hand_over,
)
from tests.unit.operator.standalone.golden_files import Json

CLASS = "serving.kserve.io/autoscalerClass"


@pytest.mark.parametrize(
    ("component", "scaled", "fixed"),
    [
        ({}, None, 1),
        ({"minReplicas": 1}, None, 1),
        ({"minReplicas": 0}, None, 1),
        ({"minReplicas": 3}, None, 3),
        ({"minReplicas": 3, "maxReplicas": 3}, None, 3),
        ({"maxReplicas": 1}, None, 1),
        ({"maxReplicas": 3}, (1, 3), None),
        ({"minReplicas": 2, "maxReplicas": 3}, (2, 3), None),
    ],
)
def test_an_autoscaler_or_a_number(
    component: Json, scaled: tuple[int, int] | None, fixed: int | None
) -> None:
    spec = autoscaler_spec(component, {}, "x")
    assert (spec and (spec["minReplicas"], spec["maxReplicas"])) == scaled
    assert fixed_replicas(component, {}, autoscaled=False) == fixed


def test_another_s_autoscaler_is_left_alone() -> None:
    component = {"minReplicas": 2, "maxReplicas": 5}
    assert autoscaler_spec(component, {CLASS: "external"}, "x") is None
    assert fixed_replicas(component, {CLASS: "external"}, autoscaled=False) is None
    for given in ({}, {"minReplicas": 2}, component):
        assert fixed_replicas(given, {}, autoscaled=True) is None
        assert autoscaler_spec(given, {}, "x", autoscaled=True) is None


def test_none_at_all_by_annotation() -> None:
    component = {"minReplicas": 2, "maxReplicas": 5}
    assert autoscaler_spec(component, {CLASS: "none"}, "x") is None
    assert fixed_replicas(component, {CLASS: "none"}, autoscaled=False) == 2
    for given in ({}, {"maxReplicas": 2}):
        assert fixed_replicas(given, {CLASS: "none"}, autoscaled=False) is None


def test_cpu_is_scaled_by_unless_something_else_is_named() -> None:
    spec = autoscaler_spec({"maxReplicas": 2}, {}, "x")
    assert spec is not None
    assert spec["metrics"] == [
        {
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80},
            },
        }
    ]


def deployment(manager: str, owned: Json) -> Json:
    return {
        "metadata": {
            "name": "iris-predictor",
            "namespace": "models",
            "managedFields": [{"manager": manager, "fieldsV1": {"f:spec": owned}}],
        },
        "spec": {"replicas": 3},
    }


def test_a_number_that_is_ours_is_handed_over_before_it_is_left_out() -> None:
    ours = deployment("inference-batcher", {"f:replicas": {}})
    assert replicas_to_hand_over(ours, "inference-batcher") == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "iris-predictor", "namespace": "models"},
        "spec": {"replicas": 3},
    }
    for other in (
        deployment("inference-batcher", {"f:template": {}}),
        deployment("kube-controller-manager", {"f:replicas": {}}),
        {},
    ):
        assert replicas_to_hand_over(other, "inference-batcher") is None
