"""The Open Inference Protocol for the scripted model server and its clients."""

import itertools
import json
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.sidecar.kit.client import Headers, Response, request
from tests.sidecar.kit.rig import Rig
from tests.sidecar.kit.scripted import Call, Exchange, Script

__all__ = [
    "FIXED", "OTHER", "ROW", "VARIABLE", "Message", "V2Model", "answer_tensors", "answered",
    "bypassed", "echo_tensors", "message_of", "metric", "numbers", "strings", "together",
]  # fmt: skip

_count: Final = itertools.count()
VARIABLE: Final = {
    "name": "m",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}],
}
"""Metadata of a model that batches."""
FIXED: Final = {"name": "m", "inputs": [{"name": "x", "shape": [1, 4]}], "outputs": []}
"""Metadata of one that does not."""
ROW: Final = [[1.5, 2, 3, 4]]
OTHER: Final = [[5, 6, 7, 8]]

_HEADER: Final = "Inference-Header-Content-Length"


@dataclass(slots=True)
class Message:
    """A request or an answer: its JSON, and its blobs in order."""

    content: dict[str, Any]
    blobs: list[bytes]

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Outputs without what only the transport needs, blobs as `blob`."""
        outputs: list[dict[str, Any]] = []
        blobs = deque(self.blobs)
        for output in self.content["outputs"]:
            output = dict(output)
            parameters = output.pop("parameters", {})
            if "binary_data_size" in parameters:
                output["blob"] = blobs.popleft()
            outputs.append(output)
        return outputs

    @property
    def batch_id(self) -> Any:
        return self.content["parameters"]["batch_id"]


def message_of(body: bytes, lengths: Sequence[str], kind: str = "outputs") -> Message:
    """Read a message; `lengths` are the values of its header."""
    text = body[: int(lengths[0])] if lengths else body
    content = json.loads(text)
    blobs = []
    offset = len(text)
    for tensor in content[kind]:
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is not None:
            blobs.append(body[offset : offset + size])
            offset += size
    assert offset == len(body)
    return Message(content, blobs)


def answered(response: Response) -> Message:
    assert response.status == 200, (response.status, response.body[:500])
    lengths = response.named(_HEADER)
    kind = "application/octet-stream" if lengths else "application/json"
    assert response.header("Content-Type") == kind
    return message_of(response.body, lengths)


async def together(rig: Rig, *requests: bytes) -> list[Response]:
    """The answers to requests that were read in this order."""
    clients = []
    for data in requests:
        clients.append(await rig.send(data))
        await rig.settle()
    return await rig.answers(*clients)


async def metric(rig: Rig, sample: str) -> float:
    """The value of a sample; 0 where it has not been counted."""
    lines = (await rig.admin("/metrics")).body.decode().splitlines()
    values = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{sample} ")]
    return float(values[0]) if values else 0


async def bypassed(rig: Rig, reason: str) -> float:
    return await metric(rig, f'inference_batcher_bypassed_requests_total{{reason="{reason}"}}')


def numbers(
    rows: Sequence[Sequence[float]], *, name: str = "x", binary: bool = False
) -> tuple[dict[str, Any], bytes | None]:
    """An FP32 input, as JSON or as a blob."""
    tensor: dict[str, Any] = {
        "name": name, "shape": [len(rows), len(rows[0])], "datatype": "FP32",
    }  # fmt: skip
    if not binary:
        return {**tensor, "data": [list(row) for row in rows]}, None
    flat = [value for row in rows for value in row]
    return with_blob(tensor, struct.pack(f"<{len(flat)}f", *flat))


def strings(texts: Sequence[bytes], *, name: str = "s") -> tuple[dict[str, Any], bytes]:
    """A BYTES input of one column, as a blob."""
    tensor = {"name": name, "shape": [len(texts), 1], "datatype": "BYTES"}
    return with_blob(tensor, b"".join(struct.pack("<I", len(text)) + text for text in texts))


def with_blob(tensor: dict[str, Any], blob: bytes) -> tuple[dict[str, Any], bytes]:
    return {**tensor, "parameters": {"binary_data_size": len(blob)}}, blob


class V2Model:
    """A script that answers an inference with its inputs, and tells about its models.

    Each has a name of its own, so that it is unknown to a sidecar that served other tests. Scripts
    in `then` take the place of the next inferences, `otherwise` that of all others.
    """

    def __init__(
        self,
        rig: Rig,
        metadata: object = VARIABLE,
        config: object = None,
        otherwise: Script | None = None,
    ) -> None:
        self.metadata = metadata
        """None answers 404, text as it is; a script does what it does."""
        self.config = config
        self.then: deque[Script] = deque()
        self.otherwise = otherwise or echo_tensors
        self.target = f"/v2/models/m{next(_count)}"
        self._rig = rig
        rig.model.otherwise = self

    def infer(
        self,
        *inputs: tuple[dict[str, Any], bytes | None],
        target: str = "",
        headers: Headers = (),
        **fields: object,
    ) -> bytes:
        """The bytes of one inference request."""
        text = json.dumps({**fields, "inputs": [tensor for tensor, _ in inputs]}).encode()
        blobs = [blob for _, blob in inputs if blob is not None]
        if blobs:
            headers = [*headers, (_HEADER, str(len(text)))]
        return self.request(b"".join([text, *blobs]), headers, target)

    def request(self, body: bytes, headers: Headers = (), target: str = "") -> bytes:
        """The bytes of one inference request with this body."""
        return request("POST", target or f"{self.target}/infer", headers, body)

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.call.method == "GET":
            target = exchange.call.target
            told = self.config if target.endswith("/config") else self.metadata
            await _tell(exchange, told)
        else:
            script = self.then.popleft() if self.then else self.otherwise
            await script(exchange)

    @property
    def calls(self) -> list[Call]:
        """The inferences."""
        return [call for call in self._rig.model.calls if call.method == "POST"]

    @property
    def questions(self) -> list[str]:
        """What was asked about models."""
        return [call.target for call in self._rig.model.calls if call.method == "GET"]

    @property
    def requests(self) -> list[Message]:
        return [message_of(call.body, call.named(_HEADER), "inputs") for call in self.calls]

    async def known(self, *more: bytes) -> None:
        """Return once the sidecar knows the model, and forget the calls so far.

        Then one row of `numbers` in JSON has been answered alone, and so have, one after the other,
        the requests in `more`, which prove or confirm their keys.
        """
        model = self._rig.model
        told = self.metadata is not None
        for asked in (2,) if told else (1, 2):  # else it asks again after the first answer
            answered(await self._rig.ask(self.infer(numbers([[0, 0, 0, 0]]))))
            await model.until(lambda asked=asked: len(self.questions) == asked)  # type: ignore[misc]
            await model.until(lambda: model.in_flight == 0)
            await self._rig.settle()
        for data in more:
            answered(await self._rig.ask(data))
        model.calls.clear()


async def _tell(exchange: Exchange, told: object) -> None:
    if told is None:
        exchange.answer(404, b'{"error":"not found"}')
    elif isinstance(told, bytes):
        exchange.answer(200, told)
    elif callable(told):
        await told(exchange)
    else:
        exchange.answer(200, json.dumps(told).encode())


async def echo_tensors(exchange: Exchange) -> None:
    """Each input comes back as an output whose name begins with `y-`."""
    call = exchange.call
    asked = message_of(call.body, call.named(_HEADER), "inputs")
    outputs = [{**tensor, "name": f"y-{tensor['name']}"} for tensor in asked.content["inputs"]]
    answer_tensors(exchange, outputs, asked.blobs, id=asked.content.get("id", "of the server"))


def answer_tensors(
    exchange: Exchange,
    outputs: Sequence[dict[str, Any]],
    blobs: Sequence[bytes] = (),
    **fields: object,
) -> None:
    content = {"model_name": "m", **fields, "outputs": list(outputs)}
    text = json.dumps(content).encode()
    headers: Headers = [("Content-Type", "application/json")]
    if blobs:
        headers = [("Content-Type", "application/octet-stream"), (_HEADER, str(len(text)))]
    exchange.answer(200, b"".join([text, *blobs]), tuple(headers))
