"""A release of the chart on a real API server."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from batcher_contract.names import BATCHER_ANNOTATION, SERVICE_LABEL
from tests.apiserver.kit import Api, ApiError, ApiServer, Manifest, make_namespace
from tests.chart.rendered import NAMESPACE
from tests.chart.values_table import CHART

__all__ = [
    "ASKED",
    "CONFIGURATIONS",
    "OF_KSERVE",
    "RELEASE",
    "THEIRS",
    "Helm",
    "definition",
    "is_served",
    "make_namespaces",
    "pod",
    "service",
]

RELEASE: Final = "inference-batcher"
CONFIGURATIONS: Final = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
THEIRS: Final = {
    "Certificate": ("cert-manager.io", "v1"),
    "Issuer": ("cert-manager.io", "v1"),
    "PodMonitor": ("monitoring.coreos.com", "v1"),
    "PrometheusRule": ("monitoring.coreos.com", "v1"),
}
"""Kinds of others that the chart can make."""


def definition(kind: str) -> Manifest:
    """The least that makes the API server take objects of a kind."""
    group, version = THEIRS[kind]
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [{**served, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def is_served(api: Api, kind: str) -> bool:
    try:
        api.list(kind, NAMESPACE)
    except (ApiError, LookupError):
        return False
    return True


class Helm:
    """Helm with the chart and one release."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self._server, self._folder = server, folder

    def __call__(self, command: str, *args: str, values: Mapping[str, Any] | None = None) -> str:
        """What helm writes; AssertionError with its complaint, warnings included."""
        if command in ("install", "upgrade"):
            file = self._folder / "values.json"
            file.write_text(json.dumps(values or {}))
            args = (str(CHART), "--values", str(file), *args)
        done = self._server.helm(command, RELEASE, *args, "--namespace", NAMESPACE)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr
        assert not done.stderr.startswith("W"), done.stderr
        return done.stdout


OF_KSERVE: Final = {SERVICE_LABEL: "iris"}
ASKED: Final = {BATCHER_ANNOTATION: "true"}


def pod(
    name: str,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    meta: Manifest = {"name": name, "namespace": namespace}
    if labels:
        meta["labels"] = dict(labels)
    if annotations:
        meta["annotations"] = dict(annotations)
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    containers = [{"name": "kserve-container", "image": "m", "securityContext": restricted}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": containers},
    }


def service(
    name: str,
    predictor: Manifest,
    annotations: Mapping[str, str] | None = None,
    **components: Manifest,
) -> Manifest:
    meta: Manifest = {"name": name, "namespace": "default"}
    if annotations:
        meta["annotations"] = dict(annotations)
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://x/y"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": meta,
        "spec": {"predictor": {"model": model, **predictor}, **components},
    }


def make_namespaces(api: Api, *names: str) -> None:
    """Have namespaces with the ServiceAccount that pods need."""
    for name in names:
        if api.find("Namespace", name) is None:
            make_namespace(api, name)
        elif api.find("ServiceAccount", "default", name) is None:
            meta = {"name": "default", "namespace": name}
            api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
