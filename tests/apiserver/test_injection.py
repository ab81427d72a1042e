"""Pods that are made through the API server, as KServe's webhook and ours leave them.

What is expected are the goldens of `tests/unit/webhook`, with what the API server itself adds: it
is asked for that, in a namespace that both webhooks leave alone.
"""

import copy
import json
from collections.abc import Iterator
from typing import Final

import pytest
import yaml

from batcher_contract.names import MARKER_ENV, READINESS_PROBE_ENV
from tests.apiserver.kit import Api, ApiServer, Manifest, make_account, make_namespace
from tests.apiserver.kit.admission import AdmissionServer, mutating_configuration, registered
from tests.apiserver.kit.kserve import METRICS_ANNOTATIONS, admit, running_kserve
from tests.apiserver.kit.webhook import (
    RELEASE_NAMESPACE,
    SIDECAR_IMAGE,
    Webhook,
    mutating,
    registered_mutating,
)
from tests.unit.webhook.golden_files import CASES, after_path, before
from tests.unit.webhook.test_passes import PAIRS

POSTED_TO: Final = "default"
TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
EARLIER: Final = "a.inference-batcher.io"
"""A configuration of this name is called before KServe's."""

PROBES: Final = ("readinessProbe", "livenessProbe")
PROBE_DEFAULTS: Final = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
VOLATILE: Final = (
    *("creationTimestamp", "generation", "managedFields", "name", "namespace"),
    *("resourceVersion", "uid"),
)


@pytest.fixture(scope="module", autouse=True)
def namespaces(api: Api) -> None:
    # KServe leaves namespaces with this label alone.
    make_namespace(api, RELEASE_NAMESPACE, {"control-plane": "inference-batcher"})
    for namespace in (POSTED_TO, RELEASE_NAMESPACE):
        make_account(api, "s3-sa", namespace)


@pytest.fixture(autouse=True)
def no_pods(api: Api) -> Iterator[None]:
    yield
    api.delete_all("Pod", POSTED_TO)


@pytest.fixture(scope="class", params=["after KServe's", "before KServe's"])
def order(
    request: pytest.FixtureRequest, api: Api, api_server: ApiServer, webhook: Webhook
) -> Iterator[str]:
    """Both webhooks in one order or the other; which one."""
    configuration = mutating(webhook)
    if request.param == "before KServe's":
        configuration["metadata"]["name"] = EARLIER
    with running_kserve(api, api_server.authority), registered_mutating(api, configuration):
        yield request.param


def from_kserve(case: str) -> Manifest:
    """The golden's pod as KServe's Deployment has it: no webhook has seen it."""
    pod = before(f"{case}-before-kserve")
    for key in METRICS_ANNOTATIONS:
        del pod["metadata"]["annotations"][key]
    return postable(pod)


def after(case: str) -> Manifest:
    pod: Manifest = yaml.safe_load(after_path(case).read_text())
    return postable(pod)


def postable(pod: Manifest) -> Manifest:
    """Without its namespace and its owners, which would have to exist."""
    pod = copy.deepcopy(pod)
    pod["metadata"].pop("ownerReferences", None)
    pod["metadata"]["namespace"] = POSTED_TO
    return pod


def completed(api: Api, pod: Manifest) -> str:
    """The pod with all that the API server adds by itself."""
    pod = copy.deepcopy(pod)
    pod["metadata"]["namespace"] = RELEASE_NAMESPACE
    return comparable(api.create(pod, dryRun="All"))


def comparable(pod: Manifest) -> str:
    """As YAML, without what differs from pod to pod: its identity, the name of the token volume."""
    pod = copy.deepcopy(pod)
    for key in VOLATILE:
        pod["metadata"].pop(key, None)
    pod.pop("status")
    named = [v for v in pod["spec"]["volumes"] if v["name"].startswith("kube-api-access-")]
    for volume in named:
        for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())):
            for mount in container.get("volumeMounts", ()):
                if mount["name"] == volume["name"]:
                    mount["name"] = "kube-api-access"
        volume["name"] = "kube-api-access"
    for container in pod["spec"]["containers"]:
        for entry in container.get("env", ()):
            if entry["name"] == READINESS_PROBE_ENV:
                # Of a probe that the API server had completed: in any order, with its defaults.
                probe = json.loads(entry["value"])
                entry["value"] = PROBE_DEFAULTS | probe if isinstance(probe, dict) else probe
    pod["spec"]["volumes"].sort(key=lambda volume: str(volume["name"]))
    text: str = yaml.safe_dump(pod)
    return text


@pytest.mark.parametrize("case", PAIRS)
def test_the_stand_in_does_as_kserve_does(case: str) -> None:
    assert admit(before(f"{case}-before-kserve")) == before(case)


@pytest.fixture(scope="class")
def ours(api: Api, webhook: Webhook) -> Iterator[None]:
    with registered_mutating(api, mutating(webhook)):
        yield


