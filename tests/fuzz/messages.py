"""Requests to the data port: as they should be, slightly wrong, and spoiled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.fuzz.mutate import HTTP_TOKENS, mutate
from tests.fuzz.scenario import Message, tag

if TYPE_CHECKING:
    import random

__all__ = ["H2_PREFACE", "Writer", "stream"]

H2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_NOBODY: Final = 99
"""Stands in tags for no message in particular."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Requests that may share a batch."""

    target: str
    fields: str = ""


_GROUPS: Final = (
    _Group("/v1/models/m:predict"),
    _Group("/v1/models/m:predict"),
    _Group("/v1/models/n:predict?x=1"),
    _Group("/v1/models/m:predict", '"signature_name":"s"'),
    _Group("/v1/models/m:predict", '"parameters": {"k": [1, "é"]}, "z" :null'),
    _Group("/any/thing%3Apredict"),
    _Group("/v1/models/t:predict"),
)
_LINES: Final = (
    "Content-Type: application/json", "Accept: */*", "User-Agent: fuzz", "Cookie: a=b; c=d",
    "Accept-Encoding: gzip", "Connection: keep-alive", "Connection: x-hop\r\nX-Hop: 1",
    "TE: trailers", "X-Key: one", "X-Key: two", "X-Note: \xe9\t.", "X-Empty:",
    "X-Twice: 1\r\nX-Twice: 2",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Upgrade: h2c",
    "Content-Encoding: identity", "X-Batch-Bypass: false", "Via: 1.1 x",
)  # fmt: skip


