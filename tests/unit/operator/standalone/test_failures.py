"""Why pods are not ready, in words that stay the same while they are tried again."""

from typing import Any, Final

import pytest

from batcher_operator.standalone.failures import Failure, failures_of, has_failed

Json = dict[str, Any]
WORDS: Final = """\
2030-01-01 00:00:00.099 1 storage.initializer INFO Copying contents of s3://models/iris to local
2030-01-01T00:00:01.394Z S3 error [403]: Forbidden

"""
ENDED: Final = {"terminated": {"exitCode": 1, "reason": "Error", "message": WORDS}}
BACK_OFF: Final = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}}
TOLD: Final = Failure(
    "ModelLoadFailed",
    "the container storage-initializer ended with 1: S3 error [403]: Forbidden",
    1,
)


def container(name: str, state: Json, before: Json | None = None, *, ready: bool = False) -> Json:
    return {"name": name, "ready": ready, "state": state, "lastState": before or {}}


def pod(
    *containers: Json,
    fetching: Json | None = None,
    component: str = "predictor",
    template: str = "a",
    at: str = "2030-01-01T00:00:00Z",
) -> Json:
    labels = {"component": component, "pod-template-hash": template}
    statuses = {
        "initContainerStatuses": [fetching] if fetching else [],
        "containerStatuses": list(containers),
    }
    meta = {"name": f"pod-{template}", "labels": labels, "creationTimestamp": at}
    return {"metadata": meta, "status": statuses}


@pytest.mark.parametrize(
    ("state", "before"),
    [(ENDED, None), (BACK_OFF, ENDED), ({"running": {"startedAt": "now"}}, ENDED)],
)
def test_a_model_that_cannot_be_fetched_is_told_of_through_all_tries(
    state: Json, before: Json | None
) -> None:
    waiting = container("kserve-container", {"waiting": {"reason": "PodInitializing"}})
    failing = pod(waiting, fetching=container("storage-initializer", state, before))
    assert failures_of([failing]) == {"predictor": TOLD}
    assert has_failed(failing)


@pytest.mark.parametrize(
    ("state", "before", "message", "code"),
    [
        (
            {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            None,
            "the container kserve-container ended with 137 (OOMKilled): its log may say why",
            137,
        ),
        (
            BACK_OFF,
            {"terminated": {"exitCode": 2, "reason": "Error", "message": "no model.joblib\n"}},
            "the container kserve-container ended with 2: no model.joblib",
            2,
        ),
        (
            {"waiting": {"reason": "ErrImagePull", "message": "iris:1 is not found"}},
            None,
            "the container kserve-container cannot be started: ErrImagePull: iris:1 is not found",
            None,
        ),
        (
            {
                "waiting": {
                    "reason": "ImagePullBackOff",
                    "message": 'Back-off pulling image "iris:1": ErrImagePull: iris:1 is not found',
                }
            },
            None,
            "the container kserve-container cannot be started: ErrImagePull: iris:1 is not found",
            None,
        ),
        (
            {"waiting": {"reason": "CreateContainerConfigError"}},
            None,
            "the container kserve-container cannot be started: CreateContainerConfigError",
            None,
        ),
    ],
)
def test_other_containers(state: Json, before: Json | None, message: str, code: int | None) -> None:
    fetched = container("storage-initializer", {"terminated": {"exitCode": 0}}, ENDED, ready=True)
    failing = pod(container("kserve-container", state, before), fetching=fetched)
    found = failures_of([failing])
    assert found == {"predictor": Failure("ContainerFailed", message, code)}


def unscheduled(reason: str, message: str) -> Json:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return {**pod(), "status": {"phase": "Pending", "conditions": [condition]}}


def test_a_pod_that_no_node_takes() -> None:
    words = '0/1 nodes are available: persistentvolumeclaim "models" not found.'
    lonely = unscheduled("Unschedulable", f"{words} preemption: 0/1 nodes are available: 1 victim.")
    told = Failure("PodUnschedulable", f"no node can take a pod: {words}")
    assert failures_of([lonely]) == {"predictor": told}
    assert has_failed(lonely)


@pytest.mark.parametrize(
    "harmless",
    [
        pod(),
        unscheduled("SchedulingGated", "waits for a quota"),
        {**pod(), "status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}},
        pod(container("kserve-container", {"waiting": {"reason": "ContainerCreating"}})),
        pod(container("kserve-container", {"running": {}})),
        pod(container("kserve-container", {"running": {}}, ENDED, ready=True)),
        pod(container("kserve-container", {"terminated": {"exitCode": 0}})),
        {},
        {"metadata": {"deletionTimestamp": "now"}, "status": {"containerStatuses": [ENDED]}},
        {"metadata": None, "status": {"containerStatuses": ["?", {"state": "?"}]}},
    ],
)
def test_what_is_no_failure(harmless: Json) -> None:
    assert failures_of([harmless]) == {}
    assert not has_failed(harmless)


def test_pods_that_end_do_not_count() -> None:
    failing = pod(container("kserve-container", ENDED))
    failing["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert failures_of([failing]) == {}
    assert not has_failed(failing)


def test_pods_of_the_newest_template_count() -> None:
    old = pod(container("kserve-container", ENDED), template="a")
    new = pod(container("kserve-container", {"running": {}}), template="b", at="2030-01-02")
    other = pod(container("kserve-container", ENDED), component="transformer")
    assert set(failures_of([old, new, other])) == {"transformer"}
    newer = pod(fetching=container("storage-initializer", ENDED), template="c", at="2030-01-03")
    fine = pod(container("kserve-container", {}, ready=True), template="c", at="2030-01-04")
    assert failures_of([old, newer, new, fine]) == {"predictor": TOLD}


def test_words_are_cut() -> None:
    ended = {"terminated": {"exitCode": 1, "message": "x" * 5000}}
    found = failures_of([pod(container("kserve-container", ended))])
    assert len(found["predictor"].message) < 500
