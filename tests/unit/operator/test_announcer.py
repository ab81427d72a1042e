import asyncio
from typing import Any

import pytest

from batcher_operator.announcer import REPEAT_S, Announcer
from batcher_operator.memory import Memory
from batcher_operator.metrics import Metrics
from batcher_operator.views import Key
from tests.unit.operator import objects

IRIS = Key("models", "iris")


class Sink:
    """The API server's Events, by name."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.calls = 0
        self.error: OSError | None = None
        self.called = asyncio.Event()

    async def create_event(self, event: dict[str, Any]) -> None:
        if self.error is not None:
            raise self.error
        self.calls += 1
        self.called.set()
        self.events.setdefault(event["metadata"]["name"], event)

    @property
    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.events.values()]


class Stand:
    def __init__(self) -> None:
        self.memory, self.sink, self.now_s = Memory(), Sink(), 0.0
        self.announcer = self.another()

    def another(self) -> Announcer:
        return Announcer(self.memory, self.sink, Metrics(), objects.IMAGE)

    async def look(self) -> bool:
        self.announcer.look_at([IRIS])
        return await self.announcer.work(lambda: self.now_s)


@pytest.fixture
def stand() -> Stand:
    stand = Stand()
    stand.memory.take("InferenceService", objects.service(), gone=False)
    stand.memory.take("Pod", objects.pod(), gone=False)
    return stand


async def test_an_event_names_its_service_and_says_what_to_do(stand: Stand) -> None:
    assert await stand.look()
    (event,) = stand.sink.events.values()
    assert event["involvedObject"] == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "name": "iris",
        "namespace": "models",
        "uid": "uid-iris",
    }
    assert (event["type"], event["reason"]) == ("Warning", "SidecarMissing")
    assert event["metadata"]["namespace"] == "models"
    assert event["metadata"]["name"].startswith("iris.")
    assert "kubectl annotate isvc iris" in event["message"]


async def test_what_was_said_is_not_said_again(stand: Stand) -> None:
    await stand.look()
    await stand.look()
    assert stand.sink.calls == 1


async def test_another_operator_says_it_under_the_same_name(stand: Stand) -> None:
    await stand.look()
    stand.announcer = stand.another()
    await stand.look()
    assert stand.sink.calls == 2
    assert len(stand.sink.events) == 1


async def test_a_warning_that_lasts_is_said_again_after_an_hour(stand: Stand) -> None:
    await stand.look()
    stand.now_s = REPEAT_S - 1
    await stand.look()
    assert stand.sink.calls == 1
    stand.now_s = REPEAT_S
    await stand.look()
    assert stand.sink.calls == 2


async def test_good_news_is_said_once(stand: Stand) -> None:
    injected = objects.pod(objects.sidecar(), decision="Injected: batches")
    stand.memory.take("Pod", injected, gone=False)
    await stand.look()
    stand.now_s = 2 * REPEAT_S
    await stand.look()
    assert stand.sink.reasons == ["SidecarInjected"]
    assert stand.sink.calls == 1


async def test_what_comes_back_is_said_again(stand: Stand) -> None:
    await stand.look()
    stand.memory.take("Pod", objects.pod(), gone=True)
    await stand.look()
    stand.memory.take("Pod", objects.pod(), gone=False)
    await stand.look()
    assert stand.sink.calls == 2


async def test_a_service_that_is_gone_is_not_spoken_of(stand: Stand) -> None:
    stand.memory.take("InferenceService", objects.service(), gone=True)
    assert await stand.look()
    assert stand.sink.calls == 0


async def test_what_could_not_be_said_is_said_later(stand: Stand) -> None:
    stand.sink.error = OSError("no answer")
    assert not await stand.look()
    stand.sink.error = None
    assert await stand.announcer.work()
    assert stand.sink.reasons == ["SidecarMissing"]


async def test_a_namespace_that_takes_no_events_holds_up_nobody(stand: Stand) -> None:
    stand.sink.error = PermissionError("it is being deleted")
    assert await stand.look()


async def test_nothing_is_said_before_events_have_caught_up(stand: Stand) -> None:
    begin = asyncio.Event()
    stand.announcer.look_at([IRIS])
    async with asyncio.timeout(5):
        task = asyncio.ensure_future(stand.announcer.keep(begin))
        await asyncio.sleep(0)
        assert stand.sink.calls == 0
        begin.set()
        await stand.sink.called.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_other_settings_of_running_sidecars_are_looked_at(stand: Stand) -> None:
    stand.memory.take("Pod", objects.pod(objects.sidecar(), decision="Injected: x"), gone=False)
    await stand.look()
    assert stand.sink.reasons == ["SidecarInjected"]
    stand.announcer.tell_more(IRIS, (), {"predictor": '{"max-latency": "60000"}'})
    await stand.announcer.work(lambda: stand.now_s)
    assert stand.sink.reasons == ["SidecarInjected", "GracePeriodTooShort"]
