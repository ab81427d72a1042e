"""Who may do what: rights, Secrets, ports."""

from typing import Any

import pytest

from batcher_contract.names import WEBHOOK_CONFIGURATION
from tests.chart.rendered import CASES, NAMESPACE, Chart, args_of, case, pod_templates

KSERVES = "inferenceservice.serving.kserve.io"
READ_CLUSTER = [
    (["serving.kserve.io"], ["inferenceservices"], [], ["list", "watch"]),
    ([""], ["pods"], [], ["list", "watch"]),
    ([""], ["events"], [], ["create"]),
    (
        ["admissionregistration.k8s.io"],
        ["mutatingwebhookconfigurations"],
        [WEBHOOK_CONFIGURATION, KSERVES],
        ["get"],
    ),
    (
        ["admissionregistration.k8s.io"],
        ["validatingwebhookconfigurations"],
        [WEBHOOK_CONFIGURATION],
        ["get"],
    ),
]
WRITE_BUNDLES = (
    ["admissionregistration.k8s.io"],
    ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
    [WEBHOOK_CONFIGURATION],
    ["update"],
)


def rules(role: dict[str, Any]) -> list[tuple[Any, ...]]:
    keys = ("apiGroups", "resources", "resourceNames", "verbs")
    assert all(set(rule) <= set(keys) for rule in role["rules"])
    return [tuple(rule.get(key, []) for key in keys) for rule in role["rules"]]


def secrets_of(chart: Chart) -> list[str]:
    flags = dict(arg.split("=", 1) for arg in args_of(chart, "operator"))
    return [flags["--ca-secret"], flags["--tls-secret"]]


@pytest.mark.parametrize("name", CASES)
def test_the_operator_may_do_this_and_no_more(name: str) -> None:
    chart = case(name)
    if name.startswith("cert-manager"):
        assert rules(chart.one("ClusterRole", "-operator")) == READ_CLUSTER
        assert not chart.all("Role") and not chart.all("RoleBinding")
    else:
        assert rules(chart.one("ClusterRole", "-operator")) == [*READ_CLUSTER, WRITE_BUNDLES]
        assert rules(chart.one("Role")) == [
            ([""], ["secrets"], secrets_of(chart), ["get", "update"])
        ]


WORKLOADS = ["get", "list", "watch", "create", "patch", "delete"]


def test_standalone_mode_may_run_workloads() -> None:
    role = case("standalone").one("ClusterRole", "-workloads")
    assert rules(role) == [
        (["serving.kserve.io"], ["inferenceservices"], [], ["get"]),
        (
            ["serving.kserve.io"],
            ["inferenceservices/status", "inferenceservices/finalizers"],
            [],
            ["update"],
        ),
        (
            ["serving.kserve.io"],
            ["servingruntimes", "clusterservingruntimes"],
            [],
            ["list", "watch"],
        ),
        (
            ["serving.kserve.io"],
            ["clusterservingruntimes"],
            ["kserve-sklearnserver"],
            ["get", "create", "patch", "delete"],
        ),
        (["apps"], ["deployments"], [], WORKLOADS),
        ([""], ["services", "configmaps"], [], WORKLOADS),
        (["autoscaling"], ["horizontalpodautoscalers"], [], WORKLOADS),
        ([""], ["serviceaccounts", "secrets"], [], ["get"]),
        (
            ["apiextensions.k8s.io"],
            ["customresourcedefinitions"],
            ["inferenceservices.serving.kserve.io"],
            ["get"],
        ),
    ]


@pytest.mark.parametrize("name", CASES)
def test_rights_are_bound_to_the_operator_alone(name: str) -> None:
    chart = case(name)
    account = pod_templates(chart)["operator"]["spec"]["serviceAccountName"]
    assert account == chart.one("ServiceAccount", "-operator")["metadata"]["name"]
    bindings = [*chart.all("ClusterRoleBinding"), *chart.all("RoleBinding")]
    assert bindings
    named = {(b["roleRef"]["kind"], b["roleRef"]["name"]) for b in bindings}
    roles = [*chart.all("ClusterRole"), *chart.all("Role")]
    assert named == {(role["kind"], role["metadata"]["name"]) for role in roles}
    for binding in bindings:
        assert binding["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
        assert binding["kind"] == binding["roleRef"]["kind"] + "Binding"
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
        ]


