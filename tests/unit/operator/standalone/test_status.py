"""The status of an InferenceService: what KServe's SDK and people wait for."""

import copy
from dataclasses import replace
from typing import Any, Final

import pytest
from kserve import KServeClient  # type: ignore[import-untyped]

from batcher_operator.standalone.failures import Failure
from batcher_operator.standalone.status import Observed, is_rolled_out, is_up, status_of
from tests.unit.operator.standalone.golden_files import Json, given, made, service_in

NOW: Final = "2030-01-01T00:00:00Z"
LATER: Final = "2030-01-01T01:00:00Z"
URL: Final = "http://batcher-predictor.models.svc.cluster.local"


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message}


AVAILABLE: Final = condition("Available", "True", "MinimumReplicasAvailable", "all is there")
UNAVAILABLE: Final = condition("Available", "False", "MinimumReplicasUnavailable", "no pod yet")
PROGRESSING: Final = condition("Progressing", "True", "ReplicaSetUpdated", "on its way")
COMPLETE: Final = condition("Progressing", "True", "NewReplicaSetAvailable", "done")
STUCK: Final = condition("Progressing", "False", "ProgressDeadlineExceeded", "no progress")
REFUSED: Final = condition("ReplicaFailure", "True", "FailedCreate", "no such ServiceAccount")


def deployment(*conditions: Json, replicas: int = 1, updated: int | None = None) -> Json:
    return {
        "metadata": {"generation": 2},
        "spec": {"replicas": replicas},
        "status": {
            "observedGeneration": 2,
            "replicas": replicas,
            "updatedReplicas": replicas if updated is None else updated,
            "readyReplicas": replicas if AVAILABLE in conditions else 0,
            "conditions": list(conditions),
        },
    }


def observed(**deployments: Json | None) -> Observed:
    names = {f"batcher-{key}": value for key, value in deployments.items()}
    return Observed(
        deployments={key: value for key, value in names.items() if value is not None},
        services=tuple(names),
    )


def status(
    seen: Observed, case: str = "batcher", before: Json | None = None, at: str = NOW
) -> Json:
    documents = given(case)
    service = {**service_in(documents), "status": before or {}}
    return status_of(service, made(documents), seen, at)


def conditions(found: Json) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each.get("reason", "")) for each in found["conditions"]}


def test_ready() -> None:
    assert status(observed(predictor=deployment(AVAILABLE, COMPLETE))) == {
        "observedGeneration": 1,
        "deploymentMode": "Standard",
        "conditions": [
            {"type": "IngressReady", "status": "True", "lastTransitionTime": NOW},
            {
                "type": "PredictorReady",
                "status": "True",
                "lastTransitionTime": NOW,
                "reason": "MinimumReplicasAvailable",
                "message": "all is there",
            },
            {"type": "Ready", "status": "True", "lastTransitionTime": NOW},
        ],
        "components": {"predictor": {"url": URL}},
        "modelStatus": {
            "transitionStatus": "UpToDate",
            "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
            "copies": {"failedCopies": 0, "totalCopies": 1},
        },
        "url": URL,
        "address": {"url": URL},
        "clusterServingRuntimeName": "kserve-sklearnserver",
    }


@pytest.mark.parametrize(
    ("found", "word", "reason"),
    [
        (None, "Unknown", "DeploymentMissing"),
        (deployment(), "Unknown", "Progressing"),
        (deployment(PROGRESSING), "Unknown", "ReplicaSetUpdated"),
        (deployment(UNAVAILABLE, PROGRESSING), "False", "MinimumReplicasUnavailable"),
        (deployment(AVAILABLE, PROGRESSING), "True", "MinimumReplicasAvailable"),
        (deployment(AVAILABLE, STUCK), "False", "ProgressDeadlineExceeded"),
        (deployment(AVAILABLE, PROGRESSING, REFUSED), "False", "FailedCreate"),
        (deployment(COMPLETE), "True", "NewReplicaSetAvailable"),
    ],
)
def test_a_component_is_as_its_deployment_is(found: Json | None, word: str, reason: str) -> None:
    shown = conditions(status(observed(predictor=found)))
    assert shown["PredictorReady"] == (word, reason)
    assert shown["Ready"] == (word, "" if word == "True" else reason)


