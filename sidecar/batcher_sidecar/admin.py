"""The admin port: liveness, readiness, metrics, settings and the drain hook.

It is reachable from the pod network, so it shows no secret, and ``/drain`` wants a header that only
the injected hook sends. Every refusal of a handler is ``{"error": "<what, and what to do>"}``; what
is not HTTP at all gets aiohttp's own 400.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from batcher_contract.names import DRAIN_HEADER
from batcher_sidecar.listen import listening_sockets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from batcher_sidecar.metrics import Metrics

__all__ = ["AdminServer", "AdminState", "build_app", "start_admin"]

ADMIN_PORT_FLAG: Final = "--admin-port"

_HANDLER_TIMEOUT_S: Final = 10.0  # Prometheus' own default; the drain hook has the kubelet's bound
_KEEPALIVE_TIMEOUT_S: Final = 10.0  # also bounds the arrival of a request's head
_LINGERING_S: Final = 1.0
_SHUTDOWN_TIMEOUT_S: Final = 1.0  # aiohttp may take it twice

_log = logging.getLogger(__name__)


class AdminState(Protocol):
    """What the admin port asks of the rest of the sidecar."""

    async def ready(self) -> tuple[bool, str]:
        """Tell whether requests should be sent here, and why or why not, in a sentence."""

    async def drain_by_hook(self) -> str:
        """Drain; return, when nothing is left to wait for, a sentence that says so."""

    def config(self) -> dict[str, object]:
        """Return the settings in force as values that JSON knows; no secrets."""


class AdminServer:
    """A running admin port."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self.port = port

    async def close(self) -> None:
        """Stop listening and end the connections, within about two seconds. Idempotent."""
        await self._runner.cleanup()


def build_app(state: AdminState, metrics: Metrics) -> web.Application:
    """Make the application that answers on the admin port."""
    handlers = _Handlers(state, metrics)
    app = web.Application(middlewares=[_bounded, _json_refusals], client_max_size=1024)
    app.router.add_get("/livez", handlers.livez)
    app.router.add_get("/readyz", handlers.readyz)
    app.router.add_get("/metrics", handlers.metrics)
    app.router.add_get("/config", handlers.config)
    # An httpGet lifecycle hook can only GET. A HEAD drains nothing.
    app.router.add_get("/drain", handlers.drain, allow_head=False)
    app.router.add_post("/drain", handlers.drain)
    return app


async def start_admin(app: web.Application, host: str | None, port: int) -> AdminServer:
    """Serve ``app`` on every address family, or on ``host`` alone; port 0 takes a free one.

    Raises OSError, naming the port and its flag, if that port cannot be bound.
    """
    sockets = await listening_sockets(host, port, flag=ADMIN_PORT_FLAG)
    runner = web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        keepalive_timeout=_KEEPALIVE_TIMEOUT_S,
        lingering_time=_LINGERING_S,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        logger=_protocol_logger(),
    )
    try:
        await runner.setup()
        for sock in sockets:
            await web.SockSite(runner, sock).start()
    except BaseException:
        await runner.cleanup()
        for sock in sockets:
            sock.close()
        raise
    return AdminServer(runner, sockets[0].getsockname()[1])


class _Handlers:
    def __init__(self, state: AdminState, metrics: Metrics) -> None:
        self._state = state
        self._metrics = metrics

    async def livez(self, request: web.Request) -> web.Response:
        return _sentence("ok")

    async def readyz(self, request: web.Request) -> web.Response:
        ready, why = await self._state.ready()
        return _sentence(why) if ready else _refusal(503, why)

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = await self._metrics.scrape()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def config(self, request: web.Request) -> web.Response:
        text = json.dumps(self._state.config(), indent=2, ensure_ascii=False)
        return web.json_response(text=text + "\n")

    async def drain(self, request: web.Request) -> web.Response:
        if DRAIN_HEADER not in request.headers:
            return _refusal(
                403,
                f"draining takes this pod out of service, so it needs the header {DRAIN_HEADER}: "
                "true, as the preStop hook sends it",
            )
        return _sentence(await self._state.drain_by_hook())


@web.middleware
async def _bounded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if request.path == "/drain":
        return await handler(request)
    try:
        async with asyncio.timeout(_HANDLER_TIMEOUT_S):
            return await handler(request)
    except TimeoutError:
        return _refusal(503, f"no answer within {_HANDLER_TIMEOUT_S:g} s; try again")


@web.middleware
async def _json_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        allowed = error.headers["Allow"]
        sentence = f"{request.method} is not possible here; use {allowed.replace(',', ' or ')}"
        return _refusal(405, sentence, {"Allow": allowed})
    except web.HTTPNotFound:
        return _refusal(
            404,
            "no such path on the admin port, which has /livez, /readyz, /metrics, /config and "
            "/drain; requests to the model go to the data port",
        )
    except web.HTTPException as error:
        return _refusal(error.status, f"{error.reason}; nothing is served this way here")
    except Exception:
        _log.exception("admin request failed: %s", request.path)
        return _refusal(500, "this request failed inside the sidecar; its log has the details")


def _sentence(text: str) -> web.Response:
    return web.Response(text=text + "\n")


def _refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": sentence}, status=status, headers=headers)


def _protocol_logger() -> logging.Logger:
    # What is left for aiohttp to log are the malformed requests of strangers, with a traceback
    # each: they are answered 400 and must not fill the log.
    logger = logging.getLogger(f"{__name__}.protocol")
    logger.setLevel(logging.CRITICAL)
    return logger
