"""Standalone mode as the chart installs it, with the operator's own rights; no pod ever runs."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.apiserver.kit import ApiError, until
from tests.apiserver.kit.installation import Installation, running_installation
from tests.apiserver.kit.kserve import CONFIGURATION
from tests.apiserver.kit.programs import Program

STANDALONE = ('mode="standalone"', "crds.enabled=true", "certificates.pollSeconds=0.3")


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation(*STANDALONE, knows_inferenceservices=False) as installation:
        with installation.webhook():
            yield installation


@pytest.fixture
def operator(installation: Installation) -> Iterator[Program]:
    with installation.start_operator() as program:
        installation.wait_until_ready()
        yield program


@pytest.fixture
def namespace(installation: Installation) -> str:
    return installation.server.new_namespace(installation.api)


def service(namespace: str, **predictor: Any) -> dict[str, Any]:
    container = {"name": "kserve-container", "image": "example.org/iris:1"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", "namespace": namespace},
        "spec": {
            "predictor": {
                "containers": [container],
                "batcher": {"maxBatchSize": 32, "maxLatency": 50},
                **predictor,
            }
        },
    }


def conditions(installation: Installation, namespace: str) -> dict[str, str]:
    found = installation.api.get("InferenceService", "iris", namespace).get("status") or {}
    return {each["type"]: each["status"] for each in found.get("conditions") or ()}


def test_an_inferenceservice_comes_to_a_deployment_a_service_and_a_status(
    installation: Installation, operator: Program, namespace: str
) -> None:
    api = installation.api
    api.create(service(namespace))
    until(lambda: "Ready" in conditions(installation, namespace), "there is a status")
    deployment = api.get("Deployment", "iris-predictor", namespace)
    template = deployment["spec"]["template"]
    assert template["metadata"]["labels"]["serving.kserve.io/inferenceservice"] == "iris"
    (port,) = api.get("Service", "iris-predictor", namespace)["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "inference-http")
    settings = api.get("ConfigMap", "iris-predictor-batcher", namespace)["data"]
    assert '"max-latency": "50"' in settings["settings.json"]
    until(
        lambda: conditions(installation, namespace).get("IngressReady") == "True",
        "the Service is there",
    )


def test_a_pod_of_its_template_gets_the_sidecar_and_gives_up_the_ports_name(
    installation: Installation, operator: Program, namespace: str
) -> None:
    api = installation.api
    api.create(service(namespace))
    until(lambda: bool(api.find("Deployment", "iris-predictor", namespace)), "it is there")
    template = api.get("Deployment", "iris-predictor", namespace)["spec"]["template"]
    template["metadata"] |= {"name": "iris-predictor-1", "namespace": namespace}
    pod = api.create({"apiVersion": "v1", "kind": "Pod", **template})
    holders = {
        container["name"]: port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
        if port.get("name") == "inference-http"
    }
    assert holders == {"agent": 9081}
    (agent,) = (c for c in pod["spec"]["containers"] if c["name"] == "agent")
    assert "--settings-file=/etc/inference-batcher/settings/settings.json" in agent["args"]
    names = [(v.get("configMap") or {}).get("name") for v in pod["spec"]["volumes"]]
    assert "iris-predictor-batcher" in names


def test_new_numbers_change_the_config_map_and_no_template(
    installation: Installation, operator: Program, namespace: str
) -> None:
    api = installation.api
    api.create(service(namespace))
    until(lambda: bool(api.find("Deployment", "iris-predictor", namespace)), "it is there")
    before = api.get("Deployment", "iris-predictor", namespace)["metadata"]["generation"]
    change = {"spec": {"predictor": {"batcher": {"maxLatency": 9}}}}
    api.patch("InferenceService", "iris", namespace, change)

    def has_changed() -> bool:
        data = api.get("ConfigMap", "iris-predictor-batcher", namespace)["data"]
        return '"max-latency": "9"' in data["settings.json"]

    until(has_changed, "the ConfigMap says so")
    assert api.get("Deployment", "iris-predictor", namespace)["metadata"]["generation"] == before


def test_drift_is_repaired_and_what_is_deleted_comes_back(
    installation: Installation, operator: Program, namespace: str
) -> None:
    api = installation.api
    api.create(service(namespace))
    until(lambda: bool(api.find("Service", "iris-predictor", namespace)), "it is there")
    api.patch("Service", "iris-predictor", namespace, {"spec": {"selector": {"app": "other"}}})

    def is_repaired() -> bool:
        found = api.find("Service", "iris-predictor", namespace)
        return bool(found and found["spec"]["selector"]["app"] == "isvc.iris-predictor")

    until(is_repaired, "the selector is as it was")
    api.delete("Service", "iris-predictor", namespace)
    until(is_repaired, "it is there again")


def test_what_it_cannot_do_is_refused_at_apply(
    installation: Installation, operator: Program, namespace: str
) -> None:
    with pytest.raises(ApiError, match=r"spec\.predictor\.logger"):
        installation.api.create(service(namespace, logger={"mode": "all"}))


def test_beside_kserve_it_stops_writing_and_says_so(
    installation: Installation, namespace: str
) -> None:
    api = installation.api
    hook = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    api.create({**hook, "metadata": {"name": CONFIGURATION}, "webhooks": []})
    try:
        with installation.start_operator():
            until(
                lambda: "so KServe runs InferenceServices here" in installation.why_not_ready(),
                "it says so",
            )
            api.create(service(namespace))
            name = 'inference_batcher_operator_inferenceservices{batcher="true"}'
            until(lambda: installation.metric(name) >= 1, "it has seen the service")
            assert api.find("Deployment", "iris-predictor", namespace) is None
            api.delete("MutatingWebhookConfiguration", CONFIGURATION)
            until(lambda: bool(api.find("Deployment", "iris-predictor", namespace)), "it goes on")
    finally:
        api.delete("MutatingWebhookConfiguration", CONFIGURATION)