def test_a_rollout_is_up_to_date_when_no_old_pod_is_left() -> None:
    for updated, word in ((1, "InProgress"), (2, "UpToDate")):
        rolling = deployment(AVAILABLE, PROGRESSING, replicas=2, updated=updated)
        shown = status(observed(predictor=rolling))["modelStatus"]
        target = "Loaded" if word == "UpToDate" else "Pending"
        assert shown == {
            "transitionStatus": word,
            "states": {"activeModelState": "Loaded", "targetModelState": target},
            "copies": {"failedCopies": 0, "totalCopies": 2},
        }


def test_a_model_that_does_not_start() -> None:
    found = status(observed(predictor=deployment(UNAVAILABLE, STUCK)))
    assert conditions(found)["Ready"] == ("False", "MinimumReplicasUnavailable")
    stuck = status(observed(predictor=deployment(AVAILABLE, STUCK)))
    assert stuck["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"


@pytest.mark.parametrize("found", [deployment(UNAVAILABLE), deployment(PROGRESSING)])
def test_why_pods_are_not_ready_is_said_instead_of_that(found: Json) -> None:
    failure = Failure("ModelLoadFailed", "the container ended with 1: no such bucket", 1)
    shown = status(replace(observed(predictor=found), failures={"predictor": failure}))
    assert conditions(shown)["PredictorReady"] == ("False", "ModelLoadFailed")
    assert conditions(shown)["Ready"] == ("False", "ModelLoadFailed")
    assert {each.get("message") for each in shown["conditions"]} == {None, failure.message}
    assert shown["modelStatus"] == {
        "transitionStatus": "BlockedByFailedLoad",
        "lastFailureInfo": {"reason": failure.reason, "message": failure.message, "exitCode": 1},
        "states": {"activeModelState": "", "targetModelState": "FailedToLoad"},
        "copies": {"failedCopies": 0, "totalCopies": 0},
    }


def test_a_pod_that_no_node_takes_may_still_come() -> None:
    failure = Failure("PodUnschedulable", "no node can take a pod: Insufficient cpu")
    seen = replace(observed(predictor=deployment(UNAVAILABLE)), failures={"predictor": failure})
    shown = status(seen)
    assert conditions(shown)["Ready"] == ("False", "PodUnschedulable")
    assert shown["modelStatus"]["transitionStatus"] == "InProgress"


def test_a_rollout_that_fails_leaves_it_ready() -> None:
    failure = Failure("ContainerFailed", "the container cannot be started: ErrImagePull")
    seen = observed(predictor=deployment(AVAILABLE, PROGRESSING, replicas=2, updated=1))
    shown = status(replace(seen, failures={"predictor": failure}))
    assert conditions(shown)["Ready"] == ("True", "")
    assert shown["modelStatus"] == {
        "transitionStatus": "BlockedByFailedLoad",
        "lastFailureInfo": {"reason": "ModelLoadFailed", "message": failure.message},
        "states": {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"},
        "copies": {"failedCopies": 0, "totalCopies": 2},
    }


def test_times_change_only_with_what_is_so() -> None:
    waiting = status(observed(predictor=deployment(UNAVAILABLE)))
    ready = status(observed(predictor=deployment(AVAILABLE)), before=waiting, at=LATER)
    times = {each["type"]: each["lastTransitionTime"] for each in ready["conditions"]}
    assert times == {"IngressReady": NOW, "PredictorReady": LATER, "Ready": LATER}
    assert status(observed(predictor=deployment(AVAILABLE)), before=ready, at="never") == ready


def test_faults_are_told_and_what_runs_is_still_found() -> None:
    documents = given("no-runtime")
    service = service_in(documents)
    seen = Observed(
        deployments={"iris-predictor": deployment(AVAILABLE)}, services=["iris-predictor"]
    )
    found = status_of(service, made(documents), seen, NOW)
    assert conditions(found)["PredictorReady"] == ("False", "InvalidSpec")
    assert conditions(found)["Ready"] == ("False", "InvalidSpec")
    assert conditions(found)["IngressReady"] == ("True", "")
    (message,) = {each["message"] for each in found["conditions"] if "message" in each}
    assert message.startswith(
        'spec.predictor.model.modelFormat "sklearn 2" is served by no runtime'
    )
    assert found["modelStatus"]["transitionStatus"] == "InvalidSpec"
    assert found["url"] == "http://iris-predictor.models.svc.cluster.local"


def test_objects_that_the_api_server_refuses() -> None:
    seen = Observed(troubles={"predictor": "the API server answered 422: no such field"})
    found = status(seen)
    assert conditions(found)["PredictorReady"] == ("False", "ApplyFailed")
    assert "url" not in found


def test_a_transformer_is_where_requests_go() -> None:
    documents = given("transformer")
    names = ("images-predictor", "images-transformer")
    seen = Observed(
        deployments={names[0]: deployment(AVAILABLE), names[1]: deployment(UNAVAILABLE)},
        services=names,
    )
    found = status_of(service_in(documents), made(documents), seen, NOW)
    shown = conditions(found)
    assert shown["PredictorReady"][0] == "True"
    assert shown["TransformerReady"] == shown["Ready"] == ("False", "MinimumReplicasUnavailable")
    assert found["url"] == "http://images-transformer.models.svc.cluster.local"
    assert set(found["components"]) == {"predictor", "transformer"}


def test_a_transformer_that_is_gone_leaves_no_condition() -> None:
    with_one = status(observed(predictor=deployment(AVAILABLE)))
    with_one["conditions"].append(condition("TransformerReady", "True"))
    found = status(observed(predictor=deployment(AVAILABLE)), before=with_one)
    assert set(conditions(found)) == {"IngressReady", "PredictorReady", "Ready"}


def test_stopped() -> None:
    documents = given("stopped")
    found = status_of(service_in(documents), made(documents), Observed(), NOW)
    assert set(conditions(found).values()) == {("False", "Stopped")}
    assert "url" not in found


def sdk(service: Json) -> Any:
    """KServe's client, without a cluster: it knows one InferenceService."""
    client = KServeClient.__new__(KServeClient)
    client.get = lambda *_, **__: copy.deepcopy(service)
    return client


def test_kserves_sdk_sees_when_it_is_ready() -> None:
    service = service_in(given("batcher"))
    assert not sdk(service).is_isvc_ready("batcher", "models")
    for found, ready in ((deployment(UNAVAILABLE), False), (deployment(AVAILABLE), True)):
        service["status"] = status(observed(predictor=found))
        assert sdk(service).is_isvc_ready("batcher", "models") is ready
    briefly = {"timeout_seconds": 0.02, "polling_interval": 0.01}
    sdk(service).wait_isvc_ready("batcher", "models", expected_generation=1, **briefly)
    with pytest.raises(RuntimeError, match="Timeout"):
        sdk(service).wait_isvc_ready("batcher", "models", expected_generation=2, **briefly)


@pytest.mark.parametrize(
    ("found", "done"),
    [
        (None, True),
        (deployment(replicas=3), True),
        (deployment(replicas=3, updated=2), False),
        ({**deployment(), "metadata": {"generation": 3}}, False),
        ({**deployment(replicas=3), "spec": {"replicas": 2}}, False),
        ({}, False),
    ],
)
def test_a_rollout_is_over_when_all_pods_are_of_the_last_template(
    found: Json | None, done: bool
) -> None:
    assert is_rolled_out(found) is done


@pytest.mark.parametrize(
    ("found", "up"),
    [
        (deployment(AVAILABLE, COMPLETE), True),
        (deployment(AVAILABLE, replicas=2, updated=1), False),
        (deployment(UNAVAILABLE), False),
        (deployment(PROGRESSING), False),
    ],
)
def test_a_deployment_is_up_when_its_last_template_is_available(found: Json, up: bool) -> None:
    assert is_up(found) is up
