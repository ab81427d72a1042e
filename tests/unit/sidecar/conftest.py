import logging
from collections.abc import Callable, Iterator

import pytest

from tests.unit.sidecar.modelplay import Play


@pytest.fixture
async def play() -> Play:
    """What is known of models, and a model server that is asked about them."""
    return Play()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What the log has been told so far."""
    caplog.set_level(logging.INFO)
    yield lambda: [record.getMessage() for record in caplog.records]
