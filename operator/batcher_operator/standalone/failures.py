"""Why pods are not ready, from what scheduler and kubelet tell of them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from batcher_contract.names import COMPONENT_LABEL
from batcher_operator.standalone.looks import mapping, objects, text, texts, whole

__all__ = ["Failure", "FailureReason", "failures_of", "has_failed"]

_FETCHING: Final = "storage-initializer"
_TEMPLATE: Final = "pod-template-hash"
_ON_THE_WAY: Final = ("", "ContainerCreating", "PodInitializing", "CrashLoopBackOff")
"""Reasons to wait that are no failure, or that tell of one that is found elsewhere."""

_PULL: Final = "ErrImagePull"
_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\d[T ][\d:.,]+(Z|[+-]\d\d:?\d\d)?\s+", re.ASCII)
_LONGEST: Final = 400
_PREEMPTION: Final = " preemption:"
FailureReason = Literal["ContainerFailed", "ModelLoadFailed", "PodUnschedulable"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the pods of a component are not ready."""

    reason: FailureReason
    message: str
    """Which container failed, and its last words, or the scheduler's. It stays the same from one
    try to the next."""

    exit_code: int | None = None
    """What the container ended with, if it was started."""


def failures_of(pods: Iterable[Mapping[str, Any]]) -> dict[str, Failure]:
    """By component: why its pods of the newest template are not ready, if one tells.

    `pods` are those of one InferenceService, as the API server sent them.
    """
    newest: dict[str, str] = {}
    found: dict[str, Failure] = {}
    for pod in sorted(pods, key=_age, reverse=True):
        labels = texts(mapping(pod.get("metadata")).get("labels"))
        component, template = labels.get(COMPONENT_LABEL, ""), labels.get(_TEMPLATE, "")
        if newest.setdefault(component, template) == template and component not in found:
            found.update((component, failure) for failure in _of_pod(pod))
    return found


def has_failed(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has no place or a failed container, and is not on its way out."""
    return any(True for _ in _of_pod(pod))


def _age(pod: Mapping[str, Any]) -> tuple[str, str]:
    meta = mapping(pod.get("metadata"))
    return text(meta.get("creationTimestamp")), text(meta.get("name"))


def _of_pod(pod: Mapping[str, Any]) -> Iterator[Failure]:
    """The first failure, as the containers are started in that order."""
    if "deletionTimestamp" in mapping(pod.get("metadata")):
        return
    status = mapping(pod.get("status"))
    for condition in objects(status.get("conditions")):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            words = text(condition.get("message")).partition(_PREEMPTION)[0][:_LONGEST]
            yield Failure("PodUnschedulable", f"no node can take a pod: {words}")
            return
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in objects(status.get(key)):
            failure = _of_container(container)
            if failure is not None:
                yield failure
                return


def _of_container(status: Mapping[str, Any]) -> Failure | None:
    if status.get("ready") is True:
        return None
    name, state = text(status.get("name")), mapping(status.get("state"))
    waiting = mapping(state.get("waiting"))
    why = text(waiting.get("reason"))
    if why not in _ON_THE_WAY:
        # An image that cannot be pulled is told of in turn as such and as waited for.
        words = text(waiting.get("message")).rpartition(f"{_PULL}: ")[2]
        why = _PULL if why == "ImagePullBackOff" else why
        told = f"{why}: {_last_line(words)}" if words else why
        return Failure("ContainerFailed", f"the container {name} cannot be started: {told}")
    # One that is tried again is still what it was.
    before = mapping(status.get("lastState")).get("terminated")
    ended = mapping(state.get("terminated")) or mapping(before)
    code = whole(ended.get("exitCode")) or 0
    if code == 0:
        return None
    cause = text(ended.get("reason"))
    cause = "" if cause in ("", "Error") else f" ({cause})"
    words = _last_line(text(ended.get("message"))) or "its log may say why"
    reason: FailureReason = "ModelLoadFailed" if name == _FETCHING else "ContainerFailed"
    return Failure(reason, f"the container {name} ended with {code}{cause}: {words}", code)


def _last_line(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return _TIME.sub("", lines[-1])[:_LONGEST] if lines else ""
