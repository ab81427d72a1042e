"""A data port and its model server in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from batcher_contract import BatcherSettings
from batcher_contract.names import METRICS_PREFIX
from batcher_sidecar.codecs import Codec, Codecs
from batcher_sidecar.config import SidecarConfig
from batcher_sidecar.dataport import SidecarPort
from batcher_sidecar.metrics import Metrics
from batcher_sidecar.upstream import UpstreamPool
from tests.ports import free_port
from tests.sidecar.kit.answers import echo
from tests.sidecar.kit.client import Client, connect
from tests.sidecar.kit.scripted import ScriptedModel
from tests.sidecar.kit.tcp import let_the_loop_turn
from tests.sidecar.kit.wire import BOUND_S

__all__ = ["Stand", "standing"]


class Stand:
    """What `standing` set up, and clients in front."""

    def __init__(
        self,
        model: ScriptedModel,
        port: SidecarPort,
        port_number: int,
        metrics: Metrics,
        advance: Callable[[float], None] | None,
    ) -> None:
        self.model = model
        self.port = port
        self.metrics = metrics
        self._port_number = port_number
        self._advance = advance
        self.clients: list[Client] = []

    @property
    def connections(self) -> int:
        """How many clients' connections the data port knows."""
        return len(self.port._connections)

    async def connect(self) -> Client:
        self.clients.append(await connect(self._port_number))
        return self.clients[-1]

    def counted(self, sample: str) -> float:
        """What a scrape says now; the name is without prefix, with labels if it has any."""
        lines = self.metrics.render()[0].decode().splitlines()
        found = [line for line in lines if line.startswith(f"{METRICS_PREFIX}{sample} ")]
        assert len(found) == 1, f"{sample} is there {len(found)} times"
        return float(found[0].split()[-1])

    async def send(self, data: bytes) -> Client:
        client = await self.connect()
        client.send(data)
        return client

    async def until(self, reached: Callable[[], bool]) -> None:
        """Let the loop turn until `reached`."""
        async with asyncio.timeout(BOUND_S):
            while not reached():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def pass_s(self, seconds: float) -> None:
        """Let time pass, a step at a time, since timers are set again when they fire."""
        assert self._advance is not None, "the clock does not move"
        while seconds > 0:
            self._advance(min(10, seconds))
            seconds -= 10
            await let_the_loop_turn()


@asynccontextmanager
async def standing(
    advance: Callable[[float], None] | None = None,
    codec: Codec | None = None,
    settings: BatcherSettings | None = None,
) -> AsyncIterator[Stand]:
    """Set all up; `advance` moves the clock, where the test has made it movable."""
    async with ScriptedModel(echo) as model:
        config = SidecarConfig(
            settings=settings or BatcherSettings(max_batch_size=1),
            enable_batcher=True,
            component_port=model.port,
            port=free_port(),
        )
        pool = UpstreamPool(config.component_host, config.component_port)
        codecs = Codecs.of("shape")
        if codec is not None:
            codecs.v1 = codec
        metrics = Metrics()
        port = SidecarPort(config, codecs, pool, metrics)
        await port.listen("127.0.0.1", config.port)
        stand = Stand(model, port, config.port, metrics, advance)
        try:
            yield stand
        finally:
            for client in stand.clients:
                client.abort()
            await port.close()
            await pool.close()
