"""AdmissionReview (admission.k8s.io/v1): requests taken apart, answers put together."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from batcher_contract import Fault

__all__ = ["Review", "ReviewError", "allow", "parse_review", "refuse"]

_VERSION: Final = "admission.k8s.io/v1"
_KIND: Final = "AdmissionReview"
_OPERATIONS: Final = ("CREATE", "UPDATE", "DELETE", "CONNECT")
_LONGEST_WARNING: Final = 256  # characters; the API server cuts what is longer
_LONGEST_UID: Final = 128


class ReviewError(ValueError):
    """A body is no AdmissionReview; the message says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What the API server asks about one object."""

    uid: str
    kind: str
    """Of the object: Pod, InferenceService."""

    operation: str
    subresource: str
    namespace: str
    name: str
    """Empty where the API server is to make one up."""

    new: Mapping[str, Any]
    """The object; empty on DELETE."""

    old: Mapping[str, Any]
    """What it was; empty on CREATE."""


def parse_review(body: bytes, kind: str) -> Review:
    """Read a request about objects of one kind; raises ReviewError."""
    try:
        review = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ReviewError(f"the body is not JSON ({error}): send an {_KIND}") from None
    if not isinstance(review, dict) or review.get("kind") != _KIND:
        raise ReviewError(f"the body is no {_KIND}: send one of {_VERSION}")
    if review.get("apiVersion") != _VERSION:
        raise ReviewError(f"only {_VERSION} is understood: name it in admissionReviewVersions")
    request = _object(review, "request", "request")
    if not request:
        raise ReviewError("request is missing: send what is to be admitted")
    uid = _text(request, "uid", "request.uid")
    if not 0 < len(uid) <= _LONGEST_UID:
        raise ReviewError("request.uid is missing or too long: send the request's own")
    operation = _text(request, "operation", "request.operation")
    if operation not in _OPERATIONS:
        raise ReviewError(f"request.operation must be one of {', '.join(_OPERATIONS)}")
    found = _text(_object(request, "kind", "request.kind"), "kind", "request.kind.kind")
    if found != kind:
        raise ReviewError(f"request.kind.kind must be {kind} here: correct the webhook's rules")
    new = _object(request, "object", "request.object")
    if not new and operation in ("CREATE", "UPDATE"):
        raise ReviewError(f"request.object is missing: {operation} needs it")
    return Review(
        uid=uid,
        kind=found,
        operation=operation,
        subresource=_text(request, "subResource", "request.subResource"),
        namespace=_text(request, "namespace", "request.namespace"),
        name=_text(request, "name", "request.name"),
        new=new,
        old=_object(request, "oldObject", "request.oldObject"),
    )


def allow(
    uid: str, patch: Sequence[Mapping[str, Any]] = (), warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """Let the object in, changed by the patch; the client sees the warnings."""
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if patch:
        text = json.dumps(list(patch), separators=(",", ":"))
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(text.encode()).decode()
    return _answer(response, warnings)


def refuse(review: Review, faults: Sequence[Fault], warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Refuse the object, naming every fault.

    kubectl shows kind, name and causes, each cause with its field before it; other clients show the
    message.
    """
    causes = [
        {
            "reason": "FieldValueInvalid",
            "field": fault.field,
            "message": fault.without_field,
        }
        for fault in faults
    ]
    status = {
        "code": 422,
        "reason": "Invalid",
        "message": "; ".join(map(str, faults)),
        "details": {"kind": review.kind, "name": review.name, "causes": causes},
    }
    return _answer({"uid": review.uid, "allowed": False, "status": status}, warnings)


def _answer(response: dict[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    if warnings:
        response["warnings"] = [text[:_LONGEST_WARNING] for text in warnings]
    return {"apiVersion": _VERSION, "kind": _KIND, "response": response}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _object(owner: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = owner.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ReviewError(f"{where} must be an object")
    return value


def _text(owner: Mapping[str, Any], key: str, where: str) -> str:
    value = owner.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ReviewError(f"{where} must be a text")
    return value
