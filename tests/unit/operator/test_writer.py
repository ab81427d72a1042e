"""What is applied and deleted, what is left alone, and what is told where that fails."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from batcher_operator.kube import Conflict, Refused
from tests.unit.operator.workload_stand import (
    DEPLOYMENT,
    IRIS,
    SCALERS,
    SERVICE,
    SETTINGS,
    Cluster,
    Json,
    Stand,
)


@pytest.fixture
def stand() -> Stand:
    return Stand()


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
    assert not await stand.look()  # nobody tells when it is gone
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
    assert await stand.look()
    assert stand.told[IRIS] == ()
    assert DEPLOYMENT in stand.cluster.objects


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
