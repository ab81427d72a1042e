"""What is sent: bodies, callers, the model server's manner, and what the sidecar must reach."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tests.bench.predictor import BINARY_SENTINEL, HEADER_LENGTH, SENTINEL

PREDICT_PATH: Final = "/v1/models/m:predict"
INFER_PATH: Final = "/v2/models/m/infer"
#: A batcher forwards this verb alone, unbatched: the base line of the window measurement.
UNBATCHED_PATH: Final = "/v1/models/m:explain"
MAX_BATCH_SIZE: Final = 32
MAX_LATENCY_MS: Final = 5

_MARK: Final = float(SENTINEL)


@dataclass(frozen=True, slots=True)
class Request:
    """What is posted."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One kind of load.

    `cpu_target` and `throughput_target` are ratios to the peer: CPU per request at most, and
    requests per second at least; None where nothing is demanded. So are `proxy_cpu_target` to the
    plain proxy and `alone_throughput_target` to the model server alone. `stretch` multiplies the
    time of a measurement, where so few requests are answered that those in flight at its end would
    weigh. `sidecar_flags` are added to the sidecar's command, and named in the title. `protocol` is
    v1, v2, or v2-binary: v2 with tensors in binary form, both ways.
    """

    key: str
    title: str
    row: str
    callers: int
    mode: str
    stretch: int = 1
    cpu_target: float | None = None
    throughput_target: float | None = None
    proxy_cpu_target: float | None = None
    alone_throughput_target: float | None = None
    sidecar_flags: tuple[str, ...] = ()
    protocol: str = "v1"

    def request(self) -> Request:
        """One instance."""
        row = _ROWS[self.row]()
        if self.protocol == "v1":
            return Request(PREDICT_PATH, json.dumps({"instances": [row]}).encode())
        array = np.array([row], np.float32)
        tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": array.shape}
        if self.protocol == "v2":
            data = array.ravel().tolist()
            data[0] = _MARK
            return Request(INFER_PATH, json.dumps({"inputs": [{**tensor, "data": data}]}).encode())
        array.flat[0] = np.frombuffer(BINARY_SENTINEL, np.float32)[0]
        tensor["parameters"] = {"binary_data_size": array.nbytes}
        content = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        head = json.dumps(content).encode()
        headers = (
            ("Content-Type", "application/octet-stream"),
            (HEADER_LENGTH, str(len(head))),
        )
        return Request(INFER_PATH, head + array.tobytes(), headers)


def _iris() -> list[float]:
    return [6.8, 2.8, 4.8, _MARK]


def _floats() -> list[float]:
    source = random.Random(768)
    return [_MARK, *(source.random() for _ in range(767))]


def _image() -> list[list[list[float]]]:
    source = random.Random(224)
    image: list[list[list[float]]] = [
        [[source.randrange(256) for _ in range(3)] for _ in range(224)] for _ in range(224)
    ]
    image[0][0][0] = _MARK
    return image


_ROWS: Final = {"iris": _iris, "floats": _floats, "image": _image}

WORKLOADS: Final = (
    Workload(
        key="iris",
        title="iris row, 64 callers, instant predictor",
        row="iris",
        callers=64,
        mode="instant",
        cpu_target=0.50,
        throughput_target=1.5,
    ),
    Workload(
        key="floats",
        title="768 floats, 32 callers, instant predictor",
        row="floats",
        callers=32,
        mode="instant",
        cpu_target=0.18,
        throughput_target=2.5,
    ),
    Workload(
        key="image",
        title="224x224x3 image as JSON, 16 callers, instant predictor",
        row="image",
        callers=16,
        mode="instant",
        stretch=3,
        cpu_target=0.06,
        throughput_target=10,
    ),
    Workload(
        key="concurrent",
        title="iris row, 256 callers, concurrent 5 ms predictor",
        row="iris",
        callers=256,
        mode="concurrent",
        cpu_target=0.35,
        throughput_target=4.5,
    ),
    # The predictor answers any number of calls at once; as many batches as the callers can fill.
    Workload(
        key="wide",
        title="iris row, 256 callers, concurrent 5 ms predictor, --max-concurrency 8",
        row="iris",
        callers=256,
        mode="concurrent",
        cpu_target=0.35,
        throughput_target=4.5,
        sidecar_flags=("--max-concurrency", "8"),
    ),
    Workload(
        key="serial",
        title="iris row, 256 callers, serial predictor",
        row="iris",
        callers=256,
        mode="serial",
        throughput_target=1.15,
    ),
    # The Open Inference Protocol, which the peer does not batch.
    Workload(
        key="v2-floats",
        title="768 floats in v2 JSON, 32 callers, instant predictor",
        row="floats",
        callers=32,
        mode="instant",
        protocol="v2",
    ),
    Workload(
        key="v2-floats-binary",
        title="768 floats in v2 binary, 32 callers, instant predictor",
        row="floats",
        callers=32,
        mode="instant",
        protocol="v2-binary",
    ),
    Workload(
        key="v2-image-binary",
        title="224x224x3 image in v2 binary, 16 callers, instant predictor",
        row="image",
        callers=16,
        mode="instant",
        protocol="v2-binary",
        proxy_cpu_target=2,
    ),
    Workload(
        key="v2-serial",
        title="768 floats in v2 binary, 32 callers, serial predictor",
        row="floats",
        callers=32,
        mode="serial",
        protocol="v2-binary",
        alone_throughput_target=3,
    ),
)

OVERSHOOT_P99_TARGET_MS: Final = 2.0
IDLE_CPU_TARGET_PERCENT: Final = 0.2
REST_RSS_TARGET_MIB: Final = 60.0
