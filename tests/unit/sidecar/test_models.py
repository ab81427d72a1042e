"""What answers prove about models and batch keys, and for how long it is trusted."""

from collections.abc import Callable

import pytest

from batcher_sidecar.models import (
    ASK_AGAIN_S,
    MAX_KEY_BYTES,
    MAX_MODELS,
    NEW_KEYS,
    NEW_MODELS,
    UNBATCHABLE_S,
)
from batcher_sidecar.remembered import KEPT_S
from tests.unit.sidecar.modelplay import GOOD, PATH, Play

# --- proof ----------------------------------------------------------------------------------------


async def test_a_key_is_batched_after_one_answer_by_rows(play: Play) -> None:
    play.look()
    play.tell(GOOD)
    assert not play.batchable
    assert play.served()
    assert play.batchable


async def test_the_answer_may_come_before_the_metadata(play: Play) -> None:
    play.look()
    assert play.served()
    assert not play.batchable
    play.tell(GOOD)
    assert play.batchable


async def test_other_keys_and_other_models_are_not_proved_by_it(play: Play) -> None:
    play.proved()
    assert play.trust("other").single
    assert play.trust(path=b"/v2/models/other/infer").single


async def test_a_batch_of_the_rows_that_proved_the_key_proves_nothing(play: Play) -> None:
    play.proved(rows=4)
    assert not play.served(4, several=True)
    assert not play.forwarded()
    assert play.batchable
    assert not play.served(4, several=True)


@pytest.mark.parametrize("several", [False, True])
async def test_another_count_of_rows_confirms_it(play: Play, several: bool) -> None:
    play.proved(rows=4)
    assert play.served(4)  # the same once more says nothing
    assert play.trust().whole
    assert play.served(6, several=several)
    assert not play.trust().whole
    assert play.served(4, several=True)


async def test_pieces_are_for_what_is_confirmed(play: Play) -> None:
    assert play.trust().whole
    play.served(1)
    play.served(2)
    assert play.trust().whole  # its metadata is not known yet
    play.tell(GOOD)
    assert not play.trust().whole


async def test_pieces_are_for_models_whose_configuration_tells_of_batches(play: Play) -> None:
    play.look()
    play.tell(GOOD, {"max_batch_size": 8})
    assert not play.trust().whole
    assert play.served(3, piece=True)
    play.now_s += ASK_AGAIN_S
    play.look()
    play.tell(GOOD)
    assert play.trust().whole
    assert not play.served(3, piece=True), "the first pieces were sent before"


async def test_nothing_is_trusted_that_was_sent_before_there_was_doubt(play: Play) -> None:
    play.proved()
    sent_s = play.now_s
    play.now_s += 1
    play.models.lost(play.trust(), play.now_s)
    assert not play.served(2, several=True, sent_s=sent_s)
    assert play.served(1, sent_s=sent_s)
    assert not play.batchable
    assert play.served(1)
    assert play.batchable
    assert not play.served(2, several=True, sent_s=sent_s)
    assert play.trust().whole


async def test_a_batch_without_any_proof_is_not_divided(play: Play) -> None:
    """The second half of one that failed, when what proved it has come into doubt."""
    assert not play.served(2, several=True)


# --- doubt ----------------------------------------------------------------------------------------


async def test_a_lost_connection_puts_the_keys_of_its_model_in_doubt(play: Play) -> None:
    other = b"/v2/models/other/infer"
    play.proved()
    play.served(key="more")
    play.look(other)
    play.tell(GOOD)
    play.served(path=other)
    changes = play.changes
    play.models.lost(play.trust(), play.now_s)
    assert play.changes > changes
    assert play.trust().single
    assert play.trust("more").single
    assert not play.trust(path=other).single
    play.served(1)
    assert play.batchable


async def test_an_unreachable_model_server_puts_all_in_doubt_and_is_asked_anew(play: Play) -> None:
    other = b"/v2/models/other/infer"
    for path in (PATH, other):
        play.look(path)
        play.tell(GOOD, {"max_batch_size": 8})
        play.served(path=path)
    asked, changes = len(play.asked), play.changes
    play.on_unreachable()
    assert play.changes > changes
    assert play.trust().single
    assert play.trust(path=other).single
    assert len(play.asked) == asked + 2
    changes = play.changes
    play.on_unreachable()
    assert play.changes == changes, "there was nothing left to doubt"
    play.served()
    assert (play.batchable, play.max_rows) == (True, 8)


@pytest.mark.parametrize(
    "told",
    [
        {**GOOD, "versions": ["2"]},
        {"inputs": [{"name": "x", "shape": [-1, 5]}], "outputs": []},
        None,
    ],
)
async def test_other_metadata_puts_a_model_in_doubt(play: Play, told: object) -> None:
    play.proved()
    for metadata, batchable in ((GOOD, True), (told, False)):
        play.now_s += ASK_AGAIN_S
        play.look()
        play.tell(metadata)
        assert play.batchable is batchable
        assert not play.forwarded()
    play.served()
    assert play.batchable
    play.now_s += ASK_AGAIN_S
    play.look()
    play.tell(told)
    assert play.batchable


async def test_another_size_puts_a_model_in_doubt(play: Play) -> None:
    play.proved()
    play.now_s += ASK_AGAIN_S
    play.look()
    play.tell(GOOD, {"max_batch_size": 8})
    assert not play.batchable


# --- what does not batch --------------------------------------------------------------------------