def test_the_webhook_has_no_rights_and_no_token() -> None:
    chart = case("defaults")
    account = chart.one("ServiceAccount", "-webhook")
    assert account["automountServiceAccountToken"] is False
    spec = pod_templates(chart)["webhook"]["spec"]
    assert spec["serviceAccountName"] == account["metadata"]["name"]
    assert spec["automountServiceAccountToken"] is False
    assert pod_templates(chart)["test"]["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", CASES)
def test_secrets_are_shipped_without_data(name: str) -> None:
    """Or helm would overwrite what the operator wrote."""
    chart = case(name)
    secrets = chart.all("Secret")
    if name.startswith("cert-manager"):
        assert secrets == []
        return
    assert sorted(secret["metadata"]["name"] for secret in secrets) == sorted(secrets_of(chart))
    for secret in secrets:
        assert set(secret) == {"apiVersion", "kind", "metadata", "type"}
        assert secret["type"] == "Opaque"


def test_switching_to_cert_manager_and_back_shares_no_secret() -> None:
    """Helm adopts no Secret of another's, and cert-manager leaves its own behind."""
    theirs = {c["spec"]["secretName"] for c in case("cert-manager").all("Certificate")}
    assert not theirs & set(secrets_of(case("defaults")))


def open_ports(chart: Chart, component: str) -> dict[int, Any]:
    """The ports that the policy opens, and to whom; None for anybody."""
    policy = chart.one("NetworkPolicy", f"-{component}")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    return {port["port"]: rule.get("from") for rule in policy["ingress"] for port in rule["ports"]}


def test_only_the_webhooks_port_is_open() -> None:
    chart = case("defaults")
    assert open_ports(chart, "webhook") == {10250: None}
    assert open_ports(chart, "operator") == {}
    assert open_ports(case("placed"), "webhook") == {8443: None}


def test_metrics_are_open_to_whom_the_values_name() -> None:
    chart = case("pod monitor")
    peers = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    assert open_ports(chart, "webhook") == {10250: None, 9084: peers}
    assert open_ports(chart, "operator") == {9084: peers}


def test_policies_are_left_out_where_they_are_not_wanted_or_do_not_reach() -> None:
    assert case("no policy").all("NetworkPolicy") == []
    (policy,) = case("host network").all("NetworkPolicy")
    assert policy["metadata"]["name"].endswith("-operator")


@pytest.mark.parametrize("name", CASES)
def test_metrics_are_announced_in_one_way_only(name: str) -> None:
    chart = case(name)
    annotated = {
        component
        for component, pod in pod_templates(chart).items()
        if "prometheus.io/scrape" in pod["metadata"].get("annotations", {})
    }
    monitors = chart.all("PodMonitor")
    assert annotated == ({"operator", "webhook"} if name == "annotations" else set())
    assert len(monitors) == (2 if name == "pod monitor" else 0)


def test_annotations_name_the_port_that_serves_metrics() -> None:
    for component in ("operator", "webhook"):
        pod = pod_templates(case("annotations"))[component]
        (container,) = pod["spec"]["containers"]
        port = next(p["containerPort"] for p in container["ports"] if p["name"] == "health")
        assert pod["metadata"]["annotations"] == {
            "prometheus.io/scrape": "true",
            "prometheus.io/path": "/metrics",
            "prometheus.io/port": str(port),
        }


def test_monitors_find_our_pods_and_the_sidecars() -> None:
    chart = case("pod monitor")
    ours, sidecars = sorted(chart.all("PodMonitor"), key=lambda m: len(m["metadata"]["name"]))
    for component in ("operator", "webhook"):
        labels = pod_templates(chart)[component]["metadata"]["labels"]
        assert ours["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert ours["spec"]["namespaceSelector"] == {"matchNames": [NAMESPACE]}
    assert sidecars["spec"]["namespaceSelector"] == {"any": True}
    (endpoint,) = sidecars["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "batcher-admin", "path": "/metrics", "interval": "15s"}
    assert {m["metadata"]["labels"]["release"] for m in (ours, sidecars)} == {"prometheus"}
