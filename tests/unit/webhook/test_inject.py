"""What the goldens do not show: the installation's own choices, and names."""

import copy
import json
import subprocess
import sys

import pytest

from batcher_contract.names import READINESS_PROBE_ENV, WEBHOOK_CONFIGURATION
from batcher_webhook.decide import Action, decide
from batcher_webhook.inject import Sidecar
from batcher_webhook.pods import is_ours
from batcher_webhook.settle import Resources
from tests.unit.webhook.golden_files import CASES, SIDECAR, Pod, applied, before


def sidecar_of(pod: Pod, sidecar: Sidecar) -> Pod:
    (ours,) = (c for c in applied(pod, sidecar)[1]["spec"]["containers"] if is_ours(c))
    assert isinstance(ours, dict)
    return ours


def test_the_configuration_sorts_right_after_kserves_and_before_istios() -> None:
    kserve = "inferenceservice.serving.kserve.io"
    assert kserve < WEBHOOK_CONFIGURATION < "istio-sidecar-injector"


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("-before-kserve")])
def test_either_order_comes_to_the_same_sidecar(case: str) -> None:
    early, late = before(case), before(case.removesuffix("-before-kserve"))
    ours = [decide(pod, SIDECAR.resources) for pod in (early, late)]
    if ours[0].reason == "Waiting":
        assert early["spec"].get("resources") or ours[1].action is Action.BEHIND
        assert ours[1].reason in ("Injected", "PodResources")
        return
    assert ours[0].reason == ours[1].reason
    if ours[0].action.injects:
        containers = [sidecar_of(pod, SIDECAR) for pod in (early, late)]
        for container in containers:
            container.pop("readinessProbe")  # as KServe wrote it, or without the defaults
            for entry in container["env"]:
                if entry["name"] == READINESS_PROBE_ENV:
                    entry["value"] = json.loads(entry["value"])
        assert containers[0] == containers[1]


def test_an_installation_may_leave_the_user_to_the_platform() -> None:
    image = "example/sidecar:1"
    context = sidecar_of(before("plain"), Sidecar(image=image, uid=None))["securityContext"]
    assert "runAsUser" not in context
    root = sidecar_of(before("root"), Sidecar(image=image, uid=None))["securityContext"]
    assert root["runAsUser"] > 0


def test_an_installation_chooses_image_policy_and_resources() -> None:
    resources = Resources(cpu_request="1", cpu_limit="2", memory_request="1Gi", memory_limit="2Gi")
    sidecar = Sidecar(image="r/i:2", image_pull_policy="Always", resources=resources)
    container = sidecar_of(before("plain-before-kserve"), sidecar)
    assert container["image"] == "r/i:2"
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == {
        "limits": {"cpu": "2", "memory": "2Gi"},
        "requests": {"cpu": "1", "memory": "1Gi"},
    }
    replaced = sidecar_of(before("plain"), sidecar)
    assert replaced["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}


def test_a_pull_secret_that_is_there_is_not_added_again() -> None:
    pod = before("plain")
    pod["spec"]["imagePullSecrets"] = [{"name": "registry"}]
    assert applied(pod)[1]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize("case", ["plain", "logged", "knative"])
def test_flags_of_the_agent_with_equals_signs_are_understood(case: str) -> None:
    pod, spelled = before(case), before(case)
    (agent,) = (c for c in spelled["spec"]["containers"] if c["name"] == "agent")
    joined: list[str] = []
    for arg in agent["args"]:
        if joined and joined[-1].startswith("--") and joined[-1] != "--enable-batcher":
            if "=" not in joined[-1]:
                joined[-1] += f"={arg}"
                continue
        joined.append(arg)
    agent["args"] = joined
    assert decide(spelled, SIDECAR.resources) == decide(pod, SIDECAR.resources)
    agents = [c for c in applied(spelled)[1]["spec"]["containers"] if c["name"] == "agent"]
    assert not any(a.startswith("--max-batchsize") and not is_ours(agents[0]) for a in joined)


def test_a_decision_forged_by_somebody_is_overwritten() -> None:
    pod = before("plain")
    forged = copy.deepcopy(pod)
    forged["metadata"]["annotations"]["inference-batcher.io/decision"] = "Injected: not true"
    assert applied(forged)[1] == applied(pod)[1]


def test_many_faults_do_not_make_an_annotation_too_long() -> None:
    pod = before("plain")
    keys = [f"inference-batcher.io/{'x' * 40}{number}" for number in range(500)]
    pod["metadata"]["annotations"].update(dict.fromkeys(keys, "1"))
    assert len(applied(pod)[0].text) <= 4096


def test_importing_the_webhook_needs_no_library_of_the_operator() -> None:
    program = (
        "import batcher_webhook.__main__, json, sys; json.dump(sorted(sys.modules), sys.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    assert not set(json.loads(done.stdout)) & {"kopf", "kubernetes", "cryptography", "yaml"}


def test_the_name_that_a_service_goes_by_moves_to_the_sidecar() -> None:
    pod = before("standalone")
    _, after = applied(pod)
    holders = {
        container["name"]: port["containerPort"]
        for container in after["spec"]["containers"]
        for port in container["ports"]
        if port.get("name") == "inference-http"
    }
    assert holders == {"agent": 9081}
    model = after["spec"]["containers"][0]
    assert [port["containerPort"] for port in model["ports"]] == [8080, 8081]
    assert model["readinessProbe"]["tcpSocket"]["port"] == 8080
    assert model["livenessProbe"]["httpGet"]["port"] == "metrics"


def test_settings_come_by_a_config_map_only_where_the_pod_names_one() -> None:
    with_one = sidecar_of(before("standalone"), SIDECAR)
    assert with_one["args"][-1] == "--settings-file=/etc/inference-batcher/settings/settings.json"
    without = sidecar_of(before("plain"), SIDECAR)
    assert not any("settings-file" in arg for arg in without["args"])