async def test_who_cannot_divide_is_not_batched_for_a_minute_and_then_asked_alone(
    play: Play, told: Callable[[], list[str]]
) -> None:
    play.proved()
    play.served(key="other")
    for _ in range(3):
        play.not_by_rows()
        play.served()  # one that was on its way
        for key in ("key", "other"):
            assert play.forwarded(key)
        assert play.models.count_unbatchable() == 1
        play.now_s += UNBATCHABLE_S
        for key in ("key", "other"):
            assert not play.forwarded(key)
            assert play.trust(key).single
    play.tell(GOOD)
    play.served()
    assert play.batchable
    assert told() == [
        "/v2/models/m is not batched: output 'y' has shape [1] for 2 rows; tried again every 60 s"
    ]
    play.served(2, several=True)
    play.not_by_rows()
    assert len(told()) == 2


async def test_answers_that_cannot_be_read_have_their_key_forwarded_for_a_minute(
    play: Play, told: Callable[[], list[str]]
) -> None:
    play.look()
    play.tell(GOOD)
    for _ in range(3):
        assert not play.forwarded()
        play.unreadable()
        assert play.forwarded()
        assert not play.forwarded("other")
        assert play.models.count_unbatchable() == 1
        play.now_s += UNBATCHABLE_S
        assert play.models.count_unbatchable() == 0
    assert told() == [
        "/v2/models/m is not batched where its answers cannot be read: NaN; tried again every 60 s"
    ]


async def test_one_that_can_be_read_after_all_ends_that(play: Play) -> None:
    play.look()
    play.tell(GOOD)
    trust = play.trust()
    play.unreadable()
    play.models.by_rows(trust, PATH, 1, sent_s=play.now_s, now_s=play.now_s)
    assert play.batchable


async def test_what_is_proved_stays_so_where_an_answer_cannot_be_read(play: Play) -> None:
    play.proved()
    play.unreadable()
    assert play.batchable


async def test_a_key_that_is_too_long_to_remember_is_forwarded(play: Play) -> None:
    play.look()
    play.tell(GOOD)
    assert not play.forwarded("k" * (MAX_KEY_BYTES - 100))
    assert play.forwarded("k" * MAX_KEY_BYTES)


# --- memory ---------------------------------------------------------------------------------------


async def test_made_up_models_do_not_drive_out_those_that_serve(play: Play) -> None:
    play.served()
    for number in range(2 * MAX_MODELS):
        play.look(b"/v2/models/made-up-%d/infer" % number)
    assert play.look().served
    assert len(play.asked) <= 16


async def test_made_up_keys_do_not_drive_out_those_that_are_proved(play: Play) -> None:
    play.proved()
    for number in range(2 * NEW_KEYS):
        play.trust(f"made-up-{number}")
    assert play.batchable


async def test_one_model_more_than_are_remembered_costs_the_others_nothing(play: Play) -> None:
    paths = [b"/v2/models/m%d/infer" % number for number in range(MAX_MODELS + 1)]
    for count in range(2):
        for path in paths:
            assert play.look(path).served is (count > 0)
            while play.asked:
                play.asked.pop(0).answer(404)
            play.served(path=path)


async def test_models_that_are_not_used_any_more_make_room(play: Play) -> None:
    def name(number: int) -> bytes:
        return b"/v2/models/m%d/infer" % number

    for number in range(MAX_MODELS):
        play.served(path=name(number))
    play.now_s += KEPT_S
    play.served(path=b"/v2/models/late/infer")
    for number in range(NEW_MODELS):
        play.look(b"/v2/models/made-up-%d/infer" % number)
    assert play.look(b"/v2/models/late/infer").served
    assert not play.look(name(0)).served
    assert play.look(name(1)).served


async def test_a_model_is_the_same_however_its_name_is_spelt(play: Play) -> None:
    model = play.look(b"/v2/models/a%2Fb%25/infer")
    assert play.look(b"/v2/models/%61%2fb%25/infer") is model
    for other in (b"/v2/models/a/b%25/infer", b"/v2/models/a%252Fb%25/infer"):
        assert play.look(other) is not model


async def test_it_is_asked_about_as_it_was_spelt_when_it_answered(play: Play) -> None:
    play.look(b"/v2/models/%6d/infer")
    play.tell(None)
    play.served(path=PATH)
    play.look(b"/v2/models/%6d/infer")
    assert [asked.target for asked in play.asked] == ["/v2/models/%6d", "/v2/models/m"]


async def test_keys_of_a_model_that_was_forgotten_are_not_trusted(play: Play) -> None:
    """Its place among the newcomers was taken; what is known of it begins anew."""
    for number in range(MAX_MODELS):
        play.served(path=b"/v2/models/m%d/infer" % number)
    for asked in play.asked:
        asked.lose()
    play.proved()
    trust = play.trust()
    assert not trust.single
    for number in range(NEW_MODELS):
        play.look(b"/v2/models/made-up-%d/infer" % number)
    assert play.trust() is not trust
    assert play.trust().single
    assert trust.single
    play.models.by_rows(trust, PATH, 1, sent_s=play.now_s, now_s=play.now_s)
    assert trust.single


async def test_what_is_told_of_a_forgotten_model_is_not_missed(play: Play) -> None:
    play.look()
    for number in range(NEW_MODELS):
        play.look(b"/v2/models/made-up-%d/infer" % number)
    play.asked[0].answer(200, GOOD)
    assert play.models.count_unbatchable() == 0
