"""What has ended is forgotten: the core holds no more than what waits, and some."""

import gc
import weakref
from collections.abc import Callable, Iterator
from math import inf

import pytest

from batcher_contract import BatcherSettings
from batcher_sidecar.core import (
    Answered,
    Batcher,
    Call,
    Command,
    Draining,
    Event,
    Failed,
    Indivisible,
    Left,
    Request,
    Send,
    SettingsChanged,
    Tick,
    WakeAt,
)

FEW = 200
BATCH_OF_ONE = BatcherSettings(max_batch_size=1, max_concurrency=1)
REMEMBERED_KEYS = 1024
"""How many keys with failures are remembered."""


class Thing:
    """A key, a path or a payload that tells when it is gone."""

    __slots__ = ("__weakref__",)


class World:
    """A batcher and weak references to all it was ever given."""

    def __init__(self, settings: BatcherSettings) -> None:
        self.now_s = 0.0
        self.calls: list[Call] = []
        self._wake_s = inf
        self._batcher = Batcher(settings)
        self._keys: list[weakref.ref[Thing]] = []
        self._paths: list[weakref.ref[Thing]] = []
        self._requests: list[weakref.ref[Thing]] = []

    def arrive(
        self, key: Thing | None = None, path: Thing | None = None, instances: int = 1
    ) -> Request:
        """A request arrives, with a key and a path of its own unless given."""
        key, path, payload = key or Thing(), path or Thing(), Thing()
        self._keys.append(weakref.ref(key))
        self._paths.append(weakref.ref(path))
        self._requests.append(weakref.ref(payload))
        request = Request(key, path, instances, payload)
        self.handle(request)
        return request

    def handle(self, event: Event) -> list[Command]:
        """Give an event to the batcher; note what is called."""
        commands = self._batcher.handle(event, self.now_s)
        for command in commands:
            if isinstance(command, Send):
                self.calls.append(command.call)
            elif isinstance(command, WakeAt):
                self._wake_s = command.when_s
        return commands

    def answer_all(self) -> None:
        """Answer calls until there are none."""
        while self.calls:
            call = self.calls.pop()
            self.handle(Answered(call, [None] * len(call.members)))

    def until(self, when_s: float) -> None:
        """Time passes."""
        while self._wake_s <= when_s:
            self.now_s, self._wake_s = max(self.now_s, self._wake_s), inf
            self.handle(Tick())
        self.now_s = when_s

    def held(self, *, collect: bool = True) -> tuple[int, int, int]:
        """Return how many requests, keys and paths are still held by anybody."""
        if collect:
            gc.collect()
        requests, keys, paths = (
            len({id(thing) for ref in refs if (thing := ref()) is not None})
            for refs in (self._requests, self._keys, self._paths)
        )
        return requests, keys, paths


@pytest.fixture(autouse=True)
def _without_cyclic_collection() -> Iterator[None]:
    """Collect only when asked: tens of thousands of objects come and go here."""
    gc.disable()
    yield
    gc.enable()


def test_a_steady_stream_leaves_little_behind() -> None:
    world = World(BatcherSettings(max_batch_size=1))
    for _ in range(3000):
        world.arrive()
        world.answer_all()
    requests, keys, paths = world.held()
    assert requests == 0, "an answered request, which may be large, is held"
    assert max(keys, paths) <= FEW


def end_whole(world: World) -> None:
    world.answer_all()


def end_failed(world: World) -> None:
    while world.calls:
        call = world.calls.pop()
        world.handle(Failed(call, "500", isolable=len(call.members) > 1))


def end_one_by_one(world: World) -> None:
    world.handle(Indivisible(world.calls.pop()))
    world.answer_all()


def end_after_isolation(world: World) -> None:
    world.handle(Failed(world.calls.pop(), "500", isolable=True))
    world.answer_all()


@pytest.mark.parametrize("end", [end_whole, end_failed, end_one_by_one, end_after_isolation])
def test_what_has_ended_is_let_go_of_at_once(end: Callable[[World], None]) -> None:
    """Though its deadline is still in the heap, and without waiting for the collector."""
    world = World(BatcherSettings(max_batch_size=3))
    for _ in range(20):  # fewer than make the heaps be swept
        key, path = Thing(), Thing()
        for _ in range(3):
            world.arrive(key, path)
        end(world)
    del key, path
    requests, keys, paths = world.held(collect=False)
    assert (requests, paths) == (0, 0)
    assert end is not end_whole or not keys, "failures alone are remembered"


