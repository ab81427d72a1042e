"""What is done with a pod where there is KServe, and where there is none."""

import copy
from typing import Any

import pytest

from batcher_contract.settings import Mode
from batcher_webhook.decide import Action
from tests.unit.webhook.golden_files import Pod, applied, before

INJECT = "inference-batcher.io/inject"
LOGGER = "internal.serving.kserve.io/logger"
RESOURCES = {"limits": {"cpu": "2", "memory": "4Gi"}}


def pod(annotations: dict[str, str] | None = None, **spec: Any) -> Pod:
    """A pod of standalone mode, changed."""
    changed = copy.deepcopy(before("standalone"))
    changed["metadata"]["annotations"].update(annotations or {})
    changed["spec"].update(spec)
    return changed


@pytest.mark.parametrize(
    ("given", "mode", "text"),
    [
        (
            pod(resources=RESOURCES),
            "kserve",
            "Waiting: KServe adds its agent within the pod's own resources first",
        ),
        (
            pod(resources=RESOURCES),
            "standalone",
            "PodResources: the pod's own resources leave no room for a sidecar",
        ),
        (
            pod({INJECT: "false"}),
            "kserve",
            f"OptedOut: {INJECT} is false, so KServe's own agent batches",
        ),
        (pod({INJECT: "false"}), "standalone", f"OptedOut: {INJECT} is false, so nothing batches"),
        (
            pod({LOGGER: "all"}),
            "kserve",
            "Waiting: KServe adds its agent, which also logs or pulls models, first",
        ),
        (pod({LOGGER: "all"}), "standalone", "Injected: batches as the agent, before port 8080"),
    ],
)
def test_what_is_said(given: Pod, mode: Mode, text: str) -> None:
    assert applied(given, mode=mode)[0].text == text


def test_without_kserve_a_container_of_its_agents_name_is_the_users() -> None:
    given = before("plain")
    assert applied(given)[0].action is Action.REPLACE
    decision, after = applied(given, mode="standalone")
    assert decision.action is Action.LEAVE
    assert decision.reason in ("NameTaken", "PortTaken")
    assert after["spec"] == given["spec"]


@pytest.mark.parametrize("mode", ["kserve", "standalone"])
@pytest.mark.parametrize("name", ["h2c", "grpc-web", "my-grpc", "x-h2c"])
def test_a_port_for_http2_by_whatever_is_in_its_name(name: str, mode: Mode) -> None:
    given = pod()
    given["spec"]["containers"][0]["ports"][0]["name"] = name
    assert applied(given, mode=mode)[0].reason == "UnbatchedProtocol"


def test_the_sidecar_is_ready_when_the_container_that_serves_is() -> None:
    given = pod()
    helper = {"name": "helper", "readinessProbe": {"httpGet": {"path": "/help", "port": 7000}}}
    serving = given["spec"]["containers"][0]
    serving["readinessProbe"] = {"httpGet": {"path": "/model", "port": 8080}}
    given["spec"]["containers"].insert(0, helper)
    _, after = applied(given, mode="standalone")
    (sidecar,) = (c for c in after["spec"]["containers"] if c["name"] == "agent")
    (told,) = (e["value"] for e in sidecar["env"] if e["name"] == "SERVING_READINESS_PROBE")
    assert told == '{"httpGet":{"path":"/model","port":8080}}'
    assert sidecar["readinessProbe"]["httpGet"]["path"] == "/model"
