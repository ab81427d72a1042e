"""Send several requests at once; what was answered, as JSON.

    echo '[{"instances": [...]}, ...]' | python ask.py --url URL --gap-ms 20

The requests start one after the other, `--gap-ms` apart, without waiting for answers. A Service
leads to a pod only some time after that is ready, so the first one waits until a connection can
be made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp

REACHABLE_WITHIN_S = 30.0


async def wait_until_reachable(url: str) -> None:
    """Wait until somebody takes connections at the address, for a while."""
    address = urlsplit(url)
    end_s = time.monotonic() + REACHABLE_WITHIN_S
    while time.monotonic() < end_s:
        try:
            async with asyncio.timeout(5):
                _, writer = await asyncio.open_connection(address.hostname, address.port or 80)
        except OSError:  # TimeoutError among them
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


async def ask(url: str, bodies: list[Any], gap_s: float) -> list[dict[str, Any]]:
    """The answers, in the order of the requests."""
    await wait_until_reachable(url)
    # A connection to a Service that is new may be lost: better another one soon.
    timeout = aiohttp.ClientTimeout(total=60, sock_connect=5)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def one(number: int, body: Any) -> dict[str, Any]:
            await asyncio.sleep(number * gap_s)
            try:
                async with session.post(url, json=body) as response:
                    headers = {key.lower(): value for key, value in response.headers.items()}
                    text = await response.text()
                    return {"status": response.status, "headers": headers, "body": text}
            except (aiohttp.ClientError, TimeoutError) as error:
                return {"status": 0, "headers": {}, "body": repr(error)}

        return await asyncio.gather(*[one(number, body) for number, body in enumerate(bodies)])


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description="Requests at once.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--gap-ms", type=float, default=20.0)
    arguments = parser.parse_args()
    bodies = json.load(sys.stdin)
    answers = asyncio.run(ask(arguments.url, bodies, arguments.gap_ms / 1000))
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
