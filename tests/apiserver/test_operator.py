"""The operator as the chart installs it, with its own ServiceAccount's rights."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.apiserver.kit import until
from tests.apiserver.kit.installation import Installation, running_installation
from tests.apiserver.kit.programs import Program

KSERVE_HOOK = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingWebhookConfiguration",
    "metadata": {"name": "inferenceservice.serving.kserve.io"},
    "webhooks": [],
}


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation("operator.watchCheckSeconds=1", "certificates.pollSeconds=0.5") as it:
        yield it


@pytest.fixture
def with_kserve(installation: Installation) -> None:
    installation.api.apply(KSERVE_HOOK)


@pytest.fixture
def operator(installation: Installation, with_kserve: None) -> Iterator[Program]:
    with installation.start_operator() as program:
        installation.wait_until_ready()
        yield program


@pytest.fixture
def namespace(installation: Installation) -> str:
    return installation.server.new_namespace(installation.api)


def service(namespace: str, **predictor: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", "namespace": namespace},
        "spec": {"predictor": {"batcher": {"maxBatchSize": 32}, **predictor}},
    }


def pod(namespace: str, name: str = "iris-predictor-1") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"serving.kserve.io/inferenceservice": "iris", "component": "predictor"},
            "annotations": {"internal.serving.kserve.io/batcher": "true"},
        },
        "spec": {"containers": [{"name": "kserve-container", "image": "example.org/iris:1"}]},
    }


def events(installation: Installation, namespace: str) -> dict[str, dict[str, Any]]:
    """The Events of a namespace by reason; there is at most one of each in these tests."""
    found = installation.api.list("Event", namespace)
    by_reason = {event["reason"]: event for event in found}
    assert len(by_reason) == len(found)
    return by_reason


def wait_for_event(installation: Installation, namespace: str, reason: str) -> dict[str, Any]:
    until(lambda: reason in events(installation, namespace), f"there is an Event {reason}")
    return events(installation, namespace)[reason]


def test_without_kserve_it_is_not_ready_and_says_what_to_install(
    installation: Installation,
) -> None:
    installation.api.delete("MutatingWebhookConfiguration", "inferenceservice.serving.kserve.io")
    with installation.start_operator():
        until(
            lambda: "into pods: install KServe" in installation.why_not_ready(),
            "it says that KServe is missing",
        )
        assert installation.why_not_alive() == ""
        installation.api.apply(KSERVE_HOOK)
        installation.wait_until_ready()


def test_a_defeated_batcher_gets_an_event_that_says_what_to_do(
    installation: Installation, operator: Program, namespace: str
) -> None:
    made = installation.api.create(service(namespace, containerConcurrency=1))
    event = wait_for_event(installation, namespace, "ContainerConcurrencyOne")
    assert event["type"] == "Warning"
    assert event["involvedObject"]["uid"] == made["metadata"]["uid"]
    assert event["message"].endswith("leave it out or raise it")


def test_pods_with_and_without_their_sidecar(
    installation: Installation, operator: Program, namespace: str
) -> None:
    installation.api.create(service(namespace))
    installation.api.create(pod(namespace))  # no webhook runs
    missing = wait_for_event(installation, namespace, "SidecarMissing")
    assert f"kubectl annotate isvc iris -n {namespace} --overwrite" in missing["message"]
    with installation.webhook():
        installation.wait_until_ready()
        installation.api.create(pod(namespace, "iris-predictor-2"))
    injected = wait_for_event(installation, namespace, "SidecarInjected")
    assert injected["type"] == "Normal"
    assert installation.metric('inference_batcher_operator_pods{sidecar="injected"}') == 1
    assert installation.metric('inference_batcher_operator_pods{sidecar="missing"}') == 1


def test_another_operator_repeats_nothing(
    installation: Installation, with_kserve: None, namespace: str
) -> None:
    installation.api.create(service(namespace, containerConcurrency=1))
    for _ in range(2):
        with installation.start_operator():
            installation.wait_until_ready()
            until(
                lambda: installation.metric("inference_batcher_operator_events_total") > 0,
                "it has said what there is to say",
            )
    assert set(events(installation, namespace)) == {"ContainerConcurrencyOne"}


def test_it_writes_nothing_on_inferenceservices(
    installation: Installation, operator: Program, namespace: str
) -> None:
    made = installation.api.create(service(namespace, containerConcurrency=1))
    wait_for_event(installation, namespace, "ContainerConcurrencyOne")
    assert installation.api.get("InferenceService", "iris", namespace) == made


def test_it_ends_soon_when_told(installation: Installation, with_kserve: None) -> None:
    with installation.start_operator() as program:
        installation.wait_until_ready()
        program.signal(signal.SIGTERM)
        until(lambda: program.exit_code is not None, "it has ended", within_s=10)
        assert program.exit_code == 0, program.output


def test_an_api_server_that_is_out_of_reach(installation: Installation) -> None:
    with installation.start_operator("--kubeconfig=/nonexistent") as program:
        until(lambda: program.exit_code is not None, "it has ended", within_s=20)
        assert program.exit_code == 2
        assert "set KUBECONFIG or give --kubeconfig" in program.output
