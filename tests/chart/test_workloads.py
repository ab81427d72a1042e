"""The pods of the chart: what they run, where, and as whom."""

import math
from typing import Any

import pytest

from batcher_contract.quantities import parse_quantity
from batcher_operator import config as operator
from batcher_webhook.config import parse_args
from tests.chart.pod_security import violations
from tests.chart.rendered import CASES, NAMESPACE, args_of, case, pod_templates

WEBHOOK_CLOSE_S = 10
"""What the webhook's listeners may take to close, with some room."""

IDENTITY = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}


@pytest.mark.parametrize("name", CASES)
def test_the_programs_take_their_arguments(name: str) -> None:
    chart = case(name)
    webhook = parse_args(args_of(chart, "webhook"))
    told = operator.parse_args(args_of(chart, "operator"), {operator.NAMESPACE_ENV: NAMESPACE})
    assert told.sidecar_image == webhook.sidecar.image
    assert told.webhook_service == chart.one("Service")["metadata"]["name"]
    assert told.manages_certificates is not name.startswith("cert-manager")
    for pod in pod_templates(chart).values():
        (container,) = pod["spec"]["containers"]
        assert container["command"][0] in ("batcher-webhook", "batcher-operator", "python")


def test_values_reach_the_programs() -> None:
    webhook = parse_args(args_of(case("images"), "webhook"))
    assert webhook.sidecar.image == "registry.example/team/inference-batcher-sidecar:2.0"
    assert webhook.sidecar.image_pull_policy == "IfNotPresent"
    assert webhook.sidecar.image_pull_secrets == ("theirs", "others")
    resources = webhook.sidecar.resources
    assert (resources.cpu_request, resources.cpu_limit) == ("0.5", "2")
    assert parse_quantity(resources.memory_request) == 134217728
    assert parse_args(args_of(case("openshift"), "webhook")).sidecar.uid is None
    placed = parse_args(args_of(case("placed"), "webhook"))
    assert (placed.port, placed.shutdown_delay_s) == (8443, 7.5)
    assert (placed.log_level, placed.log_format) == ("debug", "json")
    told = operator.parse_args(
        args_of(case("placed"), "operator"), {operator.NAMESPACE_ENV: NAMESPACE}
    )
    assert told.ca_lifetime_s == 316224000
    assert told.certificate_lifetime_s == 31536000
    assert told.certificate_overlap_s == 2592000
    assert (told.certificate_poll_s, told.watch_check_s) == (0.25, 0.5)
    standalone = operator.parse_args(
        args_of(case("standalone"), "operator"), {operator.NAMESPACE_ENV: NAMESPACE}
    )
    assert standalone.initializer.image == "registry.example/initializer:1"
    assert standalone.initializer.resources == {
        "requests": {"cpu": "100m", "memory": "100Mi"},
        "limits": {"cpu": "1", "memory": "4Gi"},
    }


def test_defaults_are_those_of_the_programs() -> None:
    required = ["--tls-cert-file=x", "--tls-key-file=y", "--sidecar-image=z"]
    by_itself = parse_args(required)
    chart = case("defaults")
    ours = parse_args(args_of(chart, "webhook"))
    assert ours.sidecar.resources == by_itself.sidecar.resources
    assert ours.sidecar.uid == by_itself.sidecar.uid
    for field in ("port", "health_port", "shutdown_delay_s", "log_level", "log_format"):
        assert getattr(ours, field) == getattr(by_itself, field), field
    env = {operator.NAMESPACE_ENV: NAMESPACE}
    told, alone = operator.parse_args(args_of(chart, "operator"), env), operator.parse_args([], env)
    for field in ("ca_lifetime_s", "certificate_lifetime_s", "certificate_overlap_s",
                  "certificate_poll_s", "watch_check_s", "health_port"):  # fmt: skip
        assert getattr(told, field) == getattr(alone, field), field


