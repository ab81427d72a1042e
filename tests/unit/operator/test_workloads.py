import json

import pytest

from batcher_operator.kube import Conflict
from tests.unit.operator.workload_stand import (
    ACCOUNTS,
    DEPLOYMENT,
    IRIS,
    PODS,
    RUNTIMES,
    SERVICE,
    Stand,
)


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
        assert notice.message.endswith("take them off the ServiceAccount")
    stand.service(serviceAccountName=name, containers=[container])
    stand.cluster.read.clear()
    await stand.look()
    asked = [path for path in stand.cluster.read if path.startswith(ACCOUNTS)]
    assert asked == [f"{ACCOUNTS}/default"]


async def test_a_setting_that_cannot_be_applied_is_told_and_all_else_is_done(
    stand: Stand,
) -> None:
    stand.service()["metadata"]["annotations"] = {"inference-batcher.io/max-concurrency": "0"}
    await stand.look()
    assert DEPLOYMENT in stand.cluster.objects
    (notice,) = stand.told[IRIS]
    assert notice.reason == "SettingIgnored"
    assert "max-concurrency" in notice.message
    assert notice.message.endswith("; the last good value holds, or the default")


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
