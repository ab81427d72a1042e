"""What must be in the cluster that others put there, or must not: KServe, cert-manager's CA."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, Protocol

from batcher_contract.names import KSERVE_WEBHOOK_CONFIGURATION, WEBHOOK_CONFIGURATION
from batcher_contract.settings import Mode

__all__ = ["NAME", "NAME_LABEL", "Surroundings", "is_ours"]

_PATH: Final = "/apis/admissionregistration.k8s.io/v1/"
_MUTATING: Final = f"{_PATH}mutatingwebhookconfigurations/"
_OURS: Final = (
    f"{_MUTATING}{WEBHOOK_CONFIGURATION}",
    f"{_PATH}validatingwebhookconfigurations/{WEBHOOK_CONFIGURATION}",
)

_CRD: Final = (
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceservices.serving.kserve.io"
)
NAME_LABEL: Final = "app.kubernetes.io/name"
NAME: Final = "inference-batcher"
"""The value of this label of every object that came with an installation."""

_FRESH_S: Final = 1.0
"""How old the answer may be to whether others run InferenceServices."""

_EVERY_S: Final = 10.0

_log = logging.getLogger(__name__)


class Store(Protocol):
    """The API server."""

    async def get(self, path: str) -> dict[str, Any] | None:
        """An object, or None where there is none; raises OSError."""


class Surroundings:
    """Looks for KServe's webhook, and where certificates are not ours, for their authority."""

    def __init__(
        self,
        store: Store,
        mode: Mode,
        manages_certificates: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._mode = mode
        self._manages_certificates = manages_certificates
        self._clock = clock
        self._misplaced = self._uncertified = ""
        self._looked_s = float("-inf")
        self._unknown = "the cluster has not been looked at yet"

    @property
    def why_not_ready(self) -> str:
        """What is missing and what to do, in a sentence; empty if nothing is."""
        return self._unknown or self._misplaced or self._uncertified

    async def why_not_write(self) -> str:
        """Why InferenceServices are somebody else's to run, in a sentence; empty if they are not.

        It is asked anew if the answer is a second old: KServe may come at any time.
        """
        if self._clock() - self._looked_s >= _FRESH_S:
            try:
                await self._look_for_others()
            except OSError as error:
                return str(error)
        return self._misplaced

    async def keep(self, every_s: float) -> NoReturn:
        """Look again and again, as often as asked for, but at least every few seconds."""
        told = ""
        while True:
            try:
                await self.look()
            except OSError as error:
                self._unknown = str(error)
            if self.why_not_ready != told:
                told = self.why_not_ready
                if told:
                    _log.warning("%s", told)
            await asyncio.sleep(min(every_s, _EVERY_S))

    async def look(self) -> None:
        """Look once; raises OSError where the API server gives no answer."""
        await self._look_for_others()
        self._uncertified = await self._find_certificates()
        self._unknown = ""

    async def _look_for_others(self) -> None:
        now_s = self._clock()
        kserve = await self._store.get(f"{_MUTATING}{KSERVE_WEBHOOK_CONFIGURATION}") is not None
        why = ""
        if self._mode == "standalone":
            why = await self._why_not_alone(kserve)
        elif not kserve:
            why = (
                f"there is no MutatingWebhookConfiguration {KSERVE_WEBHOOK_CONFIGURATION}, so "
                "nobody turns batcher sections into pods: install KServe, or set --mode standalone"
            )
        self._misplaced, self._looked_s = why, now_s

    async def _find_certificates(self) -> str:
        """Why our webhooks cannot be verified, where others see to that; empty if they can be."""
        if self._manages_certificates:
            return ""
        for path in _OURS:
            found = await self._store.get(path)
            entries = found.get("webhooks") or [] if found else []
            if not entries or not all(e["clientConfig"].get("caBundle") for e in entries):
                return (
                    f"{path.removeprefix(_PATH)} has no caBundle: see that cert-manager's "
                    "cainjector runs and that the Certificate is ready"
                )
        return ""

    async def _why_not_alone(self, kserve: bool) -> str:
        """Why InferenceServices are not ours to run; empty if they are."""
        if kserve:
            return (
                f"there is a MutatingWebhookConfiguration {KSERVE_WEBHOOK_CONFIGURATION}, so "
                "KServe runs InferenceServices here, and nothing is written: set --mode kserve"
            )
        crd = await self._store.get(_CRD)
        if crd is None:
            return "the cluster has no InferenceServices: install the chart with crds.enabled=true"
        if not is_ours(crd):
            return (
                f"{_CRD.rpartition('/')[2]} is not this chart's, and nothing is written: remove "
                "what installed it, or set --mode kserve"
            )
        return ""


def is_ours(found: Mapping[str, Any]) -> bool:
    """Whether an object came with this chart, by its label."""
    return (found["metadata"].get("labels") or {}).get(NAME_LABEL) == NAME
