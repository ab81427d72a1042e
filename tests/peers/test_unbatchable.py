"""Models and requests that cannot be batched, or not so far: each caller is none the wiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.peers.kit.callers import crowd, numbers
from tests.peers.kit.messages import Message
from tests.peers.kit.programs import START_S
from tests.peers.kit.scenes import SIZES
from tests.peers.kit.side_by_side import ROWS
from tests.peers.kit.triton import SMALL_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.peers.kit.messages import Answer
    from tests.peers.kit.side_by_side import SideBySide

pytestmark = pytest.mark.timeout(START_S)

HALF: Final = numbers(ROWS // 2, 99)
PARAMETERS: Final = (
    {"sequence_id": 7, "sequence_start": True, "sequence_end": True},
    {"sequence_id": "seven", "sequence_start": True, "sequence_end": True},
    {"priority": 1},
    {"timeout": 1_000_000},
)


def ask_all(servers: SideBySide, model: str, sent: Sequence[Message]) -> list[Answer]:
    """Ask for all at once, and check each answer against the server's own."""
    alone = [servers.direct(model, one) for one in sent]
    answers = servers.ask_at_once(model, sent)
    for answer, theirs in zip(answers, alone, strict=True):
        assert answer.content() == theirs.content()
    return answers


def test_a_batch_never_has_more_rows_than_the_model_takes(triton_server: SideBySide) -> None:
    assert SMALL_ROWS == 5
    triton_server.get_acquainted("small", numbers(2, 99))
    isolated = triton_server.metric("inference_batcher_isolated_requests_total")

    answers = ask_all(triton_server, "small", crowd(numbers, [2] * 6))

    assert [answer.batch_rows for answer in answers] == [4] * 6
    assert triton_server.metric("inference_batcher_isolated_requests_total") == isolated


def test_a_request_too_large_for_the_model_gets_its_words(triton_server: SideBySide) -> None:
    servers = triton_server.hasty
    servers.get_acquainted("small", numbers(2, 99))
    too_large = numbers(SMALL_ROWS + 1, 1)
    assert servers.direct("small", too_large).status == 400

    ask_all(servers, "small", [too_large, numbers(SMALL_ROWS, 2)])


def test_a_model_whose_metadata_tells_of_no_batch_is_not_batched(
    triton_server: SideBySide,
) -> None:
    for _ in range(3):
        answers = ask_all(triton_server.hasty, "total", crowd(numbers))
        for answer, size in zip(answers, SIZES, strict=True):
            assert answer.batch_rows in {0, size}


@pytest.mark.parametrize(
    ("server", "model"), [("triton", "turned"), ("kserve", "total"), ("mlserver", "total")]
)
def test_a_model_whose_answer_has_no_rows_is_found_out(
    server: str, model: str, request: pytest.FixtureRequest
) -> None:
    """A part of the batch may fit the answer by chance, so its members are called one by one."""
    servers: SideBySide = request.getfixturevalue(f"{server}_server").hasty
    unbatchable = servers.metric("inference_batcher_unbatchable_models")
    rounds = 0

    while servers.metric("inference_batcher_unbatchable_models") == unbatchable:
        ask_all(servers, model, crowd(numbers))
        rounds += 1
        assert rounds < 100
    answers = ask_all(servers, model, crowd(numbers))

    assert [answer.batch_id for answer in answers] == [None] * len(answers)


@pytest.mark.parametrize(
    ("server", "model", "rows"),
    [("triton", "turned", 4), ("kserve", "total", 1), ("mlserver", "total", 1)],
)
def test_a_model_whose_answer_fits_by_chance_is_found_out_by_a_batch(
    server: str, model: str, rows: int, request: pytest.FixtureRequest
) -> None:
    servers: SideBySide = request.getfixturevalue(f"{server}_server")
    undivided = "inference_batcher_undivided_batches_total"
    before = servers.metric(undivided)
    rounds = 0

    while servers.metric(undivided) == before:
        ask_all(servers, model, crowd(numbers, [rows] * (ROWS // rows)))
        rounds += 1
        assert rounds < 100
    answers = ask_all(servers, model, crowd(numbers))

    assert [answer.batch_id for answer in answers] == [None] * len(answers)


@pytest.mark.parametrize("server", ["triton", "kserve", "mlserver"])
def test_a_request_that_the_model_refuses_fails_alone(
    server: str, request: pytest.FixtureRequest
) -> None:
    servers: SideBySide = request.getfixturevalue(f"{server}_server")
    servers.get_acquainted("picky", HALF)
    mates = crowd(numbers)
    bad = Message(mates[2].body.replace(b'"data": [', b'"data": [-'), mates[2].headers, 3)
    assert servers.direct("picky", bad).status in {400, 500}

    answers = ask_all(servers, "picky", [*mates[:2], bad, *mates[3:]])

    assert [answer.status == 200 for answer in answers] == [True, True, False, True, True]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda given: next(iter(given)))
def test_what_the_server_must_see_by_itself_is_not_batched(
    triton_server: SideBySide, parameters: dict[str, object]
) -> None:
    triton_server.get_acquainted("picky", HALF)

    answers = ask_all(triton_server, "picky", crowd(numbers, parameters=parameters))

    assert [answer.batch_rows for answer in answers] == [0] * len(answers)


def test_other_parameters_keep_apart(triton_server: SideBySide) -> None:
    for name in ("red", "blue"):
        triton_server.get_acquainted("picky", numbers(ROWS // 2, 99, parameters={"colour": name}))
    red, blue = (crowd(numbers, parameters={"colour": name}) for name in ("red", "blue"))

    answers = ask_all(triton_server, "picky", [*red, *blue])

    ids = [answer.batch_id for answer in answers]
    assert len(set(ids[: len(red)])) == len(set(ids[len(red) :])) == 1
    assert ids[0] != ids[-1]
