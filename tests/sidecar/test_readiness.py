"""Whether the pod should get requests: the model server's own probe decides."""

import json
from typing import Any, Final

import pytest

from tests.sidecar.kit.client import Headers, predict, request
from tests.sidecar.kit.rig import Rig, RigFactory, tcp_probe

TIMES: Final = {
    "timeoutSeconds": 1,
    "periodSeconds": 1,
    "successThreshold": 1,
    "failureThreshold": 3,
}
TCP: Final[dict[str, Any]] = {"tcpSocket": {"port": "PORT", "host": "127.0.0.1"}, **TIMES}
HTTP: Final[dict[str, Any]] = {
    "httpGet": {"path": "/healthz", "port": "PORT", "host": "127.0.0.1", "scheme": "HTTP"},
    **TIMES,
}


def as_env(probe: object) -> str:
    """JSON with a number where the port stands."""
    return json.dumps(probe).replace('"PORT"', "PORT")


async def admin_ready(rig: Rig) -> bool:
    return await rig.sidecar.admin_status("/readyz") == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("User-Agent", "kube-probe/1.34")], id="kubelet"),
        pytest.param([("K-Network-Probe", "queue")], id="Knative"),
        pytest.param([("k-network-probe", "probe")], id="any value"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/models/m", "/any/path?x=1", "/m:predict"])
async def test_a_probe_of_any_path_is_answered_here(
    make_rig: RigFactory, headers: Headers, path: str
) -> None:
    rig = await make_rig(shared=True)
    await rig.until_ready()
    assert await rig.probe(headers, path) == 200
    assert rig.model.calls == []


async def test_what_is_no_probe_goes_to_the_model_server(make_rig: RigFactory) -> None:
    rig = await make_rig(shared=True)
    await rig.ask(request("GET", "/", [("User-Agent", "my-kube-probe/1")]), "GET")
    assert len(rig.model.calls) == 1


async def test_without_a_probe_ready_means_that_the_model_server_listens(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(model=False)
    assert await rig.probe() == 503
    assert not await admin_ready(rig)
    await rig.model.listen()
    await rig.until_ready()
    assert await admin_ready(rig)
    await rig.model.refuse()
    await rig.until_ready(False)
    assert not await admin_ready(rig)


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param(as_env(TCP), id="TCP"),
        pytest.param(tcp_probe(0).replace(": 0", ": PORT"), id="TCP without a host"),
        pytest.param(as_env([TCP]), id="a list"),
    ],
)
async def test_a_tcp_probe_is_followed(make_rig: RigFactory, probe: str) -> None:
    rig = await make_rig(model=False, probe=probe)
    assert await rig.probe() == 503
    await rig.model.listen()
    await rig.until_ready()
    await rig.model.refuse()
    await rig.until_ready(False)


@pytest.mark.parametrize(
    "probe", [pytest.param(as_env(HTTP), id="HTTP"), pytest.param(as_env([TCP, HTTP]), id="a list")]
)
async def test_an_http_probe_is_followed(make_rig: RigFactory, probe: str) -> None:
    rig = await make_rig(probe=probe, model=False)
    rig.model.probe_path = "/healthz"
    rig.model.healthy = False
    await rig.model.listen()
    assert await rig.probe() == 503
    rig.model.healthy = True
    await rig.until_ready()
    rig.model.healthy = False
    await rig.until_ready(False)
    assert rig.model.calls == []


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param({"exec": {"command": ["cat", "/ready"]}, **TIMES}, id="exec"),
        pytest.param({"exec": {"command": ["false"]}}, id="exec that fails"),
    ],
)
async def test_a_probe_that_only_the_kubelet_can_run_falls_back_to_tcp(
    make_rig: RigFactory, probe: dict[str, Any]
) -> None:
    rig = await make_rig("--max-batchsize", "1", probe=as_env(probe))
    await rig.until_ready()
    assert (await rig.ask(predict([1]))).status == 200
    await rig.model.refuse()
    await rig.until_ready(False)


async def test_a_model_server_that_hangs_is_not_ready(make_rig: RigFactory) -> None:
    rig = await make_rig(probe=as_env(HTTP))
    rig.model.probe_path = "/healthz"
    await rig.until_ready()
    rig.model.probes_hang = True
    await rig.until_ready(False)


async def test_the_process_lives_while_the_model_server_does_not(make_rig: RigFactory) -> None:
    rig = await make_rig(model=False)
    assert await rig.sidecar.admin_status("/livez") == 200
    assert await rig.sidecar.admin_status("/readyz") == 503


async def test_requests_are_served_whether_ready_or_not(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", probe=as_env(HTTP))
    rig.model.probe_path = "/healthz"
    rig.model.healthy = False
    assert await rig.probe() == 503
    assert (await rig.ask(predict([1]))).predictions == [1]


async def test_the_admin_port_tells_settings_and_numbers(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    await rig.ask(predict([1]))
    assert (await rig.admin("/config")).json()
    metrics = (await rig.admin("/metrics")).body.decode()
    assert "\ninference_batcher_" in metrics
