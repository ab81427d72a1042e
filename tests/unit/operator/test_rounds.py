"""Looks that go on side by side; none of these waits for time to pass."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from batcher_operator.kube import Conflict
from batcher_operator.rounds import Rounds
from batcher_operator.views import Key

A, B = (Key("models", name) for name in "ab")


class Stand:
    """Looks end when they are let go."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.begun: list[Key] = []
        self.going: dict[Key, asyncio.Future[bool]] = {}
        self.failures = 0
        self.why = ""
        self.begin = asyncio.Event()
        self.begin.set()
        self.rounds = Rounds(self.look, lambda: self.keys, self.fail)

    def fail(self) -> None:
        self.failures += 1

    async def why_not(self) -> str:
        return self.why

    async def look(self, key: Key, tries: int) -> bool:
        assert key not in self.going
        self.begun.append(key)
        self.going[key] = asyncio.get_running_loop().create_future()
        try:
            return await self.going[key]
        finally:
            del self.going[key]

    async def settle(self) -> None:
        """Let it do all that it can do now."""
        for _ in range(30):
            await asyncio.sleep(0)

    async def let_go(self, key: Key, error: Exception | None = None) -> None:
        if error is None:
            self.going[key].set_result(True)
        else:
            self.going[key].set_exception(error)
        await self.settle()


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    stand = Stand()
    task = asyncio.ensure_future(stand.rounds.keep(stand.begin, stand.why_not))
    await stand.settle()
    yield stand
    task.cancel()
    await asyncio.wait([task])


async def test_one_that_takes_long_lets_others_go_on(stand: Stand) -> None:
    stand.rounds.look_at([A])
    await stand.settle()
    stand.rounds.look_at([A, B])
    await stand.settle()
    assert stand.begun == [A, B]
    await stand.let_go(B)
    assert stand.begun == [A, B]
    await stand.let_go(A)
    assert stand.begun == [A, B, A]


async def test_only_a_few_are_looked_at_at_a_time(stand: Stand) -> None:
    keys = [Key("models", str(number)) for number in range(10)]
    stand.rounds.look_at(keys)
    await stand.settle()
    assert stand.begun == keys[:4]
    stand.rounds.look_at([A])
    for key in keys:
        await stand.let_go(key)
    assert stand.begun == [*keys, A]


@pytest.mark.parametrize(
    ("error", "failures"),
    [(Conflict(409, "changed"), 0), (OSError("no answer"), 1), (KeyError("kind"), 1)],
)
async def test_one_that_fails_stops_nobody_and_is_counted(
    stand: Stand, error: Exception, failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    stand.rounds.look_at([A])
    await stand.settle()
    await stand.let_go(A, error)
    assert stand.failures == failures
    assert ("cannot look at models/a" in caplog.text) == bool(failures)
    stand.rounds.look_at([B])
    await stand.settle()
    assert stand.begun == [A, B]


async def test_nothing_is_looked_at_while_there_is_a_reason_not_to(stand: Stand) -> None:
    stand.why = "KServe runs InferenceServices here"
    stand.rounds.look_at([A])
    await stand.settle()
    assert stand.begun == []
    stand.why = ""
    stand.rounds.look_at([B])
    await stand.settle()
    assert stand.begun == [A, B]


async def test_a_reason_that_comes_up_stops_it_before_the_next(stand: Stand) -> None:
    keys = [Key("models", str(number)) for number in range(5)]
    stand.rounds.look_at(keys)
    await stand.settle()
    stand.why = "KServe runs InferenceServices here"
    await stand.let_go(keys[0])
    assert stand.begun == keys[:4]


async def test_labels_that_name_nobody_are_passed_over(stand: Stand) -> None:
    stand.rounds.look_at([Key("models", ""), Key("", "iris")])
    await stand.settle()
    assert stand.begun == []


async def test_all_are_looked_at_first_of_all() -> None:
    stand = Stand()
    stand.keys = [A, B]
    stand.begin.clear()
    task = asyncio.ensure_future(stand.rounds.keep(stand.begin, stand.why_not))
    await stand.settle()
    assert stand.begun == []
    stand.begin.set()
    await stand.settle()
    assert stand.begun == [A, B]
    task.cancel()
    await asyncio.wait([task])