@pytest.mark.usefixtures("ours")
class TestOursAlone:
    @pytest.mark.parametrize("case", CASES)
    def test_a_pod_becomes_its_golden(self, api: Api, case: str) -> None:
        made = api.create(postable(before(case)))
        assert comparable(made) == completed(api, after(case))

    def test_only_pods_that_ask_for_batching_reach_it(
        self, api: Api, webhook: Webhook, namespace: str
    ) -> None:
        asks = postable(before("plain"))
        asks["metadata"]["namespace"] = namespace
        no_batcher, no_service, excluded = (copy.deepcopy(asks) for _ in range(3))
        del no_batcher["metadata"]["annotations"]["internal.serving.kserve.io/batcher"]
        del no_service["metadata"]["labels"]["serving.kserve.io/inferenceservice"]
        excluded["metadata"]["namespace"] = RELEASE_NAMESPACE
        nothing = copy.deepcopy(asks)
        del nothing["metadata"]["annotations"]
        del nothing["metadata"]["labels"]
        seen = webhook.reviews("/mutate-pods")
        for pod in (no_batcher, no_service, excluded, nothing):
            made = api.create(pod, dryRun="All")
            assert "inference-batcher.io/decision" not in made["metadata"].get("annotations", {})
        assert webhook.reviews("/mutate-pods") == seen
        api.create(asks)
        assert webhook.reviews("/mutate-pods") == seen + 1

    def test_a_change_of_a_pod_is_not_its_business(
        self, api: Api, webhook: Webhook, namespace: str
    ) -> None:
        pod = postable(before("plain"))
        pod["metadata"]["namespace"] = namespace
        name = api.create(pod)["metadata"]["name"]
        seen = webhook.reviews("/mutate-pods")
        api.patch("Pod", name, namespace, {"metadata": {"labels": {"changed": "true"}}})
        api.delete("Pod", name, namespace)
        assert webhook.reviews("/mutate-pods") == seen


class TestBothWebhooks:
    def wanted(self, case: str, order: str) -> Manifest:
        alone = after(f"{case}-before-kserve")
        agents = [c for c in alone["spec"]["containers"] if c["name"] == "agent"]
        # KServe's adds nothing where a container of its agent's name is there already.
        return alone if order == "before KServe's" and agents else after(case)

    @pytest.mark.parametrize("case", PAIRS)
    def test_a_created_pod_becomes_its_golden(self, api: Api, order: str, case: str) -> None:
        made = api.create(from_kserve(case))
        assert comparable(made) == completed(api, self.wanted(case, order))

    @pytest.mark.parametrize("case", PAIRS)
    def test_an_applied_pod_becomes_its_golden_and_stays_so(
        self, api: Api, order: str, case: str
    ) -> None:
        pod, wanted = from_kserve(case), self.wanted(case, order)
        for each in (pod, wanted):
            del each["metadata"]["generateName"]
            each["metadata"]["name"] = "applied"
        made = api.apply(pod)
        assert comparable(made) == completed(api, wanted)
        if all(c["name"] != "queue-proxy" for c in pod["spec"]["containers"]):
            # Of that one KServe itself changes what was applied, so that nobody applies it twice.
            assert api.apply(pod) == made

    @pytest.mark.parametrize("case", PAIRS)
    def test_our_container_gets_no_token_of_the_api(self, api: Api, order: str, case: str) -> None:
        made = api.create(from_kserve(case), dryRun="All")
        mounts = {
            container["name"]: {
                mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", ())
            }.get(TOKEN_PATH)
            for container in made["spec"]["containers"]
        }
        ours = {
            container["name"]
            for container in made["spec"]["containers"]
            if any(e["name"] == MARKER_ENV for e in container.get("env", ()))
        }
        for name, volume in mounts.items():
            assert volume is not None
            assert volume.startswith("kube-api-access-") == (name not in ours), name


@pytest.fixture
def only_kserve(api: Api, api_server: ApiServer, webhook: Webhook) -> Iterator[None]:
    """Our webhook is registered, and does not answer."""
    with (
        running_kserve(api, api_server.authority),
        registered_mutating(api, mutating(webhook)),
        webhook.stopped(),
    ):
        yield


@pytest.mark.usefixtures("only_kserve")
def test_pods_keep_the_agent_of_kserve_while_ours_is_down(api: Api) -> None:
    for case in PAIRS:
        made = api.create(from_kserve(case))
        assert comparable(made) == completed(api, postable(before(case))), case


def test_a_mesh_comes_after_ours(api: Api, api_server: ApiServer, webhook: Webhook) -> None:
    """Its webhook rewrites the probes of all containers that it finds."""

    def mesh(pod: Manifest) -> Manifest:
        for container in pod["spec"]["containers"]:
            for probe in (container[p] for p in PROBES if p in container):
                if "httpGet" in probe:
                    probe["httpGet"] |= {"path": f"/app-health/{container['name']}", "port": 15020}
        if all(c["name"] != "istio-proxy" for c in pod["spec"]["containers"]):
            pod["spec"]["containers"].append({"name": "istio-proxy", "image": "example/mesh:1"})
        return pod

    def is_called() -> bool:
        made = api.create(from_kserve("plain"), dryRun="All")
        return any(c["name"] == "istio-proxy" for c in made["spec"]["containers"])

    with AdmissionServer(mesh, api_server.authority) as server:
        configuration = mutating_configuration(
            "istio-sidecar-injector",
            server.url,
            api_server.authority,
            namespaces={},
            failure_policy="Fail",
        )
        with (
            running_kserve(api, api_server.authority),
            registered_mutating(api, mutating(webhook)),
            registered(api, [configuration], is_called),
        ):
            made = api.create(from_kserve("plain"))
    agent = next(c for c in made["spec"]["containers"] if c["name"] == "agent")
    assert agent["image"] == SIDECAR_IMAGE
    for probe in PROBES:
        assert agent[probe]["httpGet"]["path"] == "/app-health/agent"
        assert agent[probe]["httpGet"]["port"] == 15020
    assert [c["name"] for c in made["spec"]["containers"]] == [
        "kserve-container", "agent", "istio-proxy"
    ]  # fmt: skip
