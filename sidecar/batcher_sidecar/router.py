"""What to do with a request, from its head alone: batch it, forward it, answer it, or refuse it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from batcher_contract.names import BYPASS_HEADER, PROBE_HEADER
from batcher_sidecar.codecs.base import INFERENCE_HEADER_LENGTH
from batcher_sidecar.errors import Refusal, refusal

if TYPE_CHECKING:
    from batcher_contract import BatcherSettings
    from batcher_sidecar.codecs import Codec, Codecs
    from batcher_sidecar.http1 import RequestHead

_PROBE_FIELD: Final = PROBE_HEADER.lower().encode()
_BYPASS_FIELD: Final = BYPASS_HEADER.lower().encode()
_FRAMING_FIELDS: Final = (b"host", b"content-length", INFERENCE_HEADER_LENGTH)
_V1_SUFFIX: Final = b":predict"
_V2_SUFFIX: Final = b"/infer"
# Judged as it is written: what is spelt with percent signs elsewhere than in a name is forwarded.
_V2_PATH: Final = re.compile(rb".*/v2/models/([^/]+)(?:/versions/[^/]+)?/infer", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Batch:
    """Read the whole body, then let the codec judge it.

    ``key`` is the head's part of the batch key, ``model`` the label for the metrics.
    """

    key: tuple[bytes | None, ...]
    model: str
    codec: Codec


@dataclass(frozen=True, slots=True)
class Forward:
    """Stream to the model server. ``reason`` labels the metric; ``upgrade`` asks for a tunnel.

    ``repeatable``: like a batch it may be sent once more over a new connection.
    """

    reason: str
    upgrade: bool = False
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """Answer whether the model server is ready."""


Route = Batch | Forward | Probe | Refusal


class Router:
    """Decides by the table of section "What is batched" in ``docs/rules.md``."""

    def __init__(self, settings: BatcherSettings, codecs: Codecs, *, enabled: bool) -> None:
        self._enabled = enabled
        self._codecs = codecs
        self.max_body_bytes = 0
        """The largest body of a predict request."""
        self.apply(settings)

    def apply(self, settings: BatcherSettings) -> None:
        """Decide by these settings from now on."""
        self.max_body_bytes = min(settings.max_body_bytes, settings.max_queue_bytes)
        self._key_headers = tuple([name.lower().encode() for name in settings.batch_key_headers])
        self._not_in_connection = frozenset([*_FRAMING_FIELDS, *self._key_headers])

    def route(self, head: RequestHead) -> Route:
        """Return what to do; pure."""
        fields = head.fields
        if head.method == b"CONNECT":
            return refusal("connect")
        if not self._not_in_connection.isdisjoint(head.connection):
            name = min(self._not_in_connection & head.connection).decode()
            return refusal("framing", detail=f"Connection names {name}; leave it out")
        if _PROBE_FIELD in fields or fields.get(b"user-agent", b"").startswith(b"kube-probe/"):
            return Probe()
        if head.method != b"POST":
            return Forward("method", upgrade=_is_websocket(head))
        found = self._called(head)
        if found is None:
            return Forward("path")
        if not self._enabled:
            return Forward("disabled")
        reason = _not_for_batching(fields)
        if reason is not None:
            return Forward(reason)
        if head.body_bytes is not None and head.body_bytes > self.max_body_bytes:
            return refusal("body_too_large", limit_bytes=self.max_body_bytes)
        key = (head.path, head.query, *[fields.get(name) for name in self._key_headers])
        codec, model = found
        return Batch(key, model, codec)

    def _called(self, head: RequestHead) -> tuple[Codec, str] | None:
        """Return the protocol that a path belongs to and the model it names; None for any other."""
        path = head.decoded_path()
        if path.endswith(_V1_SUFFIX):  # …/models/<model>:predict
            name = path.rpartition(b"/")[2].partition(b":")[0]
            return self._codecs.v1, name.decode(errors="replace")
        if head.path.endswith(_V2_SUFFIX):
            match = _V2_PATH.fullmatch(head.path)
            if match is not None:
                return self._codecs.v2, unquote_to_bytes(match[1]).decode(errors="replace")
        return None


def _not_for_batching(fields: dict[bytes, bytes]) -> str | None:
    """Return why a predict request is forwarded as it came, from its headers; None if it is not."""
    encoding = fields.get(b"content-encoding")
    if encoding is not None and encoding.lower() not in (b"", b"identity"):
        return "content_encoding"
    if fields.get(_BYPASS_FIELD, b"").lower() == b"true":
        return "requested"
    for name in fields:
        if name.startswith(b"ce-"):
            return "cloudevent"
    return None


def _is_websocket(head: RequestHead) -> bool:
    return (
        head.method == b"GET"
        and head.http11
        and not head.has_body
        and b"upgrade" in head.connection
        and head.fields.get(b"upgrade", b"").lower() == b"websocket"
    )
