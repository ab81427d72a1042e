"""The v1 codec for tests that look at bodies alone, not at header lines."""

from collections.abc import Sequence
from typing import Any, Final

from batcher_sidecar.codecs import Content
from batcher_sidecar.codecs.base import Body
from batcher_sidecar.codecs.v1 import V1Codec, V1Request

__all__ = ["BATCH_ID", "CODEC"]

BATCH_ID: Final = b"0e6f4c1e-6a3c-4d05-9d40-1ac1b0f3a3c9"
_CODEC: Final = V1Codec("shape")
_LINES: Final = b"Content-Type: application/json\r\n"


class _Bodies:
    """Bodies in, bodies out; all header lines must be those of JSON."""

    def parse(self, body: Body) -> V1Request:
        return _CODEC.parse(body, {})

    def join(self, requests: Sequence[V1Request], rows: tuple[int, int] | None = None) -> bytes:
        lines, pieces = _CODEC.join(requests, rows)
        assert lines == _LINES
        return b"".join(pieces)

    def split(
        self, answer: bytes, counts: Sequence[int], *, piece: bool = False
    ) -> tuple[list[Any], int]:
        """Divide an answer into callers' bodies, or return what `reunite` takes."""
        members = [V1Request(b"", [], ("", ()), count) for count in counts]
        rows = (0, counts[0]) if piece else None
        parts, dropped = _CODEC.split(Content([answer]), members, BATCH_ID, rows)
        return (parts if piece else [_body(part) for part in parts]), dropped

    def reunite(self, pieces: Sequence[Any]) -> tuple[bytes, int]:
        message, dropped = _CODEC.reunite(pieces, self.parse(b'{"instances":[1]}'), BATCH_ID)
        return _body(message), dropped


def _body(message: tuple[bytes, bytes]) -> bytes:
    lines, body = message
    assert lines == _LINES
    return body


CODEC: Final = _Bodies()
