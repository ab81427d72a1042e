"""The bodies that are sent and how the model server stub counts them."""

import json
import math

import pytest

from tests.bench.measure import queue_ms
from tests.bench.predictor import BINARY_SENTINEL, HEADER_LENGTH, SENTINEL, answer, duration_s
from tests.bench.workloads import WORKLOADS, Workload

V1 = [workload for workload in WORKLOADS if workload.protocol == "v1"]
V2 = [workload for workload in WORKLOADS if workload.protocol != "v1"]


@pytest.mark.parametrize("workload", V1, ids=lambda workload: str(workload.key))
def test_each_row_is_counted_once_also_after_a_round_trip(workload: Workload) -> None:
    body = workload.request().body
    decoded = json.loads(body)
    assert len(decoded["instances"]) == 1
    assert body.count(SENTINEL) == 1
    joined = {"instances": decoded["instances"] * 3}
    assert json.dumps(joined, separators=(",", ":")).encode().count(SENTINEL) == 3


def test_rows_have_the_size_that_their_title_says() -> None:
    rows = {one.key: json.loads(one.request().body)["instances"][0] for one in V1}
    assert len(rows["iris"]) == 4
    assert len(rows["floats"]) == 768
    assert [len(rows["image"]), len(rows["image"][0]), len(rows["image"][0][0])] == [224, 224, 3]


@pytest.mark.parametrize("workload", V2, ids=lambda workload: str(workload.key))
def test_tensors_are_one_row_that_is_counted_once(workload: Workload) -> None:
    request = workload.request()
    headers = dict(request.headers)
    length = int(headers.get(HEADER_LENGTH, len(request.body)))
    (tensor,) = json.loads(request.body[:length])["inputs"]
    elements = math.prod(tensor["shape"])
    assert tensor["shape"][0] == 1
    if workload.protocol == "v2":
        assert len(tensor["data"]) == elements
        assert request.body.count(SENTINEL) == 1
    else:
        assert tensor["parameters"]["binary_data_size"] == elements * 4
        assert len(request.body) - length == elements * 4
        assert request.body.count(BINARY_SENTINEL) == 1


def test_the_stub_answers_tensors_in_the_form_they_came_in() -> None:
    head, _, body = answer(2, "v2").partition(b"\r\n\r\n")
    assert json.loads(body)["outputs"][0]["data"] == [0.0, 0.0]
    assert HEADER_LENGTH.encode() not in head
    head, _, body = answer(2, "v2-binary").partition(b"\r\n\r\n")
    length = int(head.partition(HEADER_LENGTH.encode() + b": ")[2].split()[0])
    assert json.loads(body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert len(body) - length == 8


def test_the_stub_answers_one_prediction_for_each_instance() -> None:
    head, _, body = answer(3).partition(b"\r\n\r\n")
    assert json.loads(body) == {"predictions": [0, 0, 0]}
    assert f"content-length: {len(body)}".encode() in head
    assert duration_s(32) == pytest.approx(0.0066)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("queue;dur=50.125, model;dur=0.4", 50.125),
        ("model;dur=0.4, queue;dur=7", 7),
        ('queue;desc="waiting";dur=3.5', 3.5),
        ("model;dur=0.4", None),
        ("", None),
    ],
)
def test_the_queue_time_is_read_from_server_timing(header: str, expected: float | None) -> None:
    assert queue_ms(header) == expected
