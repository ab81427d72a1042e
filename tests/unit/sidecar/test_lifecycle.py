"""How long a drain takes, in the test's own loop."""

import asyncio
from typing import TYPE_CHECKING, cast

from batcher_contract import BatcherSettings
from batcher_sidecar.lifecycle import Lifecycle
from tests.sidecar.kit.answers import says
from tests.sidecar.kit.client import predict
from tests.unit.sidecar.stand import standing

if TYPE_CHECKING:
    from batcher_sidecar.probe import ModelProbe

PATIENT = BatcherSettings(drain_quiet_s=0.01, drain_timeout_s=60)


class Healthy:
    """A model server that is always ready."""

    reason = ""

    async def check(self) -> bool:
        return True


async def test_the_hook_returns_when_the_last_answer_is_taken() -> None:
    """One from before the drain, which leaves its connection open."""
    size = 16 << 20
    async with standing() as stand:
        lifecycle = Lifecycle(stand.port, cast("ModelProbe", Healthy()), PATIENT)
        stand.model.otherwise = says(200, b'{"predictions":["%b"]}' % (b"x" * size))
        client = await stand.connect()
        client.pause_reading()
        client.send(predict([1]))
        await client.until_bytes_wait()
        hook = asyncio.create_task(lifecycle.drain_by_hook())
        await asyncio.wait([hook], timeout=0.5)
        assert not hook.done()
        client.resume_reading()
        assert len((await client.response()).body) > size
        assert await asyncio.wait_for(hook, 5) == "drained"
        assert not client.ended


async def test_a_drain_takes_the_times_in_force() -> None:
    async with standing() as stand:
        slow = BatcherSettings(drain_quiet_s=50, drain_timeout_s=60)
        lifecycle = Lifecycle(stand.port, cast("ModelProbe", Healthy()), slow)
        lifecycle.apply(PATIENT)
        assert await asyncio.wait_for(lifecycle.drain_by_hook(), 5) == "drained"
