"""The product as a user installs it."""

import json
from typing import Any, Final

from batcher_contract.names import KSERVE_WEBHOOK_CONFIGURATION
from tests.apiserver.kit import ROOT, documents
from tests.cluster.kit.cluster import Cluster

__all__ = ["NAMESPACE", "RELEASE", "Product", "has_kserve", "stand_in_for_kserve"]

NAMESPACE: Final = "inference-batcher"
RELEASE: Final = "inference-batcher"
_CHART: Final = ROOT / "charts" / "inference-batcher"
_CRD: Final = ROOT / "tests" / "apiserver" / "kit" / "inferenceservice-crd.yaml"
_STAND_IN: Final = "nothing.serving.kserve.io"
_WAIT: Final = ("--wait", "--timeout=180s")


class Product:
    """The release of the chart."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.is_installed = False

    def install(self, **values: Any) -> str:
        """`helm install --wait`, into a namespace that enforces the restricted standard."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        meta = {"name": NAMESPACE, "labels": labels}
        self._cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        out = self._helm("install", RELEASE, str(_CHART), *self._values(values), *_WAIT)
        self.is_installed = True
        return out

    def upgrade(self, **values: Any) -> str:
        """`helm upgrade --wait`."""
        return self._helm("upgrade", RELEASE, str(_CHART), *self._values(values), *_WAIT)

    def uninstall(self) -> None:
        """`helm uninstall --wait`."""
        self._helm("uninstall", RELEASE, *_WAIT)
        self.is_installed = False

    def test(self) -> str:
        """`helm test`."""
        return self._helm("test", RELEASE, "--timeout=60s")

    def _helm(self, *args: str) -> str:
        return self._cluster.helm(*args, "--namespace", NAMESPACE)

    def _values(self, values: dict[str, Any]) -> list[str]:
        image = {"registry": self._cluster.registry}
        given = {"image": image, **values}
        return [f"--set-json={key}={json.dumps(value)}" for key, value in given.items()]


def has_kserve(cluster: Cluster) -> bool:
    """Whether KServe itself is there, with a webhook that applies to pods."""
    found = cluster.api.find("MutatingWebhookConfiguration", KSERVE_WEBHOOK_CONFIGURATION)
    return bool(found and found["webhooks"][0]["name"] != _STAND_IN)


def stand_in_for_kserve(cluster: Cluster) -> None:
    """Where there is no KServe, have what the product asks for of it: its kind and its webhook.

    The webhook's configuration applies to nothing.
    """
    if has_kserve(cluster):
        return
    cluster.apply(*documents(_CRD.read_text()))
    nowhere = {
        "name": _STAND_IN,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "none", "namespace": "default"}},
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "objectSelector": {"matchLabels": {"inference-batcher.test/nothing": "has-this"}},
        "rules": [
            {
                "operations": ["CREATE"],
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
            }
        ],
    }
    cluster.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": KSERVE_WEBHOOK_CONFIGURATION},
            "webhooks": [nowhere],
        }
    )
