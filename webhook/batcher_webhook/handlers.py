"""What is answered on each path."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from batcher_contract.settings import Mode
from batcher_webhook.decide import Action, decide
from batcher_webhook.inject import Sidecar, inject
from batcher_webhook.metrics import Metrics
from batcher_webhook.patch import difference
from batcher_webhook.review import Review, ReviewError, allow, parse_review, refuse
from batcher_webhook.validate import validate

__all__ = ["HANDLER_TIMEOUT_S", "MAX_BODY_BYTES", "build_health_app", "build_webhook_app"]

MAX_BODY_BYTES: Final = 8 * 2**20
"""The API server takes objects of up to 3 MiB; an UPDATE brings two."""

HANDLER_TIMEOUT_S: Final = 10.0  # the API server waits 5

_log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_webhook_app(
    sidecar: Sidecar, metrics: Metrics, mode: Mode = "kserve"
) -> web.Application:
    """The application for the API server."""
    handlers = _Reviews(sidecar, metrics, mode)
    app = web.Application(middlewares=[_guard(metrics)], client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/mutate-pods", handlers.mutate_pod)
    app.router.add_post("/validate-inferenceservices", handlers.validate_service)
    _add_health(app, lambda: "")  # who reads this has made the handshake
    return app


def build_health_app(why_not_ready: Callable[[], str], metrics: Metrics) -> web.Application:
    """The application for the kubelet and for Prometheus, without TLS."""
    app = web.Application(middlewares=[_guard(metrics)], client_max_size=1024)
    _add_health(app, why_not_ready)

    async def scrape(request: web.Request) -> web.Response:
        body, content_type = metrics.scrape()
        return web.Response(body=body, headers={"Content-Type": content_type})

    app.router.add_get("/metrics", scrape)
    return app


def _add_health(app: web.Application, why_not_ready: Callable[[], str]) -> None:
    async def livez(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        why = why_not_ready()
        return _refusal(503, why) if why else web.Response(text="ok\n")

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)


class _Reviews:
    def __init__(self, sidecar: Sidecar, metrics: Metrics, mode: Mode) -> None:
        self._sidecar = sidecar
        self._mode = mode
        self._metrics = metrics

    async def mutate_pod(self, request: web.Request) -> web.Response:
        return await self._answer(request, "Pod", self._mutate)

    async def validate_service(self, request: web.Request) -> web.Response:
        return await self._answer(request, "InferenceService", self._validate)

    async def _answer(
        self, request: web.Request, kind: str, judge: Callable[[Review], Mapping[str, Any]]
    ) -> web.Response:
        begun_s = time.perf_counter()
        review = parse_review(await request.read(), kind)
        try:
            answer = judge(review)
        except Exception:
            # A mistake of ours must not keep anybody's pod or service from being.
            _log.exception("review failed: kind=%s namespace=%r", kind, review.namespace)
            self._metrics.failure("internal")
            answer = allow(review.uid)
        self._metrics.took(request.path, time.perf_counter() - begun_s)
        return web.json_response(answer)

    def _mutate(self, review: Review) -> Mapping[str, Any]:
        if review.operation != "CREATE" or review.subresource:
            return allow(review.uid)
        decision = decide(review.new, self._sidecar.resources, self._mode)
        self._metrics.pod(decision.reason)
        if decision.action is Action.IGNORE:
            return allow(review.uid)
        _log.info("pod decided: namespace=%r decision=%r", review.namespace, decision.text)
        return allow(
            review.uid, difference(review.new, inject(review.new, decision, self._sidecar))
        )

    def _validate(self, review: Review) -> Mapping[str, Any]:
        if review.operation not in ("CREATE", "UPDATE") or review.subresource:
            return allow(review.uid)
        verdict = validate(review.new, review.old, self._sidecar.resources, self._mode)
        if verdict.faults:
            self._metrics.service("refused")
            return refuse(review, verdict.faults, verdict.warnings)
        self._metrics.service("warned" if verdict.warnings else "allowed")
        return allow(review.uid, warnings=verdict.warnings)


def _guard(metrics: Metrics) -> Any:
    """Bound every request in time, and make a sentence of every refusal."""

    def bad(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> web.Response:
        metrics.failure("bad_request")
        return _refusal(status, sentence, headers)

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                return await handler(request)
        except TimeoutError:
            return bad(408, f"the request did not arrive within {HANDLER_TIMEOUT_S:g} s")
        except ReviewError as error:
            return bad(400, str(error))
        except web.HTTPRequestEntityTooLarge:
            return bad(413, f"a review may be {MAX_BODY_BYTES} bytes long: send less")
        except web.HTTPMethodNotAllowed as error:
            allowed = error.headers["Allow"]
            sentence = f"{request.method} is not possible here: use {allowed.replace(',', ' or ')}"
            return bad(405, sentence, {"Allow": allowed})
        except web.HTTPException as error:
            return bad(error.status, f"{error.reason}: nothing is served this way here")
        except Exception:
            _log.exception("request failed: %s", request.path)
            metrics.failure("internal")
            return _refusal(500, "this request failed inside the webhook; its log has the details")

    return guard


def _refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> web.Response:
    text = json.dumps({"error": sentence}) + "\n"
    return web.json_response(text=text, status=status, headers=headers)
