"""Model servers with a batcher: in pods of KServe's shape, and as InferenceServices."""

import json
import secrets
from typing import Any, Final

from batcher_contract.names import ANNOTATION_PREFIX, SETTINGS_FILE
from tests.apiserver.kit import Manifest, until
from tests.cluster.kit.cluster import Cluster

__all__ = [
    "RESTRICTED",
    "Deployed",
    "InferenceService",
    "Workload",
    "clear_namespaces",
    "restricted_namespace",
]

RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_ROLLOUT_S: Final = 180.0
_OF_TESTS: Final = "inference-batcher.test/namespace"


class Deployed:
    """A predictor's Deployment and Service."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, model: str) -> None:
        self.cluster, self.namespace, self.name = cluster, namespace, name
        self.deployment = f"{name}-predictor"
        self.path = f"/v1/models/{model}:predict"
        self.url = f"http://{self.deployment}.{namespace}.svc.cluster.local{self.path}"
        self.selector = f"app=isvc.{self.deployment}"

    def wait(self) -> None:
        """Wait until the Deployment has rolled out."""
        which = (f"deployment/{self.deployment}", "-n", self.namespace)
        bound = f"--timeout={_ROLLOUT_S}s"
        self.cluster.kubectl("rollout", "status", *which, bound, within_s=_ROLLOUT_S + 30)

    def pods(self) -> list[Manifest]:
        """Its pods, those that are about to end included."""
        return self.cluster.api.list("Pod", self.namespace, labelSelector=self.selector)

    def pod(self) -> Manifest:
        """Its only pod."""
        (pod,) = self.pods()
        return pod

    def restarts(self, container: str) -> list[int]:
        """How often a container was restarted, in each pod."""
        return [
            status["restartCount"]
            for pod in self.pods()
            for status in pod["status"].get("containerStatuses", ())
            if status["name"] == container
        ]

    def wait_for_pods(self, number: int) -> None:
        """Wait until there are so many and no more, the old ones gone."""
        until(lambda: len(self.pods()) == number, f"{number} pods of {self.deployment}", 90.0)


class Workload(Deployed):
    """Its pods as KServe's raw mode makes them of an InferenceService, which is not there."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        image: str,
        *,
        args: tuple[str, ...] = (),
        replicas: int = 1,
        batch_size: int = 32,
        latency_ms: int = 20,
        annotations: dict[str, str] | None = None,
        liveness: bool = False,
        share_processes: bool = False,
    ) -> None:
        super().__init__(cluster, namespace, name, "m")
        labels = {
            "app": f"isvc.{self.deployment}",
            "component": "predictor",
            "serving.kserve.io/inferenceservice": name,
        }
        internal = "internal.serving.kserve.io/batcher"
        noted = {
            internal: "true",
            f"{internal}-max-batchsize": str(batch_size),
            f"{internal}-max-latency": str(latency_ms),
            **(annotations or {}),
        }
        probe = {"httpGet": {"path": "/v1/models/m", "port": 8080}, "periodSeconds": 1}
        container: Manifest = {
            "name": "kserve-container",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": list(args),
            "ports": [{"containerPort": 8080, "protocol": "TCP"}],
            "readinessProbe": probe,
            "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "1Gi"}},
            "securityContext": RESTRICTED,
        }
        pod = {"containers": [container], "shareProcessNamespace": share_processes}
        port = {"name": self.deployment, "port": 80, "targetPort": 9081}
        if liveness:
            container["livenessProbe"] = {**probe, "failureThreshold": 2, "timeoutSeconds": 1}
        meta = {"name": self.deployment, "namespace": namespace, "labels": labels}
        self.manifests: list[dict[str, Any]] = [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": meta,
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": labels["app"]}},
                    "template": {
                        "metadata": {"labels": labels, "annotations": noted},
                        "spec": pod,
                    },
                },
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta,
                "spec": {"selector": {"app": labels["app"]}, "ports": [port]},
            },
        ]

    def start(self) -> None:
        """Make it and wait until all its pods are available."""
        self.cluster.apply(*self.manifests)
        self.wait()

    def roll(self, number: int) -> None:
        """Replace all pods, as a change of the InferenceService does; waits for the last."""
        noted = {f"{ANNOTATION_PREFIX}restarted-at": str(number)}
        body = {"spec": {"template": {"metadata": {"annotations": noted}}}}
        self.cluster.api.patch("Deployment", self.deployment, self.namespace, body)
        self.wait()

    def scale(self, replicas: int) -> None:
        """Change how many pods there are; waits until there are so many, the old ones gone."""
        body = {"spec": {"replicas": replicas}}
        self.cluster.api.patch("Deployment", self.deployment, self.namespace, body)
        self.wait()
        self.wait_for_pods(replicas)


