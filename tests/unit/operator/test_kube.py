"""Both ways to the API server, over TLS as Python 3.13 has it by default."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from kopf._cogs.clients.auth import APIContext
from kubernetes.aio import client

from batcher_operator.kube import Kube, configure, connection_of
from batcher_operator.resources import path_of
from tests.apiserver.kit.authority import Authority, Pair

PATH = "/api/v1/namespaces/default"
Ask = Callable[[Path], Awaitable[None]]


@pytest.fixture(autouse=True)
def as_in_python_3_13(monkeypatch: pytest.MonkeyPatch) -> None:
    make = ssl.create_default_context

    def strict(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = make(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)


@asynccontextmanager
async def api_server(folder: Path, pair: Pair, trusted: Authority) -> AsyncIterator[Path]:
    """A kubeconfig file for a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder))
    (folder / "ca.crt").write_bytes(trusted.certificate)

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer x"
        return web.json_response({"kind": "Namespace"})

    app = web.Application()
    app.router.add_get(PATH, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    cluster = {
        "server": f"https://127.0.0.1:{runner.addresses[0][1]}",
        "certificate-authority": str(folder / "ca.crt"),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": {"token": "x"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    kubeconfig = folder / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(content))
    try:
        yield kubeconfig
    finally:
        await runner.cleanup()


async def ask_by_kube(kubeconfig: Path) -> None:
    kube = Kube(await configure(kubeconfig))
    try:
        assert await kube.get(PATH) == {"kind": "Namespace"}
    finally:
        await kube.close()


async def ask_as_kopf_does(kubeconfig: Path) -> None:
    context = APIContext(await connection_of(await configure(kubeconfig)))
    try:
        async with context.session.get(f"{context.server}{PATH}") as response:
            assert await response.json() == {"kind": "Namespace"}
    except aiohttp.ClientError as error:
        raise OSError(str(error)) from error
    finally:
        await context.close()


BOTH = pytest.mark.parametrize("ask", [ask_by_kube, ask_as_kopf_does])


@BOTH
@pytest.mark.parametrize("identifies_authority", [True, False])
async def test_a_certificate_may_leave_out_its_authoritys_key(
    ask: Ask, tmp_path: Path, identifies_authority: bool
) -> None:
    authority = Authority()
    pair = authority.issue("kube-apiserver", identifies_authority=identifies_authority)
    async with api_server(tmp_path, pair, authority) as kubeconfig:
        await ask(kubeconfig)


@BOTH
async def test_a_certificate_for_another_name_is_refused(ask: Ask, tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.issue("kube-apiserver", names=["127.0.0.2"], identifies_authority=False)
    async with api_server(tmp_path, pair, authority) as kubeconfig:
        with pytest.raises(OSError, match=r"not valid for '127\.0\.0\.1'"):
            await ask(kubeconfig)


@BOTH
async def test_a_certificate_of_another_authority_is_refused(ask: Ask, tmp_path: Path) -> None:
    pair = Authority("another").issue("kube-apiserver", identifies_authority=False)
    async with api_server(tmp_path, pair, Authority()) as kubeconfig:
        with pytest.raises(OSError, match="unable to get local issuer certificate"):
            await ask(kubeconfig)


@asynccontextmanager
async def recorded() -> AsyncIterator[tuple[Kube, list[str]]]:
    """Requests to a server that takes all, and the paths as they came to it."""
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.raw_path)
        return web.json_response({"kind": "Secret"})

    app = web.Application()
    app.router.add_route("*", "/{all:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kube = Kube(client.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}"))
    try:
        yield kube, paths
    finally:
        await kube.close()
        await runner.cleanup()


async def test_a_name_reaches_the_server_as_one_segment() -> None:
    async with recorded() as (kube, paths):
        path = path_of("v1", "secrets", "models", "a b?c#d")
        await kube.get(path)
        assert paths == [path]


@pytest.mark.parametrize(
    "name", ["..", ".", "../../kube-system/secrets/s3", "%2e%2e", "..%2F..%2Fkube-system"]
)
async def test_a_path_that_leads_elsewhere_is_not_asked_for(name: str) -> None:
    async with recorded() as (kube, paths):
        with pytest.raises(ValueError, match="leads elsewhere"):
            await kube.get(f"/api/v1/namespaces/models/secrets/{name}")
        assert paths == []
