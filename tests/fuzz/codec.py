"""The v1 codec, judged by Python's own JSON reader."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from batcher_sidecar.codecs import BadRequest, Bypass, Content, Unsplittable
from batcher_sidecar.codecs.v1 import V1Codec, V1Request
from tests.fuzz.engine import Fault, smaller_bytes, smaller_list
from tests.fuzz.json_text import answer_body, request_body, strict_loads
from tests.fuzz.mutate import JSON_TOKENS, mutate

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

__all__ = ["CodecCase", "CodecTarget"]

_BATCH_ID: Final = b"0d7ac3a4-70ea-4b6c-8d2c-3f2f7f4c1f6e"
_OURS: Final = frozenset(["message", "batchId", "predictions"])


@dataclass(slots=True)
class CodecCase:
    """Some requests, and an answer to be divided by ``counts``. Bytes stand as Latin-1."""

    row_mode: Literal["shape", "type"] = "shape"
    bodies: list[str] = field(default_factory=list)
    piece: int = 0
    """Where one request is cut in two, as if it exceeded the hard limit."""
    answer: str = ""
    counts: list[int] = field(default_factory=list)


class CodecTarget:
    """Parsing, joining, dividing and answering (``Target``)."""

    name = "codec"
    share = 1

    def generate(self, rng: random.Random) -> CodecCase:
        """Write a few requests and an answer; spoil some."""
        bodies = [request_body(rng)]
        for _ in range(rng.choice((0, 0, 1, 2, 3))):
            bodies.append(bodies[0] if rng.random() < 0.5 else request_body(rng))
        counts = [rng.choice((1, 1, 2, 3)) for _ in range(rng.choice((1, 1, 2, 3)))]
        answer = answer_body(rng, sum(counts))
        if rng.random() < 0.5:
            spoiled = rng.randrange(len(bodies))
            bodies[spoiled] = mutate(rng, bodies[spoiled], JSON_TOKENS, rng.choice((1, 1, 2, 5)))
        if rng.random() < 0.5:
            answer = mutate(rng, answer, JSON_TOKENS, rng.choice((1, 1, 2, 5)))
        return CodecCase(
            rng.choice(("shape", "shape", "type")),
            [body.decode("latin-1") for body in bodies],
            rng.choice((0, 1, 2)),
            answer.decode("latin-1"),
            counts,
        )

    def run(self, case: CodecCase) -> None:
        """Compare everything that comes out with what Python's reader makes of what went in."""
        codec = V1Codec(case.row_mode)
        members = []
        for text in case.bodies:
            body = text.encode("latin-1")
            parsed = _parse(codec, body)
            if parsed is not None:
                members.append(parsed)
        for parsed in members:
            _check_pieces(codec, parsed, min(case.piece, parsed.instances - 1))
        alike = [p for p in members if p.key == members[0].key and not p.alone]
        if alike:
            _check_join(codec, alike)
        _check_split(codec, case.answer.encode("latin-1"), case.counts)

    def smaller(self, case: CodecCase) -> Iterator[CodecCase]:
        """Leave out requests, the answer, counts, then bytes."""
        for bodies in smaller_list(case.bodies):
            yield replace(case, bodies=bodies)
        if case.answer:
            yield replace(case, answer="", counts=[])
        if case.piece:
            yield replace(case, piece=0)
        if case.row_mode != "shape":
            yield replace(case, row_mode="shape")
        for counts in smaller_list(case.counts):
            yield replace(case, counts=counts)
        for index, body in enumerate(case.bodies):
            for less in smaller_bytes(body):
                yield replace(case, bodies=[*case.bodies[:index], less, *case.bodies[index + 1 :]])
        for less in smaller_bytes(case.answer):
            yield replace(case, answer=less)

    def encode(self, case: CodecCase) -> Any:
        """Write a case as JSON can hold it."""
        return msgspec.to_builtins(case)

    def decode(self, content: Any) -> CodecCase:
        """Read what ``encode`` wrote."""
        return msgspec.convert(content, CodecCase)


def _parse(codec: V1Codec, body: bytes) -> Any:
    """Parse a request; None where it is refused or bypassed with reason."""
    try:
        wanted = strict_loads(body)
        readable = True
    except ValueError:
        wanted, readable = None, False
    except RecursionError:
        return None
    rows = wanted.get("instances") if isinstance(wanted, dict) else None
    try:
        parsed = codec.parse(body, {})
    except BadRequest as error:
        if rows and isinstance(rows, list):
            raise Fault("parse refuses a valid request", str(error)) from None
        return None
    except Bypass as error:
        if rows and isinstance(rows, list) and error.reason != "nesting":
            raise Fault("parse bypasses a valid request", error.reason) from None
        return None
    if not readable:
        raise Fault("parse accepts what is no JSON")
    if not isinstance(rows, list) or not rows:
        raise Fault("parse accepts a request without instances")
    if parsed.instances != len(rows):
        raise Fault("parse miscounts", f"{parsed.instances} for {len(rows)}")
    _equal("a request written anew", _join(codec, [parsed], (0, len(rows))), wanted)
    if _join(codec, [parsed], None) != body:
        raise Fault("a request alone is not sent as it came")
    return parsed


