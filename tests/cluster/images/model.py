"""A model server that answers every row with the row itself, so that answers can be checked.

    python model.py --port 8080 --delay-ms 5

`X-Pod` names the pod, `X-Rows` the rows that the model was given at once. `POST /hang` hangs the
whole process for good, as a deadlock would; SIGTERM then ends it at once. What is posted to
`/events` can be read there, for KServe's logger. With `--linger-s 5` it serves on for so long after
SIGTERM and closes each connection with its answer, so that it loses nothing without a sidecar.

With `--predictor_host`, as KServe gives it, it is a transformer: it asks the predictor, which
`X-Predictor-Pod` then names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

BODY_LIMIT_BYTES = 64 * 1024 * 1024


def make_app(delay_ms: float, predictor_host: str, ending: asyncio.Event) -> web.Application:
    """The server."""
    pod = os.environ.get("HOSTNAME", "")
    events: list[dict[str, Any]] = []

    async def close_at_the_end(_: web.Request, response: web.StreamResponse) -> None:
        if ending.is_set():
            response.force_close()
            response.headers["Connection"] = "close"  # not yet told of

    async def predict(request: web.Request) -> web.Response:
        rows = json.loads(await request.read())["instances"]
        await asyncio.sleep(delay_ms / 1000)
        headers = {"X-Pod": pod, "X-Rows": str(len(rows))}
        if predictor_host:
            url = f"http://{predictor_host}{request.path}"
            rows, headers["X-Predictor-Pod"] = await ask_predictor(url, rows)
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
    app.on_response_prepare.append(close_at_the_end)
    app.router.add_post("/v1/models/{model}:predict", predict)
    app.router.add_get("/v1/models/{model}", ready)
    app.router.add_post("/hang", hang)
    app.router.add_post("/events", log)
    app.router.add_get("/events", logged)
    return app


async def ask_predictor(url: str, rows: list[Any]) -> tuple[list[Any], str]:
    """The predictor's answer, and the pod that gave it."""
    async with (
        ClientSession(timeout=ClientTimeout(total=60), raise_for_status=True) as session,
        session.post(url, json={"instances": rows}) as response,
    ):
        return (await response.json())["predictions"], response.headers["X-Pod"]


def hang_for_good() -> None:
    """Block the event loop."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(3600)


async def serve(port: int, delay_ms: float, linger_s: float, predictor_host: str) -> None:
    """Serve until SIGTERM, and so long after it."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    runner = web.AppRunner(make_app(delay_ms, predictor_host, ending), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    await ending.wait()
    await asyncio.sleep(linger_s)
    await runner.cleanup()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="A model server of the tests.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--delay-ms", type=float, default=5.0, help="time a call takes")
    parser.add_argument("--linger-s", type=float, default=0.0, help="serve on after SIGTERM")
    parser.add_argument("--predictor_host", default="", help="whom a transformer asks")
    given, _ = parser.parse_known_args()  # KServe gives transformers more
    asyncio.run(serve(given.port, given.delay_ms, given.linger_s, given.predictor_host))


if __name__ == "__main__":
    main()
