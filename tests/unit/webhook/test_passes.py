"""Both webhooks, called as the API server calls them: each again after the other's change."""

import copy
import re

import pytest

from batcher_webhook.pods import is_ours
from tests.unit.webhook.golden_files import CASES, Pod, applied, before
from tests.unit.webhook.test_golden import as_json, meddle

PAIRS = [case for case in CASES if f"{case}-before-kserve" in CASES]


def kserve(pod: Pod, late: Pod) -> Pod:
    """KServe's webhook: adds the agent that it has in `late`, unless there is one."""
    pod = copy.deepcopy(pod)
    if not any(c["name"] == "agent" for c in pod["spec"]["containers"]):
        agent = next(c for c in late["spec"]["containers"] if c["name"] == "agent")
        pod["spec"]["containers"].append(copy.deepcopy(agent))
        pod["spec"]["volumes"] = copy.deepcopy(late["spec"].get("volumes", []))
        for container in pod["spec"]["containers"]:
            for entry in container.get("env", ()):
                if container["name"] == "queue-proxy" and entry["name"] == "USER_PORT":
                    entry["value"] = "9081"
    return pod


@pytest.mark.parametrize("case", PAIRS)
def test_ours_first_then_kserves_then_ours(case: str) -> None:
    late = before(case)
    first = applied(before(f"{case}-before-kserve"))[1]
    then = kserve(first, late)
    last = applied(then)[1]
    if then == first:
        assert last == first
        return
    wanted = applied(late)[1]
    for pod in (last, wanted):
        pod["spec"].setdefault("volumes", [])
    assert as_json(last) == as_json(wanted)


@pytest.mark.parametrize("case", PAIRS)
def test_kserves_first_then_ours_then_both_again(case: str) -> None:
    late = before(case)
    once = applied(kserve(before(f"{case}-before-kserve"), late))[1]
    again = meddle(kserve(once, late))
    assert applied(again)[1] == again


@pytest.mark.parametrize("case", PAIRS)
def test_the_pod_serves_on_the_port_of_kserves_service(case: str) -> None:
    _, pod = applied(before(case))
    ports = {
        port["containerPort"]: container
        for container in pod["spec"]["containers"]
        for port in container.get("ports", ())
    }
    outermost = ports[9081]
    assert outermost["name"] == "agent"
    ours = [c for c in pod["spec"]["containers"] if is_ours(c)]
    if ours and outermost is not ours[0]:
        assert "--enable-batcher" not in outermost["args"]
        assert re.search(r"--component-port 9082\b", " ".join(outermost["args"]))
        assert ports[9082] is ours[0]