def test_the_operator_is_told_of_its_namespace() -> None:
    (container,) = pod_templates(case("defaults"))["operator"]["spec"]["containers"]
    (env,) = container["env"]
    assert env["name"] == operator.NAMESPACE_ENV
    assert env["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


@pytest.mark.parametrize("name", CASES)
def test_pods_keep_to_the_restricted_profile(name: str) -> None:
    for component, pod in pod_templates(case(name)).items():
        found = violations(pod["spec"])
        if component == "webhook" and name.startswith("host network"):
            assert found == ["hostNetwork", "hostPort"]
        else:
            assert found == [], component
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(("name", "uid"), [("defaults", 65532), ("openshift", None)])
def test_users_are_numbers_or_the_platforms_choice(name: str, uid: int | None) -> None:
    for pod in pod_templates(case(name)).values():
        context = pod["spec"]["securityContext"]
        assert context.get("runAsUser") == context.get("fsGroup") == uid


@pytest.mark.parametrize("name", CASES)
def test_probes_and_metrics_are_on_ports_that_the_programs_are_told(name: str) -> None:
    for component, pod in pod_templates(case(name)).items():
        if component == "test":
            continue
        (container,) = pod["spec"]["containers"]
        ports = {port["name"]: port for port in container["ports"]}
        assert f"--health-port={ports['health']['containerPort']}" in container["args"]
        for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            assert container[probe]["httpGet"] == {"path": path, "port": "health"}


def test_the_operator_is_alone_and_the_webhook_is_not() -> None:
    chart = case("defaults")
    operator_spec = chart.one("Deployment", "-operator")["spec"]
    assert (operator_spec["replicas"], operator_spec["strategy"]) == (1, {"type": "Recreate"})
    webhook = chart.one("Deployment", "-webhook")["spec"]
    assert webhook["replicas"] == 2
    assert webhook["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = chart.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["selector"]["matchLabels"] == webhook["selector"]["matchLabels"]


@pytest.mark.parametrize("name", CASES)
def test_selectors_meet_their_own_pods_only(name: str) -> None:
    chart = case(name)
    pods = pod_templates(chart)
    selected = {
        **{d["metadata"]["name"]: d["spec"]["selector"] for d in chart.all("Deployment")},
        **{f"policy {p['metadata']['name']}": p["spec"]["podSelector"]
           for p in chart.all("NetworkPolicy")},
    }  # fmt: skip
    for owner, selector in selected.items():
        assert set(selector["matchLabels"]) == IDENTITY
        met = [
            component
            for component, pod in pods.items()
            if selector["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ]
        assert [owner.rpartition("-")[2]] == met


def test_the_webhook_spreads_over_zones_and_nodes() -> None:
    def spread(name: str) -> dict[str, Any]:
        spec = pod_templates(case(name))["webhook"]["spec"]
        return {c["topologyKey"]: c for c in spec["topologySpreadConstraints"]}

    assert set(spread("defaults")) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert {c["whenUnsatisfiable"] for c in spread("defaults").values()} == {"ScheduleAnyway"}
    assert {c["whenUnsatisfiable"] for c in spread("placed").values()} == {"DoNotSchedule"}
    for constraint in spread("defaults").values():
        assert set(constraint["labelSelector"]["matchLabels"]) == IDENTITY


@pytest.mark.parametrize("name", CASES)
def test_the_webhook_has_time_to_finish(name: str) -> None:
    spec = pod_templates(case(name))["webhook"]["spec"]
    delay_s = parse_args(args_of(case(name), "webhook")).shutdown_delay_s
    grace_s = spec["terminationGracePeriodSeconds"]
    assert grace_s == math.ceil(delay_s) + 15 > delay_s + WEBHOOK_CLOSE_S


@pytest.mark.parametrize("name", ["host network", "host network, own ports"])
def test_on_the_hosts_network_no_two_pods_want_one_port(name: str) -> None:
    chart = case(name)
    deployment = chart.one("Deployment", "-webhook")["spec"]
    spec = deployment["template"]["spec"]
    assert (spec["hostNetwork"], spec["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    (rule,) = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert rule["labelSelector"]["matchLabels"] == deployment["selector"]["matchLabels"]
    (container,) = spec["containers"]
    assert all(port["hostPort"] == port["containerPort"] for port in container["ports"])
    kubelet = 10250
    assert kubelet not in {port["containerPort"] for port in container["ports"]}


def test_images_are_named_as_the_values_say() -> None:
    (container,) = pod_templates(case("defaults"))["webhook"]["spec"]["containers"]
    assert container["image"] == "inference-batcher-control:0.1.0"
    assert "imagePullPolicy" not in container
    for pod in pod_templates(case("images")).values():
        (container,) = pod["spec"]["containers"]
        digest = f"sha256:{'a' * 64}"
        assert container["image"] == f"registry.example/team/inference-batcher-control@{digest}"
        assert container["imagePullPolicy"] == "Always"
        assert pod["spec"]["imagePullSecrets"] == [{"name": "ours"}]


def test_the_webhook_is_given_its_certificate_and_nothing_else() -> None:
    chart = case("defaults")
    spec = pod_templates(chart)["webhook"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    (volume,) = spec["volumes"]
    (container,) = spec["containers"]
    (mount,) = container["volumeMounts"]
    assert mount["readOnly"] is True
    files = {f"{mount['mountPath']}/{item['path']}" for item in volume["secret"]["items"]}
    config = parse_args(container["args"])
    assert {str(config.certificate), str(config.key)} == files
    tls_secret = volume["secret"]["secretName"]
    assert f"--tls-secret={tls_secret}" in args_of(chart, "operator")


def test_pods_can_be_placed_and_marked() -> None:
    pods = pod_templates(case("placed"))
    for component in ("webhook", "operator"):
        spec = pods[component]["spec"]
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
        assert spec["priorityClassName"] == "system-cluster-critical"
        assert spec["affinity"] == {"nodeAffinity": {}}
        assert len(spec["tolerations"]) == 1
    assert pods["webhook"]["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert pods["operator"]["metadata"]["annotations"] == {"c": "d"}


def test_common_labels_and_annotations_are_everywhere_and_change_no_identity() -> None:
    chart = case("placed")
    for manifest in chart.manifests:
        labels = manifest["metadata"]["labels"]
        assert (labels["team"], labels["app.kubernetes.io/name"]) == ("ml", "inference-batcher")
        assert manifest["metadata"]["annotations"]["owner"] == "ml"
    for pod in pod_templates(chart).values():
        assert pod["metadata"]["labels"]["team"] == "ml"
