"""Asks the model server whether it is ready, in the way that its own readiness probe says.

KServe hands the model container's readiness probe over as JSON in the environment variable
``SERVING_READINESS_PROBE``: one ``corev1.Probe``, or with Knative's multi-container probing a list
of them, all of which must succeed. Only what the kubelet does per attempt is done here; its
periods and thresholds are applied by the kubelet itself when it probes the sidecar.

Nothing runs while nobody asks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeGuard, cast

import aiohttp
from yarl import URL

from batcher_contract.names import READINESS_PROBE_ENV

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["MAX_SUCCESS_AGE_S", "ModelProbe", "ProbeError"]

MAX_SUCCESS_AGE_S: Final = 1.0
"""No success older than this is ever reported, whatever ``cache_s`` says."""

_DEFAULT_TIMEOUT_S: Final = 1.0  # of a corev1.Probe; Knative writes 0 for it
_MAX_BODY_BYTES: Final = 10 * 1024  # as much of an answer as the kubelet reads
_USER_AGENT: Final = "kube-probe/inference-batcher"
_KINDS: Final = ("httpGet", "tcpSocket", "grpc", "exec")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_SHOWN_CHARS: Final = 80
_REMEDY: Final = (
    "write the model server's readiness probe as JSON, such as "
    '{"httpGet":{"path":"/","port":8080}}, or remove the variable for a TCP connect'
)

_log = logging.getLogger(__name__)


class ProbeError(ValueError):
    """The environment variable does not hold a probe; the message says what is wrong and right."""


class _NotReadyError(Exception):
    """One attempt failed, for the reason that the message gives."""


@dataclass(frozen=True, slots=True)
class _TcpTarget:
    host: str
    port: int
    timeout_s: float

    def __str__(self) -> str:
        return f"TCP connect to {_authority(self.host, self.port)}"

    async def attempt(self, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, self.host, self.port)
        transport.close()


@dataclass(frozen=True, slots=True)
class _HttpTarget:
    url: URL
    headers: tuple[tuple[str, str], ...] = field(repr=False)  # may hold credentials
    timeout_s: float

    def __str__(self) -> str:
        return f"GET {self.url.with_query(None)}"

    async def attempt(self, session: aiohttp.ClientSession) -> None:
        async with session.get(self.url, headers=self.headers, allow_redirects=False) as response:
            if not 200 <= response.status < 400:
                raise _NotReadyError(f"answered {response.status}")
            # The kubelet, too, takes an answer that never ends for a failure.
            wanted = _MAX_BODY_BYTES
            while chunk := await response.content.read(wanted):
                wanted -= len(chunk)


class _Target(Protocol):
    @property
    def timeout_s(self) -> float: ...

    async def attempt(self, session: aiohttp.ClientSession) -> None: ...


class ModelProbe:
    """The readiness of one model server, asked for when needed.

    Made by :meth:`parse`. Belongs to the event loop that first calls :meth:`check`.
    """

    def __init__(
        self, targets: Sequence[_Target], *, notes: Sequence[str] = (), cache_s: float = 0.25
    ) -> None:
        self._targets = tuple(targets)
        self._notes = list(notes)
        self._cache_s = min(cache_s, MAX_SUCCESS_AGE_S)
        self._session: aiohttp.ClientSession | None = None
        self._running: asyncio.Task[None] | None = None
        self._ready = False
        self._reason = "not asked yet"
        self._checked_s: float | None = None
        self._said: bool | None = None
        self._closed = False
        self.on_not_ready: Callable[[], None] = lambda: None
        """Called when a check fails, unless the one before did, too."""

    @classmethod
    def parse(cls, text: str | None, host: str, port: int, *, cache_s: float = 0.25) -> ModelProbe:
        """Read the value of the environment variable; None, blank or ``null`` means a TCP
        connect.

        ``host`` and ``port`` are the model server's. They stand in for a host that the probe does
        not name, and for a port that is missing, 0 or a name. A grpc probe becomes a TCP connect
        to its port: that the port is open is all that is asked. An exec probe, which only the
        kubelet could run in the other container, becomes a TCP connect to the model server's port;
        the log says so at the first check. A result is good for ``cache_s`` seconds, at most
        ``MAX_SUCCESS_AGE_S``.

        Raises ProbeError if the value is no probe.
        """
        reader = _Reader(host, port)
        targets = reader.targets(text)
        return cls(targets, notes=reader.notes, cache_s=cache_s)

    def __str__(self) -> str:
        """Tell what is asked, without query strings and headers, which may hold credentials."""
        return " and ".join(str(target) for target in self._targets)

    @property
    def reason(self) -> str:
        """Why the last check failed, as part of a sentence; empty after a success."""
        return self._reason

    async def check(self) -> bool:
        """Tell whether the model server is ready. Never raises.

        Callers that ask at the same time share one attempt. It takes at most the probe's
        ``timeoutSeconds`` (1 s where that is missing or 0), or the longest of several.
        """
        if self._closed:
            return False
        if self._running is None:
            age_s = self._age_s()
            if age_s is not None and age_s < self._cache_s:
                return self._ready
            self._running = asyncio.create_task(self._run(), name="model readiness probe")
        # Not awaited directly: a caller that gives up must not take the others' attempt with it.
        await asyncio.wait({self._running})
        return self._ready and not self._closed

    async def close(self) -> None:
        """End a check under way (its callers get False) and release the client. Idempotent."""
        self._closed = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _age_s(self) -> float | None:
        if self._checked_s is None:
            return None
        return asyncio.get_running_loop().time() - self._checked_s

    async def _run(self) -> None:
        reason = "the check was ended"
        try:
            while self._notes:
                _log.warning("%s", self._notes.pop())
            reason = await self._failure()
        finally:
            self._ready = not reason
            self._reason = reason
            self._checked_s = asyncio.get_running_loop().time()
            self._running = None
        if self._ready is not self._said:
            self._said = self._ready
            if self._ready:
                _log.info("model server is ready: %s", self)
            else:
                _log.warning("model server is not ready: %s", reason)
                self.on_not_ready()

    async def _failure(self) -> str:
        """Try all targets at once; return why one failed, or an empty string."""
        if self._session is None:
            self._session = _client()
        session = self._session
        tasks = {asyncio.create_task(_attempt(target, session)) for target in self._targets}
        try:
            # The first failure decides: a server that hangs must not delay the news of another's.
            for attempt in asyncio.as_completed(tasks):
                if reason := await attempt:
                    return reason
            return ""
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def _attempt(target: _Target, session: aiohttp.ClientSession) -> str:
    try:
        async with asyncio.timeout(target.timeout_s):
            await target.attempt(session)
    except _NotReadyError as error:
        return f"{target} {error}"
    except TimeoutError:
        return f"{target} took longer than {target.timeout_s:g} s"
    except Exception as error:  # whatever a broken server provokes, it is not ready
        return f"{target} failed: {_cause(error)}"
    return ""


def _cause(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionError) and cause.errno:
        return os.strerror(cause.errno)
    return str(cause) or type(cause).__name__


def _client() -> aiohttp.ClientSession:
    # A fresh connection for each attempt, as the kubelet does: it proves that the server accepts,
    # and leaves nothing open. Proxies of the environment are not for this.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=False, force_close=True, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # _attempt sets the bound
        headers={"User-Agent": _USER_AGENT, "Accept": "*/*"},
        skip_auto_headers=("Accept-Encoding",),
        auto_decompress=False,
        trust_env=False,
    )


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Reader:
    """Turns the JSON of the environment variable into targets, naming what is wrong with it."""

    def __init__(self, host: str, port: int) -> None:
        self.notes: list[str] = []
        self._host = host
        self._port = port

    def targets(self, text: str | None) -> list[_Target]:
        if text is None or text.strip() in ("", "null"):  # as Go writes what is not there
            return [_TcpTarget(self._host, self._port, _DEFAULT_TIMEOUT_S)]
        try:
            value: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProbeError(
                f"{READINESS_PROBE_ENV} is not JSON ({error}): {_shown(text)}; {_REMEDY}"
            ) from None
        if isinstance(value, list):
            if not value:
                raise _wrong("", value, "a probe, or a list of at least one probe")
            return [self._target(item, f"[{index}]") for index, item in enumerate(value)]
        return [self._target(value, "")]

    def _target(self, value: object, where: str) -> _Target:
        probe = _object(value, where)
        timeout_s = _timeout_s(probe.get("timeoutSeconds"), _join(where, "timeoutSeconds"))
        kinds = [kind for kind in _KINDS if probe.get(kind) is not None]
        if len(kinds) > 1:
            raise _wrong(where, kinds, "only one of " + ", ".join(_KINDS))
        if not kinds:
            return _TcpTarget(self._host, self._port, timeout_s)
        kind = kinds[0]
        where = _join(where, kind)
        if kind == "exec":
            note = (
                f"the model server's exec readiness probe ({READINESS_PROBE_ENV}) cannot be run "
                f"from the sidecar; a TCP connect to {_authority(self._host, self._port)} stands in"
            )
            if note not in self.notes:
                self.notes.append(note)
            return _TcpTarget(self._host, self._port, timeout_s)
        action = _object(probe[kind], where)
        host = _text(action.get("host"), _join(where, "host"), "a host name") or self._host
        port = self._port_of(action.get("port"), _join(where, "port"))
        if kind == "httpGet":
            return _http_target(action, where, _authority(host, port), timeout_s)
        if kind == "grpc":
            host = self._host  # a corev1.GRPCAction has none
        return _TcpTarget(host, port, timeout_s)

    def _port_of(self, value: object, where: str) -> int:
        if isinstance(value, str):
            # A named port belongs to the other container's spec, which cannot be seen from here.
            value = int(value) if value.isdecimal() and len(value) <= 5 else 0
        if value is None:
            return self._port
        if not _whole(value) or not 0 <= value < 65536:
            raise _wrong(where, value, "a port number from 1 to 65535, or a port's name")
        return value or self._port


def _http_target(
    action: Mapping[str, object], where: str, authority: str, timeout_s: float
) -> _HttpTarget:
    scheme = _text(action.get("scheme"), _join(where, "scheme"), "HTTP or HTTPS") or "HTTP"
    if scheme.upper() not in ("HTTP", "HTTPS"):
        raise _wrong(_join(where, "scheme"), scheme, "HTTP or HTTPS")
    path = _text(action.get("path"), _join(where, "path"), "a path") or "/"
    try:
        url = URL(f"{scheme.lower()}://{authority}/{path.removeprefix('/')}").with_fragment(None)
    except ValueError:
        raise _wrong(where, f"{authority} {path}", "a host and a path that make a URL") from None
    headers: list[tuple[str, str]] = []
    items = action.get("httpHeaders")
    if items is not None and not isinstance(items, list):
        # Here and below a header's value is not shown: it may be a credential.
        raise _wrong(_join(where, "httpHeaders"), "…", "a list of objects with name and value")
    for index, item in enumerate(items or ()):
        spot = _join(where, f"httpHeaders[{index}]")
        header = _object(item, spot)
        name, value = header.get("name"), header.get("value", "")
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise _wrong(_join(spot, "name"), name, "a header's name")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise _wrong(_join(spot, "value"), "…", "a header's value on one line")
        headers.append((name, value))
    return _HttpTarget(url, tuple(headers), timeout_s)


def _timeout_s(value: object, where: str) -> float:
    if value is None:
        return _DEFAULT_TIMEOUT_S
    if not _whole(value) or not 0 <= value < 2**31:
        raise _wrong(where, value, "a whole number of seconds, at least 1 (0 means 1)")
    return float(value) or _DEFAULT_TIMEOUT_S


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _wrong(where, value, "an object")
    return cast("dict[str, object]", value)


def _text(value: object, where: str, wanted: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(where, value, wanted)
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…")


def _wrong(where: str, value: object, wanted: str) -> ProbeError:
    place = f"{READINESS_PROBE_ENV}: {where}" if where else READINESS_PROBE_ENV
    return ProbeError(f"{place} is {_shown(value)}, but must be {wanted}; {_REMEDY}")
