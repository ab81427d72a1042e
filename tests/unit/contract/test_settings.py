"""The settings that all programs share."""

import dataclasses

import pytest

from batcher_contract import BatcherSettings, PodOptions, ProcessOptions


@pytest.mark.parametrize("values", [BatcherSettings(), ProcessOptions(), PodOptions()])
def test_settings_do_not_change_once_made(values: object) -> None:
    for field in dataclasses.fields(values):  # type: ignore[arg-type]
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(values, field.name, None)


def test_settings_are_equal_by_value_and_hashable() -> None:
    assert BatcherSettings(max_batch_size=4) == BatcherSettings(max_batch_size=4)
    assert hash(BatcherSettings()) == hash(BatcherSettings())
    assert BatcherSettings() != BatcherSettings(max_batch_size=4)


def test_defaults() -> None:
    assert dataclasses.asdict(BatcherSettings()) == {
        "max_batch_size": 32,
        "max_latency_ms": 5000,
        "timeout_s": 300,
        "strategy": "window",
        "max_concurrency": 4,
        "hard_max_batch_size": 0,
        "max_queue_size": 10_000,
        "max_queue_bytes": 268_435_456,
        "max_body_bytes": 67_108_864,
        "isolate_failures": True,
        "batch_key_headers": (),
        "row_signature": "shape",
        "drain_quiet_s": 5,
        "drain_timeout_s": 20,
    }
