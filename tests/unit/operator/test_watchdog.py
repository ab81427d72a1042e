from collections.abc import Mapping

import pytest

from batcher_operator.memory import Memory
from batcher_operator.resources import KINDS, OWNED, RUNTIMES, Kind
from batcher_operator.views import Key
from batcher_operator.watchdog import Watchdog
from tests.unit.operator import objects

IRIS = Key("models", "iris")


class Cluster:
    """What there is, by uid; `None` for a kind that the API server does not know."""

    def __init__(self) -> None:
        self.there: dict[Kind, dict[str, str] | None] = {kind: {} for kind in KINDS}
        self.asked: set[Kind] = set()

    async def versions(self, kind: Kind) -> Mapping[str, str] | None:
        self.asked.add(kind)
        return self.there[kind]


class Stand:
    def __init__(self, *more: Kind) -> None:
        self.memory, self.cluster = Memory(), Cluster()
        self.looked_at: set[Key] = set()
        self.watchdog = Watchdog(self.memory, self.cluster, self.looked_at.update, more)

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


async def test_while_a_kind_is_missing_nothing_is_watched_and_nothing_missed(stand: Stand) -> None:
    stand.cluster.there["InferenceService"] = None
    stand.cluster.there["Pod"] = {"uid-iris-predictor-1": "1"}
    for _ in range(3):
        await stand.watchdog.look()
        assert stand.watchdog.stalled == ""
    stand.cluster.there["InferenceService"] = {}
    await stand.watchdog.look()
    assert stand.watchdog.stalled == ""
    await stand.watchdog.look()
    assert stand.watchdog.stalled == "events of 1 Pod(s) do not arrive"


async def test_only_what_is_watched_is_asked_for() -> None:
    stand = Stand()
    await stand.watchdog.look()
    assert stand.cluster.asked == {"InferenceService", "Pod"}


@pytest.mark.parametrize("kind", [*OWNED, *RUNTIMES])
async def test_in_standalone_mode_a_dead_watch_of_any_kind_is_found_out(kind: Kind) -> None:
    stand = Stand(*OWNED, *RUNTIMES)
    stand.cluster.there[kind] = {"uid-of-iris": "1"}
    await stand.watchdog.look()
    assert stand.watchdog.synced.is_set()  # nobody waits for these
    assert stand.watchdog.stalled == ""
    await stand.watchdog.look()
    assert stand.watchdog.stalled == f"events of 1 {kind}(s) do not arrive"
    assert stand.watchdog.behind_count == 1
    stand.memory.take_other(kind, objects.owned(kind, uid="uid-of-iris"), gone=False)
    await stand.watchdog.look()
    assert stand.watchdog.stalled == ""
    assert stand.watchdog.behind_count == 0


async def test_the_missed_end_of_what_a_service_owns_is_found() -> None:
    stand = Stand(*OWNED, *RUNTIMES)
    stand.memory.take_other("Deployment", objects.owned("Deployment"), gone=False)
    await stand.watchdog.look()
    await stand.watchdog.look()
    assert stand.looked_at == {IRIS}
    assert stand.memory.versions("Deployment") == {}


async def test_without_runtimes_nothing_is_synced_in_standalone_mode() -> None:
    stand = Stand(*OWNED, *RUNTIMES)
    stand.cluster.there["ServingRuntime"] = None
    await stand.watchdog.look()
    await stand.watchdog.look(compare=False)
    assert stand.watchdog.kind_missing == "ServingRuntime"
    assert not stand.watchdog.synced.is_set()
    stand.cluster.there["ServingRuntime"] = {}
    await stand.watchdog.look(compare=False)
    assert stand.watchdog.synced.is_set()
    stand.cluster.asked.clear()
    await stand.watchdog.look(compare=False)
    assert stand.cluster.asked == {"InferenceService", "Pod"}
