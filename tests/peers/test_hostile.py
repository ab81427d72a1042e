"""Requests that no well-meaning client sends harm nobody but their sender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.peers.kit.callers import crowd, numbers, typed
from tests.peers.kit.hostile import BINARY_CASES, JSON_CASES, PAIRS, SHARING, STRING_CASES
from tests.peers.kit.programs import START_S
from tests.peers.kit.side_by_side import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.peers.kit.messages import Answer, Message
    from tests.peers.kit.side_by_side import SideBySide

pytestmark = pytest.mark.timeout(START_S)

MODEL: Final = "picky"
MATES: Final = (1, 2, 3, 5)
assert sum(MATES) == ROWS - 1
ISOLATED: Final = "inference_batcher_isolated_requests_total"
SERVERS: Final = ("triton", "kserve", "mlserver")
CASES: Final = {
    **{f"{title}, JSON": sent for title, sent in JSON_CASES.items()},
    **{f"{title}, binary": sent for title, sent in BINARY_CASES.items()},
}


@pytest.fixture(scope="module", params=SERVERS)
def servers(request: pytest.FixtureRequest) -> SideBySide:
    found: SideBySide = request.getfixturevalue(f"{request.param}_server")
    return found


def send_beside_others(
    patient: SideBySide,
    hostile: Sequence[Message],
    model: str = MODEL,
    make: Any = numbers,
    *,
    shares: bool = False,
) -> None:
    """Each must get what the server alone says, or a refusal.

    With one row more the others fill a batch; so if the hostile one `shares` it, all are sent
    together, however slow this machine is. Else they wait for the end of a window.

    A header with the length of the JSON part is held to the form that all servers understand.
    """
    servers = patient if shares else patient.hasty
    binary = "Inference-Header-Content-Length" in hostile[0].headers and servers.name != "mlserver"
    servers.get_acquainted(model, make(ROWS // 2, 99, binary=binary))
    mates = crowd(make, MATES, binary=binary)
    expected = [servers.direct(model, sent) for sent in mates]
    alone = [servers.direct(model, sent) for sent in hostile]

    isolated = servers.metric(ISOLATED)

    answers = servers.ask_at_once(model, [*mates, *hostile])

    together = servers.metric(ISOLATED) - isolated
    if shares:
        full = {answer.batch_rows for answer in answers} == {ROWS}
        assert together == len(answers) or full
    else:
        assert not together
        ids = [answer.headers.get("X-Batch-Id") for answer in answers]
        assert not {*ids[: len(mates)]} & {*ids[len(mates) :]}
    for answer, theirs in zip(answers, expected, strict=False):
        assert theirs.status == 200
        assert answer.content() == theirs.content(), answer.body
    for answer, theirs in zip(answers[len(mates) :], alone, strict=True):
        assert said(answer) == said(theirs) or refused(answer, theirs)


def said(answer: Answer) -> object:
    if answer.body.startswith(b"Traceback"):  # MLServer's has places in memory
        return answer.status, answer.body.splitlines()[-1]
    return answer.content()


def refused(answer: Answer, theirs: Answer) -> bool:
    """Whether the sidecar refused it, as it may what the server refuses, too."""
    refusal = answer.status == 400 and answer.body.startswith(b'{"error":"')
    return refusal and (theirs.status >= 400 or b"Inference-Header-Content-Length" in answer.body)


@pytest.mark.parametrize("title", CASES)
def test_a_hostile_request_harms_nobody_else(servers: SideBySide, title: str) -> None:
    send_beside_others(servers, [CASES[title]], shares=title in SHARING)


def texts(rows: int, seed: int, *, binary: bool) -> Message:
    return typed(rows, seed, datatypes=["BYTES"], binary=["BYTES"] if binary else [])


@pytest.mark.parametrize("server", ["triton", "kserve"])
@pytest.mark.parametrize("title", STRING_CASES)
def test_strings_that_do_not_fill_their_tensor_harm_nobody_else(
    server: str, title: str, request: pytest.FixtureRequest
) -> None:
    servers: SideBySide = request.getfixturevalue(f"{server}_server")
    shares = f"{title}, strings" in SHARING
    send_beside_others(servers, [STRING_CASES[title]], "types", texts, shares=shares)


@pytest.mark.parametrize("title", PAIRS)
def test_two_that_would_make_up_for_each_other_do_not_meet(servers: SideBySide, title: str) -> None:
    send_beside_others(servers, PAIRS[title])