class InferenceService(Deployed):
    """An InferenceService of the test's model server, which standalone mode runs."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        image: str,
        *,
        replicas: int = 1,
        batcher: Manifest | None = None,
        annotations: dict[str, str] | None = None,
        container: Manifest | None = None,
    ) -> None:
        super().__init__(cluster, namespace, name, name)
        serving: Manifest = {
            "name": "kserve-container",
            "image": image,
            "ports": [{"containerPort": 8080, "protocol": "TCP"}],
            "readinessProbe": {
                "httpGet": {"path": f"/v1/models/{name}", "port": 8080},
                "periodSeconds": 1,
            },
            "resources": {
                "requests": {"cpu": "10m", "memory": "32Mi"},
                "limits": {"cpu": "1", "memory": "1Gi"},
            },
            "securityContext": RESTRICTED,
            **(container or {}),
        }
        predictor = {
            "minReplicas": replicas,
            "maxReplicas": replicas,
            "batcher": batcher or {"maxBatchSize": 32, "maxLatency": 10},
            "containers": [serving],
        }
        self.manifest: Manifest = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
            "spec": {"predictor": predictor},
        }

    def start(self) -> None:
        """Make it and wait until it is ready."""
        self.cluster.apply(self.manifest)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until its status, as of its last change, says that it is ready."""
        until(self._is_ready, f"{self.name} is ready", _ROLLOUT_S)

    def _is_ready(self) -> bool:
        found = self.get()
        status = found.get("status") or {}
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return seen and {"Ready": "True"}.items() <= conditions(status).items()

    def get(self) -> Manifest:
        """What it is now."""
        return self.cluster.api.get("InferenceService", self.name, self.namespace)

    def change(self, predictor: Manifest) -> None:
        """Change fields of its predictor."""
        body = {"spec": {"predictor": predictor}}
        self.cluster.api.patch("InferenceService", self.name, self.namespace, body)

    def annotate(self, **annotations: str | None) -> None:
        """Set annotations of ours, by their names without the prefix and with underscores."""
        keys = {f"{ANNOTATION_PREFIX}{k.replace('_', '-')}": v for k, v in annotations.items()}
        body = {"metadata": {"annotations": keys}}
        self.cluster.api.patch("InferenceService", self.name, self.namespace, body)

    def events(self) -> dict[str, str]:
        """The Events about it: the last message of each reason."""
        about = f"involvedObject.kind=InferenceService,involvedObject.name={self.name}"
        found = self.cluster.api.list("Event", self.namespace, fieldSelector=about)
        return {each["reason"]: each["message"] for each in found}

    def settings(self) -> dict[str, str]:
        """The file of settings that its sidecars are given."""
        name = f"{self.deployment}-batcher"
        data = self.cluster.api.get("ConfigMap", name, self.namespace)["data"]
        given: dict[str, str] = json.loads(data[SETTINGS_FILE])
        return given

    def roll(self, number: int) -> None:
        """Replace all pods; waits for the last."""
        before = self._generation()
        self.annotate(restarted_at=str(number))
        until(lambda: self._generation() > before, "the Deployment has changed", 60.0)
        self.wait()

    def scale(self, replicas: int) -> None:
        """Change how many pods there are; waits until there are so many, the old ones gone."""
        self.change({"minReplicas": replicas, "maxReplicas": replicas})
        self.wait_for_pods(replicas)
        self.wait()

    def _generation(self) -> int:
        api = self.cluster.api
        meta = api.get("Deployment", self.deployment, self.namespace)["metadata"]
        return int(meta["generation"])


def conditions(status: Manifest) -> dict[str, str]:
    """The conditions of a status: their types and whether they hold."""
    return {each["type"]: each["status"] for each in status.get("conditions") or ()}


def restricted_namespace(cluster: Cluster) -> str:
    """Make a namespace that enforces the restricted Pod Security Standard; its name."""
    name = f"e2e-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", _OF_TESTS: "true"}
    meta = {"name": name, "labels": labels}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    until(
        lambda: cluster.api.find("ServiceAccount", "default", name) is not None,
        "the namespace has its ServiceAccount",
    )
    return name


def clear_namespaces(cluster: Cluster) -> None:
    """Delete the namespaces of runs that were interrupted."""
    for each in cluster.api.list("Namespace", labelSelector=_OF_TESTS):
        cluster.api.delete("Namespace", each["metadata"]["name"])
