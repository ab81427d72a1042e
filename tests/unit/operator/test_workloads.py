import asyncio
import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from batcher_operator.kube import Conflict, Refused
from batcher_operator.reconcile import Notice
from batcher_operator.standalone.workload import Platform
from batcher_operator.views import Key
from batcher_operator.workloads import Workloads

IRIS = Key("models", "iris")
SERVICE = "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices/iris"
DEPLOYMENT = "/apis/apps/v1/namespaces/models/deployments/iris-predictor"
SETTINGS = "/api/v1/namespaces/models/configmaps/iris-predictor-batcher"
ACCOUNTS = "/api/v1/namespaces/models/serviceaccounts"
PODS = "/api/v1/namespaces/models/pods"
SCALERS = "/apis/autoscaling/v2/namespaces/models/horizontalpodautoscalers"
Json = dict[str, Any]


class Cluster:
    """Objects by path; who applied what."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.applied: list[tuple[str, str]] = []
        self.deleted: list[str] = []
        self.listed: list[str] = []
        self.puts = 0
        self.read: list[str] = []
        self.error: dict[str, OSError] = {}

    async def get(self, path: str) -> Json | None:
        self.read.append(path)
        if path in self.error:
            raise self.error[path]
        return copy.deepcopy(self.objects.get(path))

    async def put(self, path: str, body: Mapping[str, Any]) -> Json:
        if path in self.error:
            raise self.error.pop(path)
        self.puts += 1
        found = self.objects[path.removesuffix("/status")]
        found["status"] = copy.deepcopy(body["status"])
        return found

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> Json:
        if path in self.error:
            raise self.error[path]
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
        wanted = dict([labels.split("=")]) if labels else {}
        inside = [found for at, found in self.objects.items() if at.startswith(f"{path}/")]
        fitting = [o for o in inside if wanted.items() <= o["metadata"].get("labels", {}).items()]
        return copy.deepcopy(fitting)


class Stand:
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

    async def look(self) -> bool:
        self.workloads.look_at((IRIS,))
        return await self.workloads.work()


@pytest.fixture
def stand() -> Stand:
    return Stand()


async def test_all_that_a_service_needs_is_applied_and_its_status_written(stand: Stand) -> None:
    service = stand.service()
    assert await stand.look()
    assert [what for what, _ in stand.cluster.applied] == [
        "iris-predictor-batcher ConfigMap",
        "iris-predictor Service",
        "iris-predictor Deployment",
    ]
    assert {manager for _, manager in stand.cluster.applied} == {"inference-batcher"}
    assert service["status"]["url"] == "http://iris-predictor.models.svc.cluster.local"
    assert stand.told[IRIS] == ()


async def test_what_running_sidecars_are_told_is_handed_on(stand: Stand) -> None:
    stand.service(batcher={"maxLatency": 60000})
    await stand.look()
    assert json.loads(stand.files["predictor"]) == {"max-latency": "60000"}
    stand.service(batcher={"maxLatency": 7}, logger={"mode": "all"})
    await stand.look()
    assert json.loads(stand.files["predictor"]) == {"max-latency": "60000"}  # as it is still


async def test_a_status_that_says_the_same_is_not_written_again(stand: Stand) -> None:
    stand.service()
    await stand.look()
    await stand.look()
    assert stand.cluster.puts == 1


async def test_what_was_just_applied_is_not_read_again(stand: Stand) -> None:
    service = stand.service(minReplicas=1)
    await stand.look()
    applied = (DEPLOYMENT, "/api/v1/namespaces/models/services/iris-predictor")
    assert [path for path in stand.cluster.read if path in applied] == []
    words = {c["type"]: c["status"] for c in service["status"]["conditions"]}
    assert words["IngressReady"] == "True"
    service["spec"]["predictor"]["logger"] = {"mode": "all"}
    # Nothing is applied now, so what is there is read.
    await stand.look()
    assert DEPLOYMENT in stand.cluster.read
    words = {c["type"]: c["status"] for c in service["status"]["conditions"]}
    assert (words["Ready"], words["IngressReady"]) == ("False", "True")


async def test_what_is_no_longer_wanted_is_deleted_once_nobody_needs_it(stand: Stand) -> None:
    stand.service()
    await stand.look()
    del stand.cluster.objects[SERVICE]["spec"]["predictor"]["batcher"]
    await stand.look()
    assert stand.cluster.deleted == []  # pods of the old template may still look into it
    stand.cluster.objects[DEPLOYMENT]["status"] = {
        "observedGeneration": 1,
        "replicas": 1,
        "updatedReplicas": 1,
    }
    await stand.look()
    assert stand.cluster.deleted == [SETTINGS]


async def test_what_others_own_is_left_alone(stand: Stand) -> None:
    stand.service()
    stand.cluster.objects[f"{SCALERS}/iris-predictor"] = {
        "metadata": {"uid": "mine", "name": "iris-predictor"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "iris-predictor"}},
    }
    await stand.look()
    assert stand.cluster.deleted == []
    assert "replicas" not in stand.cluster.objects[DEPLOYMENT]["spec"]


async def test_a_service_that_is_gone_or_going_is_left_to_its_end(stand: Stand) -> None:
    assert await stand.look()
    stand.service()["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert await stand.look()
    assert stand.cluster.applied == []
    assert stand.told[IRIS] == ()


async def test_faults_are_told_and_what_runs_stays(stand: Stand) -> None:
    stand.service()
    await stand.look()
    stand.cluster.applied.clear()
    service = stand.service(logger={"mode": "all"})
    await stand.look()
    assert stand.cluster.applied == []
    assert DEPLOYMENT in stand.cluster.objects
    assert {notice.reason for notice in stand.told[IRIS]} == {"InvalidSpec"}
    assert "spec.predictor.logger" in stand.told[IRIS][0].message
    ready = {c["type"]: c["status"] for c in service["status"]["conditions"]}
    assert ready["Ready"] == "False"


@pytest.mark.parametrize("name", ["..", "../../kube-system/secrets/s3", "s3?watch=true", "S3", ""])
async def test_what_is_no_name_is_never_asked_for(stand: Stand, name: str) -> None:
    model = [{"name": "STORAGE_URI", "value": "s3://models/iris"}]
    container = {"name": "kserve-container", "image": "example/iris:1", "env": model}
    stand.service(serviceAccountName="s3-sa", containers=[container])
    account = {"metadata": {"name": "s3-sa"}, "secrets": [{"name": name}]}
    stand.cluster.objects[f"{ACCOUNTS}/s3-sa"] = account
    await stand.look()
    assert not [path for path in stand.cluster.read if "secrets" in path]
    if name:
        assert stand.cluster.applied == []
        (notice,) = stand.told[IRIS]
        assert notice.reason == "InvalidSpec"
        assert repr(name) in notice.message
        assert notice.message.endswith("take it off the ServiceAccount")
    stand.service(serviceAccountName=name, containers=[container])
    stand.cluster.read.clear()
    await stand.look()
    asked = [path for path in stand.cluster.read if path.startswith(ACCOUNTS)]
    assert asked == ([] if name else [f"{ACCOUNTS}/default"])


async def test_a_setting_that_cannot_be_applied_is_told_and_all_else_is_done(
    stand: Stand,
) -> None:
    stand.service()["metadata"]["annotations"] = {"inference-batcher.io/max-concurrency": "0"}
    await stand.look()
    assert DEPLOYMENT in stand.cluster.objects
    (notice,) = stand.told[IRIS]
    assert notice.reason == "SettingIgnored"
    assert "max-concurrency" in notice.message


async def test_an_object_that_the_api_server_refuses_is_told_in_its_words(stand: Stand) -> None:
    service = stand.service()

    async def refuse(path: str, body: Mapping[str, Any], manager: str) -> Json:
        if path == DEPLOYMENT:
            raise Refused(422, "spec.template is invalid")
        return await Cluster.apply(stand.cluster, path, body, manager)

    stand.cluster.apply = refuse  # type: ignore[method-assign]
    assert await stand.look()
    (notice,) = stand.told[IRIS]
    assert notice.reason == "ApplyFailed"
    assert "spec.template is invalid" in notice.message
    conditions = {c["type"]: c for c in service["status"]["conditions"]}
    assert "spec.template is invalid" in conditions["PredictorReady"]["message"]


async def test_why_pods_are_not_ready_is_told_while_they_are_not(stand: Stand) -> None:
    service = stand.service()
    ended = {"terminated": {"exitCode": 1, "message": "S3 error [403]: Forbidden"}}
    for name in ("iris", "another"):
        stand.cluster.objects[f"{PODS}/{name}-1"] = {
            "metadata": {
                "name": f"{name}-1",
                "labels": {"serving.kserve.io/inferenceservice": name, "component": "predictor"},
            },
            "status": {"initContainerStatuses": [{"name": "storage-initializer", "state": ended}]},
        }
    await stand.look()
    message = "the container storage-initializer ended with 1: S3 error [403]: Forbidden"
    (notice,) = stand.told[IRIS]
    assert notice.reason == "ModelLoadFailed"
    assert notice.message == f"pods of spec.predictor are not ready: {message}"
    conditions = {c["type"]: c for c in service["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == conditions["PredictorReady"]["reason"]
    assert conditions["Ready"]["message"] == message

    available = {"type": "Available", "status": "True"}
    up = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "conditions": [available]}
    stand.cluster.objects[DEPLOYMENT]["status"] = up
    stand.cluster.listed.clear()
    await stand.look()
    assert stand.told[IRIS] == ()
    assert PODS not in stand.cluster.listed  # nobody asks about what is well


async def test_a_container_that_fails_is_told_of(stand: Stand) -> None:
    stand.service()
    waiting = {"waiting": {"reason": "InvalidImageName", "message": "cannot be parsed"}}
    stand.cluster.objects[f"{PODS}/iris-1"] = {
        "metadata": {
            "labels": {"serving.kserve.io/inferenceservice": "iris", "component": "predictor"}
        },
        "status": {"containerStatuses": [{"name": "kserve-container", "state": waiting}]},
    }
    await stand.look()
    (notice,) = stand.told[IRIS]
    assert notice.reason == "ContainerFailed"
    assert "kserve-container cannot be started: InvalidImageName: cannot be p" in notice.message


@pytest.mark.parametrize("error", [OSError("no answer"), Conflict(409, "changed")])
async def test_what_could_not_be_done_is_done_later(stand: Stand, error: OSError) -> None:
    service = stand.service()
    stand.cluster.error[f"{SERVICE}/status"] = error
    assert not await stand.look()
    assert "status" not in service
    assert await stand.workloads.work()
    assert service["status"]["observedGeneration"] == 1


async def test_nothing_is_written_while_there_is_a_reason_not_to(stand: Stand) -> None:
    stand.service()
    begin, why = asyncio.Event(), ["KServe runs InferenceServices here"]
    begin.set()
    task = asyncio.ensure_future(stand.workloads.keep(begin, lambda: why[0]))
    for _ in range(5):
        await asyncio.sleep(0)
    assert stand.cluster.applied == []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_number_of_ours_is_handed_over_to_an_autoscaler_only(stand: Stand) -> None:
    stand.service(minReplicas=3)
    await stand.look()
    owned = {"manager": "inference-batcher", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    stand.cluster.objects[DEPLOYMENT]["metadata"]["managedFields"] = [owned]
    stand.cluster.applied.clear()
    stand.service()  # the default again, not what was
    await stand.look()
    assert {manager for _, manager in stand.cluster.applied} == {"inference-batcher"}
    stand.cluster.objects[DEPLOYMENT]["spec"]["replicas"] = 3
    stand.service(minReplicas=1, maxReplicas=5)
    await stand.look()
    handed = [manager for what, manager in stand.cluster.applied if what.endswith("Deployment")]
    assert "inference-batcher-replicas" in handed
