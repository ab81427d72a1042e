"""Reading pods: KServe's and Knative's names, and looks at a pod that may hold anything."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from batcher_contract.names import COMPONENT_PORT, MARKER_ENV

__all__ = [
    "AGENT",
    "LOGGER_ANNOTATION",
    "MODEL_CONTAINERS",
    "PULLER_ANNOTATION",
    "QUEUE_PROXY",
    "SECTION_ANNOTATIONS",
    "WORKER",
    "Json",
    "component_of",
    "component_port",
    "container",
    "env_entry",
    "first_port",
    "is_ours",
    "is_well_formed",
    "probe_text",
    "restartable",
    "serving",
]

Json = dict[str, Any]

AGENT: Final = "agent"
QUEUE_PROXY: Final = "queue-proxy"
TRANSFORMER: Final = "transformer-container"
MODEL: Final = "kserve-container"
WORKER: Final = "worker-container"
MODEL_CONTAINERS: Final = (TRANSFORMER, MODEL)
"""The containers that serve requests, the outermost first."""

_INTERNAL: Final = "internal.serving.kserve.io/"
LOGGER_ANNOTATION: Final = f"{_INTERNAL}logger"
PULLER_ANNOTATION: Final = f"{_INTERNAL}agent"
SECTION_ANNOTATIONS: Final = {
    f"{_INTERNAL}batcher-max-batchsize": "maxBatchSize",
    f"{_INTERNAL}batcher-max-latency": "maxLatency",
}
"""Where KServe writes the keys of a `batcher` section on pods."""


def is_well_formed(pod: Mapping[str, Any]) -> bool:
    """Whether all that is read or changed of a pod has the type that Kubernetes gives it.

    The API server sends nothing else; without this a look at a pod could fail.
    """
    meta, spec = pod.get("metadata"), pod.get("spec")
    if not isinstance(meta, dict) or not isinstance(spec, dict):
        return False
    texts = (meta.get(key) for key in ("annotations", "labels"))
    lists = [spec.get(key) for key in ("initContainers", "volumes", "imagePullSecrets")]
    return (
        all(_is_texts(value) for value in texts)
        and all(_is_objects(value) for value in (spec.get("containers"), *lists))
        and all(isinstance(spec.get(key), dict | None) for key in ("securityContext", "os"))
        and bool(spec.get("containers"))
        and all(_is_container(c) for c in (*spec["containers"], *(lists[0] or ())))
    )


def container(pod: Mapping[str, Any], name: str) -> Json | None:
    """The container of that name, if any; not an init container."""
    found: Iterator[Json] = (c for c in pod["spec"]["containers"] if c["name"] == name)
    return next(found, None)


def restartable(pod: Mapping[str, Any]) -> list[Json]:
    """The containers that run as long as the pod: init containers may be such, too."""
    early = pod["spec"].get("initContainers") or ()
    return [*pod["spec"]["containers"], *(c for c in early if c.get("restartPolicy") == "Always")]


def is_ours(candidate: Mapping[str, Any]) -> bool:
    """Whether a container was put there by this webhook, whatever happened to it since."""
    return env_entry(candidate, MARKER_ENV) is not None


def env_entry(candidate: Mapping[str, Any], name: str) -> Json | None:
    """A container's entry of `env` by name."""
    entries: list[Json] = candidate.get("env") or []
    return next((entry for entry in entries if entry.get("name") == name), None)


def component_of(pod: Mapping[str, Any]) -> Json | None:
    """The container that requests are for; a transformer stands before its predictor."""
    found = (container(pod, name) for name in MODEL_CONTAINERS)
    return next((c for c in found if c is not None), None)


def serving(pod: Mapping[str, Any]) -> Json:
    """The container that requests are for, or the first one where none has its name."""
    first: Json = pod["spec"]["containers"][0]
    return component_of(pod) or first


def first_port(candidate: Mapping[str, Any]) -> Json:
    """A container's first port, which is the one that KServe takes; empty where it has none."""
    ports: list[Json] = candidate.get("ports") or [{}]
    return ports[0]


def component_port(pod: Mapping[str, Any]) -> int:
    """Where the component listens, by KServe's rule (`agent_injector.go`)."""
    port = first_port(component_of(pod) or {}).get("containerPort")
    return port if isinstance(port, int) else COMPONENT_PORT


def probe_text(pod: Mapping[str, Any]) -> str | None:
    """The component's readiness probe as the JSON that KServe hands to its agent.

    KServe leaves exec and gRPC probes out; the sidecar knows what to do with them.
    """
    source = serving(pod)
    probe = source.get("readinessProbe")
    if not isinstance(probe, dict):
        return None
    names = {port.get("name"): port.get("containerPort") for port in source.get("ports") or ()}
    text = {key: _numbered(value, names) for key, value in probe.items()}
    return json.dumps(text, separators=(",", ":"))


def _numbered(action: object, names: Mapping[Any, Any]) -> object:
    # A port's name means nothing in another container.
    if isinstance(action, dict) and isinstance(action.get("port"), str):
        return {**action, "port": names.get(action["port"]) or action["port"]}
    return action


def _is_texts(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    )


def _is_objects(value: object) -> bool:
    return value is None or (
        isinstance(value, list) and all(isinstance(item, dict) for item in value)
    )


def _is_container(value: Mapping[str, Any]) -> bool:
    args = value.get("args")
    objects = ("env", "ports", "volumeMounts")
    maps = ("resources", "securityContext", "lifecycle", "readinessProbe")
    return (
        isinstance(value.get("name"), str)
        and all(_is_objects(value.get(key)) for key in objects)
        and all(isinstance(value.get(key), dict | None) for key in maps)
        and (args is None or (isinstance(args, list) and all(isinstance(a, str) for a in args)))
        and all(_is_port(port.get("containerPort")) for port in value.get("ports") or ())
        and all(isinstance(port.get("name"), str | None) for port in value.get("ports") or ())
    )


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536
