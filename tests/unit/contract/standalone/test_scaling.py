"""What a component says about the number of its pods."""

from typing import Any

import pytest

from tests.unit.contract.standalone.services import MODEL, Json, faults, warnings

CLASS = "serving.kserve.io/autoscalerClass"
RANGE: Json = {"minReplicas": 2, "maxReplicas": 4}


def metric(name: str, **target: Any) -> Json:
    return {"metrics": [{"type": "Resource", "resource": {"name": name, "target": target}}]}


def target_faults(name: str, **target: Any) -> list[str]:
    path = "spec.predictor.autoScaling.metrics[0].resource.target."
    said = faults(model=MODEL, **RANGE, autoScaling=metric(name, **target))
    assert all(each.startswith(path) for each in said)
    return [each.removeprefix(path) for each in said]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("cpu", {"type": "Utilization"}),
        ("cpu", {"type": "Utilization", "averageUtilization": 50}),
        ("memory", {"type": "Utilization", "averageUtilization": 50}),
        ("cpu", {"type": "AverageValue", "averageValue": "500m"}),
        ("memory", {"type": "AverageValue", "averageValue": 1000000}),
    ],
)
def test_targets(name: str, target: Json) -> None:
    assert target_faults(name, **target) == []


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        (
            "memory",
            {"type": "Value", "value": "1Gi"},
            'type "Value" is no target for memory of pods: give Utilization or AverageValue',
        ),
        (
            "memory",
            {"averageValue": "1Gi"},
            "type is missing: give Utilization or AverageValue",
        ),
        (
            "memory",
            {"type": "Utilization"},
            "averageUtilization is missing beside the type Utilization: give what to aim at",
        ),
        (
            "cpu",
            {"type": "AverageValue"},
            "averageValue is missing beside the type AverageValue: give what to aim at",
        ),
        (
            "cpu",
            {"type": "AverageValue", "averageValue": "much"},
            'averageValue "much" is no amount above 0: give a quantity, as in 500m or 2Gi',
        ),
        (
            "cpu",
            {"type": "Utilization", "averageUtilization": 0},
            'averageUtilization "0" is less than 1: give a percentage',
        ),
        (
            "cpu",
            {"type": "Utilization", "averageUtilization": 50, "averageValue": "1"},
            'averageValue "1" is not for the type Utilization: remove it',
        ),
    ],
)
def test_what_is_no_target(name: str, target: Json, said: str) -> None:
    assert target_faults(name, **target) == [said]


@pytest.mark.parametrize("kind", ["AverageValue", "Value"])
def test_another_type_of_scale_target_is_refused(kind: str) -> None:
    assert faults(model=MODEL, **RANGE, scaleTarget=50, scaleMetricType=kind) == [
        (
            f'spec.predictor.scaleMetricType "{kind}" is not done, as scaleTarget is a '
            "percentage of what "
            "pods request: give Utilization, or a target of another type in autoScaling.metrics"
        )
    ]
    assert warnings(**RANGE, scaleTarget=50, scaleMetricType="Utilization") == ()


def test_a_metric_has_one_source() -> None:
    given = metric("cpu", type="Utilization")
    given["metrics"][0]["external"] = {"metric": {}}
    assert faults(model=MODEL, **RANGE, autoScaling=given) == [
        "spec.predictor.autoScaling.metrics[0].external needs KEDA: remove it"
    ]


@pytest.mark.parametrize("replicas", [{}, {"minReplicas": 3}, {"minReplicas": 3, "maxReplicas": 3}])
def test_what_is_scaled_by_counts_where_pods_are_scaled(replicas: Json) -> None:
    given = {"scaleMetric": "cpu", "scaleTarget": 50, "autoScaling": {"behavior": {"scaleUp": {}}}}
    least = replicas.get("minReplicas", 1)
    assert warnings(**replicas, **given) == tuple(
        f"spec.predictor.{key} has no effect: there is no autoscaler without a maxReplicas above "
        f"{least}"
        for key in given
    )
    assert warnings(**RANGE, **given) == ()


def test_metrics_come_before_the_older_spelling() -> None:
    given = metric("cpu", type="Utilization", averageUtilization=60)
    assert warnings(**RANGE, scaleMetric="cpu", scaleTarget=50, autoScaling=given) == tuple(
        f"spec.predictor.{key} has no effect: autoScaling.metrics says what pods are scaled by"
        for key in ("scaleMetric", "scaleTarget")
    )


def test_who_else_sets_the_number() -> None:
    assert warnings({CLASS: "external"}, **RANGE, scaleTarget=50) == tuple(
        f"spec.predictor.{key} has no effect: {CLASS} is external"
        for key in ("minReplicas", "maxReplicas", "scaleTarget")
    )
    assert warnings({CLASS: "none"}, **RANGE) == (
        f"spec.predictor.maxReplicas has no effect: {CLASS} is none",
    )
    assert warnings({CLASS: "none"}, minReplicas=2, maxReplicas=2) == ()
    assert warnings({CLASS: "hpa"}, **RANGE) == ()
