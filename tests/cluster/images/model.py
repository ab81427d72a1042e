"""A model server that answers every row with the row itself, so that answers can be checked.

    python model.py --port 8080 --delay-ms 5

`X-Pod` names the pod, `X-Rows` the rows that the model was given at once. `POST /hang` hangs the
whole process for good, as a deadlock would; SIGTERM then ends it at once. What is posted to
`/events` can be read there, for KServe's logger.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from typing import Any

from aiohttp import web

BODY_LIMIT_BYTES = 64 * 1024 * 1024


def make_app(delay_ms: float) -> web.Application:
    """The server."""
    pod = os.environ.get("HOSTNAME", "")
    events: list[dict[str, Any]] = []

    async def predict(request: web.Request) -> web.Response:
        rows = json.loads(await request.read())["instances"]
        await asyncio.sleep(delay_ms / 1000)
        headers = {"X-Pod": pod, "X-Rows": str(len(rows))}
        return web.json_response({"predictions": rows}, headers=headers)

    async def ready(request: web.Request) -> web.Response:
        return web.json_response({"name": request.match_info["model"], "ready": True})

    async def log(request: web.Request) -> web.Response:
        event = {"type": request.headers.get("Ce-Type"), "data": json.loads(await request.read())}
        events.append(event)
        return web.json_response({})

    async def logged(_: web.Request) -> web.Response:
        return web.json_response(events)

    async def hang(_: web.Request) -> web.Response:
        # Only once the answer has gone.
        asyncio.get_running_loop().call_later(0.2, hang_for_good)
        return web.json_response({})

    app = web.Application(client_max_size=BODY_LIMIT_BYTES)
    app.router.add_post("/v1/models/{model}:predict", predict)
    app.router.add_get("/v1/models/{model}", ready)
    app.router.add_post("/hang", hang)
    app.router.add_post("/events", log)
    app.router.add_get("/events", logged)
    return app


def hang_for_good() -> None:
    """Block the event loop."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(3600)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="A model server of the tests.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--delay-ms", type=float, default=5.0, help="time a call takes")
    arguments, _ = parser.parse_known_args()  # KServe gives transformers more
    app = make_app(arguments.delay_ms)
    web.run_app(app, port=arguments.port, access_log=None, handle_signals=True)


if __name__ == "__main__":
    main()
