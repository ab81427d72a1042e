"""Model servers with a batcher, as KServe's raw mode makes them of InferenceServices."""

from typing import Any, Final

from tests.apiserver.kit import Manifest, until
from tests.cluster.kit.cluster import Cluster

__all__ = ["RESTRICTED", "Workload", "restricted_namespace"]

RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_ROLLOUT_S: Final = 180.0


class Workload:
    """A Deployment and its Service, called by the name of the InferenceService."""

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
        port_name: str = "",
        share_processes: bool = False,
    ) -> None:
        self._cluster, self.namespace, self.name = cluster, namespace, name
        self.model = "m"
        self.deployment = f"{name}-predictor"
        path = f"/v1/models/{self.model}"
        self.path = f"{path}:predict"
        self.url = f"http://{self.deployment}.{namespace}.svc.cluster.local{self.path}"
        labels = {
            "app": f"isvc.{self.deployment}",
            "component": "predictor",
            "serving.kserve.io/inferenceservice": name,
        }
        self.selector = f"app={labels['app']}"
        internal = "internal.serving.kserve.io/batcher"
        noted = {
            internal: "true",
            f"{internal}-max-batchsize": str(batch_size),
            f"{internal}-max-latency": str(latency_ms),
            **(annotations or {}),
        }
        probe = {"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1}
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
        if port_name:
            container["ports"][0]["name"] = port_name
        pod = {"containers": [container], "shareProcessNamespace": share_processes}
        port = {"name": self.deployment, "port": 80, "targetPort": port_name or 9081}
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
        self._cluster.apply(*self.manifests)
        self.wait()

    def wait(self) -> None:
        """Wait until the Deployment has rolled out."""
        which = (f"deployment/{self.deployment}", "-n", self.namespace)
        bound = f"--timeout={_ROLLOUT_S}s"
        self._cluster.kubectl("rollout", "status", *which, bound, within_s=_ROLLOUT_S + 30)

    def roll(self, number: int) -> None:
        """Replace all pods, as a change of the InferenceService does; waits for the last."""
        noted = {"inference-batcher.io/restarted-at": str(number)}
        body = {"spec": {"template": {"metadata": {"annotations": noted}}}}
        self._cluster.api.patch("Deployment", self.deployment, self.namespace, body)
        self.wait()

    def scale(self, replicas: int) -> None:
        """Change how many pods there are; waits until there are so many, the old ones gone."""
        body = {"spec": {"replicas": replicas}}
        self._cluster.api.patch("Deployment", self.deployment, self.namespace, body)
        self.wait()
        until(lambda: len(self.pods()) == replicas, f"{replicas} pods", 60.0)

    def pods(self) -> list[Manifest]:
        """Its pods, those that are about to end included."""
        return self._cluster.api.list("Pod", self.namespace, labelSelector=self.selector)

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


def restricted_namespace(cluster: Cluster, name: str) -> None:
    """Make a namespace that enforces the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    meta = {"name": name, "labels": labels}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    until(
        lambda: cluster.api.find("ServiceAccount", "default", name) is not None,
        "the namespace has its ServiceAccount",
    )
