"""The product as a user installs it, in either of its modes."""

import json
from typing import Any, Final, Literal

from batcher_contract.names import KSERVE_WEBHOOK_CONFIGURATION, WEBHOOK_CONFIGURATION
from tests.apiserver.kit import ROOT, Manifest, StartError, documents, until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image

__all__ = ["NAMESPACE", "OF_THE_RELEASE", "RELEASE", "Mode", "Product", "has_kserve"]

NAMESPACE: Final = "inference-batcher"
RELEASE: Final = "inference-batcher"
Mode = Literal["kserve", "standalone"]
OF_THE_RELEASE: Final = f"app.kubernetes.io/instance={RELEASE}"
"""The label of all objects of the release."""

_CHART: Final = ROOT / "charts" / "inference-batcher"
_KSERVE_CRD: Final = ROOT / "tests" / "apiserver" / "kit" / "inferenceservice-crd.yaml"
_STAND_IN: Final = {"inference-batcher.test/stand-in": "true"}
_OURS: Final = "app.kubernetes.io/name=inference-batcher"
_CRD: Final = "inferenceservices.serving.kserve.io"
_KEPT: Final = ("CustomResourceDefinition", "ClusterServingRuntime")
_NOWHERE: Final = "nothing.serving.kserve.io"
_WAIT: Final = ("--wait", "--timeout=180s")


