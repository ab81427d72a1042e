"""What the API server itself says to objects that cannot be applied, or are somebody else's."""

import copy
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from batcher_operator.kube import Conflict, Kube, configure
from batcher_operator.standalone.workload import Workload
from batcher_operator.views import Key
from batcher_operator.writer import Outcome, Writer
from tests.apiserver.kit import Api, ApiServer

NAME: Final = "iris-predictor"
CONTAINER: Final = {"name": "kserve-container", "image": "example.org/iris:1"}


@pytest.fixture
async def kube(api_server: ApiServer) -> AsyncIterator[Kube]:
    kube = Kube(await configure(api_server.kubeconfig))
    yield kube
    await kube.close()


def deployment(namespace: str, **pod: Any) -> dict[str, Any]:
    labels = {"app": f"isvc.{NAME}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": labels
            | {"component": "predictor", "app.kubernetes.io/managed-by": "inference-batcher"},
        },
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [CONTAINER], **pod},
            },
        },
    }


async def applied(writer: Writer, *objects: dict[str, Any], tries: int = 0) -> Outcome:
    namespace = objects[0]["metadata"]["namespace"]
    workload = Workload(
        objects=objects,
        unwanted=(),
        faults=(),
        batching_faults=(),
        warnings=(),
        runtime=None,
        stopped=False,
    )
    return await writer.apply(Key(namespace, "iris"), "u1", workload, (), tries)


def with_container(**fields: Any) -> dict[str, Any]:
    return {"containers": [CONTAINER | fields]}


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (with_container(env=[{"name": "A", "value": "1"}] * 2), "duplicate entries for key"),
        (with_container(ports=[{"containerPort": 1}] * 2), "duplicate entries for key"),
        ({"containers": [CONTAINER, CONTAINER]}, "duplicate entries for key"),
        (with_container(readinessProbe={"httpGet": {"prot": 1}}), ".prot: field not declared"),
        ({"volumes": [{"name": "v", "emptydir": {}}]}, ".emptydir: field not declared"),
        (with_container(resources={"requests": {"cpu": "much"}}), "quantities must match"),
        (with_container(ports=[{"containerPort": "http"}]), "containerPort"),
        (with_container(image=""), "image: Required value"),
    ],
)
async def test_an_object_that_is_wrong_is_told_at_once_in_the_servers_words(
    kube: Kube, namespace: str, pod: dict[str, Any], words: str
) -> None:
    outcome = await applied(Writer(kube), deployment(namespace, **pod))
    assert outcome.troubles["predictor"].startswith(f"the Deployment {NAME} cannot be applied: ")
    assert words in outcome.troubles["predictor"]
    assert outcome.applied == {}
    assert not outcome.may_pass


async def test_an_object_of_others_is_left_as_it_is(kube: Kube, namespace: str, api: Api) -> None:
    theirs = deployment(namespace)
    del theirs["metadata"]["labels"]
    made = api.create(theirs)
    outcome = await applied(Writer(kube), deployment(namespace, hostname="ours"))
    words = f"the Deployment {NAME} exists and is not ours: rename or delete it"
    assert outcome.troubles == {"predictor": words}
    found = api.get("Deployment.apps", NAME, namespace)
    assert found["spec"] == made["spec"]
    assert found["metadata"]["uid"] == made["metadata"]["uid"]


async def test_what_takes_the_place_of_ours_is_not_taken_for_it(
    kube: Kube, namespace: str, api: Api
) -> None:
    writer = Writer(kube)
    await applied(writer, deployment(namespace))
    api.delete("Deployment.apps", NAME, namespace)
    theirs = deployment(namespace, hostname="theirs")
    del theirs["metadata"]["labels"]
    api.create(theirs)
    with pytest.raises(Conflict):
        await applied(writer, deployment(namespace))
    assert (await applied(writer, deployment(namespace))).troubles
    found = api.get("Deployment.apps", NAME, namespace)
    assert found["spec"]["template"]["spec"]["hostname"] == "theirs"


async def test_what_is_deleted_is_made_again(kube: Kube, namespace: str, api: Api) -> None:
    writer = Writer(kube)
    await applied(writer, deployment(namespace))
    api.delete("Deployment.apps", NAME, namespace)
    with pytest.raises(Conflict):
        await applied(writer, deployment(namespace))
    assert not (await applied(writer, deployment(namespace))).troubles
    assert api.find("Deployment.apps", NAME, namespace)


async def test_the_same_again_makes_no_new_version(kube: Kube, namespace: str, api: Api) -> None:
    writer = Writer(kube)
    wanted = deployment(namespace)
    (first,) = (await applied(writer, copy.deepcopy(wanted))).applied.values()
    (again,) = (await applied(writer, copy.deepcopy(wanted))).applied.values()
    assert again == first
    assert writer.wrote(Key(namespace, "iris"), first["metadata"]["resourceVersion"])
    assert api.get("Deployment.apps", NAME, namespace)["metadata"] == first["metadata"]
