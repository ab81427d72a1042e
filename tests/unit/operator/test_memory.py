from types import MappingProxyType
from typing import Any

import pytest

from batcher_operator.memory import Memory
from batcher_operator.resources import Kind
from batcher_operator.views import Key
from tests.unit.operator import objects

IRIS = Key("models", "iris")


def test_the_latest_state_of_each_object() -> None:
    memory = Memory()
    assert memory.take("InferenceService", objects.service(), gone=False) == IRIS
    memory.take("InferenceService", objects.service(resource_version="2"), gone=False)
    memory.take("Pod", objects.pod(resource_version="5"), gone=False)
    assert memory.versions("InferenceService") == {"uid-iris": "2"}
    assert memory.versions("Pod") == {"uid-iris-predictor-1": "5"}
    assert [pod.resource_version for pod in memory.pods_of(IRIS)] == ["5"]


def test_an_object_that_is_gone_is_forgotten_and_its_service_looked_at() -> None:
    memory = Memory()
    memory.take("InferenceService", objects.service(), gone=False)
    memory.take("Pod", objects.pod(), gone=False)
    assert memory.take("Pod", objects.pod(), gone=True) == IRIS
    assert memory.pods_of(IRIS) == []
    assert memory.take("InferenceService", objects.service(), gone=True) == IRIS
    assert memory.service(IRIS) is None
    assert not list(memory.services())
    assert not list(memory.pods())


def test_a_pod_that_changes_its_service_is_moved() -> None:
    memory = Memory()
    memory.take("Pod", objects.pod(), gone=False)
    memory.take("Pod", objects.pod(of="other"), gone=False)
    assert memory.pods_of(IRIS) == []
    assert len(memory.pods_of(Key("models", "other"))) == 1


def test_an_unknown_object_that_is_gone_does_no_harm() -> None:
    memory = Memory()
    memory.take("Pod", objects.pod(), gone=True)
    memory.take("InferenceService", objects.service(), gone=True)
    assert memory.forget("Pod", {"x"}) == memory.forget("InferenceService", {"x"}) == set()


def test_forgetting_tells_which_services_to_look_at() -> None:
    memory = Memory()
    memory.take("InferenceService", objects.service(), gone=False)
    memory.take("Pod", objects.pod(), gone=False)
    assert memory.forget("Pod", {"uid-iris-predictor-1"}) == {IRIS}
    assert memory.forget("InferenceService", {"uid-iris"}) == {IRIS}
    assert memory.versions("Pod") == memory.versions("InferenceService") == {}


CONDITION = {"type": "Available", "status": "True", "lastUpdateTime": "1"}
STATUS = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 0, "conditions": [CONDITION]}


@pytest.mark.parametrize(
    ("kind", "before", "after", "matters"),
    [
        ("HorizontalPodAutoscaler", {"status": {"currentReplicas": 1}}, {"status": {}}, False),
        ("HorizontalPodAutoscaler", {"spec": {"minReplicas": 1}}, {"spec": {}}, True),
        ("ConfigMap", {"data": {"a": "1"}}, {"data": {"a": "2"}}, True),
        ("Service", {"spec": {"ports": [1]}}, {"spec": {"ports": [2]}}, True),
        ("Deployment", {"status": STATUS}, {"status": {**STATUS, "readyReplicas": 1}}, False),
        ("Deployment", {"status": STATUS}, {"status": {**STATUS, "updatedReplicas": 0}}, True),
        (
            "Deployment",
            {"status": STATUS},
            {"status": {**STATUS, "conditions": [{**CONDITION, "lastUpdateTime": "2"}]}},
            False,
        ),
        (
            "Deployment",
            {"status": STATUS},
            {"status": {**STATUS, "conditions": [{**CONDITION, "status": "False"}]}},
            True,
        ),
    ],
)
def test_only_what_a_workload_goes_by_matters(
    kind: Kind, before: dict[str, Any], after: dict[str, Any], matters: bool
) -> None:
    memory = Memory()
    other, first = memory.take_other(kind, objects.owned(kind, **before), gone=False)
    assert first
    assert other.key == IRIS
    raw = MappingProxyType(objects.owned(kind, resource_version="2", **after))  # as kopf's views
    assert memory.take_other(kind, raw, gone=False)[1] == matters
    assert memory.versions(kind) == {"uid-of-owned": "2"}
    assert memory.take_other(kind, raw, gone=True)[1]
    assert memory.versions(kind) == {}


def test_a_label_or_an_owner_that_changes_matters() -> None:
    memory = Memory()
    memory.take_other("Service", objects.owned("Service"), gone=False)
    changed = objects.owned("Service")
    changed["metadata"]["labels"]["component"] = "other"
    assert memory.take_other("Service", changed, gone=False)[1]
    changed["metadata"]["ownerReferences"] = []
    assert memory.take_other("Service", changed, gone=False)[1]