class Writer:
    """Writes the messages of one client."""

    def __init__(self, rng: random.Random, client: int) -> None:
        self._rng = rng
        self._client = client
        self._written = 0

    def plain(self) -> Message:
        """Write a predict request that may share a batch with all others like it."""
        self._written += 1
        return self._predict(0)

    def honest(self) -> Message:
        """Write a request whose answer is known."""
        rng = self._rng
        self._written += 1
        kind = rng.random()
        if kind < 0.62:
            return self._predict(rng.choice((0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 6)))
        if kind < 0.82:
            return self._forward()
        if kind < 0.91:
            return self._bypassed()
        if kind < 0.95:
            return self._probe()
        return self._refused()

    def tunnel(self) -> Message:
        """Write the request of a tunnel, and what is sent through it."""
        rng = self._rng
        self._written += 1
        data = "".join(rng.choice(("ping", "\x00\xff", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n")) * 3)
        if rng.random() < 0.5 and self._written == 1:
            whole = H2_PREFACE.decode() + data
            return Message(whole, "upgrade", "PRI", answer=whole, status=0)
        head = (
            f"GET /ws/{self._tag()} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, x\r\n"
            f"Upgrade: websocket\r\nX-Client: {self._client}\r\n\r\n"
        )
        return Message(head + data, "upgrade", "GET", answer=data, status=101)

    def hostile(self) -> Message:
        """Write something that is probably no request as it should be."""
        rng = self._rng
        if rng.random() < 0.03:
            data = rng.randbytes(rng.randrange(1, 100))
        else:
            message = self.honest()
            while message.method == "HEAD":  # whose answer could not be told from another's
                message = self.honest()
            data = message.data.encode("latin-1")
            if rng.random() < 0.8:
                data = mutate(rng, data, HTTP_TOKENS, rng.choice((1, 1, 1, 2, 3, 8)))
        return Message(data.decode("latin-1"))

    def _tag(self, row: int = 0, group: int = 0) -> int:
        return tag(self._client, self._written, row, group)

    def _row(self, group: int, number: int) -> Any:
        own = self._tag(number, group)
        match group:
            case 1:
                return [own, 1.5]
            case 2:
                return {"a": str(own), "b": True}
            case 4:
                return [[own], [-1e-7]]
            case 5:
                return own
            case 6:
                return [[own, 2], [3, 4]]
            case _:
                padding = self._rng.choice(("", "", "", '"\\é', "," * 50, "x" * 3000))
                return str(own) + padding

    def _rows_body(self, group: int, rows: list[Any]) -> bytes:
        rng = self._rng
        separators = rng.choice(((",", ":"), (", ", ": "), (" ,\n", "\t:")))
        text = json.dumps(rows, separators=separators, ensure_ascii=rng.random() < 0.5)
        if rng.random() < 0.03:  # large, without a row that is
            text = text.replace("[", "[" + " " * 70_000, rng.choice((1, 2)))
        name = "instances" if rng.random() < 0.9 else "inst\\u0061nces"
        parts = [f'"{name}":{text}']
        if _GROUPS[group].fields:
            parts.insert(rng.randint(0, 1), _GROUPS[group].fields)
        return ("{" + ",".join(parts) + "}" + rng.choice(("", "", "\n"))).encode()

    def _predict(self, group: int) -> Message:
        rng = self._rng
        rows = [self._row(group, number) for number in range(rng.choice((1, 1, 1, 2, 3, 8)))]
        data, closes = self._request(
            "POST", _GROUPS[group].target, self._rows_body(group, rows)
        )
        return Message(data, "predict", rows=rows, closes=closes)

    def _forward(self) -> Message:
        rng = self._rng
        method = rng.choice(("GET", "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"))
        target = f"/other/{self._tag()}?q=%20" + rng.choice(("", "&x", "?"))
        body = None
        if method in ("POST", "PUT", "PATCH") or rng.random() < 0.1:
            body = f"{self._tag()} ".encode() * rng.choice((0, 1, 3, 400))
        asked = f"http://a.example:80{target}" if rng.random() < 0.1 else target
        data, closes = self._request(method, asked, body)
        echo = f"echo {target} {(body or b'').decode()}" if method != "HEAD" else ""
        return Message(data, "forward", method, answer=echo, closes=closes)

    def _bypassed(self) -> Message:
        rng = self._rng
        target = _GROUPS[0].target
        if rng.random() < 0.5:
            rows = [self._row(0, 0)]
            data, closes = self._request(
                "POST", target, self._rows_body(0, rows), ["X-Batch-Bypass: true"]
            )
            return Message(data, "bypassed", rows=rows, closes=closes)
        own = self._tag()
        content, lines = rng.choice(
            (
                ('{"inputs":[%d]}', []),
                ('{"instances":[NaN,%d]}', []),
                ('{"x":%d}', []),
                ('{"instances":' + "[" * 3000 + "%d" + "]" * 3000 + "}", []),
                ("%d", ["Content-Encoding: gzip"]),
                ("%d", ["ce-id: 1"]),
            )
        )
        body = (content % own).encode()
        data, closes = self._request("POST", target, body, [*lines])
        return Message(
            data, "forward", answer=f"echo {target} {body.decode()}", closes=closes
        )

    def _probe(self) -> Message:
        line = self._rng.choice(("User-Agent: kube-probe/1.34", "K-Network-Probe: queue"))
        data, closes = self._request("GET", "/any", None, [line])
        return Message(data, "probe", "GET", closes=closes)

    def _refused(self) -> Message:
        body = self._rng.choice(
            (
                b'{"instances":[]}', b'{"instances":{}}', b'{"instances":[1}', b"", b"[1]", b"\xff",
                b'{"instances":["\xff"]}', b'{"instances":null}', b'{"instances":[1]}}',
            )
        )  # fmt: skip
        data, closes = self._request("POST", _GROUPS[0].target, body)
        return Message(data, "refused", status=400, closes=closes)

    def _request(
        self, method: str, target: str, body: bytes | None, more: list[str] | None = None
    ) -> tuple[str, bool]:
        """Write a request; tell whether it is the connection's last."""
        rng = self._rng
        old = rng.random() < 0.1
        lines = [f"{method} {target} HTTP/1.{0 if old else 1}"]
        lines += rng.choice((["Host: a"], ["Host: a.example:80"], ["hOsT:\t[::1]:9081 "]))
        lines.append(f"X-Client: {self._client}")
        if rng.random() < 0.3:
            lines.append(f"Authorization: {tag(self._client, _NOBODY)}")
        used = set()
        for line in rng.sample(_LINES, rng.choice((0, 0, 1, 2, 5))):
            name = line.partition(":")[0]
            if name not in used and not (more and name in more[0]):
                used.add(name)
                lines.append(line)
        lines += more or []
        closes = old
        if "Connection" not in used:
            if old and rng.random() < 0.5:
                lines.append("Connection: keep-alive")
                closes = False
            elif rng.random() < 0.05:
                lines.append("Connection: close")
                closes = True
        elif "Connection: keep-alive" in lines:
            closes = False
        sent = b""
        if body is not None:
            if not old and rng.random() < 0.1:
                lines.append("Expect: 100-continue")
            if old or rng.random() < 0.7:
                lines.append(f"Content-Length: {len(body)}")
                sent = body
            else:
                lines.append("Transfer-Encoding: chunked")
                sent = self._chunked(body)
        return "\r\n".join([*lines, "", sent.decode("latin-1")]), closes

    def _chunked(self, body: bytes) -> bytes:
        rng = self._rng
        sent = []
        while body:
            size = rng.choice((1, 7, 100, len(body), len(body)))
            chunk, body = body[:size], body[size:]
            extension = rng.choice((b"", b"", b"", b";x", b" ; x=y"))
            sent.append(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk))
        trailer = rng.choice((b"", b"", b"X-Trailer: 1\r\n"))
        return b"".join([*sent, b"0\r\n", trailer, b"\r\n"])


def stream(rng: random.Random) -> bytes:
    """Write a few requests in a row, mostly spoiled ones."""
    writer = Writer(rng, 0)
    data = b"".join(
        [writer.honest().data.encode("latin-1") for _ in range(rng.choice((1, 1, 2, 3)))]
    )
    if rng.random() < 0.8:
        data = mutate(rng, data, HTTP_TOKENS, rng.choice((1, 1, 2, 3, 8)))
    return data
