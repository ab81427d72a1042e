"""The serving certificate: read from files, renewed without a restart.

A context that serves is never changed. Loading a pair into it that does not match would end every
handshake, and some changes of key type would not take effect. Each new pair gets a context of its
own, and handshakes are handed the latest that worked. Connections that are open keep theirs.
"""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import NoReturn

from batcher_webhook.metrics import Metrics

__all__ = ["Certificates"]

_log = logging.getLogger(__name__)


class Certificates:
    """The latest pair of certificate and key that could be loaded."""

    def __init__(self, certificate: Path, key: Path, metrics: Metrics) -> None:
        self._certificate = certificate
        self._key = key
        self._metrics = metrics
        self._current: ssl.SSLContext | None = None
        self._seen: tuple[bytes, bytes] | None = None
        self._complaint = ""
        self._outer = _context()
        self._outer.sni_callback = self._hand_out

    @property
    def context(self) -> ssl.SSLContext:
        """For the listener. It refuses handshakes while there is no certificate."""
        return self._outer

    @property
    def loaded(self) -> bool:
        """Whether there is a certificate to serve with."""
        return self._current is not None

    async def reload(self) -> bool:
        """Look at the files, and load them if they are new; tell whether another pair is served.

        A pair that cannot be loaded is told in the log once, and the one before it stays.
        """
        try:
            pair = await asyncio.to_thread(self._read)
        except OSError as error:
            self._complain(f"cannot read the serving certificate ({error})")
            return False
        if pair == self._seen:
            return False
        try:
            fresh = await asyncio.to_thread(self._load)
            if await asyncio.to_thread(self._read) != pair:
                return False  # it was being replaced: the next look finds it whole
        except (OSError, ValueError) as error:
            # Half of a new pair may be there already: look again rather than remember it.
            self._complain(f"cannot use the serving certificate ({error})")
            return False
        self._seen = pair
        self._current = fresh
        self._complaint = ""
        self._metrics.certificate(loaded=True)
        _log.info("serving with the certificate of %s", self._certificate)
        return True

    async def keep_fresh(self, every_s: float) -> NoReturn:
        """Look at the files again and again."""
        while True:
            await asyncio.sleep(every_s)
            await self.reload()

    def _read(self) -> tuple[bytes, bytes]:
        return self._certificate.read_bytes(), self._key.read_bytes()

    def _load(self) -> ssl.SSLContext:
        context = _context()
        context.load_cert_chain(self._certificate, self._key, password=_no_password)
        return context

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            self._metrics.certificate(loaded=False)
            after = "the one before stays" if self.loaded else "nobody is served until there is one"
            _log.warning("%s: %s", complaint, after)

    def _hand_out(
        self, handshake: ssl.SSLObject, name: str | None, outer: ssl.SSLContext
    ) -> int | None:
        # Called for clients that send no server name, too.
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        handshake.context = self._current
        return None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would not show a client the new certificate.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted: give one without a password")
