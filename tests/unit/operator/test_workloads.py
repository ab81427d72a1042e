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
RUNTIMES = "/apis/serving.kserve.io/v1alpha1/namespaces/models/servingruntimes"
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
    stand.cluster.read.clear()  # whose they are has been looked up
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


async def test_an_object_that_does_not_fit_its_schema_is_refused_too(stand: Stand) -> None:
    stand.service()
    words = "failed to create typed patch object (models/iris-predictor; apps/v1, Kind=Deployment)"
    stand.cluster.error[DEPLOYMENT] = Refused(500, f'{words}: duplicate entries for key [name="A"]')
    stand.cluster.readable.add(DEPLOYMENT)
    assert await stand.look()  # it will not go by itself
    (notice,) = stand.told[IRIS]
    assert notice.reason == "ApplyFailed"
    assert 'duplicate entries for key [name="A"]' in notice.message


@pytest.mark.parametrize(
    "error", [Refused(500, "a webhook fails"), Refused(429, "busy"), OSError("too late")]
)
async def test_what_lasts_is_told_and_tried_again(stand: Stand, error: OSError) -> None:
    service = stand.service()
    stand.cluster.error[DEPLOYMENT] = error
    stand.cluster.readable.add(DEPLOYMENT)
    for tries in range(5):
        with pytest.raises(OSError, match=str(error)):
            await stand.look(tries)
        assert stand.told == {}
    assert not await stand.look(5)
    (notice,) = stand.told[IRIS]
    assert notice.reason == "ApplyFailed"
    assert notice.message == f"the Deployment iris-predictor cannot be applied: {error}"
    conditions = {c["type"]: c for c in service["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == "ApplyFailed"
    del stand.cluster.error[DEPLOYMENT]
    assert await stand.look(6)
    assert stand.told[IRIS] == ()


FOREIGN = [
    (DEPLOYMENT, "Deployment iris-predictor"),
    ("/api/v1/namespaces/models/services/iris-predictor", "Service iris-predictor"),
    (f"{SCALERS}/iris-predictor", "HorizontalPodAutoscaler iris-predictor"),
    (SETTINGS, "ConfigMap iris-predictor-batcher"),
]


@pytest.mark.parametrize(("path", "name"), FOREIGN)
async def test_what_others_made_under_our_names_is_not_taken_over(
    stand: Stand, path: str, name: str
) -> None:
    service = stand.service(maxReplicas=3)
    target = {"kind": "Deployment", "name": "another"}
    theirs = {
        "metadata": {"uid": "mine", "name": path.rpartition("/")[2], "labels": {"app": "legacy"}},
        "spec": {"scaleTargetRef": target, "selector": {"app": "legacy"}},
        "data": {"settings.json": '{"max-latency": "5"}'},
        "status": {"conditions": [{"type": "Available", "status": "True"}]},
    }
    stand.cluster.objects[path] = copy.deepcopy(theirs)
    assert await stand.look()
    assert stand.cluster.objects[path] == theirs
    assert stand.cluster.applied == []
    (notice,) = stand.told[IRIS]
    assert notice.reason == "ApplyFailed"
    assert notice.message == f"the {name} exists and is not ours: rename or delete it"
    assert stand.files == {}
    assert "url" not in service["status"]
    conditions = {c["type"]: c["status"] for c in service["status"]["conditions"]}
    assert conditions["Ready"] == conditions["PredictorReady"] == "False"
    del stand.cluster.objects[path]
    await stand.look()
    assert stand.told[IRIS] == ()
    assert DEPLOYMENT in stand.cluster.objects


@pytest.mark.parametrize(
    "meta",
    [
        {"ownerReferences": [{"uid": "u1", "controller": True}]},  # as KServe makes it
        {
            "labels": {"app.kubernetes.io/managed-by": "inference-batcher"},
            "ownerReferences": [{"uid": "of an earlier iris", "controller": True}],
        },
    ],
)
async def test_what_was_made_for_the_service_is_adopted(stand: Stand, meta: Json) -> None:
    stand.service()
    for path, _ in FOREIGN[:2]:
        stand.cluster.objects[path] = {"metadata": {"uid": "before", **meta}}
    assert await stand.look()
    assert stand.told[IRIS] == ()
    for path, _ in FOREIGN[:2]:
        found = stand.cluster.objects[path]["metadata"]
        assert found["uid"] == "before"
        assert [owner["uid"] for owner in found["ownerReferences"]] == ["u1"]


async def test_what_takes_the_place_of_ours_is_not_taken_over(stand: Stand) -> None:
    stand.service()
    await stand.look()
    theirs = {"metadata": {"uid": "mine", "name": "iris-predictor"}}
    stand.cluster.objects[DEPLOYMENT] = copy.deepcopy(theirs)
    with pytest.raises(Conflict):
        await stand.look()
    await stand.look()
    assert stand.cluster.objects[DEPLOYMENT] == theirs
    assert "exists and is not ours" in stand.told[IRIS][0].message


async def test_what_is_deleted_is_made_again(stand: Stand) -> None:
    stand.service()
    await stand.look()
    del stand.cluster.objects[DEPLOYMENT]
    with pytest.raises(Conflict):
        await stand.look()
    assert await stand.look()
    assert DEPLOYMENT in stand.cluster.objects


async def test_a_look_that_changes_nothing_asks_for_little(stand: Stand) -> None:
    stand.service(maxReplicas=3)
    await stand.look()
    up = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}
    stand.cluster.objects[DEPLOYMENT]["status"] = up | {
        "conditions": [{"type": "Available", "status": "True"}]
    }
    await stand.look()
    stand.cluster.requests = 0
    stand.cluster.listed.clear()
    await stand.look()
    # Runtimes are read once a second at most.
    runtimes = [path for path in stand.cluster.listed if path.endswith("runtimes")]
    # Itself, its account, settings and autoscalers, whose replicas they are; four are applied.
    assert stand.cluster.requests - len(runtimes) == 9


async def test_a_runtime_that_comes_is_used_by_the_next_look(stand: Stand) -> None:
    predictor = stand.service(model={"modelFormat": {"name": "own"}})["spec"]["predictor"]
    del predictor["containers"]
    await stand.look()
    assert {notice.reason for notice in stand.told[IRIS]} == {"InvalidSpec"}
    stand.cluster.objects[f"{RUNTIMES}/own"] = {
        "kind": "ServingRuntime",
        "metadata": {"name": "own", "namespace": "models"},
        "spec": {
            "supportedModelFormats": [{"name": "own", "autoSelect": True}],
            "protocolVersions": ["v1"],
            "containers": [{"name": "kserve-container", "image": "example/own:1"}],
        },
    }
    stand.workloads.look_at_all()
    await stand.look()
    assert stand.told[IRIS] == ()
    assert DEPLOYMENT in stand.cluster.objects


async def test_versions_that_a_look_took_into_account_are_known(stand: Stand) -> None:
    stand.service()["metadata"]["resourceVersion"] = "7"
    stand.cluster.objects[DEPLOYMENT] = {
        "metadata": {"uid": "d", "resourceVersion": "8", "ownerReferences": [{"uid": "u1"}]}
    }
    await stand.look()
    assert [stand.workloads.wrote(IRIS, each) for each in ("7", "8", "9", "")] == [
        True, True, False, False,
    ]  # fmt: skip
    del stand.cluster.objects[SERVICE]
    await stand.look()
    assert not stand.workloads.wrote(IRIS, "7")


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
    with pytest.raises(OSError, match=str(error)):
        await stand.look()
    assert "status" not in service
    assert await stand.look()
    assert service["status"]["observedGeneration"] == 1


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
