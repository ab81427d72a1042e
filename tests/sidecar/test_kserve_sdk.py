"""The sidecar in front of KServe's own Python model server, asked by `requests`."""

import asyncio
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from sklearn.datasets import load_iris  # type: ignore[import-untyped]

from batcher_contract.names import BATCH_ID_HEADER, BATCH_SIZE_HEADER, READINESS_PROBE_ENV
from examples.demo.stage import Stage, free_ports
from tests.sidecar.kit.rig import SidecarPool, tcp_probe

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_S: Final = 30.0
START_S: Final = 60.0
WINDOW_MS: Final = 300
BATCH_SIZE: Final = 32

pytestmark = pytest.mark.timeout(START_S + TIMEOUT_S)

IRIS: Final = load_iris()
# Mixed, so that all three species are among the first few.
ROWS: Final[list[list[float]]] = [IRIS.data[i * 37 % 149].tolist() for i in range(149)]


@dataclass(frozen=True)
class Servers:
    """A model server and the sidecar in front of it."""

    model_port: int
    port: int

    def direct(self, body: str | bytes, model: str = "iris") -> requests.Response:
        """Ask the model server itself."""
        return self._post(self.model_port, body, model)

    def ask(
        self, body: str | bytes, model: str = "iris", headers: dict[str, str] | None = None
    ) -> requests.Response:
        """Ask through the sidecar."""
        return self._post(self.port, body, model, headers)

    def ask_at_once(
        self, bodies: Sequence[str], models: Sequence[str] | None = None
    ) -> list[requests.Response]:
        """Ask through the sidecar from as many threads as there are bodies."""
        with ThreadPoolExecutor(len(bodies)) as pool:
            return list(pool.map(self.ask, bodies, models or ["iris"] * len(bodies)))

    def calls(self) -> int:
        """How often the model server called the iris model since it started."""
        text = requests.get(f"http://127.0.0.1:{self.model_port}/metrics", timeout=TIMEOUT_S).text
        name = re.escape('request_predict_seconds_count{model_name="iris"}')
        match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return int(float(match[1])) if match else 0

    @staticmethod
    def _post(
        port: int, body: str | bytes, model: str, headers: dict[str, str] | None = None
    ) -> requests.Response:
        url = f"http://127.0.0.1:{port}/v1/models/{model}:predict"
        return requests.post(url, data=body, headers=headers, timeout=TIMEOUT_S)


@pytest.fixture(scope="module")
def servers(sidecars: SidecarPool) -> Iterator[Servers]:
    (model_port,) = free_ports(1)
    with Stage() as stage:
        model = stage.start(
            "The model server",
            ["-m", "tests.sidecar.sdk_models", str(model_port)],
            {"PYTHONPATH": str(ROOT)},
        )
        sidecar = sidecars.start(
            (
                *("--enable-batcher", "--max-batchsize", str(BATCH_SIZE)),
                *("--max-latency", str(WINDOW_MS)),
            ),
            model_port,
            {READINESS_PROBE_ENV: tcp_probe(model_port)},
        )
        try:
            asyncio.run(sidecar.started())
            model.wait_ready(f"http://127.0.0.1:{model_port}/v1/models/iris", START_S)
            # Not batched, so it tells that requests get through.
            requests.get(
                f"http://127.0.0.1:{sidecar.port}/v1/models/iris", timeout=TIMEOUT_S
            ).raise_for_status()
            yield Servers(model_port, sidecar.port)
            sidecar.check()
        finally:
            sidecar.stop()


def instances(rows: Sequence[object]) -> str:
    return json.dumps({"instances": rows})