class Product:
    """The release of the chart; there is at most one."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.mode: Mode | None = None
        """The mode it is installed in, or None where it is not installed."""

    def prepare(self) -> None:
        """Clear away what an interrupted run has left; raises StartError on a cluster of others."""
        listed = self._cluster.helm("list", "-A", "--all", "-o", "json", "--filter", f"^{RELEASE}$")
        released = bool(json.loads(listed))
        if self._cluster.load is None:
            defined = self._cluster.api.find("CustomResourceDefinition", _CRD) is not None
            if released or (defined and not has_kserve(self._cluster)):
                raise StartError(
                    f"this cluster has a release {RELEASE}, or InferenceServices without KServe: "
                    "the tests would delete them, so give them a cluster that has neither"
                )
            return
        if released:
            self.uninstall()
        self.clear()

    def install(self, mode: Mode = "kserve", **values: Any) -> str:
        """`helm install --wait`, into a namespace that enforces the restricted standard."""
        self.clear(keep=mode)
        if mode == "kserve" and not has_kserve(self._cluster):
            _stand_in_for_kserve(self._cluster)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        meta = {"name": NAMESPACE, "labels": labels}
        self._cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        self.mode = mode
        return self._helm("install", RELEASE, str(_CHART), *self._values(values), *_WAIT)

    def upgrade(self, **values: Any) -> str:
        """`helm upgrade --wait`."""
        return self._helm("upgrade", RELEASE, str(_CHART), *self._values(values), *_WAIT)

    def uninstall(self) -> None:
        """`helm uninstall --wait`; what the chart keeps stays."""
        self._helm("uninstall", RELEASE, *_WAIT)
        self.mode = None

    def test(self) -> str:
        """`helm test`."""
        return self._helm("test", RELEASE, "--timeout=60s")

    def pods(self) -> list[Manifest]:
        """Its pods, those that are about to end included."""
        return self._cluster.api.list("Pod", NAMESPACE, labelSelector=OF_THE_RELEASE)

    def delete_pods(self) -> None:
        """Delete all of its pods as a failing node would; others come in their place."""
        for pod in self.pods():
            self._cluster.api.delete("Pod", pod["metadata"]["name"], NAMESPACE)

    def scale_webhook(self, replicas: int) -> None:
        """Have so many pods of the webhook, and wait until they are ready, or gone."""
        name = f"{RELEASE}-webhook"
        body = {"spec": {"replicas": replicas}}
        self._cluster.api.patch("Deployment", name, NAMESPACE, body)
        which = (f"deployment/{name}", "-n", NAMESPACE, "--timeout=90s")
        self._cluster.kubectl("rollout", "status", *which, within_s=120)
        labels = f"{OF_THE_RELEASE},app.kubernetes.io/component=webhook"
        until(
            lambda: len(self._cluster.api.list("Pod", NAMESPACE, labelSelector=labels)) == replicas,
            f"{replicas} webhook pods",
            60.0,
        )

    def left(self) -> list[str]:
        """Every object of the cluster that the release made, or that is named like it.

        Without what the chart says it keeps.
        """
        api = self._cluster.api
        kinds = self._cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
        # Events tell of what was; nodes may be called anything.
        kinds = [kind for kind in kinds if not kind.startswith(("events", "nodes", "csinodes"))]
        of_ours = ("-A", "-o", "json", "-l", OF_THE_RELEASE)
        out = self._cluster.kubectl("get", ",".join(kinds), *of_ours, within_s=120)
        found = [
            f"{each['kind']}/{each['metadata']['name']}"
            for each in json.loads(out)["items"]
            if each["kind"] not in _KEPT
        ]
        found += [
            f"{kind}/{WEBHOOK_CONFIGURATION}"
            for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
            if api.find(kind, WEBHOOK_CONFIGURATION)
        ]
        for kind in ("ClusterRole", "ClusterRoleBinding"):
            names = [each["metadata"]["name"] for each in api.list(kind)]
            found += [f"{kind}/{name}" for name in names if name.startswith(RELEASE)]
        found += [
            f"{kind}/{each['metadata']['name']}"
            for kind in ("Secret", "ConfigMap", "ServiceAccount", "Lease", "Pod")
            for each in api.list(kind, NAMESPACE)
            if each["metadata"]["name"] not in ("default", "kube-root-ca.crt")
        ]
        return found

    def clear(self, keep: Mode | None = None) -> None:
        """Delete the definitions that are ours or the stand-in's, but not those of the mode kept.

        InferenceServices of theirs go with them.
        """
        api = self._cluster.api
        stand_in = ",".join(f"{key}={value}" for key, value in _STAND_IN.items())
        if keep != "kserve":
            for kind in ("MutatingWebhookConfiguration", "CustomResourceDefinition"):
                self._delete(kind, stand_in)
        if keep != "standalone":
            self._delete("CustomResourceDefinition", _OURS)
        until(
            lambda: all(
                crd["metadata"].get("deletionTimestamp") is None
                for crd in api.list("CustomResourceDefinition")
            ),
            "definitions that are deleted are gone",
            60.0,
        )

    def _delete(self, kind: str, labels: str) -> None:
        for each in self._cluster.api.list(kind, labelSelector=labels):
            self._cluster.api.delete(kind, each["metadata"]["name"])

    def _helm(self, *args: str) -> str:
        return self._cluster.helm(*args, "--namespace", NAMESPACE)

    def _values(self, values: dict[str, Any]) -> list[str]:
        given = {"image": {"registry": self._cluster.registry}, "mode": self.mode, **values}
        if self.mode == "standalone":
            resources = {"requests": {"cpu": "100m", "memory": "256Mi"}}
            sklearn = {"image": image(self._cluster, "sklearn"), "resources": resources}
            given = {
                "crds": {"enabled": True},
                "servingRuntimes": {"sklearn": sklearn},
                "storageInitializer": {"image": image(self._cluster, "storage")},
                **given,
            }
        return [f"--set-json={key}={json.dumps(value)}" for key, value in given.items()]


def has_kserve(cluster: Cluster) -> bool:
    """Whether KServe itself is there, with a webhook that applies to pods."""
    found = cluster.api.find("MutatingWebhookConfiguration", KSERVE_WEBHOOK_CONFIGURATION)
    return bool(found and found["webhooks"][0]["name"] != _NOWHERE)


def _stand_in_for_kserve(cluster: Cluster) -> None:
    """Have what the product asks for of KServe: its kind and its webhook, which has no pods."""
    nowhere: Manifest = {
        "name": _NOWHERE,
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
    configuration: Manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": KSERVE_WEBHOOK_CONFIGURATION},
        "webhooks": [nowhere],
    }
    manifests = [*documents(_KSERVE_CRD.read_text()), configuration]
    for manifest in manifests:
        manifest["metadata"].setdefault("labels", {}).update(_STAND_IN)
    cluster.apply(*manifests)
