"""The pods of a predictor and of a transformer, as KServe's raw mode makes them.

From a component of an InferenceService to its pods' spec, before the model and the ports come in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from batcher_contract import Fault, SettingsError
from batcher_contract.names import COMPONENT_PORT
from batcher_contract.quantities import parse_quantity
from batcher_contract.standalone import MODEL_CONTAINER, TRANSFORMER_CONTAINER
from batcher_operator.standalone.frameworks import model_of
from batcher_operator.standalone.looks import (
    Json,
    listed,
    mapping,
    named,
    objects,
    plain,
    set_env,
    text,
    texts,
)
from batcher_operator.standalone.merge import merged_container, merged_pod
from batcher_operator.standalone.placeholders import Metadata, filled
from batcher_operator.standalone.runtimes import Runtime, choose, with_defaults, with_tag
from batcher_operator.standalone.storage import address_of

__all__ = ["Parts", "predictor_parts", "transformer_parts"]

_SERVING: Final = (MODEL_CONTAINER, TRANSFORMER_CONTAINER)
_NAME_ENV: Final = "INFERENCE_SERVICE_NAME"
_RESOURCES: Final = {"cpu": "1", "memory": "2Gi"}
"""Requests and limits of containers of the user's own (KServe's `inferenceservice-config`)."""

_POD_FIELDS: Final = (
    "volumes",
    "initContainers",
    "terminationGracePeriodSeconds",
    "dnsPolicy",
    "nodeSelector",
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "nodeName",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "shareProcessNamespace",
    "securityContext",
    "imagePullSecrets",
    "hostname",
    "subdomain",
    "affinity",
    "schedulerName",
    "tolerations",
    "hostAliases",
    "priorityClassName",
    "priority",
    "dnsConfig",
    "readinessGates",
    "runtimeClassName",
    "enableServiceLinks",
    "preemptionPolicy",
    "overhead",
    "topologySpreadConstraints",
    "setHostnameAsFQDN",
    "os",
    "hostUsers",
    "schedulingGates",
    "resourceClaims",
    "resources",
    "hostnameOverride",
)
"""Fields of a pod's spec that a component may have (KServe's `podspec.go`)."""

_OF_THE_MODEL: Final = (
    "modelFormat",
    "runtime",
    "runtimeVersion",
    "protocolVersion",
    "storageUri",
    "storage",
    "confidential",
)
"""Fields of a `model` section that are none of a container's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A component's pods."""

    spec: Json
    storage_uri: str
    """Where the model is; empty where the pods bring their own."""

    runtime: Runtime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the runtime gives to pods; the user's come before them."""

    annotations: Mapping[str, str] = field(default_factory=dict)
    """The same."""


def predictor_parts(
    predictor: Mapping[str, Any], metadata: Metadata, runtimes: Iterable[Runtime]
) -> Parts:
    """The pods of `spec.predictor`; raises SettingsError where its runtime does not fit."""
    found = model_of(predictor)
    if found is None:
        return _own_parts(predictor, metadata.name)
    field_name, model = found
    where = f"spec.predictor.{field_name}"
    runtime = choose(model, runtimes, metadata.namespace, where)
    model, labels = with_defaults(model, runtime, metadata.name)
    seen = Metadata(
        name=metadata.name,
        namespace=metadata.namespace,
        labels={**metadata.labels, **labels},
        annotations=metadata.annotations,
    )
    spec = merged_pod(runtime.spec, _pod_fields(predictor))
    spec["containers"] = _runtime_containers(predictor, model, runtime, seen)
    _finish(spec, metadata.name)
    return Parts(
        spec=spec,
        storage_uri=text(model.get("storageUri")),
        runtime=runtime,
        labels={**texts(runtime.spec.get("labels")), **labels},
        annotations=texts(runtime.spec.get("annotations")),
    )


def transformer_parts(
    transformer: Mapping[str, Any], metadata: Metadata, predictor_host: str
) -> Parts:
    """The pods of `spec.transformer`, told where the predictor is as KServe's SDK expects it."""
    parts = _own_parts(transformer, metadata.name)
    container = named(parts.spec["containers"], MODEL_CONTAINER)
    if container is not None:
        arguments = listed(container.get("args"))
        wanted = {
            "--model_name": metadata.name,
            "--predictor_host": predictor_host,
            "--http_port": str(COMPONENT_PORT),
        }
        workers = transformer.get("containerConcurrency")
        if workers is not None:
            wanted["--workers"] = str(workers)
        for flag, value in wanted.items():
            if not any(isinstance(given, str) and given.startswith(flag) for given in arguments):
                arguments += [flag, value]
        container["args"] = arguments
    return parts


