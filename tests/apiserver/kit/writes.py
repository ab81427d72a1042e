"""A way to the API server that ends a program at one of its writes."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import aiohttp
from aiohttp import web

from tests.apiserver.kit.server import ApiServer
from tests.ports import free_port

__all__ = ["When", "Writes", "counted_writes"]

When = Literal["before", "after"]
"""Whether the write that is the last one still takes place."""

_START_S: Final = 5.0
_DROPPED: Final = ("Host", "Transfer-Encoding", "Connection", "Content-Length", "Content-Encoding")


class Writes:
    """Counts the PUTs that pass; at one of them, calls what ends the program."""

    def __init__(self) -> None:
        self.count = 0
        self._last: int | None = None
        self._when: When = "before"
        self._end: Callable[[], None] = lambda: None

    def end_at(self, number: int, when: When, end: Callable[[], None]) -> None:
        """Call `end` at the write of this number, from 0; that write is never answered."""
        self._last, self._when, self._end = number, when, end

    @property
    def ended(self) -> bool:
        return self._last is not None and self.count > self._last


@contextmanager
def counted_writes(server: ApiServer) -> Iterator[tuple[str, Writes]]:
    """The URL of a proxy (plain HTTP, on loopback) to the API server, and its count."""
    writes = Writes()
    port = free_port()
    loop = asyncio.new_event_loop()
    stop, started = asyncio.Event(), threading.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=2**24)
        app.cleanup_ctx.append(_forwarding(server, writes))
        runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(_START_S)
        yield f"http://127.0.0.1:{port}", writes
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def _forwarding(
    server: ApiServer, writes: Writes
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def context(app: web.Application) -> AsyncIterator[None]:
        trust = ssl.create_default_context(cafile=server.ca_file)
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

            async def forward(request: web.Request) -> web.StreamResponse:
                number = writes.count
                if request.method == "PUT":
                    writes.count += 1
                is_last = request.method == "PUT" and number == writes._last
                if is_last and writes._when == "before":
                    writes._end()
                    raise ConnectionAbortedError("the program was ended")
                headers = {k: v for k, v in request.headers.items() if k not in _DROPPED}
                async with session.request(
                    request.method,
                    server.url + request.raw_path,
                    headers=headers,
                    data=await request.read() or None,
                ) as answer:
                    if is_last:
                        await answer.read()
                        writes._end()
                        raise ConnectionAbortedError("the program was ended")
                    return await _relay(request, answer)

            app.router.add_route("*", "/{path:.*}", forward)
            yield

    return context


async def _relay(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = {k: v for k, v in answer.headers.items() if k not in _DROPPED}
    response = web.StreamResponse(status=answer.status, headers=headers)
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # the program is dead
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    return response
