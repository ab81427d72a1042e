"""Flags: the syntax of KServe's agent, every fault told, and back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_contract import (
    BatcherSettings,
    parse_flags,
    settings_to_flags,
    split_arguments,
)
from tests.unit.contract.strategies import valid_settings


def faults_of(texts: dict[str, str], base: BatcherSettings | None = None) -> list[str]:
    return [str(fault) for fault in parse_flags(texts, base).faults]


@given(valid_settings(), st.sets(st.sampled_from(["timeout_s", "max_queue_bytes", "strategy"])))
def test_settings_survive_being_written_as_flags(
    settings: BatcherSettings, named: set[str]
) -> None:
    texts, faults = split_arguments(settings_to_flags(settings, named))
    parsed = parse_flags(texts)
    assert not faults
    assert not parsed.faults
    assert parsed.settings == settings
    assert named <= parsed.given


def test_defaults_need_no_flags() -> None:
    assert settings_to_flags(BatcherSettings()) == []
    assert parse_flags({}).settings == BatcherSettings()


def test_a_default_that_was_asked_for_is_written() -> None:
    assert settings_to_flags(BatcherSettings(), {"max_queue_bytes", "isolate_failures"}) == [
        "--max-queue-bytes=256Mi",
        "--isolate-failures=true",
    ]


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ([], {}),
        (["--port", "9082"], {"--port": "9082"}),
        (["--port=9082"], {"--port": "9082"}),
        (["--enable-batcher", "--port", "1"], {"--enable-batcher": "true", "--port": "1"}),
        (["--enable-batcher=false"], {"--enable-batcher": "false"}),
        (["--max-latency", "-5"], {"--max-latency": "-5"}),
        (["--batch-key-headers="], {"--batch-key-headers": ""}),
        (["--component-host=a=b"], {"--component-host": "a=b"}),
    ],
)
def test_splitting(arguments: list[str], texts: dict[str, str]) -> None:
    assert split_arguments(arguments) == (texts, [])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port"], "--port has no value: give a whole number from 1 to 65535"),
        (["--port", "--host", "a"], "--port has no value: give a whole number from 1 to 65535"),
        (["--port", "1", "--port", "1"], "--port is given more than once: give it once"),
        (
            ["--enable-batcher", "--enable-batcher=false"],
            "--enable-batcher is given more than once: give it once",
        ),
        (
            ["--enable-batcher", "true"],
            "true is no flag: write switches as --flag=true, all else as --flag value",
        ),
        (["--max-latncy", "5"], "--max-latncy is an unknown flag: did you mean --max-latency?"),
        (["--max-latncy=5"], "--max-latncy is an unknown flag: did you mean --max-latency?"),
        (
            ["--max-batch-size", "5"],
            "--max-batch-size is an unknown flag: did you mean --max-batchsize?",
        ),
        (["-port", "5"], "-port is an unknown flag: did you mean --port?"),
        (["--"], "-- is an unknown flag: see --help for those there are"),
        (["--xyzzy"], "--xyzzy is an unknown flag: see --help for those there are"),
        (
            ["--log-url", "http://collector"],
            (
                "--log-url is a flag of KServe's agent only: "
                "leave logging and pulling to the agent, with this program behind it"
            ),
        ),
    ],
)
def test_splitting_tells_what_is_no_flag(arguments: list[str], sentence: str) -> None:
    assert [str(fault) for fault in split_arguments(arguments)[1]] == [sentence]


def test_splitting_tells_every_fault() -> None:
    texts, faults = split_arguments(["--a", "--port=1", "b", "--host"])
    assert texts == {"--port": "1"}
    assert [fault.field for fault in faults] == ["--a", "b", "--host"]


@given(st.lists(st.sampled_from(["--port", "--enable-batcher", "--x", "5", "", "-", "=", "--a=b"])))
def test_no_argument_list_breaks_the_splitting(arguments: list[str]) -> None:
    texts, faults = split_arguments(arguments)
    assert set(texts) <= {"--port", "--enable-batcher"}
    assert len(texts) + len(faults) <= len(arguments) + 1


def test_values_reach_their_fields() -> None:
    parsed = parse_flags(
        {
            "--max-batchsize": "8",
            "--max-latency": "50",
            "--isolate-failures": "false",
            "--batch-key-headers": "Authorization,X-Tenant",
            "--component-host": "::1",
            "--log-format": "json",
        }
    )
    assert parsed.faults == ()
    assert parsed.settings == BatcherSettings(
        max_batch_size=8,
        max_latency_ms=50,
        isolate_failures=False,
        batch_key_headers=("authorization", "x-tenant"),
    )
    assert parsed.process.component_host == "::1"
    assert parsed.process.log_format == "json"
    assert parsed.given == {
        "max_batch_size",
        "max_latency_ms",
        "isolate_failures",
        "batch_key_headers",
        "component_host",
        "log_format",
    }


def test_every_fault_is_told_and_nothing_at_fault_is_applied() -> None:
    parsed = parse_flags({"--max-batchsize": "0", "--timeout": "x", "--prt": "1", "--port": "7"})
    assert [str(fault) for fault in parsed.faults] == [
        "--prt is an unknown flag: did you mean --port?",
        '--max-batchsize "0" is less than 1: give a whole number of instances from 1 to 1000000',
        '--timeout "x" is not a plain number: give a plain number of seconds from 0.001 to 86400',
    ]
    assert parsed.settings == BatcherSettings()
    assert parsed.process.port == 7
    assert parsed.given == {"port"}


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (
            {"--timeout": "5"},
            (
                '--timeout "5" must exceed --max-latency, which is 5000 milliseconds'
                ": give more than 5 seconds, or lower --max-latency"
            ),
        ),
        (
            {"--max-latency": "300000"},
            (
                '--max-latency "300000" must be less than --timeout, which is 300 seconds: '
                "give less than 300000 milliseconds, or raise --timeout"
            ),
        ),
        (
            {"--hard-max-batch-size": "31"},
            (
                '--hard-max-batch-size "31" must be at least --max-batchsize, which is 32 instances'
                ": give at least 32 instances, or lower --max-batchsize"
            ),
        ),
        (
            {"--hard-max-batch-size": "40", "--max-batchsize": "41"},
            (
                '--hard-max-batch-size "40" must be at least --max-batchsize, which is 41 instances'
                ": give at least 41 instances, or lower --max-batchsize"
            ),
        ),
        (
            {"--max-body-bytes": "300Mi"},
            (
                '--max-body-bytes "300Mi" must be at most --max-queue-bytes, which is 256Mi: '
                "give at most 256Mi, or raise --max-queue-bytes"
            ),
        ),
        (
            {"--drain-quiet": "21"},
            (
                '--drain-quiet "21" must be at most --drain-timeout, which is 20 seconds: '
                "give at most 20 seconds, or raise --drain-timeout"
            ),
        ),
    ],
)
def test_flags_that_contradict_each_other(texts: dict[str, str], sentence: str) -> None:
    parsed = parse_flags(texts)
    assert [str(fault) for fault in parsed.faults] == [sentence]
    assert parsed.settings == BatcherSettings()
    assert parsed.given == set()


@pytest.mark.parametrize(
    "texts",
    [
        {"--timeout": "5.001"},
        {"--max-latency": "299999"},
        {"--max-latency": "400000", "--timeout": "401"},
        {"--hard-max-batch-size": "32"},
        {"--hard-max-batch-size": "0", "--max-batchsize": "100"},
        {"--max-body-bytes": "256Mi"},
        {"--drain-quiet": "20"},
    ],
)
def test_the_edges_of_what_fits_together(texts: dict[str, str]) -> None:
    assert faults_of(texts) == []


def test_a_value_that_cannot_be_read_is_not_also_called_a_contradiction() -> None:
    assert len(faults_of({"--timeout": "x", "--max-latency": "400000"})) == 1


def test_a_default_gives_way_to_the_limit_that_was_chosen() -> None:
    settings = parse_flags({"--max-queue-bytes": "1Mi", "--drain-timeout": "2"}).settings
    assert settings.max_body_bytes == 2**20
    assert settings.drain_quiet_s == 2


def test_a_default_gives_way_to_the_limit_of_the_base() -> None:
    settings = parse_flags({}, BatcherSettings(max_queue_bytes=2**20)).settings
    assert settings.max_body_bytes == 2**20


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({"--port": "9084"}, '--port "9084" is also --admin-port'),
        ({"--admin-port": "9081"}, '--admin-port "9081" is also --port'),
        ({"--port": "8080"}, '--port "8080" is also --component-port'),
        ({"--component-port": "9084"}, '--component-port "9084" is also --admin-port'),
        (
            {"--component-host": "localhost", "--component-port": "9081"},
            '--component-port "9081" is also --port',
        ),
    ],
)
def test_ports_must_differ(texts: dict[str, str], sentence: str) -> None:
    assert faults_of(texts) == [f"{sentence}: give each a port of its own"]


def test_a_model_server_elsewhere_may_have_our_port() -> None:
    assert faults_of({"--component-host": "model", "--component-port": "9081"}) == []


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "--timeout",
                "--max-latency",
                "--max-batchsize",
                "--hard-max-batch-size",
                "--max-body-bytes",
                "--max-queue-bytes",
                "--drain-quiet",
                "--drain-timeout",
            ]
        ),
        st.sampled_from(["0", "1", "5", "32", "2048", "5000", "1Mi", "86400", "x"]),
    )
)
def test_whatever_is_wrong_the_settings_can_be_used(texts: dict[str, str]) -> None:
    parsed = parse_flags(texts)
    written, _ = split_arguments(settings_to_flags(parsed.settings))
    again = parse_flags(written)
    assert again.faults == ()
    assert again.settings == parsed.settings
    assert bool(parsed.faults) == (len(parsed.given) < len(texts))