def _join(codec: V1Codec, members: Sequence[Any], rows: tuple[int, int] | None) -> bytes:
    return b"".join(codec.join(members, rows)[1])


def _split(codec: V1Codec, answer: bytes, counts: Sequence[int]) -> tuple[list[bytes], int]:
    """Return every caller's body, and how many fields were dropped."""
    members = [V1Request(b"", [], ("", ()), count) for count in counts]
    parts, dropped = codec.split(Content([answer]), members, _BATCH_ID)
    return [body for _, body in parts], dropped


def _raw_rows(body: bytes) -> bytes:
    """Return the instances of a valid request as they are written."""
    return bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["instances"])


def _check_join(codec: V1Codec, members: Sequence[Any]) -> None:
    """Joining requests, answering with their own rows and dividing that gives each its own."""
    bodies = [strict_loads(_join(codec, [member], (0, member.instances))) for member in members]
    rows = [row for body in bodies for row in body["instances"]]
    joined = _join(codec, members, None)
    if len(members) > 1:
        _equal("a joined body", joined, bodies[0] | {"instances": rows})
    counts = [member.instances for member in members]
    try:
        parts, _ = _split(codec, b'{"predictions":%b}' % _raw_rows(joined), counts)
    except Unsplittable as error:
        raise Fault("split refuses an honest answer", str(error)) from None
    for body, part in zip(bodies, parts, strict=True):
        _equal("an answer", part, _content(body["instances"]))


def _check_pieces(codec: V1Codec, parsed: Any, piece: int) -> None:
    """A request sent in two pieces is answered as a whole."""
    if not 0 < piece < parsed.instances:
        return
    parts: list[Any] = []
    everything = _raw_rows(_join(codec, [parsed], (0, parsed.instances)))
    for rows in ((0, piece), (piece, parsed.instances)):
        own = _raw_rows(_join(codec, [parsed], rows))
        answer = b'{"predictions":%b,"own":%b,"all":%b}' % (own, own, everything)
        parts += codec.split(Content([answer]), [parsed], _BATCH_ID, rows)[0]
    (_, part), dropped = codec.reunite(parts, parsed, _BATCH_ID)
    if dropped != 1:
        raise Fault("reunite miscounts what it drops", f"{dropped} of 1")
    wanted = strict_loads(_join(codec, [parsed], (0, parsed.instances)))["instances"]
    content = _content(wanted) | {"own": wanted}
    _equal("an answer in pieces", part, content)


def _check_split(codec: V1Codec, body: bytes, counts: Sequence[int]) -> None:
    """Dividing a hostile answer fails as it should, or gives each its own."""
    if not counts:
        return
    try:
        wanted = strict_loads(body)
    except ValueError:
        wanted = None
    except RecursionError:
        return
    rows = wanted.get("predictions") if isinstance(wanted, dict) else None
    try:
        parts, dropped = _split(codec, body, counts)
    except Unsplittable as error:
        if isinstance(rows, list) and len(rows) == sum(counts):
            raise Fault("split refuses a valid answer", str(error)) from None
        return
    if wanted is None:
        raise Fault("split accepts what is no JSON")
    if not isinstance(rows, list) or len(rows) != sum(counts):
        raise Fault("split accepts a wrong count")
    others = {name: value for name, value in wanted.items() if name not in _OURS}
    start = 0
    for part, count in zip(parts, counts, strict=True):
        own = {}
        for name, value in others.items():
            if len(counts) == 1 or not isinstance(value, dict | list):
                own[name] = value
            elif isinstance(value, list) and len(value) == len(rows):
                own[name] = value[start : start + count]
        content = own | _content(rows[start : start + count])
        _equal("a divided answer", part, content)
        start += count
    kept = len([name for name in own if name in others])
    if dropped != len(others) - kept:
        raise Fault("split miscounts what it drops", f"{dropped} of {len(others)}")


def _content(rows: Any) -> dict[str, Any]:
    return {"message": "", "batchId": _BATCH_ID.decode(), "predictions": rows}


def _equal(what: str, body: bytes, wanted: Any) -> None:
    """Demand that a body is JSON with these contents and names no field twice."""
    try:
        content = strict_loads(body)
    except ValueError as error:
        raise Fault(f"{what} is no JSON", f"{error}: {body[:500]!r}") from None
    except RecursionError:
        return
    if content != wanted:
        raise Fault(f"{what} is changed", f"{body[:500]!r} instead of {wanted!r:.500}")
    pairs = json.loads(body, object_pairs_hook=list, parse_int=str)
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise Fault(f"{what} names a field twice", f"{body[:500]!r}")
