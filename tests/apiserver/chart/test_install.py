"""What a real API server takes, keeps and loses as the chart is installed, changed and removed."""

from typing import Any, Final

import pytest

from batcher_contract.names import WEBHOOK_CONFIGURATION
from tests.apiserver.chart.release import CONFIGURATIONS, RELEASE, Helm
from tests.apiserver.kit import Api, ApiError
from tests.chart.rendered import CASES, NAMESPACE, Chart, pod_templates, render

BUNDLE: Final = "LS0tLS1CRUdJTg=="


def made(api: Api, chart: Chart) -> list[str]:
    """Which of the chart's objects exist."""
    return [
        f"{m['kind']}/{m['metadata']['name']}"
        for m in chart.manifests
        if api.find(m["kind"], m["metadata"]["name"], m["metadata"].get("namespace"))
    ]


@pytest.mark.parametrize("name", CASES)
def test_the_api_server_takes_every_object_whole(name: str, admin: Api) -> None:
    """No unknown field, no wrong value, no duplicate."""
    for manifest in render(CASES[name], RELEASE).manifests:
        if manifest["kind"] != "Pod":  # needs its ServiceAccount first
            admin.create(manifest, dryRun="All", fieldValidation="Strict")


@pytest.mark.parametrize("name", CASES)
def test_helm_would_install_it(name: str, helm: Helm) -> None:
    out = helm("install", "--dry-run=server", values=CASES[name])
    assert "STATUS: pending-install" in out


def test_the_cluster_admits_the_pods(helm: Helm, admin: Api) -> None:
    """In a namespace that enforces the restricted profile; but for those on the host's network."""
    helm("install")  # for their ServiceAccounts
    for name, values in CASES.items():
        for component, pod in pod_templates(render(values, RELEASE)).items():
            meta = {**pod["metadata"], "name": component, "namespace": NAMESPACE}
            manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod["spec"]}
            if name.startswith("host network") and component == "webhook":
                with pytest.raises(ApiError, match="hostPort"):
                    admin.create(manifest, dryRun="All")
            else:
                admin.create(manifest, dryRun="All", fieldValidation="Strict")


def test_what_is_installed_can_be_removed_and_installed_again(helm: Helm, admin: Api) -> None:
    chart = render({}, RELEASE)
    chart.manifests = [m for m in chart.manifests if m["kind"] != "Pod"]
    for _ in range(2):
        assert made(admin, chart) == []
        helm("install")
        assert len(made(admin, chart)) == len(chart.manifests)
        helm("uninstall")
    assert made(admin, chart) == []


def fill_in(api: Api) -> None:
    """Write what the operator writes: a CA bundle, and the Secrets' data."""
    for kind in CONFIGURATIONS:
        configuration = api.get(kind, WEBHOOK_CONFIGURATION)
        configuration["webhooks"][0]["clientConfig"]["caBundle"] = BUNDLE
        api.replace(configuration)
    for name in (f"{RELEASE}-ca", f"{RELEASE}-webhook-tls"):
        secret = api.get("Secret", name, NAMESPACE)
        api.replace({**secret, "data": {"ca.crt": BUNDLE, "tls.key": BUNDLE}})


def written(api: Api) -> list[Any]:
    """What is there of it."""
    return [
        *(
            api.get(kind, WEBHOOK_CONFIGURATION)["webhooks"][0]["clientConfig"].get("caBundle")
            for kind in CONFIGURATIONS
        ),
        *(
            api.get("Secret", name, NAMESPACE).get("data")
            for name in (f"{RELEASE}-ca", f"{RELEASE}-webhook-tls")
        ),
    ]


def test_upgrade_and_rollback_keep_what_the_operator_wrote(helm: Helm, admin: Api) -> None:
    helm("install")
    assert written(admin) == [None] * 4
    fill_in(admin)
    full = written(admin)
    assert None not in full
    changed = {
        "webhook": {"failurePolicy": {"pods": "Fail"}, "excludedNamespaces": ["other"]},
        "commonLabels": {"a": "b"},
    }
    for policy, command, values in (
        ("Fail", ["upgrade"], changed),
        ("Ignore", ["upgrade", "--reset-values"], {}),
        ("Fail", ["rollback", "2"], {}),
        ("Ignore", ["rollback", "1"], {}),
    ):
        helm(*command, values=values)
        (entry,) = admin.get(CONFIGURATIONS[0], WEBHOOK_CONFIGURATION)["webhooks"]
        assert entry["failurePolicy"] == policy
        assert written(admin) == full


def test_cert_manager_can_take_over_and_be_left_again(helm: Helm, admin: Api) -> None:
    helm("install")
    fill_in(admin)
    helm("upgrade", values=CASES["cert-manager"])
    assert admin.find("Secret", f"{RELEASE}-ca", NAMESPACE) is None
    # As cert-manager would make it; it stays behind.
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{RELEASE}-cert-manager-tls", "namespace": NAMESPACE},
    }
    admin.create(secret)
    helm("upgrade", "--reset-values")
    assert admin.find("Secret", f"{RELEASE}-ca", NAMESPACE) is not None
    assert admin.list("Certificate", NAMESPACE) == []