def _own_parts(component: Mapping[str, Any], name: str) -> Parts:
    """Pods of containers of the user's own; one alone is the one that serves."""
    containers = plain(objects(component.get("containers")))
    serving = named(containers, MODEL_CONTAINER)
    if serving is None and containers:
        serving = containers[0]
        serving["name"] = MODEL_CONTAINER
    if serving is not None:
        _default_resources(serving)
    spec = {**_pod_fields(component), "containers": containers}
    _finish(spec, name)
    return Parts(spec=spec, storage_uri=address_of(serving or {}))


def _runtime_containers(
    predictor: Mapping[str, Any], model: Json, runtime: Runtime, metadata: Metadata
) -> list[Json]:
    """The model server, the transformer beside it, and the other containers of both."""
    runtimes, users = objects(runtime.spec.get("containers")), objects(predictor.get("containers"))
    where = f"{runtime.kind} {runtime.name}"
    own = {key: value for key, value in model.items() if key not in _OF_THE_MODEL}
    server = merged_container(named(runtimes, MODEL_CONTAINER) or {}, own)
    _reconcile_resources(server, own)
    server = filled(server, metadata, f"{where}, container {MODEL_CONTAINER}:")
    limits = mapping(server.get("resources")).get("limits")
    server["image"] = with_tag(text(server.get("image")), model, runtime, limits)
    containers = [server]
    beside = named(runtimes, TRANSFORMER_CONTAINER), named(users, TRANSFORMER_CONTAINER)
    if any(beside):
        transformer = merged_container(beside[0] or {}, beside[1] or {})
        where = f"{where}, container {TRANSFORMER_CONTAINER}:"
        containers.append(filled(transformer, metadata, where))
    others = [each for each in runtimes if each.get("name") not in _SERVING]
    own_others = [each for each in users if each.get("name") not in _SERVING]
    for each in own_others:
        if named(others, text(each.get("name"))) is not None:
            problem = f"is the name of a container of the {runtime.kind} {runtime.name}"
            fault = Fault("spec.predictor.containers", each["name"], problem, "give yours another")
            raise SettingsError([fault])
    return [*containers, *map(plain, (*others, *own_others))]


def _pod_fields(component: Mapping[str, Any]) -> Json:
    return {
        key: plain(component[key]) for key in _POD_FIELDS if component.get(key) not in (None, "")
    }


def _default_resources(container: Json) -> None:
    """KServe's defaults, which give way to what the user set: no request exceeds its limit."""
    known = mapping(container.get("resources"))
    requests, limits = (dict(mapping(known.get(key))) for key in ("requests", "limits"))
    for key, default in _RESOURCES.items():
        low, high = requests.get(key), limits.get(key)
        if low is None:
            requests[key] = default if high is None or not _exceeds(default, high) else high
        if high is None:
            limits[key] = default if low is None or not _exceeds(low, default) else low
    container["resources"] = {**known, "limits": limits, "requests": requests}


def _reconcile_resources(merged: Json, users: Mapping[str, Any]) -> None:
    """Where the user set only one of a request and its limit, the runtime's other gives way."""
    own = mapping(users.get("resources"))
    resources = mapping(merged.get("resources"))
    requests, limits = (dict(mapping(resources.get(key))) for key in ("requests", "limits"))
    for key in requests.keys() & limits.keys():
        if _exceeds(requests[key], limits[key]):
            if key not in mapping(own.get("requests")):
                requests[key] = limits[key]
            elif key not in mapping(own.get("limits")):
                limits[key] = requests[key]
    if requests and limits:
        merged["resources"] = {**resources, "requests": requests, "limits": limits}


def _exceeds(one: object, other: object) -> bool:
    # The API server takes numbers for quantities, too.
    low, high = parse_quantity(str(one)), parse_quantity(str(other))
    return low is not None and high is not None and low > high


def _finish(spec: Json, name: str) -> None:
    for container in spec["containers"]:
        container.setdefault("imagePullPolicy", "IfNotPresent")
        set_env(container, _NAME_ENV, name)