def test_what_was_answered_in_pieces_is_let_go_of_at_once() -> None:
    world = World(BatcherSettings(max_batch_size=2, hard_max_batch_size=2))
    world.arrive(instances=6)
    parts = [Thing() for _ in range(3)]
    refs = [weakref.ref(part) for part in parts]
    while world.calls:
        world.handle(Answered(world.calls.pop(), [parts.pop()]))
    assert world.held(collect=False) == (0, 0, 0)
    assert [ref() for ref in refs] == [None] * 3


def test_keys_that_nobody_waits_with_any_more_are_let_go_of_at_once() -> None:
    world = World(BatcherSettings(max_concurrency=1))
    path = Thing()
    world.arrive(path=path, instances=32)
    for _ in range(20):
        world.handle(Left(world.arrive(path=path)))
        world.handle(Left(world.arrive(path=path, instances=32)))  # due
    requests, keys, _ = world.held(collect=False)
    assert (requests, keys) == (1, 1), "more than the one in flight"


def test_a_key_is_remembered_no_longer_than_it_travels_unbatched() -> None:
    world = World(BatcherSettings(max_batch_size=2, timeout_s=10, max_latency_ms=1000))
    key, path = Thing(), Thing()
    for _ in range(2):
        world.arrive(key, path)
        world.arrive(key, path)
        end_failed(world)
    del key, path
    world.until(59)
    assert world.held(collect=False) == (0, 1, 0)
    world.until(61)
    world.arrive()
    world.until(62)
    world.answer_all()
    assert world.held(collect=False) == (0, 0, 0)


def test_nothing_is_held_after_a_burst_and_the_time_of_its_deadlines() -> None:
    world = World(BatcherSettings(max_latency_ms=1000, timeout_s=10, max_concurrency=1))
    path = Thing()
    for _ in range(2000):
        world.arrive()
        world.arrive(path=path)
    del path
    world.until(1)
    world.answer_all()
    world.until(11)
    assert world.held() == (0, 0, 0)


def test_nothing_is_held_of_those_who_left_the_queue() -> None:
    world = World(BatcherSettings())
    for request in [world.arrive() for _ in range(2000)]:
        world.handle(Left(request))
    del request
    world.until(301)
    assert world.held() == (0, 0, 0)


def test_nothing_is_held_of_those_who_left_a_call() -> None:
    world = World(BatcherSettings(max_batch_size=1))
    for request in [world.arrive() for _ in range(2000)]:
        world.handle(Left(request))
    del request
    world.calls.clear()
    world.until(301)
    assert world.held() == (0, 0, 0)


def test_nothing_is_held_of_those_who_were_due_and_left_while_slots_were_taken() -> None:
    world = World(BatcherSettings(max_batch_size=1, max_concurrency=1))
    path = Thing()
    world.arrive(path=path)
    for _ in range(3000):
        world.handle(Left(world.arrive(path=path)))
    requests, keys, _ = world.held()
    assert max(requests, keys) <= FEW


@pytest.mark.parametrize("event", [SettingsChanged(BATCH_OF_ONE), Draining(), Draining(False)])
def test_changes_of_mind_leave_nothing_behind_where_keys_are_due(event: Event) -> None:
    world = World(BATCH_OF_ONE)
    path = Thing()
    for _ in range(2):
        world.arrive(path=path)
    before = len(gc.get_objects())
    for _ in range(2000):
        world.handle(event)
    assert len(gc.get_objects()) - before <= FEW


def test_a_bounded_number_of_keys_with_failures_is_remembered() -> None:
    world = World(BatcherSettings(max_batch_size=2))
    payer = Thing()
    for _ in range(2 * REMEMBERED_KEYS):
        key, path = Thing(), Thing()
        world.arrive(key, path)
        world.arrive(key, path)
        world.handle(Failed(world.calls.pop(), "500", isolable=True))
        world.answer_all()
        for _ in range(10):  # or there would be no calls left for the next isolation
            world.arrive(payer, path, instances=2)
            world.answer_all()
    del key, path
    world.until(301)
    requests, keys, paths = world.held()
    assert (requests, paths) == (0, 0)
    assert REMEMBERED_KEYS // 2 < keys <= REMEMBERED_KEYS + 1


def test_changes_of_mind_about_draining_leave_nothing_behind() -> None:
    world = World(BatcherSettings())
    world.arrive()
    before = len(gc.get_objects())
    for _ in range(2000):
        world.handle(Draining(active=False))
    assert len(gc.get_objects()) - before <= FEW
