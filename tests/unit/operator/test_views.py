import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_operator.views import Key, read_pod, read_service
from tests.unit.operator import objects

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
FIELDS = ("metadata", "spec", "status", "labels", "annotations", "containers", "predictor", "env")


def hostile(fields: tuple[str, ...] = FIELDS) -> st.SearchStrategy[dict[str, object]]:
    nested = st.recursive(
        anything,
        lambda inner: st.dictionaries(st.sampled_from(fields), inner | st.lists(inner, max_size=2)),
        max_leaves=12,
    )
    return st.dictionaries(st.sampled_from(fields), nested)


@given(hostile())
def test_whatever_an_object_holds_it_is_read(raw: dict[str, object]) -> None:
    read_service(raw)
    read_pod(raw)


def test_an_inferenceservice() -> None:
    raw = objects.service(
        predictor={"batcher": {}, "containerConcurrency": 1},
        transformer={"batcher": {"maxBatchSize": 2}},
        explainer={"batcher": {}},
    )
    service = read_service(raw)
    assert service.key == Key("models", "iris")
    assert (service.uid, service.resource_version) == ("uid-iris", "1")
    assert service.batched == ("predictor", "transformer")  # KServe ignores an explainer's
    assert service.one_at_a_time == ("predictor",)


def test_container_concurrency_matters_only_with_a_batcher() -> None:
    assert read_service(objects.service(predictor={"containerConcurrency": 1})).one_at_a_time == ()


def test_a_pod_with_our_sidecar() -> None:
    raw = objects.pod(
        objects.sidecar("--max-latency=9", version="0.0.9"),
        decision="Injected: batches",
        terminationGracePeriodSeconds=60,
    )
    pod = read_pod(raw)
    assert pod.key == Key("models", "iris")
    assert (pod.component, pod.asked, pod.decision) == ("predictor", True, "Injected: batches")
    assert pod.sidecar is not None
    assert pod.sidecar.version == "0.0.9"
    assert pod.sidecar.args == ("--enable-batcher", "--max-latency=9")
    assert pod.sidecar.memory_limit == "1Gi"
    assert (pod.grace_s, pod.ending) == (60, False)


def test_a_sidecar_may_be_an_init_container() -> None:
    assert read_pod(objects.pod(initContainers=[objects.sidecar()])).sidecar is not None


def test_a_pod_of_kserves_agent_has_none_of_ours() -> None:
    assert read_pod(objects.pod({"name": "agent", "args": ["--enable-batcher"]})).sidecar is None


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_is_over_is_ending(phase: str) -> None:
    assert read_pod({**objects.pod(), "status": {"phase": phase}}).ending


def test_a_pod_that_is_deleted_is_ending() -> None:
    raw = objects.pod()
    raw["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert read_pod(raw).ending
