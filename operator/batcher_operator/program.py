"""The running operator: kopf, and beside it what keeps certificates, Events and liveness.

    kopf's events ─► Memory ─► Announcer ─ reconcile ─► Events
                       ▲
    API server ─► Watchdog, Authority, Surroundings ─► liveness, readiness

Whatever ends one of them ends the process, and the kubelet starts it anew.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from typing import Any, Final

import kopf

from batcher_operator.announcer import Announcer
from batcher_operator.authority import Authority
from batcher_operator.certs.plan import Lifetimes
from batcher_operator.certs.scene import Names
from batcher_operator.config import OperatorConfig
from batcher_operator.default_runtimes import DefaultRuntimes, read_runtimes
from batcher_operator.handlers import build_registry, build_settings
from batcher_operator.health import build_health_app, serve
from batcher_operator.kube import Kube, configure, connection_of
from batcher_operator.memory import Memory
from batcher_operator.metrics import Metrics
from batcher_operator.resources import IN_EVERY_MODE, KINDS, OWNED, RUNTIMES, Kind
from batcher_operator.standalone.workload import Platform
from batcher_operator.surroundings import Surroundings
from batcher_operator.views import Key
from batcher_operator.watchdog import Watchdog
from batcher_operator.workloads import Workloads

__all__ = ["run"]

_WAIT_FOR_KIND_S: Final = 1.0

_log = logging.getLogger(__name__)


async def run(config: OperatorConfig) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises ValueError if no cluster can be reached by what is configured or a file that it names is
    of no use, OSError if the port is taken, and whatever ends one of the parts.
    """
    kube = Kube(await configure(config.kubeconfig))
    try:
        await _Operator(config, kube).run()
    finally:
        await kube.close()


class _Operator:
    """The parts and how they are joined."""

    def __init__(self, config: OperatorConfig, kube: Kube) -> None:
        self._config = config
        self._kube = kube
        self._metrics = Metrics()
        self._memory = Memory()
        self._announcer = Announcer(
            self._memory, kube, self._metrics, config.sidecar_image, config.mode
        )
        more: tuple[Kind, ...] = (*OWNED, *RUNTIMES) if config.mode == "standalone" else ()
        self._watchdog = Watchdog(self._memory, kube, self._look_again, more)
        self._surroundings = Surroundings(kube, config.mode, config.manages_certificates)
        self._workloads: Workloads | None = None
        self._runtimes: DefaultRuntimes | None = None
        if config.mode == "standalone":
            self._workloads = Workloads(
                kube,
                Platform(
                    initializer=config.initializer,
                    sidecar_memory_limit=config.sidecar_memory_limit,
                ),
                self._announcer.tell_more,
                lambda: [service.key for service in self._memory.services()],
                self._metrics.look_failed,
            )
            if config.cluster_runtimes is not None:
                self._runtimes = DefaultRuntimes(kube, read_runtimes(config.cluster_runtimes))
        self._authority = Authority(
            kube,
            Names(
                namespace=config.namespace,
                service=config.webhook_service,
                ca_secret=config.ca_secret,
                tls_secret=config.tls_secret,
            ),
            Lifetimes(
                authority_s=config.ca_lifetime_s,
                certificate_s=config.certificate_lifetime_s,
                overlap_s=config.certificate_overlap_s,
            ),
            on_write=self._metrics.certificate_written,
        )
        self._metrics.watch_cluster(
            self._memory, config.sidecar_image, lambda: self._watchdog.behind_count
        )
        if config.manages_certificates:
            self._metrics.watch_certificates(lambda: self._authority.standing)

    async def run(self) -> None:
        config = self._config
        app = build_health_app(lambda: self._watchdog.stalled, self.why_not_ready, self._metrics)
        runner, port = await serve(app, config.host, config.health_port)
        _log.info("health and metrics on port %d", port)
        parts = [
            self._announcer.keep(self._watchdog.synced),
            self._watchdog.keep(config.watch_check_s),
            self._surroundings.keep(config.certificate_poll_s),
        ]
        why_not = self._surroundings.why_not_write
        if self._workloads is not None:
            parts.append(self._workloads.keep(self._watchdog.synced, why_not))
        if self._runtimes is not None:
            parts.append(self._runtimes.keep(config.certificate_poll_s, why_not))
        if config.manages_certificates:
            parts.append(self._authority.keep(config.certificate_poll_s))
        try:
            await _until_one_ends(parts, self._watch())
        finally:
            await runner.cleanup()

    async def _watch(self) -> None:
        """kopf, once there is something to watch; it ends by SIGTERM and SIGINT."""
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Until kopf, which has handlers of its own.
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        while not await self._is_there():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WAIT_FOR_KIND_S):
                    await told.wait()
            if told.is_set():
                return
        # A kopf that missed something at its start is found out by the watchdog.
        await kopf.operator(
            registry=build_registry(
                self._memory, self._announcer.look_at, self._login, self._workloads, self._runtimes
            ),
            settings=build_settings(),
            standalone=True,
            clusterwide=True,
        )

    async def _is_there(self) -> bool:
        kinds = (*IN_EVERY_MODE, *RUNTIMES) if self._workloads is not None else IN_EVERY_MODE
        try:
            for of in (KINDS[kind] for kind in kinds if kind != "Pod"):
                if not await self._kube.serves(of.group, of.version, of.plural):
                    return False
        except OSError as error:
            _log.warning("cannot ask for InferenceServices: %s", error)
            return False
        return True

    async def _login(self) -> kopf.ConnectionInfo:
        # Anew each time: tokens are renewed.
        return await connection_of(await configure(self._config.kubeconfig))

    def _look_again(self, keys: set[Key]) -> None:
        self._announcer.look_at(keys)
        if self._workloads is not None:
            self._workloads.look_at(keys)

    def why_not_ready(self) -> str:
        """What keeps `helm install --wait` waiting, in a sentence; empty once all is well."""
        config = self._config
        missing = self._watchdog.kind_missing
        if missing is not None and config.mode == "kserve":
            return f"the cluster has no {missing} of serving.kserve.io/v1beta1: install KServe"
        if self._surroundings.why_not_ready:
            return self._surroundings.why_not_ready
        if config.manages_certificates and (why := self._authority.why_not_ready()):
            return why
        if self._runtimes is not None and self._runtimes.why_not_ready:
            return self._runtimes.why_not_ready
        if missing is not None:
            return f"the cluster has no {missing}s: install the chart with crds.enabled=true"
        if not self._watchdog.synced.is_set():
            if self._watchdog.trouble:
                return self._watchdog.trouble
            return f"events have yet to bring {self._watchdog.behind_count} objects"
        return ""


async def _until_one_ends(
    parts: list[Coroutine[Any, Any, Any]], watch: Coroutine[Any, Any, None]
) -> None:
    """Run `parts`, then `watch`, until one of them ends; raise what ended it."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    # Last: when kopf ends, it cancels all tasks that are younger than itself.
    tasks.append(asyncio.ensure_future(watch))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
