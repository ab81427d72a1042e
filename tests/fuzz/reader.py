"""Reading requests: alike however the bytes are cut, and as an independent reader does."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import h11
import msgspec

from batcher_sidecar.errors import RefusedError
from batcher_sidecar.http1 import RequestReader
from tests.fuzz.engine import Fault, smaller_bytes, smaller_list
from tests.fuzz.messages import stream
from tests.fuzz.mutate import cuts

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from batcher_sidecar.http1 import RequestHead

__all__ = ["ReaderCase", "ReaderTarget"]

_EXTENSION: Final = re.compile(r"illegal chunk header: bytearray\(b'[0-9A-Fa-f]{1,15}[ \\t]+;")
"""h11 knows no white space before a chunk's extension (RFC 9112 section 7.1.1 allows it)."""


@dataclass(slots=True)
class ReaderCase:
    """A stream (as Latin-1), and where it is cut."""

    data: str = ""
    cuts: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Read:
    """A request as a reader saw it; ``body`` is None where it is not complete."""

    head: RequestHead
    body: bytes | None = None


class ReaderTarget:
    """Heads, framing and bodies (``Target``)."""

    name = "reader"
    share = 1

    def generate(self, rng: random.Random) -> ReaderCase:
        """Write a few requests in a row, mostly spoiled ones."""
        data = stream(rng)
        return ReaderCase(data.decode("latin-1"), cuts(rng, len(data)))

    def run(self, case: ReaderCase) -> None:
        """Read the stream whole, in pieces, and with h11."""
        data = case.data.encode("latin-1")
        bounds = [0, *[cut for cut in case.cuts if cut < len(data)], len(data)]
        pieces = [data[start:stop] for start, stop in itertools.pairwise(bounds)]
        whole, refused = _read([data])
        cut, cut_refused = _read(pieces)
        if refused != cut_refused or len(whole) != len(cut):
            raise Fault("cutting a stream changes how it ends", f"{refused} or {cut_refused}")
        for one, other in zip(whole, cut, strict=True):
            if one.body != other.body or one.head.fields != other.head.fields:
                raise Fault("cutting a stream changes a request", f"{one} or {other}")
        if not data.startswith(b"PRI"):
            _compare(data, whole)

    def smaller(self, case: ReaderCase) -> Iterator[ReaderCase]:
        """Leave out cuts, then bytes."""
        for fewer in smaller_list(case.cuts):
            yield replace(case, cuts=fewer)
        for data in smaller_bytes(case.data):
            yield replace(case, data=data)
        for index, cut in enumerate(case.cuts):
            if cut > 1:
                yield replace(
                    case, cuts=[*case.cuts[:index], cut - 1, *case.cuts[index + 1 :]]
                )

    def encode(self, case: ReaderCase) -> Any:
        """Write a case as JSON can hold it."""
        return msgspec.to_builtins(case)

    def decode(self, content: Any) -> ReaderCase:
        """Read what ``encode`` wrote."""
        return msgspec.convert(content, ReaderCase)


def _read(pieces: Sequence[bytes]) -> tuple[list[_Read], int | None]:
    """Return the requests of a stream and the status that refuses the rest, if anything does."""
    reader = RequestReader()
    requests: list[_Read] = []
    body: list[bytes] = []
    try:
        for piece in pieces:
            reader.buffer += piece
            while reader.buffer:
                if reader.in_body:
                    body += reader.read_body()
                    if reader.in_body:
                        break
                    requests[-1].body = b"".join(body)
                elif requests and not requests[-1].head.keep_alive:
                    return requests, None
                else:
                    if not requests and reader.read_preface() is not False:
                        break
                    head = reader.read_head()
                    if head is None:
                        break
                    requests.append(_Read(head, None if head.has_body else b""))
                    body = []
                    if head.has_body:
                        reader.start_body(head)
    except RefusedError as error:
        return requests, error.refusal.status
    return requests, None


def _compare(data: bytes, requests: Sequence[_Read]) -> None:
    """Demand that h11 reads the same requests, or none where it is stricter."""
    for request in requests:
        data = data.lstrip(b"\r\n")
        peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        peer.receive_data(data)
        body = b""
        try:
            event = peer.next_event()
            if not isinstance(event, h11.Request):
                raise Fault("a head is read that h11 does not see the end of", f"{data[:200]!r}")
            target = request.head.path + request.head.query
            if event.method != request.head.method or not _same_target(event.target, target):
                raise Fault("a request line is read differently", f"{event} and {target!r}")
            ours = [(name.lower(), value) for name, value in request.head.headers]
            ours = [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in ours]
            theirs = [(bytes(name), bytes(value)) for name, value in event.headers]
            if event.target[:1] == b"/" and ours != theirs:
                raise Fault("headers are read differently", f"{ours} and {theirs}")
            if {b"content-length", b"transfer-encoding"} <= request.head.fields.keys():
                raise Fault("a body with two lengths is read")
            while isinstance(event := peer.next_event(), h11.Data):
                body += bytes(event.data)
            if request.body is not None and not isinstance(event, h11.EndOfMessage):
                raise Fault("a body is read that h11 does not see the end of", f"{data[:500]!r}")
        except h11.RemoteProtocolError as error:
            in_trailers = "Transfer-Encoding" in str(error) or "Content-Length" in str(error)
            if request.body is None or _EXTENSION.match(str(error)):
                return
            if in_trailers and request.head.body_bytes is None and body == request.body:
                return  # trailers are thrown away
            raise Fault("a request is read that h11 refuses", str(error)) from None
        if request.body is None:
            return
        if body != request.body:
            raise Fault("a body is read differently", f"{body!r:.200} and {request.body!r:.200}")
        data = peer.trailing_data[0]


def _same_target(theirs: bytes, ours: bytes) -> bool:
    return theirs == ours or (theirs[:1] != b"/" and theirs.endswith(ours.lstrip(b"/")))
