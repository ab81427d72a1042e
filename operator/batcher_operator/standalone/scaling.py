"""How many pods: by an autoscaler or a fixed number, never by both."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from batcher_contract.standalone import SCALER_CLASS, SCALING_FIELDS
from batcher_operator.standalone.looks import Json, mapping, objects, plain, text, whole

__all__ = [
    "autoscaler_spec",
    "fixed_replicas",
    "idle_beside_another",
    "replicas_to_hand_over",
]

_CPU_PERCENT: Final = 80


def autoscaler_spec(
    component: Mapping[str, Any],
    annotations: Mapping[str, str],
    name: str,
    *,
    autoscaled: bool = False,
) -> Json | None:
    """The spec of the component's HorizontalPodAutoscaler (autoscaling/v2), or None without one.

    There is one where `maxReplicas` leaves it a choice, and the InferenceService's annotations do
    not ask for none or for another's. KServe makes one in any case, which then needs metrics to do
    nothing. Nor is there one where `autoscaled` tells of one of the user's own: Kubernetes lets
    neither of two scale a Deployment.
    """
    least, most = _least(component), whole(component.get("maxReplicas")) or 0
    if autoscaled or annotations.get(SCALER_CLASS, "hpa") != "hpa" or most <= least:
        return None
    spec: Json = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": list(_metrics(component)),
    }
    behavior = mapping(component.get("autoScaling")).get("behavior")
    if behavior:
        spec["behavior"] = plain(behavior)
    return spec


def fixed_replicas(
    component: Mapping[str, Any], annotations: Mapping[str, str], *, autoscaled: bool
) -> int | None:
    """The Deployment's `replicas`, or None where they are somebody else's to set.

    Without a word about them it is one, as KServe's autoscaler has it. `autoscaled` tells that an
    autoscaler of the user's own is there.
    """
    scaler = annotations.get(SCALER_CLASS, "hpa")
    if autoscaled or scaler == "external" or autoscaler_spec(component, annotations, ""):
        return None
    if scaler == "none" and whole(component.get("minReplicas")) is None:
        return None
    return _least(component)


def idle_beside_another(name: str, component: Mapping[str, Any], called: str) -> Iterator[str]:
    """What is without effect beside an autoscaler of the user's own."""
    for key in SCALING_FIELDS:
        if component.get(key) not in (None, {}):
            yield (
                f"spec.{name}.{key} has no effect: a HorizontalPodAutoscaler that is not ours "
                f"scales the Deployment {called}"
            )


def replicas_to_hand_over(deployment: Mapping[str, Any], manager: str) -> Json | None:
    """What to apply under another manager's name before `manager` stops setting `replicas`.

    None where `manager` does not own them. A field that its only owner leaves out goes back to its
    default, 1, before an autoscaler raises it again: "Transferring ownership" in Kubernetes'
    documentation of server-side apply.
    """
    meta = mapping(deployment.get("metadata"))
    replicas = whole(mapping(deployment.get("spec")).get("replicas"))
    for entry in objects(meta.get("managedFields")):
        owned = mapping(mapping(entry.get("fieldsV1")).get("f:spec"))
        if entry.get("manager") == manager and "f:replicas" in owned and replicas is not None:
            return {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {
                    "name": text(meta.get("name")),
                    "namespace": text(meta.get("namespace")),
                },
                "spec": {"replicas": replicas},
            }
    return None


def _least(component: Mapping[str, Any]) -> int:
    return max(whole(component.get("minReplicas")) or 1, 1)


def _metrics(component: Mapping[str, Any]) -> Iterator[Json]:
    given = objects(mapping(component.get("autoScaling")).get("metrics"))
    for each in given:
        resource = mapping(each.get("resource"))
        yield _resource(text(resource.get("name")), _target(resource))
    if not given:
        name = text(component.get("scaleMetric")) or "cpu"
        percent = whole(component.get("scaleTarget")) or _CPU_PERCENT
        yield _resource(name, {"type": "Utilization", "averageUtilization": percent})


def _target(resource: Mapping[str, Any]) -> Json:
    target = mapping(resource.get("target"))
    if target.get("type") == "AverageValue":
        return {"type": "AverageValue", "averageValue": plain(target.get("averageValue"))}
    percent = whole(target.get("averageUtilization")) or _CPU_PERCENT
    return {"type": "Utilization", "averageUtilization": percent}


def _resource(name: str, target: Json) -> Json:
    return {"type": "Resource", "resource": {"name": name, "target": target}}
