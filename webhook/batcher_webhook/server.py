"""The two listeners: HTTPS for the API server, plain HTTP for the kubelet and Prometheus."""

import asyncio
import errno
import logging
import os
import socket
import ssl
from typing import Final

from aiohttp import web

from batcher_webhook.certificates import Certificates
from batcher_webhook.config import WebhookConfig
from batcher_webhook.handlers import build_health_app, build_webhook_app
from batcher_webhook.metrics import Metrics

__all__ = ["HANDSHAKE_TIMEOUT_S", "KEEPALIVE_TIMEOUT_S", "WebhookServer"]

HANDSHAKE_TIMEOUT_S: Final = 5.0
_GOODBYE_TIMEOUT_S: Final = 1.0
KEEPALIVE_TIMEOUT_S: Final = 75.0  # bounds the arrival of a request's head, too
_SHUTDOWN_TIMEOUT_S: Final = 5.0  # as long as the API server waits
_LINGERING_S: Final = 1.0


class WebhookServer:
    """The running webhook; made by `start`."""

    def __init__(self, config: WebhookConfig) -> None:
        self._config = config
        self._metrics = Metrics()
        self.certificates = Certificates(config.certificate, config.key, self._metrics)
        self._servers: list[asyncio.Server] = []
        self._runners: list[web.AppRunner] = []
        self._polling: asyncio.Task[None] | None = None
        self._leaving = False
        self.port = config.port
        self.health_port = config.health_port

    async def start(self) -> None:
        """Listen on both ports; raises OSError, naming a port that cannot be bound.

        Works without a certificate: then handshakes fail and readiness says so, until there is one.
        """
        await self.certificates.reload()
        try:
            self.port = await self._serve(
                build_webhook_app(self._config.sidecar, self._metrics, self._config.mode),
                self._config.port,
                "--port",
                self.certificates.context,
            )
            self.health_port = await self._serve(
                build_health_app(self._why_not_ready, self._metrics),
                self._config.health_port,
                "--health-port",
                None,
            )
        except BaseException:
            await self.close()
            raise
        loop = asyncio.get_running_loop()
        self._polling = loop.create_task(
            self.certificates.keep_fresh(self._config.certificate_poll_s)
        )

    def leave(self) -> None:
        """Serve on, but be not ready, so that reviews are sent elsewhere."""
        self._leaving = True

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises what ends the watch over the certificate."""
        assert self._polling is not None, "start first"  # noqa: S101
        waiting = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([waiting, self._polling], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._polling.done():
            await self._polling

    async def close(self) -> None:
        """Stop listening, answer what has come, end the connections. Idempotent."""
        for server in self._servers:
            server.close()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])
        for runner in self._runners:
            await runner.cleanup()
        self._servers.clear()
        self._runners.clear()

    def _why_not_ready(self) -> str:
        if self._leaving:
            return "this pod is going away"
        return "" if self.certificates.loaded else "there is no serving certificate; see the log"

    async def _serve(
        self, app: web.Application, port: int, flag: str, context: ssl.SSLContext | None
    ) -> int:
        runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            keepalive_timeout=KEEPALIVE_TIMEOUT_S,
            lingering_time=_LINGERING_S,
            shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
            logger=_protocol_logger(),
        )
        self._runners.append(runner)
        await runner.setup()
        assert runner.server is not None  # noqa: S101
        listener = _listen(self._config.host, port, flag)
        try:
            server = await asyncio.get_running_loop().create_server(
                runner.server,
                sock=listener,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if context else None,
                ssl_shutdown_timeout=_GOODBYE_TIMEOUT_S if context else None,
            )
        except BaseException:
            listener.close()
            raise
        self._servers.append(server)
        bound: int = listener.getsockname()[1]
        return bound


def _listen(host: str | None, port: int, flag: str) -> socket.socket:
    try:
        if host is None:
            if socket.has_dualstack_ipv6():
                try:
                    return _dual_stack(port)
                except OSError as error:
                    if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                        raise
            return socket.create_server(("0.0.0.0", port))  # noqa: S104
        if host == "::":
            return _dual_stack(port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        where = f"port {port}" if host is None else f"port {port} of {host}"
        message = f"cannot listen on {where} ({why}): choose another with {flag}"
        raise OSError(error.errno, message) from error


def _dual_stack(port: int) -> socket.socket:
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)


def _protocol_logger() -> logging.Logger:
    # What is left for aiohttp to log are malformed requests, with a traceback each.
    logger = logging.getLogger(f"{__name__}.protocol")
    logger.setLevel(logging.CRITICAL)
    return logger
