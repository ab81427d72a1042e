"""Runtimes are read once a second, and again as soon as one has changed."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from batcher_operator.references import References
from batcher_operator.views import Key

IRIS = Key("models", "iris")
CLUSTERS = "/apis/serving.kserve.io/v1alpha1/clusterservingruntimes"
SERVICE = {
    "metadata": {"name": "iris", "namespace": "models", "uid": "u1"},
    "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}}}},
}
Json = dict[str, Any]


class Cluster:
    """Runtimes of the cluster by name; nothing else is there."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.reads = 0
        self.reading, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def get(self, path: str) -> Json | None:
        return None

    async def put(self, path: str, body: Mapping[str, Any]) -> Json:
        raise NotImplementedError

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> Json:
        raise NotImplementedError

    async def delete(self, path: str, uid: str) -> None:
        raise NotImplementedError

    async def list_items(self, path: str, labels: str = "") -> list[Json]:
        if path != CLUSTERS:
            return []
        self.reads += 1
        found = [{"kind": "ClusterServingRuntime", "metadata": {"name": n}} for n in self.names]
        self.reading.set()
        await self.go_on.wait()
        return found


class Stand:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cluster = Cluster()
        self.references = References(self.cluster, lambda: self.now_s)

    async def runtimes(self) -> list[str]:
        found = await self.references.find(IRIS, SERVICE)
        return [runtime.name for runtime in found.runtimes]


@pytest.fixture
def stand() -> Stand:
    return Stand()


async def test_they_are_read_once_a_second(stand: Stand) -> None:
    for tenth in range(11):
        stand.now_s = tenth / 10
        await stand.runtimes()
    assert stand.cluster.reads == 2


async def test_one_that_has_changed_is_found_at_once(stand: Stand) -> None:
    assert await stand.runtimes() == []
    stand.cluster.names = ["sklearn"]
    stand.references.doubt()
    assert await stand.runtimes() == ["sklearn"]


async def test_what_was_read_before_a_change_is_not_kept(stand: Stand) -> None:
    stand.cluster.go_on.clear()
    reading = asyncio.ensure_future(stand.runtimes())
    await stand.cluster.reading.wait()
    stand.cluster.names = ["sklearn"]
    stand.references.doubt()
    stand.cluster.go_on.set()
    assert await reading == []
    assert await stand.runtimes() == ["sklearn"]
