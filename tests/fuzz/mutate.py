"""Changes to bytes that are likely to matter to what reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["HTTP_TOKENS", "JSON_TOKENS", "cuts", "mutate"]

HTTP_TOKENS: Final = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\n\n", b" ", b"\t", b":", b": ", b"\0", b"\x7f", b"\x0b",
    b"\xff", b"\x80", b"\x85", b"\xa0", b",", b";", b"\r\n ", b"\r\n\t", b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n", b"HTTP/2.0", b"HTTP/1.2", b"POST ", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"get ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Host: a\r\n", b"Host: \r\n", b"host:b\r\n",
    b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Content-Length: +5\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: 0x5\r\n",
    b"Content-Length: 99999999999999999\r\n", b"Content-Length: 18446744073709551621\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n",
    b"transfer-encoding: Chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Connection: host\r\n", b"Connection: content-length, close\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Connection: transfer-encoding\r\n",
    b"Connection: x-client\r\n", b"Expect: 100-continue\r\n", b"Expect: 200-ok\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Encoding: identity\r\n", b"X-Batch-Bypass: true\r\n",
    b"K-Network-Probe: queue\r\n", b"User-Agent: kube-probe/1.34\r\n", b"ce-id: 1\r\n",
    b"Cookie: a=b\r\n", b"Trailer: x\r\n", b"TE: trailers\r\n", b"Proxy-Connection: x\r\n",
    b"X-Long: " + b"a" * 66_000 + b"\r\n", b"X: y\r\n" * 300, b" : y\r\n", b"X y: z\r\n",
    b"X\xff: y\r\n", b"0\r\n\r\n", b"1\r\na\r\n", b"5;x=y\r\n", b"5 \r\n", b"00000000000005\r\n",
    b"FFFFFFFFFFFFFFF\r\n", b"-1\r\n", b"0;" + b"a" * 5000 + b"\r\n", b"0\r\nX: y\r\n\r\n",
    b"0\r\n" + b"X: y\r\n" * 4000 + b"\r\n", b"http://b/", b"http://a@b/", b"//b/", b"*",
    b"%3apredict", b"%00", b"#", b"?", b":predict", b"/../", b"{", b"}", b'{"instances":', b'"',
    b"[", b"]", b"NaN",
)  # fmt: skip

JSON_TOKENS: Final = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"\\u0000", b"\\n", b" ",
    b"\t", b"\n", b"\r", b"\0", b"\x0b", b"\x1f", b"\x7f", b"\xff", b"\xc3", b"\xc3\xa9",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b"\xc0\xaf", b"null",
    b"true", b"false", b"NaN", b"Infinity", b"-Infinity", b"-", b"-0", b"+1", b"01", b"1.", b".5",
    b"1e", b"1e5", b"1E+5", b"1e999", b"1e-999", b"0x1", b"123456789012345678901234567890", b"0.1",
    b"tru", b"nul", b"fals", b"'", b"//", b"/**/", b"{}", b"[]", b'""', b"[[]]", b"[{}]",
    b'"instances"', b'"instances":', b'"predictions":', b'"inst\\u0061nces":', b'"inputs":',
    b'"signature_name":', b'"parameters":', b'{"instances":[', b",,", b"[" * 17, b"[" * 2000,
    b"]" * 2000, b'{"a":' * 2000, b'"' + b"a" * 3000 + b'"', b"1" * 5000,
)  # fmt: skip


def mutate(rng: random.Random, data: bytes, tokens: Sequence[bytes], times: int) -> bytes:
    """Apply that many random changes."""
    changed = bytearray(data)
    for _ in range(times):
        at = rng.randint(0, len(changed))
        size = min(len(changed) - at, rng.choice((1, 1, 1, 2, 4, 16, 64)))
        match rng.randrange(11):
            case 0 | 1 | 2:
                changed[at:at] = rng.choice(tokens)
            case 3:
                changed[at : at + size] = rng.choice(tokens)
            case 4:
                del changed[at : at + size]
            case 5 if size:
                changed[at] = rng.randrange(256)
            case 6 if size:
                changed[at] ^= 1 << rng.randrange(8)
            case 7:
                changed[at:at] = changed[at : at + size] * rng.choice((1, 1, 3))
            case 8 | 9:
                _spoil_delimiter(rng, changed, tokens)
            case 10:
                from_ = rng.randint(0, len(changed))
                changed[at:at] = changed[from_ : from_ + size]
            case _:
                pass
    if rng.random() < 0.1:
        del changed[rng.randint(0, len(changed)) :]
    return bytes(changed)


def _spoil_delimiter(rng: random.Random, data: bytearray, tokens: Sequence[bytes]) -> None:
    """Change one of the places that tell parts from each other."""
    delimiter = rng.choice((b"\r\n", b"\r\n", b":", b" ", b",", b'"', b"[", b"]", b";"))
    count = data.count(delimiter)
    if not count:
        return
    at = -1
    for _ in range(rng.randint(1, count)):
        at = data.index(delimiter, at + 1)
    end = at + len(delimiter)
    match rng.randrange(5):
        case 0:
            del data[at:end]
        case 1:
            del data[at]
        case 2:
            data[at:at] = delimiter
        case 3:
            data[at:end] = rng.choice((b"\n", b"\r", b" \r\n", b"\r\n ", b"\t", b"\0", b"\xa0"))
        case _:
            data[at:end] = rng.choice(tokens)


def cuts(rng: random.Random, size: int) -> list[int]:
    """Choose where a stream of that many bytes is cut into pieces: mostly rarely, else often."""
    if size < 2 or rng.random() < 0.3:
        return []
    count = rng.choice((1, 1, 2, 3, 8, 30))
    return sorted({rng.randrange(1, size) for _ in range(count)})
