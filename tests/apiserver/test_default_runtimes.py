"""The runtime that comes with the chart, which the operator applies with its own rights."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.apiserver.kit import until
from tests.apiserver.kit.installation import NAMESPACE, RELEASE, Installation, running_installation

NAME: Final = "kserve-sklearnserver"
KIND: Final = "ClusterServingRuntime"
STANDALONE: Final = (
    'mode="standalone"',
    "crds.enabled=true",
    "certificates.pollSeconds=0.3",
    'servingRuntimes.sklearn.image="example/s:1"',
)


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation(*STANDALONE, knows_inferenceservices=False) as installation:
        yield installation


@pytest.fixture
def no_runtime(installation: Installation) -> None:
    if installation.api.find(KIND, NAME):
        installation.api.delete(KIND, NAME)


def upgrade(installation: Installation, image: str) -> None:
    sets = (*STANDALONE, f'servingRuntimes.sklearn.image="{image}"')
    installation.helm("upgrade", *(flag for value in sets for flag in ("--set-json", value)))


def image_of(installation: Installation) -> str:
    found = installation.api.find(KIND, NAME)
    return str(found["spec"]["containers"][0]["image"]) if found else ""


def theirs(**meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": KIND,
        "metadata": {"name": NAME, **meta},
        "spec": {"containers": [{"name": "kserve-container", "image": "theirs:1"}]},
    }


@pytest.mark.usefixtures("no_runtime")
def test_once_the_operator_is_ready_a_model_finds_its_runtime(installation: Installation) -> None:
    api = installation.api
    namespace = installation.server.new_namespace(api)
    with installation.start_operator():
        installation.wait_until_ready()
        assert image_of(installation) == "example/s:1"
        model = {"modelFormat": {"name": "sklearn"}, "storageUri": "https://example.org/iris"}
        api.create(
            {
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": {"name": "iris", "namespace": namespace},
                "spec": {"predictor": {"model": model}},
            }
        )
        until(lambda: bool(api.find("Deployment", "iris-predictor", namespace)), "it is there")
        template = api.get("Deployment", "iris-predictor", namespace)["spec"]["template"]
        assert template["spec"]["containers"][0]["image"] == "example/s:1"
        assert not [e for e in api.list("Event", namespace) if e["reason"] == "InvalidSpec"]


def test_what_is_changed_or_deleted_is_as_it_was(installation: Installation) -> None:
    with installation.start_operator():
        installation.wait_until_ready()
        installation.api.patch(KIND, NAME, None, theirs())
        until(lambda: image_of(installation) == "example/s:1", "the image is ours")
        installation.api.delete(KIND, NAME)
        until(lambda: image_of(installation) == "example/s:1", "it is there again")


@pytest.mark.usefixtures("no_runtime")
@pytest.mark.parametrize("image", ["example/s:1", ""])
def test_one_that_somebody_else_made_is_left_alone(installation: Installation, image: str) -> None:
    upgrade(installation, image)
    installation.api.create(theirs(labels={"team": "ml"}))
    try:
        with installation.start_operator() as program:
            installation.wait_until_ready()
            assert image_of(installation) == "theirs:1"
            assert f"{NAME} has no label of ours and is left as it is" in program.output
    finally:
        installation.api.delete(KIND, NAME)
        upgrade(installation, "example/s:1")


def test_another_image_reaches_it_and_none_deletes_it(installation: Installation) -> None:
    try:
        for image in ("example/s:2", "", "example/s:3"):
            upgrade(installation, image)
            with installation.start_operator():
                installation.wait_until_ready()
                assert image_of(installation) == image
    finally:
        upgrade(installation, "example/s:1")


@pytest.mark.usefixtures("no_runtime")
@pytest.mark.parametrize("hook", [{}, {"helm.sh/hook": "post-install,post-upgrade"}])
def test_one_that_helm_had_made_is_taken_over(
    installation: Installation, hook: dict[str, str]
) -> None:
    """As the chart did: as a hook where the kind was new, else as a part of the release."""
    labels = {
        "app.kubernetes.io/name": "inference-batcher",
        "app.kubernetes.io/managed-by": "Helm",
    }
    annotations = {
        "helm.sh/resource-policy": "keep",
        "meta.helm.sh/release-name": RELEASE,
        "meta.helm.sh/release-namespace": NAMESPACE,
        **hook,
    }
    made = installation.api.create(theirs(labels=labels, annotations=annotations))
    upgrade(installation, "example/s:1")
    with installation.start_operator():
        installation.wait_until_ready()
        found = installation.api.get(KIND, NAME)
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    assert found["spec"]["containers"][0]["image"] == "example/s:1"
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "inference-batcher"


def test_it_outlives_the_release_and_needs_no_definitions_of_the_next(
    installation: Installation,
) -> None:
    with installation.start_operator():
        installation.wait_until_ready()
    first = installation.api.get(KIND, NAME)["metadata"]["uid"]
    installation.helm("uninstall")
    without = [value for value in STANDALONE if not value.startswith("crds")]
    installation.helm("install", *(flag for value in without for flag in ("--set-json", value)))
    assert installation.api.get(KIND, NAME)["metadata"]["uid"] == first
    installation.api.delete(KIND, NAME)
    with installation.start_operator():
        installation.wait_until_ready()
        assert image_of(installation) == "example/s:1"
