"""Whom a real API server asks the webhook about."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from batcher_contract.names import WEBHOOK_CONFIGURATION
from tests.apiserver.chart.release import (
    ASKED,
    CONFIGURATIONS,
    OF_KSERVE,
    Helm,
    make_namespaces,
    pod,
    service,
)
from tests.apiserver.kit import Api, ApiError, Manifest, until
from tests.chart.rendered import NAMESPACE
from tests.ports import free_port


def call_nobody(api: Api) -> None:
    """Have calls to the webhook fail at once, and refuse what they were about."""
    nobody = free_port()
    for kind in CONFIGURATIONS:
        configuration = api.get(kind, WEBHOOK_CONFIGURATION)
        (entry,) = configuration["webhooks"]
        entry["clientConfig"] = {"url": f"https://127.0.0.1:{nobody}/"}
        entry["failurePolicy"] = "Fail"
        api.replace(configuration)
    until(lambda: is_called(api, service("probe", {"batcher": {}})), "the webhooks are called")
    until(lambda: is_called(api, pod("probe", labels=OF_KSERVE, annotations=ASKED)), "both are")


def is_called(api: Api, manifest: Manifest) -> bool:
    """Whether the webhook would be asked about the creation of an object."""
    try:
        api.create(manifest, dryRun="All")
    except ApiError as error:
        assert "failed calling webhook" in error.message, error.message
        return True
    return False


@pytest.fixture
def nobody(helm: Helm, admin: Api) -> Iterator[Api]:
    """The chart is installed, and what the webhook is asked about is refused."""
    make_namespaces(admin, "default", "kube-system", "excluded")
    helm("install", values={"webhook": {"excludedNamespaces": ["excluded"]}})
    call_nobody(admin)
    yield admin


def test_only_pods_that_asked_for_batching_come_to_the_webhook(nobody: Api) -> None:
    def called(*args: Any, **more: Any) -> bool:
        return is_called(nobody, pod("x", *args, **more))

    assert called(labels=OF_KSERVE, annotations=ASKED)
    assert called(labels=OF_KSERVE, annotations={**ASKED, "a": "b"})
    assert not called()
    assert not called(labels=OF_KSERVE)
    assert not called(labels=OF_KSERVE, annotations={"a": "b"})
    assert not called(labels={"app": "other"}, annotations=ASKED)
    for namespace in ("kube-system", "excluded", NAMESPACE):
        assert not called(namespace, labels=OF_KSERVE, annotations=ASKED), namespace


def test_pods_that_exist_are_changed_without_the_webhook(nobody: Api) -> None:
    nobody.create(pod("plain", labels=OF_KSERVE))
    changed = {"metadata": {"annotations": ASKED}}
    nobody.patch("Pod", "plain", "default", changed)
    nobody.delete("Pod", "plain", "default")


OURS: Final = {"inference-batcher.io/max-concurrency": "2"}


SERVICES: Final[dict[str, tuple[bool, Manifest]]] = {
    "nothing": (False, service("x", {})),
    "another's annotation": (False, service("x", {}, {"a": "b"})),
    "another's annotation of the predictor": (False, service("x", {"annotations": {"a": "b"}})),
    "a transformer": (False, service("x", {}, transformer={"minReplicas": 1})),
    "a section": (True, service("x", {"batcher": {"maxBatchSize": 32}})),
    "an empty section": (True, service("x", {"batcher": {}})),
    "our annotation": (True, service("x", {}, {"a": "b", **OURS})),
    "our annotation of the predictor": (True, service("x", {"annotations": OURS})),
    "a transformer's section": (True, service("x", {}, transformer={"batcher": {}})),
    "our annotation of the transformer": (
        True,
        service("x", {}, transformer={"annotations": OURS}),
    ),
    "an explainer's section": (True, service("x", {}, explainer={"batcher": {}})),
}


def test_only_inferenceservices_that_speak_of_batching_come_to_the_webhook(nobody: Api) -> None:
    for what, (expected, manifest) in SERVICES.items():
        assert is_called(nobody, manifest) is expected, what


def test_a_service_can_be_deleted_and_report_its_status_whatever_the_webhook_says(
    helm: Helm, admin: Api
) -> None:
    made = service("held", {"batcher": {"maxBatchSize": 0}})
    made["metadata"]["finalizers"] = ["example.io/held"]
    admin.create(made)
    helm("install")
    call_nobody(admin)
    path = admin.path("InferenceService", "held", "default")
    status = {"status": {"url": "http://held.default"}}
    merge = "application/merge-patch+json"
    admin.call("PATCH", f"{path}/status", status, content_type=merge)
    with pytest.raises(ApiError, match="failed calling webhook"):
        admin.patch("InferenceService", "held", "default", {"metadata": {"labels": {"a": "b"}}})
    admin.delete("InferenceService", "held", "default")
    assert admin.find("InferenceService", "held", "default") is not None
    admin.patch("InferenceService", "held", "default", {"metadata": {"finalizers": None}})
    assert admin.find("InferenceService", "held", "default") is None
