"""What is watched is narrowed down by the API server, and what an event sets off."""

from collections.abc import Collection
from typing import Any

import pytest
from kopf import ConnectionInfo
from kopf._cogs.structs.references import Resource

from batcher_operator.handlers import build_registry, build_settings
from batcher_operator.memory import Memory
from batcher_operator.resources import KINDS, Kind
from batcher_operator.views import Key
from batcher_operator.workloads import Workloads
from tests.unit.operator import objects

IRIS = Key("models", "iris")
WATCHED_IN_EVERY_MODE = {"inferenceservices", "pods"}
WATCHED_IN_STANDALONE_MODE = {of.plural for of in KINDS.values()}


def selectors_of(group: str, version: str, plural: str) -> list[str]:
    settings = build_settings()
    resource = Resource(group, version, plural, namespaced=True)
    return list(settings.watching.label_selectors.collect(resource))


def test_only_pods_of_inferenceservices_are_watched() -> None:
    assert selectors_of("", "v1", "pods") == ["serving.kserve.io/inferenceservice"]


@pytest.mark.parametrize(
    ("group", "version", "plural"),
    [
        ("", "v1", "services"),
        ("", "v1", "configmaps"),
        ("apps", "v1", "deployments"),
        ("autoscaling", "v2", "horizontalpodautoscalers"),
    ],
)
def test_only_what_is_ours_is_watched_of_common_kinds(
    group: str, version: str, plural: str
) -> None:
    assert selectors_of(group, version, plural) == [
        "serving.kserve.io/inferenceservice,app.kubernetes.io/managed-by=inference-batcher"
    ]


class Looks(Workloads):
    """Only notes what is to be looked at."""

    def __init__(self) -> None:
        self.asked: list[Key] = []
        self.all_asked = 0
        self.known: set[str] = set()

    def look_at(self, keys: Collection[Key]) -> None:
        self.asked += keys

    def look_at_all(self) -> None:
        self.all_asked += 1

    def wrote(self, key: Key, version: str) -> bool:
        return version in self.known


class Stand:
    def __init__(self, standalone: bool = True) -> None:
        self.memory, self.looks = Memory(), Looks()
        self.announced: list[Key] = []
        workloads = self.looks if standalone else None
        registry = build_registry(self.memory, self.announced.extend, self.login, workloads)
        self.handlers = {str(each.id): each.fn for each in registry._watching.get_all_handlers()}

    async def login(self) -> ConnectionInfo:
        raise NotImplementedError

    async def event(self, kind: Kind, raw: dict[str, Any], happened: str = "MODIFIED") -> list[Key]:
        """The InferenceServices that are to be looked at after an event."""
        self.looks.asked.clear()
        handler: Any = self.handlers[f"watch-{KINDS[kind].plural}"]
        await handler(event={"type": happened, "object": raw})
        return self.looks.asked


@pytest.mark.parametrize(
    ("standalone", "plurals"),
    [(False, WATCHED_IN_EVERY_MODE), (True, WATCHED_IN_STANDALONE_MODE)],
)
def test_what_is_watched_in_each_mode(standalone: bool, plurals: set[str]) -> None:
    assert set(Stand(standalone).handlers) == {f"watch-{plural}" for plural in plurals}


async def test_a_service_is_looked_at_unless_the_last_look_made_it_so() -> None:
    stand = Stand()
    stand.looks.known = {"2"}
    assert await stand.event("InferenceService", objects.service()) == [IRIS]
    assert await stand.event("InferenceService", objects.service(resource_version="2")) == []
    assert await stand.event("InferenceService", objects.service(resource_version="3")) == [IRIS]
    gone = objects.service(resource_version="2")
    assert await stand.event("InferenceService", gone, "DELETED") == [IRIS]
    assert stand.announced == [IRIS] * 4


async def test_of_what_a_service_owns_only_what_matters_is_looked_at() -> None:
    stand = Stand()
    kind: Kind = "HorizontalPodAutoscaler"
    stand.looks.known = {"2"}
    assert await stand.event(kind, objects.owned(kind)) == [IRIS]
    ours = objects.owned(kind, resource_version="2", spec={"minReplicas": 1})
    assert await stand.event(kind, ours) == []
    status = {"currentReplicas": 1}
    counted = objects.owned(kind, resource_version="3", spec={"minReplicas": 1}, status=status)
    assert await stand.event(kind, counted) == []
    drifted = objects.owned(kind, resource_version="4", spec={"minReplicas": 2})
    assert await stand.event(kind, drifted) == [IRIS]
    assert await stand.event(kind, drifted, "DELETED") == [IRIS]


async def test_pods_are_looked_at_when_they_fail() -> None:
    stand = Stand()
    assert await stand.event("Pod", objects.pod()) == []
    failed = objects.pod()
    waiting = {"waiting": {"reason": "InvalidImageName"}}
    failed["status"]["containerStatuses"] = [{"name": "kserve-container", "state": waiting}]
    assert await stand.event("Pod", failed) == [IRIS]
    assert await stand.event("Pod", failed, "DELETED") == []
    assert stand.announced == [IRIS] * 3


async def test_after_a_runtime_has_changed_all_are_looked_at() -> None:
    stand = Stand()
    runtime = objects.owned("ClusterServingRuntime", spec={"containers": []})
    await stand.event("ClusterServingRuntime", runtime)
    await stand.event("ClusterServingRuntime", runtime)
    assert stand.looks.all_asked == 1
    await stand.event("ClusterServingRuntime", runtime, "DELETED")
    assert stand.looks.all_asked == 2
