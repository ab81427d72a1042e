"""A client that sends exactly the bytes it is told and reads answers with an independent parser."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import h11

from tests.sidecar.kit.wire import BOUND_S, Truncated, Wire

__all__ = ["PREDICT", "Client", "Headers", "Response", "body_of", "connect", "predict", "request"]

PREDICT: Final = "/v1/models/m:predict"

Headers = Sequence[tuple[str, str]]

_HEAD_LIMIT_BYTES: Final = 1 << 20


@dataclass(slots=True, kw_only=True)
class Response:
    """One whole answer."""

    status: int
    headers: list[tuple[str, str]]
    version: str
    body: bytes = b""
    interim: list[int] = field(default_factory=list)
    """Statuses of the 1xx answers before it."""

    def named(self, name: str) -> list[str]:
        """Values of every header line of that name, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        """The one value of a header that must be there once."""
        values = self.named(name)
        assert len(values) == 1, f"{name} is there {len(values)} times in {self.headers}"
        return values[0]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of a refusal, which must have the form all refusals have."""
        content = self.json()
        assert isinstance(content, dict), content
        assert set(content) == {"error"}, content
        assert isinstance(content["error"], str), content
        assert content["error"], content
        return content["error"]

    @property
    def predictions(self) -> Any:
        assert self.status == 200, (self.status, self.body[:500])
        return self.json()["predictions"]

    @property
    def batch_id(self) -> str:
        assert self.status == 200, (self.status, self.body[:500])
        batch_id = self.json()["batchId"]
        assert isinstance(batch_id, str)
        return batch_id


class Client(Wire):
    """A connection to the program under test."""

    async def response(self, method: str = "POST", within_s: float = BOUND_S) -> Response:
        """Read one answer to its last byte; what follows stays unread.

        Raises:
            Truncated: the connection ended first.
        """
        answer = Answer(self, method)
        response = await answer.head(within_s)
        pieces = []
        while piece := await answer.piece(within_s):
            pieces.append(piece)
        response.body = b"".join(pieces)
        return response

    async def ask(self, data: bytes, method: str = "POST", within_s: float = BOUND_S) -> Response:
        self.send(data)
        return await self.response(method, within_s)


class Answer:
    """An answer read as it arrives."""

    def __init__(self, client: Client, method: str = "POST") -> None:
        self._client = client
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT_BYTES)
        # The parser must know the question. An upgrade is proposed always: whether one is
        # allowed is for the test to say.
        headers = [("Host", "test"), ("Connection", "upgrade"), ("Upgrade", "any")]
        self._parser.send(h11.Request(method=method, target="/", headers=headers))
        self._parser.send(h11.EndOfMessage())

    async def head(self, within_s: float = BOUND_S) -> Response:
        """The final answer's status and headers, or those of a 101."""
        interim: list[int] = []
        while True:
            event = await self._event(within_s)
            assert isinstance(event, h11.InformationalResponse | h11.Response), event
            if isinstance(event, h11.Response) or event.status_code == 101:
                break
            interim.append(event.status_code)
        raw = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in event.headers.raw_items()]
        version = event.http_version.decode("ascii")
        if event.status_code == 101:
            self._give_back()
        return Response(status=event.status_code, headers=raw, version=version, interim=interim)

    async def piece(self, within_s: float = BOUND_S) -> bytes:
        """The next part of the body; empty at its end."""
        if self._parser.their_state is h11.SWITCHED_PROTOCOL:
            return b""
        event = await self._event(within_s)
        if isinstance(event, h11.Data):
            return bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), event
        self._give_back()
        return b""

    def _give_back(self) -> None:
        self._client.buffer[:0] = self._parser.trailing_data[0]

    async def _event(self, within_s: float) -> h11.Event:
        try:
            event = self._parser.next_event()
            while event is h11.NEED_DATA:
                self._parser.receive_data(await self._client.read_some(within_s))
                event = self._parser.next_event()
        except h11.RemoteProtocolError as error:
            if self._client.ended:
                raise Truncated(str(error)) from error
            raise AssertionError(f"not an HTTP answer: {error}") from error
        if isinstance(event, h11.ConnectionClosed):
            raise Truncated("connection ended before an answer")
        assert not isinstance(event, type), event
        return event


async def connect(port: int, host: str = "127.0.0.1") -> Client:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(BOUND_S):
        _, client = await loop.create_connection(Client, host, port)
    return client


def request(
    method: str = "GET",
    target: str = "/",
    headers: Headers = (),
    body: bytes | None = None,
    *,
    host: str | None = "test",
    version: str = "1.1",
) -> bytes:
    """The bytes of one request; a body gets its Content-Length."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def body_of(rows: Sequence[object], **fields: object) -> bytes:
    """A v1 request body; `fields` come before the instances."""
    return json.dumps({**fields, "instances": list(rows)}).encode()


def predict(
    rows: Sequence[object],
    target: str = PREDICT,
    headers: Headers = (),
    **fields: object,
) -> bytes:
    """The bytes of one v1 predict request, as a client without a Content-Type sends it."""
    return request("POST", target, headers, body_of(rows, **fields))
