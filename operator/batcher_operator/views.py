"""What the operator keeps of InferenceServices and pods: small, and whatever they hold."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from batcher_contract import FIELDS
from batcher_contract.names import BATCHER_ANNOTATION, COMPONENT_LABEL, MARKER_ENV, SERVICE_LABEL

__all__ = [
    "Key",
    "Other",
    "Pod",
    "Service",
    "Sidecar",
    "read_other",
    "read_pod",
    "read_service",
]

_COMPONENTS: Final = ("predictor", "transformer")
_DECISION: Final = FIELDS["decision"].annotation_key
_OVER: Final = ("Succeeded", "Failed")
_VERSIONS: Final = ("resourceVersion", "generation", "managedFields")
_DEFAULT_GRACE_S: Final = 30  # of Kubernetes


class Key(NamedTuple):
    """Which InferenceService."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An InferenceService, as far as batching goes."""

    key: Key
    uid: str
    resource_version: str
    batched: tuple[str, ...]
    """Its components that have a `batcher` section."""

    one_at_a_time: tuple[str, ...]
    """Those of them whose `containerConcurrency` is 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """Our container in a pod."""

    image: str
    version: str
    """Of the webhook that injected it."""

    args: tuple[str, ...]
    memory_limit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of an InferenceService, as far as batching goes."""

    key: Key
    """The InferenceService that it belongs to."""

    uid: str
    resource_version: str
    component: str
    asked: bool
    """Whether KServe was told to batch when it made the pod."""

    decision: str
    """What our webhook did, in its own words; empty where it was not asked."""

    sidecar: Sidecar | None
    grace_s: int
    """How long the pod has to end."""

    ending: bool
    """Whether it is over or on its way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Any other object: what an InferenceService owns, or may refer to."""

    key: Key
    """The InferenceService that its label names, if it has one."""

    uid: str
    resource_version: str
    digest: bytes
    """The same for as long as nothing changes that an InferenceService's workload goes by."""


def read_service(raw: Mapping[str, Any]) -> Service:
    """An InferenceService of v1beta1 as the API server sent it."""
    meta, spec = _map(raw.get("metadata")), _map(raw.get("spec"))
    components = {name: _map(spec.get(name)) for name in _COMPONENTS}
    batched = tuple(name for name, c in components.items() if isinstance(c.get("batcher"), dict))
    return Service(
        key=Key(_text(meta.get("namespace")), _text(meta.get("name"))),
        uid=_text(meta.get("uid")),
        resource_version=_text(meta.get("resourceVersion")),
        batched=batched,
        one_at_a_time=tuple(
            name for name in batched if components[name].get("containerConcurrency") == 1
        ),
    )


def read_pod(raw: Mapping[str, Any]) -> Pod:
    """A pod as the API server sent it."""
    meta, spec = _map(raw.get("metadata")), _map(raw.get("spec"))
    labels, annotations = _map(meta.get("labels")), _map(meta.get("annotations"))
    grace_s = spec.get("terminationGracePeriodSeconds")
    return Pod(
        key=Key(_text(meta.get("namespace")), _text(labels.get(SERVICE_LABEL))),
        uid=_text(meta.get("uid")),
        resource_version=_text(meta.get("resourceVersion")),
        component=_text(labels.get(COMPONENT_LABEL)),
        asked=BATCHER_ANNOTATION in annotations,
        decision=_text(annotations.get(_DECISION)),
        sidecar=next(_sidecars(spec), None),
        grace_s=grace_s if isinstance(grace_s, int) else _DEFAULT_GRACE_S,
        ending="deletionTimestamp" in meta or _map(raw.get("status")).get("phase") in _OVER,
    )


def read_other(raw: Mapping[str, Any]) -> Other:
    """An object of any kind as the API server sent it."""
    meta = _map(raw.get("metadata"))
    content = {key: raw[key] for key in raw if key not in ("metadata", "status")}
    content["metadata"] = {key: meta[key] for key in meta if key not in _VERSIONS}
    if raw.get("kind") == "Deployment":
        # Autoscalers' statuses change four times a minute, and nothing goes by them.
        content["status"] = _progress(_map(raw.get("status")))
    text = json.dumps(content, sort_keys=True, default=_plain)
    return Other(
        key=Key(_text(meta.get("namespace")), _text(_map(meta.get("labels")).get(SERVICE_LABEL))),
        uid=_text(meta.get("uid")),
        resource_version=_text(meta.get("resourceVersion")),
        digest=hashlib.sha256(text.encode()).digest(),
    )


def _progress(status: Mapping[str, Any]) -> dict[str, Any]:
    """A Deployment's status without its times, and without how many pods are ready just now."""
    counts = ("observedGeneration", "replicas", "updatedReplicas")
    told = ("type", "status", "reason", "message")
    return {
        **{key: status.get(key) for key in counts},
        "conditions": [
            {key: _map(each).get(key) for key in told} for each in _list(status.get("conditions"))
        ],
    }


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else list(_list(value))


def _sidecars(spec: Mapping[str, Any]) -> Iterator[Sidecar]:
    for container in (*_list(spec.get("containers")), *_list(spec.get("initContainers"))):
        for entry in _list(_map(container).get("env")):
            if _map(entry).get("name") == MARKER_ENV:
                limits = _map(_map(container.get("resources")).get("limits"))
                memory = limits.get("memory")
                yield Sidecar(
                    image=_text(container.get("image")),
                    version=_text(entry.get("value")),
                    args=tuple(_text(arg) for arg in _list(container.get("args"))),
                    memory_limit=memory if isinstance(memory, str) else None,
                )


def _map(value: object) -> Mapping[str, Any]:
    # kopf hands out read-only views that are no dicts.
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
