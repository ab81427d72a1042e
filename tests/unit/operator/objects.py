"""InferenceServices and pods for these tests, as the API server sends them."""

from typing import Any

from batcher_contract import __version__

__all__ = ["IMAGE", "owned", "pod", "service", "sidecar"]

IMAGE = "example.org/sidecar:1"
Json = dict[str, Any]


def service(name: str = "iris", resource_version: str = "1", **spec: Any) -> Json:
    """An InferenceService whose predictor has a batcher section, unless `spec` says otherwise."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": "models",
            "uid": f"uid-{name}",
            "resourceVersion": resource_version,
        },
        "spec": spec or {"predictor": {"batcher": {"maxBatchSize": 32}}},
    }


def sidecar(
    *args: str, image: str = IMAGE, version: str = __version__, memory: str = "1Gi"
) -> Json:
    """Our container."""
    return {
        "name": "agent",
        "image": image,
        "args": ["--enable-batcher", *args],
        "env": [{"name": "INFERENCE_BATCHER_SIDECAR", "value": version}],
        "resources": {"limits": {"memory": memory}},
    }


def pod(
    *containers: Json,
    of: str = "iris",
    name: str = "iris-predictor-1",
    decision: str | None = None,
    asked: bool = True,
    resource_version: str = "1",
    **spec: Any,
) -> Json:
    """A pod of the predictor with a model server and these containers."""
    annotations = {"internal.serving.kserve.io/batcher": "true"} if asked else {}
    if decision is not None:
        annotations["inference-batcher.io/decision"] = decision
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "models",
            "uid": f"uid-{name}",
            "resourceVersion": resource_version,
            "labels": {"serving.kserve.io/inferenceservice": of, "component": "predictor"},
            "annotations": annotations,
        },
        "spec": {"containers": [{"name": "kserve-container"}, *containers], **spec},
        "status": {"phase": "Running"},
    }


def owned(
    kind: str, uid: str = "uid-of-owned", resource_version: str = "1", **content: Any
) -> Json:
    """What an InferenceService owns."""
    return {
        "kind": kind,
        "metadata": {
            "name": "iris-predictor",
            "namespace": "models",
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": {"serving.kserve.io/inferenceservice": "iris", "component": "predictor"},
        },
        **content,
    }
