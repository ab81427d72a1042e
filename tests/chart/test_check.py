"""What `helm test` runs, against a webhook that really runs."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import ANY

from batcher_webhook.config import WebhookConfig
from batcher_webhook.inject import Sidecar
from batcher_webhook.server import WebhookServer
from tests.apiserver.kit import Authority
from tests.chart.rendered import case, pod_templates

IMAGE = "inference-batcher-sidecar:0.1.0"
AT_ONCE_S = "0"


@asynccontextmanager
async def webhook(folder: Path, image: str = IMAGE, port: int = 0) -> AsyncIterator[str]:
    """A webhook whose certificate `ca.crt` of the folder vouches for; its address."""
    authority = Authority()
    (folder / "ca.crt").write_bytes(authority.certificate)
    certificate, key = authority.issue("webhook").write(folder)
    config = WebhookConfig(
        sidecar=Sidecar(image=image),
        certificate=certificate,
        key=key,
        host="127.0.0.1",
        port=port,
        health_port=0,
    )
    server = WebhookServer(config)
    await server.start()
    try:
        yield f"https://127.0.0.1:{server.port}"
    finally:
        await server.close()


async def run_check(*arguments: str) -> tuple[int | None, str]:
    """Run the container's program with other arguments; its exit code and words."""
    (container,) = pod_templates(case("defaults"))["test"]["spec"]["containers"]
    (python, option), (program, *told) = container["command"], container["args"]
    assert python == "python"
    assert len(arguments) == len(told)
    process = await asyncio.create_subprocess_exec(
        sys.executable, option, program, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()


def test_the_container_is_told_where_the_webhook_is_and_what_to_expect() -> None:
    chart = case("defaults")
    pod = pod_templates(chart)["test"]
    (container,) = pod["spec"]["containers"]
    _, address, trusted, image, _ = container["args"]
    service = chart.one("Service")["metadata"]
    assert address == f"https://{service['name']}.{service['namespace']}.svc:443"
    (mount,) = container["volumeMounts"]
    (volume,) = pod["spec"]["volumes"]
    assert trusted == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    assert image == IMAGE


async def test_it_agrees_with_a_webhook_that_works(tmp_path: Path) -> None:
    async with webhook(tmp_path) as address:
        status, said = await run_check(address, str(tmp_path / "ca.crt"), IMAGE, AT_ONCE_S)
    assert (status, said) == (
        0,
        f"{address} is trusted, injects {IMAGE} and refuses what is wrong\n",
    )


async def test_it_tells_of_another_image(tmp_path: Path) -> None:
    async with webhook(tmp_path, "another:1") as address:
        status, said = await run_check(address, str(tmp_path / "ca.crt"), IMAGE, AT_ONCE_S)
    assert status == 1
    assert said.startswith(f"the webhook put no sidecar of {IMAGE} into a pod")


async def test_it_trusts_nobody_else(tmp_path: Path) -> None:
    async with webhook(tmp_path) as address:
        (tmp_path / "other.crt").write_bytes(Authority("another").certificate)
        status, said = await run_check(address, str(tmp_path / "other.crt"), IMAGE, AT_ONCE_S)
    assert status == 1
    assert said.startswith(f"cannot ask the webhook at {address}: ")
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert "Traceback" not in said


async def test_it_waits_for_a_webhook_that_comes_late(tmp_path: Path) -> None:
    turned_away = asyncio.Event()

    def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        turned_away.set()

    early = await asyncio.start_server(turn_away, "127.0.0.1", 0)
    port: int = early.sockets[0].getsockname()[1]
    trusted = str(tmp_path / "ca.crt")
    (tmp_path / "ca.crt").write_bytes(Authority().certificate)
    asked = asyncio.create_task(run_check(f"https://127.0.0.1:{port}", trusted, IMAGE, "30"))
    async with asyncio.timeout(30):
        await turned_away.wait()
        early.close()
        await early.wait_closed()
        async with webhook(tmp_path, port=port):
            assert await asked == (0, ANY)
