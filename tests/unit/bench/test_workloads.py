"""The bodies that are sent and how the model server stub counts them."""

import json

import pytest

from tests.bench.measure import queue_ms
from tests.bench.predictor import SENTINEL, answer, duration_s
from tests.bench.workloads import WORKLOADS, Workload


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: str(workload.key))
def test_each_row_is_counted_once_also_after_a_round_trip(workload: Workload) -> None:
    body = workload.body()
    decoded = json.loads(body)
    assert len(decoded["instances"]) == 1
    assert body.count(SENTINEL) == 1
    joined = {"instances": decoded["instances"] * 3}
    assert json.dumps(joined, separators=(",", ":")).encode().count(SENTINEL) == 3


def test_rows_have_the_size_that_their_title_says() -> None:
    rows = {one.key: json.loads(one.body())["instances"][0] for one in WORKLOADS}
    assert len(rows["iris"]) == 4
    assert len(rows["floats"]) == 768
    assert [len(rows["image"]), len(rows["image"][0]), len(rows["image"][0][0])] == [224, 224, 3]


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
