"""The commands that `docs/troubleshooting.md` tells people to give, on what the operator made."""

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.apiserver.kit import until
from tests.apiserver.kit.installation import Installation, running_installation
from tests.apiserver.kit.programs import ROOT

PAGE: Final = (ROOT / "docs" / "troubleshooting.md").read_text()
BLOCKS: Final = re.findall(r"^(kubectl .*)$", PAGE, re.MULTILINE)
INLINE: Final = re.findall(r"`(kubectl [^`]*[A-Z-][^`]*)`", PAGE)
NEEDS_A_NODE: Final = ("logs", "port-forward")
NAME: Final = "iris"
POD: Final = "iris-predictor-1"


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    values = ('mode="standalone"', "crds.enabled=true", "certificates.pollSeconds=0.3")
    with running_installation(*values, knows_inferenceservices=False) as installation:
        with installation.webhook(), installation.start_operator():
            installation.wait_until_ready()
            yield installation


@pytest.fixture(scope="module")
def namespace(installation: Installation) -> str:
    """Where there is a service that batches, with one pod, and an Event about it."""
    api = installation.api
    name = installation.server.new_namespace(api)
    container = {"name": "kserve-container", "image": "example.org/iris:1"}
    api.create(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": NAME, "namespace": name},
            "spec": {"predictor": {"containers": [container], "batcher": {"maxBatchSize": 32}}},
        }
    )
    until(lambda: bool(api.find("Deployment", f"{NAME}-predictor", name)), "it is there")
    template = api.get("Deployment", f"{NAME}-predictor", name)["spec"]["template"]
    template["metadata"] |= {"name": POD, "namespace": name}
    api.create({"apiVersion": "v1", "kind": "Pod", **template})
    until(lambda: bool(api.list("Event", name)), "something is told")
    return name


def run(installation: Installation, command: str, namespace: str) -> str:
    places = {"NAME": NAME, "NAMESPACE": namespace, "POD": POD}
    words = [places.get(word, word) for word in shlex.split(command)[1:]]
    words = [re.sub(r"=NAME$", f"={NAME}", word) for word in words]
    done = installation.server.kubectl(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_has_commands() -> None:
    assert len(BLOCKS) >= 5
    assert len(INLINE) >= 4


@pytest.mark.parametrize(
    "command",
    [each for each in (*BLOCKS, *INLINE) if shlex.split(each)[1] not in NEEDS_A_NODE],
)
def test_a_command_works(installation: Installation, namespace: str, command: str) -> None:
    run(installation, command, namespace)


def test_describe_shows_conditions_and_events(installation: Installation, namespace: str) -> None:
    out = run(installation, BLOCKS[0], namespace)
    assert "PredictorReady" in out
    assert "SidecarInjected" in out


def test_the_list_of_pods_shows_decisions(installation: Installation, namespace: str) -> None:
    (command,) = (each for each in BLOCKS if "custom-columns" in each)
    heading, row = run(installation, command, namespace).splitlines()
    assert heading.split() == ["POD", "DECISION"]
    assert row.split()[:2] == [POD, "Injected:"]


def test_the_command_that_rolls_changes_the_template(
    installation: Installation, namespace: str
) -> None:
    def generation() -> Any:
        found = installation.api.get("Deployment", f"{NAME}-predictor", namespace)
        return found["metadata"]["generation"]

    before = generation()
    (command,) = (each for each in BLOCKS if " annotate " in each)
    run(installation, command.replace("$(date -Iseconds)", f"after {before}"), namespace)
    until(lambda: bool(generation() > before), "the template is new")
