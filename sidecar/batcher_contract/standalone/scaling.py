"""What a component says about the number of its pods."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from batcher_contract.faults import Fault
from batcher_contract.quantities import parse_quantity
from batcher_contract.standalone.annotations import SCALER_CLASS
from batcher_contract.standalone.looks import mapping, objects, shown, whole
from batcher_contract.standalone.names import SCALING_FIELDS

__all__ = ["faults", "warnings"]

_RESOURCES: Final = ("cpu", "memory")
_METRIC_FIELDS: Final = ("scaleMetric", "scaleMetricType", "scaleTarget")
_TARGETS: Final = {"Utilization": "averageUtilization", "AverageValue": "averageValue"}
"""The field that holds a target, by the target's type."""


def faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    """What no HorizontalPodAutoscaler of pods' resources could do."""
    least, most = whole(component.get("minReplicas")), whole(component.get("maxReplicas"))
    for key, count in (("minReplicas", least), ("maxReplicas", most)):
        if count is not None and count < 0:
            yield Fault(f"{where}.{key}", str(count), "is less than 0", "give at least 1")
    if least is not None and most and least > most > 0:
        problem = f"is more than {where}.maxReplicas, which is {most}"
        yield Fault(f"{where}.minReplicas", str(least), problem, f"give at most {most}")
    yield from _metric_faults(component, where)
    for index, each in enumerate(objects(mapping(component.get("autoScaling")).get("metrics"))):
        path = f"{where}.autoScaling.metrics[{index}]"
        resource = mapping(each.get("resource"))
        if each.get("type") != "Resource":
            yield Fault(f"{path}.type", shown(each.get("type")), "needs KEDA", "give Resource")
            continue
        for key in ("external", "podmetric"):
            if each.get(key):
                yield Fault(f"{path}.{key}", None, "needs KEDA", "remove it")
        if resource.get("name") not in _RESOURCES:
            problem = "is no resource that pods are scaled by"
            name = shown(resource.get("name"))
            yield Fault(f"{path}.resource.name", name, problem, "give cpu or memory")
        else:
            yield from _target_faults(resource, f"{path}.resource.target")


def _metric_faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    metric, target = component.get("scaleMetric"), component.get("scaleTarget")
    if metric not in (None, *_RESOURCES):
        problem = "is a metric of Knative"
        yield Fault(f"{where}.scaleMetric", str(metric), problem, "give cpu or memory")
    if metric == "memory" and target is None:
        problem = "is missing beside scaleMetric memory"
        remedy = "give the percentage of the requested memory to aim at"
        yield Fault(f"{where}.scaleTarget", None, problem, remedy)
    percent = whole(target)
    if percent is not None and percent < 1:
        yield Fault(f"{where}.scaleTarget", str(percent), "is less than 1", "give a percentage")
    kind = component.get("scaleMetricType")
    if kind not in (None, "Utilization"):
        problem = "is not done, as scaleTarget is a percentage of what pods request"
        remedy = "give Utilization, or a target of another type in autoScaling.metrics"
        yield Fault(f"{where}.scaleMetricType", shown(kind), problem, remedy)


def _target_faults(resource: Mapping[str, Any], path: str) -> Iterator[Fault]:
    target = mapping(resource.get("target"))
    kind = target.get("type")
    if not isinstance(kind, str) or kind not in _TARGETS:
        remedy = f"give {' or '.join(_TARGETS)}"
        problem = "is missing" if kind is None else f"is no target for {resource['name']} of pods"
        yield Fault(f"{path}.type", shown(kind), problem, remedy)
        return
    wanted = _TARGETS[kind]
    for key in ("averageUtilization", "averageValue", "value"):
        if key != wanted and target.get(key) is not None:
            problem = f"is not for the type {kind}"
            yield Fault(f"{path}.{key}", shown(target[key]), problem, "remove it")
    value = target.get(wanted)
    if value is None:
        if (kind, resource["name"]) != ("Utilization", "cpu"):
            problem = f"is missing beside the type {kind}"
            yield Fault(f"{path}.{wanted}", None, problem, "give what to aim at")
    elif kind == "AverageValue" and not _is_positive(value):
        remedy = "give a quantity, as in 500m or 2Gi"
        yield Fault(f"{path}.{wanted}", shown(value), "is no amount above 0", remedy)
    elif kind == "Utilization" and (whole(value) or 0) < 1:
        yield Fault(f"{path}.{wanted}", shown(value), "is less than 1", "give a percentage")


def warnings(component: Mapping[str, Any], where: str, scaler: str) -> Iterator[str]:
    """What changes nothing about the number of pods; `scaler` is who sets it."""
    given = [key for key in SCALING_FIELDS if component.get(key) not in (None, {})]
    least = max(whole(component.get("minReplicas")) or 1, 1)
    most = whole(component.get("maxReplicas")) or 0
    if component.get("minReplicas") == 0:
        yield f"{where}.minReplicas 0 is taken as 1: pods are not scaled to none without KServe"
    if scaler == "external":
        idle, why = given, f"{SCALER_CLASS} is external"
    elif scaler == "none":
        # Where it says the same as minReplicas, it is kept to.
        kept = "maxReplicas" if most <= least else ""
        idle = [key for key in given if key not in ("minReplicas", kept)]
        why = f"{SCALER_CLASS} is none"
    elif most <= least:
        idle = [key for key in given if key not in ("minReplicas", "maxReplicas")]
        why = f"there is no autoscaler without a maxReplicas above {least}"
    else:
        measured = objects(mapping(component.get("autoScaling")).get("metrics"))
        idle = [key for key in given if key in _METRIC_FIELDS and measured]
        why = "autoScaling.metrics says what pods are scaled by"
    for key in idle:
        yield f"{where}.{key} has no effect: {why}"


def _is_positive(value: object) -> bool:
    # The API server takes numbers for quantities, too.
    amount = parse_quantity(str(value)) if isinstance(value, str | int | float) else None
    return amount is not None and amount > 0
