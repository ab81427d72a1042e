from batcher_operator.memory import Memory
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
