"""Callers that ask at the same time, and what each of them must get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.peers.kit.side_by_side import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.peers.kit.messages import Answer, Message
    from tests.peers.kit.side_by_side import SideBySide

__all__ = ["SIZES", "Scenario", "Scene", "play"]

SIZES: Final = (1, 2, 3, 1, 5)
"""Rows of callers that fill one batch together."""
assert sum(SIZES) == ROWS


@dataclass(frozen=True)
class Scenario:
    """What is asked of one model at once.

    Each group of callers is one batch, and fills it; with `batched` False none may share a call.
    """

    title: str
    model: str
    halves: Callable[[], Sequence[Message]]
    """Requests that fill half a batch each, one for each path that is asked."""
    groups: Callable[[], Sequence[Sequence[Message]]]
    batched: bool = True


@dataclass(frozen=True)
class Scene:
    """How it went: for each caller its request, its answer, and the server's own answer."""

    groups: Sequence[Sequence[tuple[Message, Answer, Answer]]]
    batched: bool

    def check_contents(self) -> None:
        """Each caller has what it gets when it asks the model server alone."""
        for sent, answer, alone in self._callers():
            assert alone.status == 200, alone.body[:300]
            assert answer.content() == alone.content(), sent.body[:300]
            ours, theirs = (one.headers.get("Content-Type") for one in (answer, alone))
            assert theirs in {ours, None}

    def check_ids(self) -> None:
        """Each caller has its own `id` back, and none if it gave none.

        Alone, some servers make one up.
        """
        for sent, answer, _ in self._callers():
            if answer.batch_rows:
                assert (answer.request_id or None) == (sent.request_id or None)

    def check_batches(self) -> None:
        """Callers of a group shared one call, and nobody else did."""
        ids = []
        for group in self.groups:
            answers = [answer for _, answer, _ in group]
            if not self.batched:
                for sent, answer, _ in group:
                    assert answer.batch_rows in {0, sent.rows}
                continue
            total = sum(sent.rows for sent, _, _ in group)
            assert [answer.batch_rows for answer in answers] == [total] * len(group)
            assert all(total > sent.rows for sent, _, _ in group)
            (shared,) = {answer.batch_id for answer in answers}
            assert shared is not None
            assert {answer.headers["X-Batch-Id"] for answer in answers} == {shared}
            ids.append(shared)
        assert len(set(ids)) == len(ids)

    def _callers(self) -> list[tuple[Message, Answer, Answer]]:
        return [caller for group in self.groups for caller in group]


def play(servers: SideBySide, scenario: Scenario) -> Scene:
    """Ask the model server for each caller alone, then the sidecar for all at once."""
    groups = scenario.groups()
    everybody = [sent for group in groups for sent in group]
    if scenario.batched:
        for half in scenario.halves():
            servers.get_acquainted(scenario.model, half)
    alone = [servers.direct(scenario.model, sent) for sent in everybody]
    answers = servers.ask_at_once(scenario.model, everybody)
    callers = iter(zip(everybody, answers, alone, strict=True))
    return Scene([[next(callers) for _ in group] for group in groups], scenario.batched)
