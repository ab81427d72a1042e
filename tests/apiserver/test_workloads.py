"""Standalone mode as the chart installs it, with the operator's own rights; no pod ever runs."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from batcher_contract.names import WEBHOOK_CONFIGURATION
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


def told(installation: Installation, namespace: str, reason: str) -> list[str]:
    """The messages of the Events of this reason."""
    events = installation.api.list("Event", namespace)
    return [event["message"] for event in events if event["reason"] == reason]


def test_what_others_made_is_left_alone_until_it_is_gone(
    installation: Installation, operator: Program, namespace: str
) -> None:
    api = installation.api
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "iris-predictor", "namespace": namespace},
        "spec": {"selector": {"app": "legacy"}, "ports": [{"port": 80}]},
    }
    made = api.create(theirs)
    api.create(service(namespace))
    until(lambda: bool(told(installation, namespace, "ApplyFailed")), "it is told")
    (message,) = told(installation, namespace, "ApplyFailed")
    assert message.startswith("the Service iris-predictor exists and is not ours")
    assert api.get("Service", "iris-predictor", namespace) == made
    assert api.find("Deployment", "iris-predictor", namespace) is None
    api.delete("Service", "iris-predictor", namespace)
    until(lambda: bool(api.find("Deployment", "iris-predictor", namespace)), "it is there")


def test_what_kserve_or_an_earlier_operator_made_is_adopted(
    installation: Installation, namespace: str
) -> None:
    api = installation.api
    uid = api.create(service(namespace))["metadata"]["uid"]
    with installation.start_operator():
        until(lambda: bool(api.find("Deployment", "iris-predictor", namespace)), "it is there")
    owner = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "name": "iris",
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    before = {}
    for kind in ("Service", "Deployment"):
        found = api.get(kind, "iris-predictor", namespace)
        api.delete(kind, "iris-predictor", namespace)
        labels = {"app": "isvc.iris-predictor"}
        found["metadata"] = {
            "name": "iris-predictor",
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [owner],
        }
        for key in ("clusterIP", "clusterIPs"):
            found["spec"].pop(key, None)
        before[kind] = api.create(found)["metadata"]["uid"]
    with installation.start_operator():
        key = "app.kubernetes.io/managed-by"

        def is_adopted(kind: str) -> bool:
            meta = api.get(kind, "iris-predictor", namespace)["metadata"]
            ours = meta["labels"].get(key) == "inference-batcher"
            return bool(ours and meta["uid"] == before[kind])

        until(lambda: all(map(is_adopted, before)), "both are adopted")
    assert told(installation, namespace, "ApplyFailed") == []


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


def test_kserve_that_comes_later_stops_the_writing_at_once(
    installation: Installation, namespace: str
) -> None:
    """However seldom certificates are looked at."""
    api = installation.api
    hook = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    with installation.start_operator("--certificate-poll=3600") as program:
        api.create(service(namespace))
        until(lambda: bool(api.find("Deployment", "iris-predictor", namespace)), "it writes")
        api.create({**hook, "metadata": {"name": CONFIGURATION}, "webhooks": []})
        try:
            time.sleep(1.5)  # nobody is asked again before a second has passed
            other = service(namespace)
            other["metadata"]["name"] = "other"
            api.create(other)
            words = "so KServe runs InferenceServices here, and nothing is written"
            until(lambda: words in installation.why_not_ready(), "it says so")
            until(lambda: words in program.output, "its log says so, too")
            assert api.find("Deployment", "other-predictor", namespace) is None
        finally:
            api.delete("MutatingWebhookConfiguration", CONFIGURATION)
        until(lambda: bool(api.find("Deployment", "other-predictor", namespace)), "it goes on")


def test_cert_manager_that_fills_nothing_in_stops_no_workload(
    installation: Installation, namespace: str
) -> None:
    """Nothing depends on the webhook but batching."""
    api = installation.api
    api.create(service(namespace))
    found = api.get("MutatingWebhookConfiguration", WEBHOOK_CONFIGURATION)
    bundle = found["webhooks"][0]["clientConfig"].pop("caBundle")
    api.replace(found)
    try:
        with installation.start_operator("--certificates=external"):
            until(lambda: "has no caBundle" in installation.why_not_ready(), "it is not ready")
            until(lambda: bool(api.find("Deployment", "iris-predictor", namespace)), "it writes")
    finally:
        found = api.get("MutatingWebhookConfiguration", WEBHOOK_CONFIGURATION)
        found["webhooks"][0]["clientConfig"]["caBundle"] = bundle
        api.replace(found)


def test_it_begins_once_all_kinds_are_defined(
    installation: Installation, namespace: str
) -> None:
    """Kinds that come later would not be watched."""
    api = installation.api
    name = "servingruntimes.serving.kserve.io"
    definition = api.get("CustomResourceDefinition", name)
    api.delete("CustomResourceDefinition", name)
    until(lambda: api.find("CustomResourceDefinition", name) is None, "it is gone")
    made = service(namespace)
    model = {"modelFormat": {"name": "own"}, "storageUri": "https://example.org/iris"}
    made["spec"]["predictor"] = {"model": model}
    with installation.start_operator():
        words = "the cluster has no ServingRuntimes: install the chart with crds.enabled=true"
        until(lambda: installation.why_not_ready() == words, "it says so")
        kept = ("name", "labels", "annotations")
        meta = {key: definition["metadata"][key] for key in kept if key in definition["metadata"]}
        api.create({**definition, "metadata": meta, "status": {}})
        installation.wait_until_ready()
        api.create(made)
        until(lambda: bool(told(installation, namespace, "InvalidSpec")), "no runtime fits")
        api.create(
            {
                "apiVersion": "serving.kserve.io/v1alpha1",
                "kind": "ServingRuntime",
                "metadata": {"name": "own", "namespace": namespace},
                "spec": {
                    "supportedModelFormats": [{"name": "own", "autoSelect": True}],
                    "protocolVersions": ["v1"],
                    "containers": [{"name": "kserve-container", "image": "a:1"}],
                },
            }
        )
        until(lambda: bool(api.find("Deployment", "iris-predictor", namespace)), "it is used")
