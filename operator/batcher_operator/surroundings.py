"""What must be in the cluster that others put there, or must not: KServe, cert-manager's CA."""

import asyncio
import logging
from collections.abc import Mapping
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

_log = logging.getLogger(__name__)


class Store(Protocol):
    """The API server."""

    async def get(self, path: str) -> dict[str, Any] | None:
        """An object, or None where there is none; raises OSError."""


class Surroundings:
    """Looks for KServe's webhook, and where certificates are not ours, for their authority."""

    def __init__(self, store: Store, mode: Mode, manages_certificates: bool) -> None:
        self._store = store
        self._mode = mode
        self._manages_certificates = manages_certificates
        self.why_not_ready = "the cluster has not been looked at yet"
        """What is missing and what to do, in a sentence; empty if nothing is."""

    async def keep(self, every_s: float) -> NoReturn:
        """Look again and again."""
        while True:
            before = self.why_not_ready
            try:
                await self.look()
            except OSError as error:
                self.why_not_ready = str(error)
            if self.why_not_ready and self.why_not_ready != before:
                _log.warning("%s", self.why_not_ready)
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """Look once; raises OSError where the API server gives no answer."""
        kserve = await self._store.get(f"{_MUTATING}{KSERVE_WEBHOOK_CONFIGURATION}") is not None
        if self._mode == "kserve" and not kserve:
            self.why_not_ready = (
                f"there is no MutatingWebhookConfiguration {KSERVE_WEBHOOK_CONFIGURATION}, so "
                "nobody turns batcher sections into pods: install KServe, or set --mode standalone"
            )
            return
        if self._mode == "standalone" and (why := await self._why_not_alone(kserve)):
            self.why_not_ready = why
            return
        if not self._manages_certificates:
            for path in _OURS:
                found = await self._store.get(path)
                entries = found.get("webhooks") or [] if found else []
                if not entries or not all(e["clientConfig"].get("caBundle") for e in entries):
                    self.why_not_ready = (
                        f"{path.removeprefix(_PATH)} has no caBundle: see that cert-manager's "
                        "cainjector runs and that the Certificate is ready"
                    )
                    return
        self.why_not_ready = ""

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
