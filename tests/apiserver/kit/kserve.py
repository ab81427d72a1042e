"""A stand-in for KServe's pod webhook: what KServe 0.20 does to pods, as far as ours can tell.

It notes two things about metrics on every pod, and puts its `agent` into those whose service has a
batcher, a logger or a puller, unless a container of that name is there already.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.apiserver.kit.admission import AdmissionServer, mutating_configuration, registered
from tests.apiserver.kit.api import Api, Manifest
from tests.apiserver.kit.authority import Authority

__all__ = ["CONFIGURATION", "METRICS_ANNOTATIONS", "admit", "running_kserve", "service_pod"]

CONFIGURATION: Final = "inferenceservice.serving.kserve.io"
METRICS_ANNOTATIONS: Final = (
    "serving.kserve.io/enable-metric-aggregation",
    "serving.kserve.io/enable-prometheus-scraping",
)
_INTERNAL: Final = "internal.serving.kserve.io/"
_PORT: Final = 9081
_STORAGE: Final = ("AWS_", "S3_")
_PROBE_FIELDS: Final = (
    *("httpGet", "tcpSocket", "initialDelaySeconds", "timeoutSeconds"),
    *("periodSeconds", "successThreshold", "failureThreshold"),
)
_ACTION_FIELDS: Final = ("path", "port", "host", "scheme", "httpHeaders")


def admit(pod: Manifest) -> Manifest:
    """What KServe's webhook makes of a pod."""
    pod = copy.deepcopy(pod)
    annotations: dict[str, str] = pod["metadata"].setdefault("annotations", {})
    for key in METRICS_ANNOTATIONS:
        annotations.setdefault(key, "false")
    containers: list[Manifest] = pod["spec"]["containers"]
    asked = any(f"{_INTERNAL}{what}" in annotations for what in ("agent", "batcher", "logger"))
    if not asked or any(c["name"] == "agent" for c in containers):
        return pod
    containers.append(_agent(pod, annotations))
    for container in containers:
        for entry in container.get("env", ()) if container["name"] == "queue-proxy" else ():
            if entry["name"] == "USER_PORT":
                entry["value"] = str(_PORT)
    return pod


def _agent(pod: Manifest, annotations: dict[str, str]) -> Manifest:
    by_name = {c["name"]: c for c in pod["spec"]["containers"]}
    first = pod["spec"]["containers"][0]
    component = by_name.get("transformer-container") or by_name.get("kserve-container") or first
    probed = by_name.get("transformer-container") or first
    probe = probed.get("readinessProbe") or {}
    ports = component.get("ports") or [{"containerPort": 8080}]
    agent: Manifest = {
        "name": "agent",
        "image": "kserve/agent:v0.20.0",
        "imagePullPolicy": "IfNotPresent",
        "args": [*_args(pod, annotations), "--component-port", str(ports[0]["containerPort"])],
        "ports": [{"name": "agent-port", "containerPort": _PORT, "protocol": "TCP"}],
        "resources": {
            "limits": {"cpu": "1", "memory": "1Gi"},
            "requests": {"cpu": "100m", "memory": "100Mi"},
        },
        "readinessProbe": {
            "failureThreshold": 3,
            "httpGet": {
                "httpHeaders": [{"name": "K-Network-Probe", "value": "queue"}],
                "path": probe.get("httpGet", {}).get("path", "/"),
                "port": _PORT,
                "scheme": "HTTP",
            },
            "periodSeconds": 10,
            "successThreshold": 1,
            "timeoutSeconds": 1,
        },
    }
    env = copy.deepcopy(by_name.get("queue-proxy", {}).get("env") or [])
    if not env and ("httpGet" in probe or "tcpSocket" in probe):
        env.append({"name": "SERVING_READINESS_PROBE", "value": _probe_text(probe)})
    for init in pod["spec"].get("initContainers", ()):
        if init["name"] == "storage-initializer":
            env += [e for e in init.get("env", ()) if e["name"].startswith(_STORAGE)]
    if env:
        agent["env"] = env
    if "securityContext" in first:
        agent["securityContext"] = copy.deepcopy(first["securityContext"])
    if f"{_INTERNAL}agent" in annotations:
        agent["volumeMounts"] = [
            {"name": "model-dir", "mountPath": annotations[f"{_INTERNAL}modelDir"]},
            {"name": "model-config", "mountPath": annotations[f"{_INTERNAL}configMountPath"]},
        ]
    return agent


def _args(pod: Manifest, annotations: dict[str, str]) -> Iterator[str]:
    def given(key: str) -> str:
        return annotations.get(f"{_INTERNAL}{key}", "")

    if given("agent"):
        yield from ("--enable-puller", "--config-dir", given("configMountPath"))
        yield from ("--model-dir", given("modelDir"))
    if given("batcher"):
        yield "--enable-batcher"
        for key, flag in (("max-batchsize", "--max-batchsize"), ("max-latency", "--max-latency")):
            if given(f"batcher-{key}"):
                yield from (flag, given(f"batcher-{key}"))
    if given("logger"):
        labels = pod["metadata"]["labels"]
        yield from ("--log-url", given("logger-sink-url"), "--source-uri", "")
        yield from ("--log-mode", given("logger-mode"))
        yield from ("--inference-service", labels["serving.kserve.io/inferenceservice"])
        yield from ("--namespace", pod["metadata"]["namespace"], "--endpoint", "")
        yield from ("--component", labels["component"], "--logger-tls-skip-verify", "false")


def _probe_text(probe: Manifest) -> str:
    """As Go writes a probe: its fields in their order."""
    ordered: Manifest = {key: probe[key] for key in _PROBE_FIELDS if key in probe}
    for key in ("httpGet", "tcpSocket"):
        if key in ordered:
            action = ordered[key]
            ordered[key] = {field: action[field] for field in _ACTION_FIELDS if field in action}
    return json.dumps(ordered, separators=(",", ":"))


@contextmanager
def running_kserve(api: Api, authority: Authority, name: str = CONFIGURATION) -> Iterator[None]:
    """Have the stand-in called for pods of InferenceServices, as KServe's configuration says."""
    with AdmissionServer(admit, authority) as server:
        configuration = mutating_configuration(
            name,
            server.url,
            authority,
            namespaces={"matchExpressions": [{"key": "control-plane", "operator": "DoesNotExist"}]},
            failure_policy="Fail",
        )
        with registered(api, [configuration], lambda: _is_called(api)):
            yield


def _is_called(api: Api) -> bool:
    pod = service_pod("plain", "default", {})
    annotations = api.create(pod, dryRun="All")["metadata"].get("annotations") or {}
    return METRICS_ANNOTATIONS[0] in annotations


def service_pod(
    name: str, namespace: str, annotations: dict[str, str], **spec: Any
) -> Manifest:  # fmt: skip
    """A pod as KServe's Deployments have it, of an InferenceService of the same name."""
    container = {
        "name": "kserve-container",
        "image": "example/model-server:1",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app": f"isvc.{name}-predictor",
                "component": "predictor",
                "serving.kserve.io/inferenceservice": name,
            },
            "annotations": dict(annotations),
        },
        "spec": {"containers": [container], **spec},
    }
