"""The program: reads its flags and serves until it is told to end."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys

from batcher_contract.logs import configure_logging
from batcher_webhook.config import WebhookConfig, parse_args
from batcher_webhook.server import WebhookServer

_log = logging.getLogger("batcher_webhook")


async def serve(config: WebhookConfig) -> None:
    """Run the webhook until SIGTERM or SIGINT, and a while longer; a second one ends it at once."""
    told, hurried = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurried if told.is_set() else told).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    server = WebhookServer(config)
    await server.start()
    _log.info("serving on port %d, health on port %d", server.port, server.health_port)
    try:
        await server.run(told)
        server.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(config.shutdown_delay_s):
                await server.run(hurried)
    finally:
        await server.close()


def main() -> None:
    """Entry point of `batcher-webhook`."""
    config = parse_args(sys.argv[1:])
    configure_logging(config.log_level, config.log_format)
    # What is loaded by now stays: looking through it again would hold up a review by some 20 ms.
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(serve(config))
    except OSError as error:
        sys.stderr.write(f"batcher-webhook: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
