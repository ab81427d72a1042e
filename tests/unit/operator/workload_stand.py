"""An API server in memory, and what brings InferenceServices about on it."""

import copy
from collections.abc import Mapping
from typing import Any

from batcher_operator.kube import Conflict, Refused
from batcher_operator.reconcile import Notice
from batcher_operator.standalone.workload import Platform
from batcher_operator.views import Key
from batcher_operator.workloads import Workloads

__all__ = [
    "ACCOUNTS",
    "DEPLOYMENT",
    "IRIS",
    "PODS",
    "RUNTIMES",
    "SCALERS",
    "SERVICE",
    "SETTINGS",
    "Cluster",
    "Json",
    "Stand",
]

IRIS = Key("models", "iris")
SERVICE = "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices/iris"
DEPLOYMENT = "/apis/apps/v1/namespaces/models/deployments/iris-predictor"
SETTINGS = "/api/v1/namespaces/models/configmaps/iris-predictor-batcher"
ACCOUNTS = "/api/v1/namespaces/models/serviceaccounts"
PODS = "/api/v1/namespaces/models/pods"
RUNTIMES = "/apis/serving.kserve.io/v1alpha1/namespaces/models/servingruntimes"
SCALERS = "/apis/autoscaling/v2/namespaces/models/horizontalpodautoscalers"
Json = dict[str, Any]


class Cluster:
    """Objects by path; who applied what, and what was asked for.

    What is at a path in `error` is raised by reads of it, unless it is `readable`, and by writes.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.applied: list[tuple[str, str]] = []
        self.deleted: list[str] = []
        self.listed: list[str] = []
        self.puts = 0
        self.read: list[str] = []
        self.error: dict[str, OSError] = {}
        self.readable: set[str] = set()
        self.requests = 0

    async def get(self, path: str) -> Json | None:
        self.read.append(path)
        self.requests += 1
        if path in self.error and path not in self.readable:
            raise self.error[path]
        return copy.deepcopy(self.objects.get(path))

    async def put(self, path: str, body: Mapping[str, Any]) -> Json:
        if path in self.error:
            raise self.error.pop(path)
        self.puts += 1
        self.requests += 1
        found = self.objects[path.removesuffix("/status")]
        found["status"] = copy.deepcopy(body["status"])
        return found

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> Json:
        if path in self.error:
            raise self.error[path]
        self.requests += 1
        uid = body["metadata"].get("uid")
        if uid and path not in self.objects:
            raise Conflict(409, "uid mismatch")
        if uid and self.objects[path]["metadata"]["uid"] != uid:
            raise Refused(422, "metadata.uid: field is immutable")
        self.applied.append((path.rpartition("/")[2] + " " + body["kind"], manager))
        found = self.objects.setdefault(path, {"metadata": {"uid": f"uid of {path}"}})
        found["metadata"] |= copy.deepcopy(body["metadata"])
        found |= {key: copy.deepcopy(body[key]) for key in body if key != "metadata"}
        return found

    async def delete(self, path: str, uid: str) -> None:
        assert self.objects[path]["metadata"]["uid"] == uid
        del self.objects[path]
        self.deleted.append(path)

    async def list_items(self, path: str, labels: str = "") -> list[Json]:
        self.listed.append(path)
        self.requests += 1
        wanted = dict([labels.split("=")]) if labels else {}
        inside = [found for at, found in self.objects.items() if at.startswith(f"{path}/")]
        fitting = [o for o in inside if wanted.items() <= o["metadata"].get("labels", {}).items()]
        return copy.deepcopy(fitting)


class Stand:
    """The InferenceService `iris`, looked at when told; what is told of it."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.told: dict[Key, tuple[Notice, ...]] = {}
        self.files: Mapping[str, str] = {}
        self.workloads = Workloads(self.cluster, Platform(), self.tell, lambda: [IRIS])

    def tell(self, key: Key, notices: tuple[Notice, ...], files: Mapping[str, str]) -> None:
        self.told[key], self.files = notices, files

    def service(self, **predictor: Any) -> Json:
        container = {"name": "kserve-container", "image": "example/iris:1"}
        self.cluster.objects[SERVICE] = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "iris", "namespace": "models", "uid": "u1", "generation": 1},
            "spec": {
                "predictor": {
                    "containers": [container],
                    "batcher": {"maxBatchSize": 4},
                    **predictor,
                }
            },
        }
        return self.cluster.objects[SERVICE]

    async def look(self, tries: int = 0) -> bool:
        return await self.workloads.look(IRIS, tries)
