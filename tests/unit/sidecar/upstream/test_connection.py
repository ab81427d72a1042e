"""Answers that are none: what came is never passed on as if it were one."""

import pytest

from tests.sidecar.kit.answers import sends
from tests.sidecar.kit.client import predict, request
from tests.unit.sidecar.stand import standing

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize("data", [request("GET", "/x"), predict([1])], ids=["forwarded", "batch"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 099 X\r\nContent-Length: 38\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
        OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        OK + b"Transfer-Encoding: identity\r\n\r\n{}",
    ],
)
async def test_an_answer_that_cannot_be_read_for_sure_is_a_502(data: bytes, answer: bytes) -> None:
    async with standing() as stand:
        stand.model.then.append(sends(answer, then_close=True))
        client = await stand.connect()
        response = await client.ask(data)
        assert response.status == 502
        assert "status" in response.error or "Transfer-Encoding" in response.error
        assert not client.buffer


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked"])
async def test_a_chunked_answer_is_read(coding: bytes) -> None:
    async with standing() as stand:
        head = OK + b"Transfer-Encoding: %b\r\n\r\n" % coding
        stand.model.then.append(sends(head + CHUNKS))
        client = await stand.connect()
        assert (await client.ask(request("GET", "/x"), "GET")).body == b"{}"
