"""The command line of the sidecar, and what it takes from its container."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_contract import (
    FIELDS,
    BatcherSettings,
    SettingsError,
    __version__,
    settings_to_flags,
)
from batcher_sidecar.config import (
    SidecarConfig,
    container_memory_limit_bytes,
    parse_args,
    read_config,
)
from tests.unit.contract.strategies import valid_settings

MIB = 2**20


def no_limit() -> None:
    return None


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as exited:
        parse_args(argv, {}, no_limit)
    out, err = capsys.readouterr()
    assert exited.value.code == 2
    assert out == ""
    assert err.startswith("batcher-sidecar: ")
    assert err.count("\n") == 1
    return err.removeprefix("batcher-sidecar: ").rstrip("\n")


def test_without_flags_it_only_forwards() -> None:
    assert parse_args([], {}, no_limit) == SidecarConfig(
        settings=BatcherSettings(),
        enable_batcher=False,
        component_host="127.0.0.1",
        component_port=8080,
        host=None,
        port=9081,
        admin_port=9084,
        log_level="info",
        log_format="text",
        readiness_probe=None,
    )


def test_the_arguments_of_kserve_s_agent_are_understood() -> None:
    argv = "--enable-batcher --max-batchsize 16 --max-latency 10000 --component-port 8085".split()
    config = parse_args([*argv, "--port", "9082"], {}, no_limit)
    assert config.enable_batcher
    assert config.settings == BatcherSettings(max_batch_size=16, max_latency_ms=10_000)
    assert config.component_port == 8085
    assert config.port == 9082


@pytest.mark.parametrize(
    ("argv", "enabled"),
    [
        (["--enable-batcher"], True),
        (["--enable-batcher=true"], True),
        (["--enable-batcher=false"], False),
        ([], False),
    ],
)
def test_switches(argv: list[str], enabled: bool) -> None:
    assert parse_args(argv, {}, no_limit).enable_batcher is enabled


def test_the_probe_of_the_model_server_is_handed_on_as_it_is() -> None:
    probe = '{"tcpSocket": {"port": 8080}}'
    config = parse_args([], {"SERVING_READINESS_PROBE": probe, "OTHER": "x"}, no_limit)
    assert config.readiness_probe == probe


def test_an_empty_probe_is_none() -> None:
    assert parse_args([], {"SERVING_READINESS_PROBE": ""}, no_limit).readiness_probe is None


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--max-latncy", "5"], "--max-latncy is an unknown flag: did you mean --max-latency?"),
        (["--port", "70000"], '--port "70000" is more than 65535: give a whole number'),
        (["--port", "9084"], '--port "9084" is also --admin-port: give each a port of its own'),
        (["--timeout", "1"], '--timeout "1" must exceed --max-latency, which is 5000'),
        (["--port", "1", "--port", "2"], "--port is given more than once: give it once"),
        (["predict"], "predict is no flag: "),
        (["--log-format", "xml"], '--log-format "xml" is not known: give text or json'),
    ],
)
def test_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str], argv: list[str], sentence: str
) -> None:
    assert refusal(capsys, *argv).startswith(sentence)


def test_the_sentence_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refusal(capsys, "--prt", "1", "--host", "--timeout=0", "--max-batchsize=x")
    assert [part.split()[0] for part in sentence.split("; ")] == [
        "--prt",
        "--host",
        "--timeout",
        "--max-batchsize",
    ]


def test_a_value_cannot_forge_a_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\\n" in refusal(capsys, "--port=1\nall is well")


@given(st.lists(st.text() | st.sampled_from([field.flag_key for field in FIELDS.values()])))
def test_any_command_line_is_understood_or_refused(argv: list[str]) -> None:
    try:
        read_config(argv, {}, None)
    except SettingsError as error:
        assert error.faults
        assert str(error).isprintable()


@given(valid_settings())
def test_settings_arrive_as_they_were_written(settings: BatcherSettings) -> None:
    assert read_config(settings_to_flags(settings), {}, None).settings == settings


def test_the_queue_takes_a_quarter_of_the_memory_limit() -> None:
    settings = parse_args([], {}, lambda: 1024 * MIB).settings
    assert settings.max_queue_bytes == 256 * MIB
    assert settings.max_body_bytes == 64 * MIB


def test_a_body_that_no_queue_could_hold_is_not_accepted_by_default() -> None:
    settings = parse_args([], {}, lambda: 100 * MIB).settings
    assert settings.max_queue_bytes == 25 * MIB
    assert settings.max_body_bytes == 25 * MIB


def test_a_queue_that_was_chosen_stands_over_the_memory_limit() -> None:
    argv = ["--max-queue-bytes=256Mi"]
    assert parse_args(argv, {}, lambda: 100 * MIB).settings.max_queue_bytes == 256 * MIB


def test_a_body_beyond_a_quarter_of_the_memory_limit_is_a_contradiction() -> None:
    with pytest.raises(SettingsError, match="must be at most --max-queue-bytes, which is 25Mi"):
        read_config(["--max-body-bytes=64Mi"], {}, 100 * MIB)


@pytest.mark.parametrize(
    ("files", "limit_bytes"),
    [
        ({}, None),
        ({"memory.max": "max\n"}, None),
        ({"memory.max": "104857600\n"}, 100 * MIB),
        ({"memory/memory.limit_in_bytes": "209715200\n"}, 200 * MIB),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({"memory.max": "", "memory/memory.limit_in_bytes": "209715200\n"}, 200 * MIB),
    ],
)
def test_the_memory_limit_of_the_container(
    tmp_path: Path, files: dict[str, str], limit_bytes: int | None
) -> None:
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert container_memory_limit_bytes(tmp_path) == limit_bytes


def shown(capsys: pytest.CaptureFixture[str], flag: str) -> str:
    def must_not_be_asked() -> int:
        raise AssertionError

    with pytest.raises(SystemExit) as exited:
        parse_args(["--port", "x", flag], {}, must_not_be_asked)
    assert exited.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_help_shows_every_flag_with_unit_default_bounds_and_meaning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    entries = re.split(r"\n  (?=--)", shown(capsys, "--help"))
    by_flag = {re.split(r"[ \[\n]", entry)[0]: " ".join(entry.split()) for entry in entries[1:]}
    flagged = {field.flag_key: field for field in FIELDS.values() if field.flag}
    assert set(by_flag) == {*flagged, "--help", "--version"}
    for key, field in flagged.items():
        text = f"{field.meaning}: {field.kind.expected} (default: {field.default_text})"
        assert text in by_flag[key]
        assert field.kind.metavar in by_flag[key]


def test_help_tells_bounds_and_defaults_in_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(shown(capsys, "-h").split())
    assert "from 1 to 3600000 (default: 5000 milliseconds)" in text
    assert "256Mi, or a quarter of the container's memory limit where there is one" in text
    assert "(default: every address family)" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--version") == f"batcher-sidecar {__version__}\n"
