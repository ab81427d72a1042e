"""A sidecar with a scripted model server behind it, and clients in front."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from batcher_contract.names import PROBE_HEADER, READINESS_PROBE_ENV
from tests.ports import free_port
from tests.sidecar.kit.answers import echo
from tests.sidecar.kit.client import Client, Headers, Response, connect, request
from tests.sidecar.kit.process import SidecarProcess, until
from tests.sidecar.kit.scripted import ScriptedModel
from tests.sidecar.kit.wire import Truncated

__all__ = ["LONG", "PAIR", "Rig", "RigFactory", "SidecarPool", "tcp_probe"]

LONG: Final = ("--max-latency", "30000")
"""A window that no test lives to see the end of."""
PAIR: Final = ("--max-batchsize", "2", *LONG)
"""The same, and two instances end the wait."""

_SHARED_PROCESSES: Final = 6


def tcp_probe(port: int) -> str:
    """The readiness probe that KServe hands over by default."""
    return json.dumps(
        {
            "tcpSocket": {"port": port},
            "timeoutSeconds": 1,
            "periodSeconds": 1,
            "successThreshold": 1,
            "failureThreshold": 3,
        }
    )


class Rig:
    """One test's sidecar, model server and clients."""

    def __init__(self, sidecar: SidecarProcess, model: ScriptedModel) -> None:
        self.sidecar = sidecar
        self.model = model
        self._clients: list[Client] = []
        self._tasks: set[asyncio.Task[Response]] = set()

    async def connect(self, host: str = "127.0.0.1") -> Client:
        client = await connect(self.sidecar.port, host)
        self._clients.append(client)
        return client

    async def send(self, data: bytes) -> Client:
        """Send on a connection of its own; the answer is the caller's to read."""
        client = await self.connect()
        client.send(data)
        return client

    async def ask(self, data: bytes, method: str = "POST") -> Response:
        """Send on a connection of its own and read the answer."""
        return await (await self.send(data)).response(method)

    async def answers(self, *clients: Client) -> list[Response]:
        """One answer from each."""
        return list(await asyncio.gather(*(client.response() for client in clients)))

    async def settle(self) -> None:
        """Return once the sidecar has read all that was sent before.

        It serves connections in the order in which they became readable, so when probes on
        two new connections have been answered, one after the other, older bytes were read.
        """
        for _ in range(2):
            await self.probe()

    async def probe(self, headers: Headers = ((PROBE_HEADER, "queue"),), path: str = "/") -> int:
        """What the data port answers a kubelet's readiness probe."""
        client = await connect(self.sidecar.port)
        try:
            client.send(request("GET", path, headers))
            return (await client.response("GET")).status
        finally:
            client.close()

    async def until_ready(self, ready: bool = True) -> None:
        async def reached() -> bool:
            with contextlib.suppress(Truncated):  # looked at again, not the subject here
                return (await self.probe() == 200) is ready
            return False

        await until(reached, f"ready={ready}")

    async def admin(self, target: str, headers: Headers = (), method: str = "GET") -> Response:
        client = await connect(self.sidecar.admin_port)
        self._clients.append(client)
        client.send(request(method, target, headers))
        return await client.response(method)

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        await self.model.stop()
        if self.sidecar.running and not self.sidecar.may_end:
            await self.settle()


class SidecarPool:
    """Processes that tests with equal flags share, as starting one takes half a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self._shared: dict[tuple[str, ...], SidecarProcess] = {}

    def start(
        self, flags: tuple[str, ...], port: int, env: Mapping[str, str] | None = None
    ) -> SidecarProcess:
        self._started += 1
        log = self._folder / f"sidecar-{self._started}.log"
        return SidecarProcess(flags, log=log, component_port=port, env=env)

    def shared(self, flags: tuple[str, ...]) -> SidecarProcess:
        found = self._shared.pop(flags, None)
        if found is None or not found.running:
            if len(self._shared) >= _SHARED_PROCESSES:
                self._shared.pop(next(iter(self._shared))).stop()
            found = self.start(flags, free_port())
        self._shared[flags] = found
        return found

    def forget(self, sidecar: SidecarProcess) -> None:
        """Let nobody else use a process that a test failed with."""
        for flags, shared in list(self._shared.items()):
            if shared is sidecar:
                del self._shared[flags]
                sidecar.stop()

    def holds(self, sidecar: SidecarProcess) -> bool:
        return any(shared is sidecar for shared in self._shared.values())

    def close(self) -> None:
        for sidecar in self._shared.values():
            sidecar.stop()
        self._shared.clear()


class RigFactory:
    """Makes the rigs of one test and checks them at its end."""

    def __init__(self, pool: SidecarPool) -> None:
        self._pool = pool
        self.rigs: list[Rig] = []

    async def __call__(
        self,
        *flags: str,
        shared: bool = False,
        batching: bool = True,
        model: bool = True,
        probe: str | None = None,
    ) -> Rig:
        """A started sidecar and its model server.

        Args:
            flags: beyond the ports and `--enable-batcher`.
            shared: the process may have served other tests with the same flags.
            batching: whether `--enable-batcher` is among the flags.
            model: whether the model server listens from the start.
            probe: text of the readiness probe's variable; `PORT` in it becomes the model's.
        """
        all_flags = ("--enable-batcher", *flags) if batching else flags
        if shared:
            assert probe is None, "a shared process has no probe"
            sidecar = self._pool.shared(all_flags)
        else:
            port = free_port()
            env = {} if probe is None else {READINESS_PROBE_ENV: probe.replace("PORT", str(port))}
            sidecar = self._pool.start(all_flags, port, env)
        rig = Rig(sidecar, ScriptedModel(echo, sidecar.component_port))
        self.rigs.append(rig)
        await sidecar.started()
        if model:
            await rig.model.listen()
        return rig

    async def close(self, *, failed: bool) -> None:
        for rig in self.rigs:
            if failed:
                self._pool.forget(rig.sidecar)
            try:
                await rig.close()
                if not failed:
                    rig.sidecar.check()
            finally:
                if not self._pool.holds(rig.sidecar):
                    rig.sidecar.stop()
