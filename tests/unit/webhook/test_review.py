"""AdmissionReviews: what is read, and what is refused with a sentence."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_contract import Fault
from batcher_webhook.review import Review, ReviewError, allow, parse_review, refuse


def body(**changes: Any) -> bytes:
    request: dict[str, Any] = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "default",
        "name": "iris",
        "object": {"metadata": {}},
        "oldObject": None,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return json.dumps({**review, "request": {**request, **changes}}).encode()


def test_a_review_is_read() -> None:
    assert parse_review(body(), "Pod") == Review(
        uid="u-1",
        kind="Pod",
        operation="CREATE",
        subresource="",
        namespace="default",
        name="iris",
        new={"metadata": {}},
        old={},
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'{"kind": NaN}', "NaN is no JSON"),
        (b"[]", "the body is no AdmissionReview"),
        (b'{"kind": "Pod"}', "the body is no AdmissionReview"),
        (
            b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"}',
            "only admission.k8s.io/v1 is understood",
        ),
        (
            b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}',
            "request is missing",
        ),
        (body(uid=""), "request.uid is missing"),
        (body(uid=7), "request.uid must be a text"),
        (body(kind="Pod"), "request.kind must be an object"),
        (body(kind={"kind": "Deployment"}), "request.kind.kind must be Pod here"),
        (body(operation="LOOK"), "request.operation must be one of CREATE"),
        (body(object=[]), "request.object must be an object"),
        (body(object=None), "request.object is missing: CREATE needs it"),
    ],
)
def test_what_is_no_review_is_told_why(wrong: bytes, sentence: str) -> None:
    with pytest.raises(ReviewError, match=sentence):
        parse_review(wrong, "Pod")


@given(st.binary(max_size=40))
def test_no_body_is_too_strange(garbage: bytes) -> None:
    with pytest.raises(ReviewError):
        parse_review(garbage, "Pod")


def test_a_patch_goes_as_base64() -> None:
    operations = [{"op": "add", "path": "/metadata/labels", "value": {"ä": "ü"}}]
    response = allow("u-1", operations, ["careful"])["response"]
    assert response["uid"] == "u-1"
    assert response["allowed"] is True
    assert response["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(response["patch"])) == operations
    assert response["warnings"] == ["careful"]


def test_nothing_to_change_is_no_patch() -> None:
    assert allow("u-1")["response"] == {"uid": "u-1", "allowed": True}


def test_a_refusal_names_every_fault() -> None:
    faults = [Fault("spec.a", "0", "is less than 1", "give 1"), Fault("b", None, "is bad", "go")]
    response = refuse(parse_review(body(), "Pod"), faults, ["careful"])["response"]
    assert response["uid"] == "u-1"
    assert response["allowed"] is False
    assert response["warnings"] == ["careful"]
    status = response["status"]
    assert status["code"] == 422
    assert status["message"] == 'spec.a "0" is less than 1: give 1; b is bad: go'
    details = status["details"]
    assert (details["kind"], details["name"]) == ("Pod", "iris")
    told = [(cause["field"], cause["message"]) for cause in details["causes"]]
    assert told == [("spec.a", '"0" is less than 1: give 1'), ("b", "is bad: go")]
