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


class Stand:
    """Standalone mode, with certificates of others'; a clock that stands until it is set."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cluster = Cluster(**{CRD: crd("inference-batcher")})
        self.surroundings = Surroundings(self.cluster, "standalone", False, lambda: self.now_s)


async def test_what_keeps_it_from_being_ready_need_not_keep_it_from_writing() -> None:
    stand = Stand()
    assert await stand.surroundings.why_not_write() == ""
    assert "not been looked at" in stand.surroundings.why_not_ready
    await stand.surroundings.look()
    assert "caBundle" in stand.surroundings.why_not_ready
    assert await stand.surroundings.why_not_write() == ""


async def test_kserve_that_comes_later_stops_the_writing_within_a_second() -> None:
    stand = Stand()
    await stand.surroundings.look()
    stand.cluster.objects[KSERVES] = {}
    stand.now_s = 1.0
    words = "KServe runs InferenceServices here, and nothing is written: set --mode kserve"
    assert (await stand.surroundings.why_not_write()).endswith(words)
    assert stand.surroundings.why_not_ready.endswith(words)
    del stand.cluster.objects[KSERVES]
    stand.now_s = 2.0
    assert await stand.surroundings.why_not_write() == ""


async def test_a_definition_that_becomes_somebody_elses_stops_the_writing() -> None:
    stand = Stand()
    assert await stand.surroundings.why_not_write() == ""
    stand.cluster.objects[CRD] = crd("kserve")
    stand.now_s = 1.0
    assert "is not this chart's" in await stand.surroundings.why_not_write()


async def test_others_are_asked_for_once_a_second_at_most() -> None:
    stand = Stand()
    asked: list[str] = []
    get = stand.cluster.get

    async def counted(path: str) -> dict[str, Any] | None:
        asked.append(path)
        return await get(path)

    stand.cluster.get = counted  # type: ignore[method-assign]
    for tenth in range(11):
        stand.now_s = tenth / 10
        await stand.surroundings.why_not_write()
    assert [path.rpartition("/")[2] for path in asked].count(KSERVES.rpartition("/")[2]) == 2


async def test_nothing_is_written_while_nobody_can_tell_whose_it_is() -> None:
    stand = Stand()

    async def fail(path: str) -> dict[str, Any] | None:
        raise OSError("the API server gives no answer")

    stand.cluster.get = fail  # type: ignore[method-assign]
    assert await stand.surroundings.why_not_write() == "the API server gives no answer"
