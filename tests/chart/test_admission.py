"""The webhook configurations: what they are called, and what reaches the webhook."""

import re
from pathlib import Path
from typing import Any

import pytest

from batcher_contract.names import BATCHER_ANNOTATION, SERVICE_LABEL, WEBHOOK_CONFIGURATION
from batcher_webhook import handlers
from tests.apiserver.kit import Manifest
from tests.chart.rendered import CASES, NAMESPACE, Chart, case, render

KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def entry(chart: Chart, kind: str) -> dict[str, Any]:
    (found,) = chart.one(kind)["webhooks"]
    return dict(found)


@pytest.mark.parametrize("release", ["a", "zzz", "inference-batcher", "a" * 53])
def test_the_names_are_fixed_whatever_the_release_is_called(release: str) -> None:
    chart = render({}, release)
    assert {chart.one(kind)["metadata"]["name"] for kind in KINDS} == {WEBHOOK_CONFIGURATION}
    assert entry(chart, KINDS[0])["name"] == "pods.inference-batcher.io"
    assert entry(chart, KINDS[1])["name"] == "services.inference-batcher.io"


def test_the_api_server_calls_us_right_after_kserve_and_before_istio() -> None:
    kserve = "inferenceservice.serving.kserve.io"
    names = [
        "istio-sidecar-injector",
        WEBHOOK_CONFIGURATION,
        "linkerd-proxy-injector-webhook-config",
        "pod-policy.example",
        "cert-manager-webhook",
        kserve,
    ]
    ordered = sorted(names)
    assert ordered.index(WEBHOOK_CONFIGURATION) == ordered.index(kserve) + 1
    assert ordered.index(WEBHOOK_CONFIGURATION) < ordered.index("istio-sidecar-injector")


@pytest.mark.parametrize("name", CASES)
def test_no_ca_bundle_is_ever_named(name: str) -> None:
    """Or helm would take it away with the next upgrade."""
    for kind in KINDS:
        assert "caBundle" not in entry(case(name), kind)["clientConfig"]


@pytest.mark.parametrize("name", CASES)
def test_the_service_leads_to_the_webhook(name: str) -> None:
    chart = case(name)
    service = chart.one("Service")
    (port,) = service["spec"]["ports"]
    pod = chart.one("Deployment", "-webhook")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert f"--port={ports[port['targetPort']]}" in container["args"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    for kind in KINDS:
        config = entry(chart, kind)["clientConfig"]["service"]
        assert config["name"] == service["metadata"]["name"]
        assert config["namespace"] == NAMESPACE == service["metadata"]["namespace"]
        assert config["port"] == port["port"]


def test_the_paths_are_those_that_the_webhook_serves() -> None:
    served = re.findall(r'add_post\("([^"]+)"', Path(handlers.__file__).read_text())
    named = [entry(case("defaults"), kind)["clientConfig"]["service"]["path"] for kind in KINDS]
    assert sorted(named) == sorted(served)


def test_only_new_pods_of_kserve_that_asked_for_batching_come_to_us() -> None:
    pods = entry(case("defaults"), KINDS[0])
    assert pods["rules"] == [
        {
            "operations": ["CREATE"],
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["pods"],
            "scope": "Namespaced",
        }
    ]
    assert pods["objectSelector"] == {
        "matchExpressions": [{"key": SERVICE_LABEL, "operator": "Exists"}]
    }
    (condition,) = pods["matchConditions"]
    assert f"'{BATCHER_ANNOTATION}' in object.metadata.annotations" in condition["expression"]


def test_inferenceservices_come_to_us_without_their_status() -> None:
    services = entry(case("defaults"), KINDS[1])
    (rule,) = services["rules"]
    assert rule["resources"] == ["inferenceservices"]
    assert rule["operations"] == ["CREATE", "UPDATE"]
    assert (rule["apiGroups"], rule["apiVersions"]) == (["serving.kserve.io"], ["v1beta1"])


@pytest.mark.parametrize("kind", KINDS)
def test_entries_are_safe(kind: str) -> None:
    found = entry(case("defaults"), kind)
    assert found["admissionReviewVersions"] == ["v1"]
    assert found["sideEffects"] == "None"
    assert found["timeoutSeconds"] == 5
    assert found["matchPolicy"] == "Equivalent"


@pytest.mark.parametrize(
    ("name", "policies"),
    [
        ("defaults", ["Ignore", "Ignore"]),
        ("placed", ["Fail", "Ignore"]),
        ("no policy", ["Ignore", "Fail"]),
    ],
)
def test_what_happens_without_the_webhook_is_the_users_choice(
    name: str, policies: list[str]
) -> None:
    assert [entry(case(name), kind)["failurePolicy"] for kind in KINDS] == policies


def test_the_webhook_is_called_again_when_another_changes_the_pod() -> None:
    assert entry(case("defaults"), KINDS[0])["reinvocationPolicy"] == "IfNeeded"


@pytest.mark.parametrize("kind", KINDS)
def test_namespaces_that_hold_the_cluster_or_ourselves_are_left_alone(kind: str) -> None:
    def excluded(manifest: Manifest) -> list[str]:
        (expression,) = manifest["namespaceSelector"]["matchExpressions"]
        assert (expression["key"], expression["operator"]) == (
            "kubernetes.io/metadata.name",
            "NotIn",
        )
        return list(expression["values"])

    assert excluded(entry(case("defaults"), kind)) == ["kube-system", NAMESPACE]
    assert excluded(entry(case("placed"), kind)) == ["kube-system", NAMESPACE, "istio-system"]


@pytest.mark.parametrize("name", ["cert-manager", "cert-manager, own issuer"])
@pytest.mark.parametrize("kind", KINDS)
def test_cert_manager_fills_in_the_ca_of_what_is_served(name: str, kind: str) -> None:
    chart = case(name)
    certificate = chart.one("Certificate", "-tls")
    annotation = chart.one(kind)["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    assert annotation == f"{NAMESPACE}/{certificate['metadata']['name']}"
    (volume,) = chart.one("Deployment", "-webhook")["spec"]["template"]["spec"]["volumes"]
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
    host = "{name}.{namespace}.svc".format(**chart.one("Service")["metadata"])
    assert host in certificate["spec"]["dnsNames"]


def test_cert_managers_issuers_form_a_chain_or_are_the_users() -> None:
    own = case("cert-manager")
    leaf, authority = own.one("Certificate", "-tls"), own.one("Certificate", "-ca")
    signer = own.one("Issuer", leaf["spec"]["issuerRef"]["name"])
    assert signer["spec"]["ca"]["secretName"] == authority["spec"]["secretName"]
    assert authority["spec"]["isCA"] is True
    root = own.one("Issuer", authority["spec"]["issuerRef"]["name"])
    assert root["spec"] == {"selfSigned": {}}
    other = case("cert-manager, own issuer")
    assert other.all("Issuer") == []
    assert other.one("Certificate")["spec"]["issuerRef"] == {
        "name": "company",
        "kind": "ClusterIssuer",
        "group": "cert-manager.io",
    }


def test_nothing_of_cert_manager_is_asked_for_by_default() -> None:
    chart = case("defaults")
    assert not chart.all("Certificate") and not chart.all("Issuer")
    for kind in KINDS:
        assert "annotations" not in chart.one(kind)["metadata"]
