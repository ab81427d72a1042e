"""Clients that others wrote, through the sidecar and directly: the same results."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import kserve  # type: ignore[import-untyped]
import numpy as np
import pytest
import tritonclient.http as triton_http  # type: ignore[import-untyped]

from tests.peers.kit.callers import many, positive, values
from tests.peers.kit.programs import START_S
from tests.peers.kit.scenes import SIZES
from tests.peers.kit.side_by_side import ROWS, TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.kit.side_by_side import SideBySide

pytestmark = pytest.mark.timeout(START_S)

SIZED: Final = tuple(enumerate(SIZES))
OUTPUTS: Final = ("TOTAL", "TWICE", "TEXTS")

Arrays = dict[str, Any]


def arrays(rows: int, seed: int) -> Arrays:
    """What `many` sends, as arrays."""
    texts = values("BYTES", (rows, 1), seed)
    return {
        "WHOLE": positive((rows, 3), seed),
        "REAL": values("FP32", (rows, 2, 2), seed),
        "TEXT": np.array([[text.encode()] for (text,) in texts], dtype=np.object_),
    }


DATATYPES: Final = {"WHOLE": "INT64", "REAL": "FP32", "TEXT": "BYTES"}


def exact(array: Any) -> object:
    """What two arrays have in common only if they are the same to the last bit."""
    held = array.tolist() if array.dtype == np.object_ else array.tobytes()
    return array.dtype.str, array.shape, held


class Result:
    """Outputs to the last bit, and the call they came from."""

    def __init__(self, outputs: Arrays, request_id: str | None, batch_id: object) -> None:
        self.outputs = {name: exact(array) for name, array in outputs.items()}
        self.request_id = request_id
        self.batch_id = batch_id


def by_tritonclient(
    port: int,
    rows: int,
    seed: int,
    *,
    binary: bool,
    zipped: str | None = None,
    unzips: str | None = None,
) -> Result:
    """One call by tritonclient, with a connection of its own."""
    client = triton_http.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=TIMEOUT_S)
    try:
        inputs = []
        for name, array in arrays(rows, seed).items():
            one = triton_http.InferInput(name, list(array.shape), DATATYPES[name])
            inputs.append(one.set_data_from_numpy(array, binary_data=binary))
        outputs = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS]
        found = client.infer(
            "many",
            inputs,
            outputs=outputs,
            request_id=f"caller-{seed}",
            request_compression_algorithm=zipped,
            response_compression_algorithm=zipped or unzips,
        )
        answer = found.get_response()
        return Result(
            {name: found.as_numpy(name) for name in OUTPUTS},
            answer.get("id"),
            answer.get("parameters", {}).get("batch_id"),
        )
    finally:
        client.close()


def by_kserve(port: int, rows: int, seed: int, *, binary: bool) -> Result:
    """One call by KServe's REST client."""

    async def call() -> Any:
        config = kserve.RESTConfig(protocol="v2", timeout=TIMEOUT_S)
        client = kserve.InferenceRESTClient(config)
        try:
            inputs = []
            for name, array in arrays(rows, seed).items():
                one = kserve.InferInput(name, list(array.shape), DATATYPES[name])
                one.set_data_from_numpy(array, binary_data=binary)
                inputs.append(one)
            asked = kserve.InferRequest(
                "many", inputs, request_id=f"caller-{seed}",
                parameters={"binary_data_output": True} if binary else None,
            )  # fmt: skip
            return await client.infer(f"http://127.0.0.1:{port}", asked, model_name="many")
        finally:
            await client.close()

    answer = asyncio.run(call())
    outputs = {output.name: output.as_numpy() for output in answer.outputs}
    return Result(outputs, answer.id, (answer.parameters or {}).get("batch_id"))


def at_once(call: Callable[..., Result], port: int, **options: Any) -> list[Result]:
    """Callers of all sizes at once."""
    start = threading.Barrier(len(SIZES))

    def one(seed: int) -> Result:
        start.wait(TIMEOUT_S)
        return call(port, SIZES[seed], seed, **options)

    with ThreadPoolExecutor(len(SIZES)) as pool:
        return list(pool.map(one, range(len(SIZES))))


def check(
    servers: SideBySide, call: Callable[..., Result], *, batched: bool = True, **options: Any
) -> None:
    servers.get_acquainted("many", many(ROWS // 2, 99))
    call(servers.port, ROWS // 2, 99, **options)  # this client asks in its own way
    alone = [call(servers.model_port, rows, seed, **options) for seed, rows in SIZED]

    results = at_once(call, servers.port, **options)

    for seed, (result, direct) in enumerate(zip(results, alone, strict=True)):
        assert result.outputs == direct.outputs
        assert result.request_id == f"caller-{seed}"
    ids = {result.batch_id for result in results}
    assert len(ids) == 1
    assert (ids != {None}) is batched


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
def test_tritonclient_and_triton(triton_server: SideBySide, binary: bool) -> None:
    check(triton_server, by_tritonclient, binary=binary)


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritonclient_with_compression(
    triton_server: SideBySide, binary: bool, algorithm: str
) -> None:
    """A body that came compressed is the server's to read."""
    check(triton_server, by_tritonclient, batched=False, binary=binary, zipped=algorithm)


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
def test_tritonclient_that_would_take_compressed_answers(
    triton_server: SideBySide, binary: bool
) -> None:
    check(triton_server, by_tritonclient, binary=binary, unzips="gzip")


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
def test_kserves_client_and_triton(triton_server: SideBySide, binary: bool) -> None:
    check(triton_server, by_kserve, binary=binary)


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
def test_kserves_client_and_server(kserve_server: SideBySide, binary: bool) -> None:
    check(kserve_server, by_kserve, binary=binary)


def test_tritonclient_and_kserves_server(kserve_server: SideBySide) -> None:
    check(kserve_server, by_tritonclient, binary=True)


def test_tritonclient_in_json_and_kserves_server(kserve_server: SideBySide) -> None:
    """It sends no Content-Type, for which that server answers 400; the sidecar knows which."""
    kserve_server.get_acquainted("many", many(ROWS // 2, 99))
    by_tritonclient(kserve_server.port, ROWS // 2, 99, binary=False)
    alone = [by_kserve(kserve_server.model_port, n, seed, binary=False) for seed, n in SIZED]
    with pytest.raises(triton_http.InferenceServerException, match="400"):
        by_tritonclient(kserve_server.model_port, 1, 0, binary=False)

    results = at_once(by_tritonclient, kserve_server.port, binary=False)

    assert [result.outputs for result in results] == [direct.outputs for direct in alone]


def test_kserves_client_and_mlserver(mlserver_server: SideBySide) -> None:
    check(mlserver_server, by_kserve, binary=False)


def test_tritonclient_and_mlserver(mlserver_server: SideBySide) -> None:
    check(mlserver_server, by_tritonclient, binary=False)
