from typing import Any

import pytest

from batcher_contract.settings import Mode
from batcher_operator.surroundings import Surroundings

KSERVES = "mutatingwebhookconfigurations/inferenceservice.serving.kserve.io"
MUTATING = "mutatingwebhookconfigurations/inferenceservices.inference-batcher.io"
VALIDATING = "validatingwebhookconfigurations/inferenceservices.inference-batcher.io"


class Cluster:
    """The objects that there are, by the end of their path."""

    def __init__(self, **objects: dict[str, Any]) -> None:
        self.objects = objects

    async def get(self, path: str) -> dict[str, Any] | None:
        return self.objects.get("/".join(path.split("/")[-2:]))


def configuration(*bundles: str | None) -> dict[str, Any]:
    return {"webhooks": [{"clientConfig": {"caBundle": b} if b else {}} for b in bundles]}


async def why(cluster: Cluster, manages_certificates: bool, mode: Mode = "kserve") -> str:
    surroundings = Surroundings(cluster, mode, manages_certificates)
    await surroundings.look()
    return surroundings.why_not_ready


async def test_before_the_first_look_nothing_is_known() -> None:
    assert Surroundings(Cluster(), "kserve", True).why_not_ready


async def test_without_kserve() -> None:
    assert (await why(Cluster(), True)).endswith("install KServe, or set --mode standalone")


async def test_with_kserve() -> None:
    assert await why(Cluster(**{KSERVES: {}}), True) == ""


@pytest.mark.parametrize(
    ("mutating", "validating", "told"),
    [
        (configuration("a"), configuration("a"), ""),
        (configuration("a"), configuration(None), VALIDATING),
        (configuration("a", None), configuration("a"), MUTATING),
        ({}, configuration("a"), MUTATING),
        (None, configuration("a"), MUTATING),
    ],
)
async def test_certificates_of_others(
    mutating: dict[str, Any] | None, validating: dict[str, Any], told: str
) -> None:
    objects = {KSERVES: {}, MUTATING: mutating, VALIDATING: validating}
    cluster = Cluster(**{key: value for key, value in objects.items() if value is not None})
    sentence = await why(cluster, False)
    assert sentence.startswith(told)
    assert bool(sentence) == bool(told)
    assert not told or "cert-manager's cainjector" in sentence


def crd(name: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"app.kubernetes.io/name": name}}}


CRD = "customresourcedefinitions/inferenceservices.serving.kserve.io"


@pytest.mark.parametrize(
    ("objects", "told"),
    [
        ({CRD: crd("inference-batcher")}, ""),
        ({}, "install the chart with crds.enabled=true"),
        ({CRD: crd("kserve")}, "is not this chart's, and nothing is written"),
        ({CRD: crd("inference-batcher"), KSERVES: {}}, "KServe runs InferenceServices here"),
    ],
)
async def test_standalone_writes_only_where_nobody_else_does(
    objects: dict[str, Any], told: str
) -> None:
    sentence = await why(Cluster(**objects), True, "standalone")
    assert told in sentence
    assert bool(sentence) == bool(told)
