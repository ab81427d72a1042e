from collections.abc import Mapping

import pytest

from batcher_operator.memory import Memory
from batcher_operator.resources import Kind
from batcher_operator.views import Key
from batcher_operator.watchdog import Watchdog
from tests.unit.operator import objects

IRIS = Key("models", "iris")


class Cluster:
    """What there is, by uid; `None` for a kind that the API server does not know."""

    def __init__(self) -> None:
        self.there: dict[Kind, dict[str, str] | None] = {"InferenceService": {}, "Pod": {}}

    async def versions(self, kind: Kind) -> Mapping[str, str] | None:
        return self.there[kind]


class Stand:
    def __init__(self) -> None:
        self.memory, self.cluster = Memory(), Cluster()
        self.looked_at: set[Key] = set()
        self.watchdog = Watchdog(self.memory, self.cluster, self.looked_at.update)

    def exists(self, version: str) -> None:
        self.cluster.there["InferenceService"] = {"uid-iris": version}

    def event(self, version: str) -> None:
        raw = objects.service(resource_version=version)
        self.memory.take("InferenceService", raw, gone=False)


@pytest.fixture
def stand() -> Stand:
    return Stand()


async def test_an_empty_cluster_is_synced(stand: Stand) -> None:
    await stand.watchdog.look()
    assert stand.watchdog.synced.is_set()
    assert stand.watchdog.stalled == ""


async def test_synced_when_events_have_brought_everything(stand: Stand) -> None:
    stand.exists("1")
    await stand.watchdog.look(compare=False)
    assert not stand.watchdog.synced.is_set()
    assert stand.watchdog.behind_count == 1
    stand.event("1")
    await stand.watchdog.look(compare=False)
    assert stand.watchdog.synced.is_set()
    assert stand.watchdog.behind_count == 0


async def test_a_change_that_no_event_brings_is_a_stall(stand: Stand) -> None:
    stand.exists("1")
    stand.event("1")
    await stand.watchdog.look()
    stand.exists("2")
    await stand.watchdog.look()
    assert stand.watchdog.stalled == ""  # the event may be on its way
    await stand.watchdog.look()
    assert stand.watchdog.stalled == "events of 1 InferenceService(s) do not arrive"
    stand.event("2")
    await stand.watchdog.look()
    assert stand.watchdog.stalled == ""


async def test_a_watch_that_never_began_is_a_stall(stand: Stand) -> None:
    stand.exists("1")
    await stand.watchdog.look()
    await stand.watchdog.look()
    assert stand.watchdog.stalled


async def test_looks_between_comparisons_find_no_stall(stand: Stand) -> None:
    stand.exists("1")
    await stand.watchdog.look()
    for _ in range(3):
        await stand.watchdog.look(compare=False)
    assert stand.watchdog.stalled == ""


async def test_an_object_that_changes_all_the_time_is_no_stall(stand: Stand) -> None:
    for version in range(1, 9):
        stand.event(str(version))
        stand.exists(str(version + 1))
        await stand.watchdog.look()
        assert stand.watchdog.stalled == ""


async def test_an_end_that_was_missed_is_found(stand: Stand) -> None:
    stand.event("1")
    await stand.watchdog.look()
    assert stand.memory.service(IRIS) is not None  # it may be newer than the list
    await stand.watchdog.look()
    assert stand.memory.service(IRIS) is None
    assert stand.looked_at == {IRIS}
    assert stand.watchdog.stalled == ""


async def test_without_kserve_nothing_is_synced(stand: Stand) -> None:
    stand.cluster.there["InferenceService"] = None
    await stand.watchdog.look()
    assert stand.watchdog.kind_missing == "InferenceService"
    assert not stand.watchdog.synced.is_set()
    stand.cluster.there["InferenceService"] = {}
    await stand.watchdog.look()
    assert stand.watchdog.kind_missing is None
    assert stand.watchdog.synced.is_set()
