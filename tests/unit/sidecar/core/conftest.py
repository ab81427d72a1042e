"""A playbook for each test that asks for one."""

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from tests.unit.sidecar.core.playbook import Playbook


class Begin(Protocol):
    """Begins a play."""

    def __call__(self, **settings: Any) -> Playbook:
        """Begin with these settings, others as they are by default."""


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begin plays; at the end no command may be left that nobody expected."""
    plays: list[Playbook] = []

    def begin(**settings: Any) -> Playbook:
        plays.append(Playbook(**settings))
        return plays[-1]

    yield begin
    for play in plays:
        play.settled()
