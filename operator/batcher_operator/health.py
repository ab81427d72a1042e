"""Liveness, readiness and metrics, on a port of their own."""

import json
from collections.abc import Callable

from aiohttp import web

from batcher_operator.metrics import Metrics

__all__ = ["build_health_app", "serve"]

_KEEPALIVE_S = 75.0
_SHUTDOWN_S = 1.0


def build_health_app(
    why_not_alive: Callable[[], str], why_not_ready: Callable[[], str], metrics: Metrics
) -> web.Application:
    """The application: `/livez`, `/readyz`, `/metrics`. The callables give a sentence, or ""."""
    app = web.Application(client_max_size=1024)

    async def livez(request: web.Request) -> web.Response:
        return _verdict(why_not_alive())

    async def readyz(request: web.Request) -> web.Response:
        return _verdict(why_not_ready())

    async def scrape(request: web.Request) -> web.Response:
        body, content_type = metrics.scrape()
        return web.Response(body=body, headers={"Content-Type": content_type})

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scrape)
    return app


async def serve(app: web.Application, host: str | None, port: int) -> tuple[web.AppRunner, int]:
    """Listen; the runner to clean up in the end, and the port. Raises OSError naming the port."""
    runner = web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        keepalive_timeout=_KEEPALIVE_S,
        shutdown_timeout=_SHUTDOWN_S,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        message = f"cannot listen on port {port}: choose another with --health-port"
        raise OSError(error.errno, message) from error
    bound: int = runner.addresses[0][1]
    return runner, bound


def _verdict(why_not: str) -> web.Response:
    if why_not:
        return web.json_response(text=json.dumps({"error": why_not}) + "\n", status=503)
    return web.Response(text="ok\n")
