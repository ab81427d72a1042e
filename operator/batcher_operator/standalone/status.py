"""The status of an InferenceService, as KServe's raw mode shapes it and its SDK waits for it.

From what it comes to and how its Deployments are, to conditions, addresses and the model's state.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from batcher_contract import Fault
from batcher_contract.standalone import COMPONENTS
from batcher_operator.standalone.failures import Failure
from batcher_operator.standalone.looks import Json, mapping, objects, plain, text, whole
from batcher_operator.standalone.workload import Workload, component_name

__all__ = ["Observed", "components_in", "is_rolled_out", "is_up", "status_of"]

_READY: Final = {"predictor": "PredictorReady", "transformer": "TransformerReady"}
_DOMAIN: Final = "cluster.local"
_TARGETS: Final = {
    "UpToDate": "Loaded",
    "InProgress": "Pending",
    "BlockedByFailedLoad": "FailedToLoad",
    "InvalidSpec": "FailedToLoad",
}
"""The state of the model that is asked for, by how far it has come."""

_Word = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What became of a workload."""

    deployments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Deployments by name, as the API server sent them."""

    services: Collection[str] = ()
    """Names of the Services that are there."""

    troubles: Mapping[str, str] = field(default_factory=dict)
    """By component: why its objects could not be applied, in words of the API server's."""

    failures: Mapping[str, Failure] = field(default_factory=dict)
    """By component: why pods are not ready, where its Deployment is not up."""


@dataclass(frozen=True, slots=True)
class _State:
    """A condition without its type and time."""

    word: _Word
    reason: str = ""
    message: str = ""


def status_of(
    service: Mapping[str, Any],
    workload: Workload,
    observed: Observed,
    now: str,
    cluster_domain: str = _DOMAIN,
) -> Json:
    """The whole status. `now` (RFC 3339) is the time of what changes.

    Never raises. The same state gives the same status, so that it is written only where it differs.
    """
    meta, spec = mapping(service.get("metadata")), mapping(service.get("spec"))
    name, namespace = text(meta.get("name")), text(meta.get("namespace"))
    present = components_in(spec)
    states = {
        _READY[each]: _component_state(each, component_name(name, each), workload, observed)
        for each in present
    }
    entry = component_name(name, present[-1])
    states["IngressReady"] = _ingress_state(entry, workload, observed)
    states["Ready"] = _summary(states.values())
    before = mapping(service.get("status"))
    status: Json = {
        "observedGeneration": whole(meta.get("generation")) or 0,
        "deploymentMode": "Standard",
        "conditions": _conditions(states, before, now),
        "components": {},
        "modelStatus": _model_status(states, workload, observed, component_name(name, present[0])),
    }
    for each in present:
        called = component_name(name, each)
        there = called in observed.services and not workload.stopped
        url = {"url": _url(called, namespace, cluster_domain)} if there else {}
        status["components"][each] = url
    if entry in observed.services and not workload.stopped:
        url_of_entry = _url(entry, namespace, cluster_domain)
        status |= {"url": url_of_entry, "address": {"url": url_of_entry}}
    if workload.runtime is not None:
        kind = workload.runtime.kind
        status[f"{kind[0].lower()}{kind[1:]}Name"] = workload.runtime.name
    return status


def components_in(spec: Mapping[str, Any]) -> list[str]:
    """The components that the status of an InferenceService is about."""
    return [each for each in COMPONENTS if each == "predictor" or mapping(spec.get(each))]


def is_rolled_out(deployment: Mapping[str, Any] | None) -> bool:
    """Whether no pod of an earlier template is left; so, too, where the Deployment is gone."""
    if deployment is None:
        return True
    spec, status = mapping(deployment.get("spec")), mapping(deployment.get("status"))
    generation = whole(mapping(deployment.get("metadata")).get("generation")) or 0
    wanted = whole(spec.get("replicas"))
    there = whole(status.get("replicas")) or 0
    return (
        (whole(status.get("observedGeneration")) or 0) >= generation
        and (whole(status.get("updatedReplicas")) or 0) == there
        and there == (1 if wanted is None else wanted)
    )


def is_up(deployment: Mapping[str, Any]) -> bool:
    """Whether it is available, in its last template alone."""
    return _deployment_state(deployment).word == "True" and is_rolled_out(deployment)