def predictions(response: requests.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    found = response.json()["predictions"]
    assert isinstance(found, list)
    return found


def same(response: requests.Response, direct: requests.Response) -> bool:
    """Whether status, type and body are those of the model server."""
    one, other = (
        (answer.status_code, answer.headers["Content-Type"], answer.content)
        for answer in (response, direct)
    )
    return one == other


def test_the_example_client_gets_its_predictions(servers: Servers) -> None:
    url = f"http://127.0.0.1:{servers.port}/v1/models/iris:predict"
    response = requests.post(
        url, data=json.dumps({"instances": IRIS.data[:3].tolist()}), timeout=TIMEOUT_S
    )

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    body = response.json()
    assert sorted(body) == ["batchId", "message", "predictions"]
    assert body["message"] == ""
    assert uuid.UUID(body["batchId"]).version == 4
    assert body["predictions"] == [0, 0, 0]
    assert response.headers[BATCH_ID_HEADER] == body["batchId"]
    assert response.headers[BATCH_SIZE_HEADER] == "3"


def test_concurrent_callers_share_a_call_and_get_their_own_predictions(servers: Servers) -> None:
    bodies = [instances(ROWS[i * 3 : i * 3 + 1 + i % 3]) for i in range(14)]
    assert 20 < sum(len(json.loads(body)["instances"]) for body in bodies) < BATCH_SIZE
    direct = [predictions(servers.direct(body)) for body in bodies]
    assert len({str(answer) for answer in direct}) > 3
    before = servers.calls()

    responses = servers.ask_at_once(bodies)

    assert [predictions(response) for response in responses] == direct
    assert len({response.json()["batchId"] for response in responses}) == 1
    assert servers.calls() - before == 1


def test_numbers_and_strings_pass_exactly(servers: Servers) -> None:
    rows = [
        "[[9007199254740993, 1.0, -0.0, 1e-7]]",
        "[[18446744073709551615, 0.1, 100000000000000000000.0, 5e-324]]",
    ]
    strings = ['["a,b]}\\"", "\\u00e9\\n"]', '["\u00e9", "\U0001f338"]']
    bodies = [f'{{"instances":{text}}}' for text in rows + strings]
    direct = [servers.direct(body.encode(), "echo") for body in bodies]

    responses = servers.ask_at_once(bodies, ["echo"] * len(bodies))

    assert b"9007199254740993" in responses[0].content
    for response, alone in zip(responses, direct, strict=True):
        expected = alone.content.removeprefix(b'{"predictions":').removesuffix(b"}")
        assert alone.content == b'{"predictions":' + expected + b"}"
        assert b'"predictions":' + expected in response.content
    assert responses[0].headers[BATCH_SIZE_HEADER] == "2"
    assert responses[2].headers[BATCH_SIZE_HEADER] == "4"


@pytest.mark.parametrize(
    ("row", "status"),
    [
        pytest.param("[5.1, 3.5, null, 0.2]", 500, id="missing value"),
        pytest.param('[5.1, 3.5, "1.4 cm", 0.2]', 500, id="string among numbers"),
        pytest.param("[5.1, 3.5, [1.4], 0.2]", 500, id="ragged"),
        pytest.param("[5.1, 3.5, 1e999, 0.2]", 400, id="number out of range"),
    ],
)
def test_a_bad_row_fails_alone_with_the_model_servers_words(
    servers: Servers, row: str, status: int
) -> None:
    bad = f'{{"instances":[{row}]}}'
    direct = servers.direct(bad)
    assert direct.status_code == status
    bodies = [instances(ROWS[:2]), bad, instances(ROWS[2:5]), instances(ROWS[5:6])]

    responses = servers.ask_at_once(bodies)

    assert same(responses[1], direct), responses[1].text
    for position in (0, 2, 3):
        assert predictions(responses[position]) == predictions(servers.direct(bodies[position]))


@pytest.mark.parametrize(
    "row", [[5.1, 3.5, 1.4], [5.1, 3.5, 1.4, 0.2, 7.0], "setosa"], ids=["short", "long", "text"]
)
def test_rows_of_another_shape_never_meet_the_others(servers: Servers, row: object) -> None:
    odd = instances([row])
    direct = servers.direct(odd)
    assert direct.status_code == 500
    bodies = [instances(ROWS[:2]), odd, instances(ROWS[2:5])]
    before = servers.calls()

    responses = servers.ask_at_once(bodies)

    assert servers.calls() - before == 2  # and no third to find a culprit
    assert same(responses[1], direct), responses[1].text
    assert responses[0].json()["batchId"] == responses[2].json()["batchId"]


def test_models_are_never_mixed(servers: Servers) -> None:
    body = instances(ROWS[:2])

    iris, echo = servers.ask_at_once([body, body], ["iris", "echo"])

    assert predictions(iris) == predictions(servers.direct(body))
    assert predictions(echo) == ROWS[:2]
    assert iris.json()["batchId"] != echo.json()["batchId"]


def test_an_unknown_model_is_not_found_in_the_model_servers_words(servers: Servers) -> None:
    body = instances(ROWS[:2])

    responses = servers.ask_at_once([body, body], ["nobody", "nobody"])

    direct = servers.direct(body, "nobody")
    assert direct.status_code == 404
    assert all(same(response, direct) for response in responses)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"instances":[]}', "no instances in the request"),
        ('{"instances":3}', "can't Unmarshal body"),
        ('{"inst', "can't Unmarshal body"),
        ("[1]", "can't Unmarshal body"),
    ],
)
def test_what_is_no_predict_request_is_refused(servers: Servers, body: str, words: str) -> None:
    before = servers.calls()

    response = servers.ask(body)

    assert response.status_code == 400
    assert words in response.json()["error"]
    assert servers.calls() == before


def test_a_content_type_with_a_charset_is_understood(servers: Servers) -> None:
    """KServe's server alone answers such a request 500."""
    response = servers.ask(
        instances(ROWS[:2]), headers={"Content-Type": "application/json; charset=utf-8"}
    )

    assert predictions(response) == predictions(servers.direct(instances(ROWS[:2])))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models", None),
        ("GET", "/v1/models/iris", None),
        ("GET", "/v1/models/nobody", None),
        ("GET", "/v2/health/ready", None),
        ("GET", "/v1/models/iris:predict", None),
        ("POST", "/v1/models/iris:predict", {"inputs": [[5.1, 3.5, 1.4, 0.2]]}),
    ],
)
def test_what_is_not_batched_is_forwarded_as_it_came(
    servers: Servers, method: str, path: str, body: object
) -> None:
    direct, response = (
        requests.request(method, f"http://127.0.0.1:{port}{path}", json=body, timeout=TIMEOUT_S)
        for port in (servers.model_port, servers.port)
    )

    assert same(response, direct), response.text
    assert BATCH_ID_HEADER not in response.headers
