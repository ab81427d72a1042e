"""The program: wires the parts together and runs them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from batcher_contract import __version__
from batcher_contract.logs import configure_logging
from batcher_sidecar.admin import build_app, start_admin
from batcher_sidecar.codecs import Codecs
from batcher_sidecar.config import parse_args
from batcher_sidecar.dataport import SidecarPort
from batcher_sidecar.errors import REASONS
from batcher_sidecar.heap import keep_freed_memory
from batcher_sidecar.lifecycle import Lifecycle
from batcher_sidecar.live import LiveSettings
from batcher_sidecar.metrics import Metrics
from batcher_sidecar.probe import ModelProbe, ProbeError
from batcher_sidecar.tasks import TaskSet
from batcher_sidecar.upstream import UpstreamPool

if TYPE_CHECKING:
    from batcher_contract import BatcherSettings
    from batcher_sidecar.config import SidecarConfig

_KEPT_BYTES: Final = 64 << 20
"""How much freed memory stays with the process, at most."""

_log = logging.getLogger("batcher_sidecar")


class _Admin:
    """What the admin port sees (``admin.AdminState``)."""

    def __init__(
        self, config: SidecarConfig, live: LiveSettings, lifecycle: Lifecycle, probe: ModelProbe
    ) -> None:
        self.ready = lifecycle.ready
        self.drain_by_hook = lifecycle.drain_by_hook
        self._config = config
        self._live = live
        self._probe = probe

    def config(self) -> dict[str, object]:
        """Return what is in force, and since when."""
        fields: dict[str, Any] = asdict(self._config)
        del fields["settings"], fields["readiness_probe"]  # which may hold a credential
        return {
            "version": __version__,
            **self._live.shown(),
            "model_probe": str(self._probe),
            **fields,
        }


async def serve(config: SidecarConfig) -> int:
    """Run the sidecar until it is told to end; return the exit code."""
    probe = ModelProbe.parse(config.readiness_probe, config.component_host, config.component_port)
    metrics = Metrics(version=__version__, refusal_reasons=REASONS)
    pool = UpstreamPool(config.component_host, config.component_port)
    port = SidecarPort(config, Codecs.of(config.settings.row_signature), pool, metrics)
    probe.on_not_ready = port.model_not_ready
    lifecycle = Lifecycle(port, probe, config.settings)
    port.ready = lifecycle.ready
    lifecycle.handle_signals()

    def apply(settings: BatcherSettings) -> None:
        port.apply(settings)
        lifecycle.apply(settings)

    live = LiveSettings(config.settings, config.settings_file, apply)
    await live.look()
    app = build_app(_Admin(config, live, lifecycle, probe), metrics)
    await port.listen(config.host, config.port)
    admin = await start_admin(app, config.host, config.admin_port)
    _log.info(
        "serving on port %d, admin on port %d, in front of %s:%d, batching %s",
        config.port, config.admin_port, config.component_host, config.component_port,
        "on" if config.enable_batcher else "off",
    )  # fmt: skip
    gc.collect()
    gc.freeze()
    # Requests leave no cycles behind, so the collector has next to nothing to find.
    gc.set_threshold(50_000, 20, 20)
    background = TaskSet()
    if config.settings_file is not None:
        background.start(live.keep_fresh())
    try:
        return await lifecycle.run()
    finally:
        await background.cancel()
        await port.close()
        await pool.close()
        await admin.close()
        await probe.close()


def main() -> None:
    """Entry point of ``batcher-sidecar``."""
    config = parse_args(sys.argv[1:], os.environ)
    configure_logging(config.log_level, config.log_format)
    keep_freed_memory(min(_KEPT_BYTES, config.settings.max_queue_bytes))
    try:
        import uvloop
    except ImportError:
        factory = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            code = runner.run(serve(config))
    except (ProbeError, OSError) as error:
        sys.stderr.write(f"batcher-sidecar: {error}\n")
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