def _component_state(component: str, name: str, workload: Workload, observed: Observed) -> _State:
    if workload.stopped:
        return _State("False", "Stopped", "stopped by annotation")
    faults = [fault for fault in workload.faults if _blames(fault, component)]
    if faults:
        return _State("False", "InvalidSpec", "; ".join(map(str, faults)))
    if component in observed.troubles:
        return _State("False", "ApplyFailed", observed.troubles[component])
    deployment = observed.deployments.get(name)
    if deployment is None:
        return _State("Unknown", "DeploymentMissing", f"the Deployment {name} is not there yet")
    state, failure = _deployment_state(deployment), observed.failures.get(component)
    if state.word != "True" and failure is not None:
        return _State("False", failure.reason, failure.message)
    return state


def _blames(fault: Fault, component: str) -> bool:
    of_transformer = fault.field.startswith("spec.transformer")
    return of_transformer == (component == "transformer")


def _deployment_state(deployment: Mapping[str, Any]) -> _State:
    """As KServe's `PropagateRawStatus` reads a Deployment's conditions."""
    found = {
        text(each.get("type")): each
        for each in objects(mapping(deployment.get("status")).get("conditions"))
    }
    available, progressing = (found.get(key, {}) for key in ("Available", "Progressing"))
    failure = found.get("ReplicaFailure", {})
    if failure.get("status") == "True":
        return _told("False", failure)
    if available.get("status") == "False":
        return _told("False", available)
    if progressing.get("status") == "False":
        return _told("False", progressing)
    if available.get("status") == "True":
        return _told("True", available)
    if progressing.get("reason") == "NewReplicaSetAvailable":
        return _told("True", progressing)
    if progressing:
        return _told("Unknown", progressing)
    return _State("Unknown", "Progressing", "the Deployment has yet to be looked at")


def _told(word: _Word, condition: Mapping[str, Any]) -> _State:
    return _State(word, text(condition.get("reason")), text(condition.get("message")))


def _ingress_state(entry: str, workload: Workload, observed: Observed) -> _State:
    if workload.stopped:
        return _State("False", "Stopped", "stopped by annotation")
    if entry in observed.services:
        return _State("True")
    return _State("Unknown", "ServiceMissing", f"the Service {entry} is not there yet")


def _summary(states: Iterable[_State]) -> _State:
    unhappy = [state for state in states if state.word != "True"]
    unhappy.sort(key=lambda state: state.word != "False")
    return unhappy[0] if unhappy else _State("True")


def _conditions(states: Mapping[str, _State], before: Mapping[str, Any], now: str) -> list[Json]:
    earlier = {text(each.get("type")): each for each in objects(before.get("conditions"))}
    conditions = []
    for kind, state in sorted(states.items()):
        old = earlier.get(kind, {})
        since = text(old.get("lastTransitionTime")) if old.get("status") == state.word else ""
        condition: Json = {"type": kind, "status": state.word, "lastTransitionTime": since or now}
        if state.reason:
            condition["reason"] = state.reason
        if state.message:
            condition["message"] = state.message
        conditions.append(condition)
    return conditions


def _model_status(
    states: Mapping[str, _State], workload: Workload, observed: Observed, name: str
) -> Json:
    """As in KServe, which counts the pods that are ready, and none that failed."""
    found = _transition(states, workload, observed, name)
    deployment = mapping(observed.deployments.get(name))
    ready = whole(mapping(deployment.get("status")).get("readyReplicas")) or 0
    return {
        **found,
        "states": {
            "activeModelState": "Loaded" if ready else "",
            "targetModelState": _TARGETS[found["transitionStatus"]],
        },
        "copies": {"failedCopies": 0, "totalCopies": ready},
    }


def _transition(
    states: Mapping[str, _State], workload: Workload, observed: Observed, name: str
) -> Json:
    state = states[_READY["predictor"]]
    if workload.faults and state.reason == "InvalidSpec":
        info = {"reason": "InvalidPredictorSpec", "message": state.message}
        return {"transitionStatus": "InvalidSpec", "lastFailureInfo": info}
    failure = observed.failures.get("predictor")
    if failure is not None and failure.reason != "PodUnschedulable":  # a node may still come
        why: Json = {"reason": "ModelLoadFailed", "message": failure.message}
        if failure.exit_code is not None:
            why["exitCode"] = failure.exit_code
        return {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": why}
    if state.word == "False" and state.reason == "ProgressDeadlineExceeded":
        info = {"reason": "ModelLoadFailed", "message": state.message}
        return {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": info}
    deployment = plain(observed.deployments.get(name))
    done = state.word == "True" and is_rolled_out(deployment)
    return {"transitionStatus": "UpToDate" if done else "InProgress"}


def _url(name: str, namespace: str, domain: str) -> str:
    return f"http://{name}.{namespace}.svc.{domain}"
