import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_contract import BatcherSettings, parse_settings_file, render_settings_file
from tests.unit.contract.strategies import valid_settings


@given(valid_settings())
def test_what_is_written_is_read(settings: BatcherSettings) -> None:
    parsed = parse_settings_file(render_settings_file(settings, ()), BatcherSettings())
    assert parsed.settings == settings
    assert parsed.faults == ()


def test_what_was_given_is_written_though_it_is_the_default() -> None:
    assert json.loads(render_settings_file(BatcherSettings(), {"max_latency_ms"})) == {
        "max-latency": "5000"
    }


def test_a_file_is_read_over_what_flags_say() -> None:
    base = BatcherSettings(max_batch_size=7, max_latency_ms=9)
    parsed = parse_settings_file('{"max-latency": "50"}', base)
    assert (parsed.settings.max_batch_size, parsed.settings.max_latency_ms) == (7, 50)
    assert parsed.given == {"max_latency_ms"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the settings file is no JSON"),
        ("[" * 100_000, "the settings file is no JSON"),
        ("[]", "the settings file is no JSON object of texts"),
        ('{"max-latency": 50}', "the settings file is no JSON object of texts"),
        ('{"max-latency": "0"}', '--max-latency "0" is less than 1'),
        ('{"max-latncy": "5"}', "--max-latncy is an unknown flag: did you mean --max-latency?"),
        ('{"port": "9000"}', '--port "9000" cannot change while the sidecar runs: leave it out'),
        (
            '{"max-latency": "50", "timeout": "0.01"}',
            '--timeout "0.01" must exceed --max-latency',
        ),
    ],
)
def test_what_is_wrong_is_told_and_not_applied(text: str, fault: str) -> None:
    base = BatcherSettings(max_batch_size=7)
    parsed = parse_settings_file(text, base)
    assert parsed.settings == base
    assert str(parsed.faults[0]).startswith(fault)


@given(st.text())
def test_whatever_the_file_holds(text: str) -> None:
    parse_settings_file(text, BatcherSettings())
