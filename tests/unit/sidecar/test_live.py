import logging
from pathlib import Path

import pytest

from batcher_contract import BatcherSettings
from batcher_sidecar.live import LiveSettings

FLAGS = BatcherSettings(max_batch_size=8, max_latency_ms=20)


class Stand:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.applied: list[BatcherSettings] = []
        self.live = LiveSettings(FLAGS, str(path), self.applied.append)

    async def write(self, text: str) -> None:
        self.path.write_text(text)
        await self.live.look()


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path / "settings.json")


async def test_without_a_file_flags_are_in_force(stand: Stand) -> None:
    await stand.live.look()
    assert stand.live.settings == FLAGS
    assert stand.applied == []
    await LiveSettings(FLAGS, None, stand.applied.append).look()
    assert stand.applied == []


async def test_a_file_wins_over_flags_and_is_applied_once(stand: Stand) -> None:
    await stand.write('{"max-latency": "50"}')
    await stand.live.look()
    assert stand.applied == [BatcherSettings(max_batch_size=8, max_latency_ms=50)]
    assert stand.live.settings == stand.applied[0]
    assert stand.live.shown()["settings"]["max_latency_ms"] == 50
    assert "settings_file_fault" not in stand.live.shown()


async def test_what_a_file_no_longer_says_is_as_flags_say(stand: Stand) -> None:
    await stand.write('{"max-latency": "50"}')
    await stand.write("{}")
    assert stand.live.settings == FLAGS


async def test_the_last_good_file_stays(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    await stand.write('{"max-latency": "50"}')
    await stand.write('{"max-latency": "0", "max-batchsize": "9"}')
    await stand.live.look()
    assert len(stand.applied) == 1
    assert "is less than 1" in stand.live.shown()["settings_file_fault"]
    complaints = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(complaints) == 1
    await stand.write('{"max-latency": "60"}')
    assert stand.live.settings.max_latency_ms == 60
    assert "settings_file_fault" not in stand.live.shown()


async def test_a_file_that_goes_away_changes_nothing(stand: Stand) -> None:
    await stand.write('{"max-latency": "50"}')
    stand.path.unlink()
    await stand.live.look()
    assert stand.live.settings.max_latency_ms == 50


async def test_a_file_that_cannot_be_read_is_told(stand: Stand) -> None:
    stand.path.mkdir()
    await stand.live.look()
    assert "cannot read" in stand.live.shown()["settings_file_fault"]


async def test_a_file_that_comes_back_as_it_was_is_at_fault_no_more(stand: Stand) -> None:
    good = '{"max-latency": "50"}'
    await stand.write(good)
    stand.path.unlink()
    stand.path.mkdir()
    await stand.live.look()
    assert "cannot read" in stand.live.shown()["settings_file_fault"]
    stand.path.rmdir()
    await stand.write(good)
    assert "settings_file_fault" not in stand.live.shown()
    assert len(stand.applied) == 1


async def test_a_file_that_goes_away_takes_its_fault_with_it(stand: Stand) -> None:
    bad = '{"max-latency": "0"}'
    await stand.write(bad)
    stand.path.unlink()
    await stand.live.look()
    assert "settings_file_fault" not in stand.live.shown()
    await stand.write(bad)
    assert "settings_file_fault" in stand.live.shown()


async def test_a_file_that_nests_too_deep_is_a_fault(stand: Stand) -> None:
    await stand.write("[" * 100_000)
    assert "is no JSON" in stand.live.shown()["settings_file_fault"]
    await stand.write('{"max-latency": "50"}')
    assert stand.live.settings.max_latency_ms == 50


async def test_a_file_that_says_the_same_in_other_words_changes_nothing(stand: Stand) -> None:
    await stand.write('{"max-latency": "50"}')
    since = stand.live.shown()["since"]
    await stand.write('{ "max-latency":"50" }')
    assert len(stand.applied) == 1
    assert stand.live.shown()["since"] == since
