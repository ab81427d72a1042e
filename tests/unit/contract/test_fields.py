"""The one table: complete, and consistent with the defaults."""

import dataclasses
import re

import pytest

from batcher_contract import FIELDS, BatcherSettings, Field, PodOptions, ProcessOptions
from batcher_contract.fields import ORDERS

GROUPS = {"settings": BatcherSettings, "process": ProcessOptions, "pod": PodOptions}
EVERY_FIELD = pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)


def test_the_table_holds_exactly_what_can_be_set() -> None:
    in_table = [(field.group, field.name) for field in FIELDS.values()]
    settable = [
        (group, field.name)
        for group, owner in GROUPS.items()
        for field in dataclasses.fields(owner)
    ]
    assert sorted(in_table) == sorted(settable)


@EVERY_FIELD
def test_a_default_is_a_value_of_its_kind(field: Field) -> None:
    if field.default is not None:
        assert field.kind.parse(field.kind.render(field.default)) == field.default


@EVERY_FIELD
def test_every_field_can_be_set_somewhere_and_says_what_it_means(field: Field) -> None:
    assert field.flag or field.annotation
    assert field.meaning
    assert field.kind.expected
    assert field.writer or field.default_text


def test_keys_are_unique() -> None:
    for keys in (
        [field.flag for field in FIELDS.values() if field.flag],
        [field.annotation for field in FIELDS.values() if field.annotation],
        [field.section for field in FIELDS.values() if field.section],
    ):
        assert len(keys) == len(set(keys))
        assert all(re.fullmatch(r"[a-zA-Z-]+", key) for key in keys)


def test_the_flags_shared_with_the_agent_of_kserve_are_spelt_as_there() -> None:
    flags = {name: FIELDS[name].flag_key for name in FIELDS}
    assert flags["enable_batcher"] == "--enable-batcher"
    assert flags["max_batch_size"] == "--max-batchsize"
    assert flags["max_latency_ms"] == "--max-latency"
    assert flags["component_port"] == "--component-port"
    assert flags["port"] == "--port"


def test_the_defaults_shared_with_the_agent_of_kserve_are_those_there() -> None:
    assert BatcherSettings().max_batch_size == 32
    assert BatcherSettings().max_latency_ms == 5000
    assert ProcessOptions().component_port == 8080
    assert ProcessOptions().port == 9081
    assert ProcessOptions().enable_batcher is False


def test_the_settings_of_the_batcher_section_are_no_annotations() -> None:
    in_section = {field.section: field.annotation for field in FIELDS.values() if field.section}
    assert in_section == {"maxBatchSize": None, "maxLatency": None}


def test_every_order_holds_among_the_defaults() -> None:
    for order in ORDERS:
        group = FIELDS[order.low].group
        assert group == FIELDS[order.high].group
        assert order.holds(GROUPS[group]())
