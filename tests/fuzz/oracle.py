"""What must hold of answers and calls, whatever happened."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tests.fuzz.engine import Fault
from tests.fuzz.json_text import strict_loads
from tests.fuzz.scenario import tags_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher_contract import BatcherSettings
    from tests.fuzz.client import Answer, Caller, Received
    from tests.fuzz.model import Call
    from tests.fuzz.scenario import Kind, Message, Scenario, Tag

__all__ = ["check_answers", "check_calls"]

_UUID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_CLIENT: Final = re.compile(rb"client=(\d+)")
_GONE_S: Final = 0.05
"""How long it may take to see that a client has gone."""
_OWN_STATUSES: Final = frozenset([200, 502, 503, 504])
_LIMITS: Final = {
    "max_queue_size": {429}, "max_queue_bytes": {429, 413}, "max_body_bytes": {413},
}  # fmt: skip
_NOBODYS: Final = b"999999999"
"""What the model server sends out of turn."""
_LATE_S: Final = 0.1
_MAX_OUTSTANDING: Final = 16


# --- the model server's side --------------------------------------------------------------------


def check_calls(
    calls: Sequence[Call],
    scenario: Scenario,
    settings: BatcherSettings,
    callers: Sequence[Caller],
) -> None:
    """Demand that no call mixes what must not be mixed, and that nothing is sent in vain."""
    honest = {caller.script.number: caller for caller in callers if caller.script.honest}
    seen: set[bytes] = set()
    for call in calls:
        tags = tags_in(call.body) if call.complete else set()
        if len({(tag.client, tag.message) for tag in tags}) > 1 and b"predict" in call.target:
            _check_batch(call, {tag for tag in tags if tag.client in honest}, settings)
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in call.headers}:
            raise Fault("the model server gets a body with two lengths", f"{call}")
        _check_owners(call, honest, scenario)
        if call.method in (b"POST", b"PUT", b"PATCH", b"DELETE") and call.target.startswith(
            b"/other/9"
        ):
            if call.target in seen and tags_in(call.target).pop().client in honest:
                raise Fault("a request that is not idempotent is sent twice", f"{call}")
            seen.add(call.target)


def _check_owners(call: Call, honest: Mapping[int, Caller], scenario: Scenario) -> None:
    """Demand that a forwarded call holds one client's bytes only, and that somebody waits."""
    target, tags = tags_in(call.target), tags_in(call.body)
    senders = [other for other in scenario.clients if other.number in {t.client for t in target}]
    sent = "".join([message.data for other in senders for message in other.messages]).encode()
    asked = {tag.client for tag in target & tags if tag.client in honest}
    others = {tag.client for tag in tags if tag.client in honest}
    forwarded = target and call.target.startswith(b"/other/")
    if forwarded and not others <= {tag.client for tag in target | tags_in(sent)}:
        raise Fault("a forwarded request holds another client's bytes", f"{call}")
    if any(behaviour.deaf_ms for behaviour in scenario.behaviours):
        return  # it may read late what was sent in time
    if scenario.connects:
        return  # while a connection is made, the client of a forwarded body is not read
    left = [honest[client].left_s for client in asked | others]
    if left and all(left_s is not None and call.began_s > left_s + _GONE_S for left_s in left):
        raise Fault("a request is sent though its client has gone", f"{call}")


def _check_batch(call: Call, honest: set[Tag], settings: BatcherSettings) -> None:
    """Demand that requests which share a call may share it."""
    if len({tag.client for tag in honest}) == 0:
        return  # one hostile client's body may hold anything
    try:
        rows = strict_loads(call.body)["instances"]
    except (ValueError, KeyError, TypeError) as error:
        raise Fault("a batch is no JSON with instances", f"{error}: {call.body[:500]!r}") from None
    if len({tag.group for tag in honest}) > 1:
        raise Fault("a batch mixes keys", f"{call}")
    cap = settings.hard_max_batch_size
    if cap and len(rows) > cap:
        raise Fault("a batch exceeds the hard limit", f"{len(rows)} rows")
    if len({tag.client for tag in honest}) > 1:
        for name in (b"authorization", b"x-client"):
            value = call.header(name)
            if value is not None:
                raise Fault(f"a batch of several carries the {name.decode()} of one", f"{call}")


# --- the clients' side --------------------------------------------------------------------------


def check_answers(
    caller: Caller, scenario: Scenario, settings: BatcherSettings, callers: Sequence[Caller]
) -> None:
    """Demand that a client got answers, in order, its own, whole, in time, and no more."""
    received = caller.received()
    _check_owner(caller, received, callers)
    for number, answer in enumerate(received.answers):
        last = number == len(received.answers) - 1
        if answer.says_close and not (last and not received.rest):
            raise Fault("something follows an answer that says close", f"{caller.raw[-500:]!r}")
    if caller.script.honest:
        _check_honest(caller, received, scenario, settings)
        return
    requests = caller.raw and b"".join(
        [message.data.encode("latin-1") for message in caller.script.messages]
    )
    if len(received.answers) > requests.count(b"HTTP/1.") + 1:
        raise Fault("there are more answers than requests", f"{caller.raw[:500]!r}")


def _check_owner(caller: Caller, received: Received, callers: Sequence[Caller]) -> None:
    """Demand that nothing a client gets is somebody else's."""
    sent = "".join([message.data for message in caller.script.messages]).encode("latin-1")
    others = set().union(*[_sent_tags(other) for other in callers if other is not caller])
    own = tags_in(sent)
    for answer in received.answers:
        raw = _UUID.sub(b"", answer.raw)
        if _NOBODYS in raw and _NOBODYS not in sent:
            raise Fault("an answer holds what was sent out of turn", f"{raw[:500]!r}")
        foreign = (tags_in(raw) - own) & others
        if foreign:
            raise Fault("an answer holds another client's rows", f"{foreign}: {raw[:500]!r}")
        clients = {int(digits) for digits in _CLIENT.findall(raw)}
        if caller.script.honest and not clients <= {caller.script.number}:
            raise Fault("an answer holds another client's cookie", f"{raw[:500]!r}")


def _sent_tags(caller: Caller) -> set[Tag]:
    data = "".join([message.data for message in caller.script.messages])
    return tags_in(data.encode("latin-1"))


def _check_honest(
    caller: Caller, received: Received, scenario: Scenario, settings: BatcherSettings
) -> None:
    messages = caller.script.messages
    for number, message in enumerate(_as_treated(messages, scenario)):
        if number >= len(received.answers) or not received.answers[number].complete:
            if message.kind == "upgrade":
                _check_tunnel(message, received, number, scenario, caller)
                return
            _check_missing(caller, received, number, scenario)
            return
        answer = received.answers[number]
        if message.kind == "upgrade":
            return
        slow = any(each.slow(settings.timeout_s) for each in messages[: number + 1])
        _check_answer(message, answer, scenario, slow=slow)
        if message.closes and not answer.says_close:
            raise Fault("an answer does not say close though asked to", f"{answer}")
        _check_time(caller, number, answer, scenario, settings)
        if answer.says_close:
            if message.closes or scenario.drain_ms >= 0 or answer.status in (400, 408, 413, 429):
                return
            if message.kind in ("forward", "bypassed") and (
                not scenario.benign or "HTTP/1.0" in message.data
            ):
                return
            raise Fault("an answer says close for no reason", f"{answer}")
    if received.rest or len(received.answers) > len(messages):
        raise Fault("there are more answers than requests", f"{caller.raw[-500:]!r}")


def _as_treated(messages: Sequence[Message], scenario: Scenario) -> Sequence[Message]:
    """Return the messages as what they are: without the batcher all are just forwarded."""
    if scenario.settings.get("enable_batcher", True):
        return messages
    kinds: dict[Kind, Kind] = {"predict": "bypassed", "refused": "bypassed"}
    return [
        replace(message, kind=kinds.get(message.kind, message.kind), status=200)
        if message.kind in kinds
        else message
        for message in messages
    ]


def _check_missing(caller: Caller, received: Received, number: int, scenario: Scenario) -> None:
    """Judge why there is no whole answer to that message."""
    script = caller.script
    before = received.answers[:number]
    if any(answer.says_close for answer in before) or not script.steady:
        return
    if number >= len(caller.sent_s) and scenario.drain_ms >= 0:
        return  # closed while idle or in the middle of a head
    messages = _as_treated(script.messages, scenario)
    waiting = messages[: number + 1]
    if scenario.benign:
        raise Fault("there is no answer though all went well", f"to {waiting[-1].data[:200]!r}")
    # The model server may never answer what is forwarded. Where it breaks off, so does the sidecar,
    # and what the client has not read yet is lost with it.
    lost = messages if caller.was_reset else waiting
    if any(message.kind in ("forward", "bypassed", "upgrade") for message in lost):
        return
    if scenario.drain_ms >= 0 and not received.answers[number:]:
        return
    if number >= _MAX_OUTSTANDING:
        return  # its time begins with the end of an earlier one's
    raise Fault("a predict request is not answered", f"{waiting[-1].data[:200]!r}")


def _check_tunnel(
    message: Message, received: Received, number: int, scenario: Scenario, caller: Caller
) -> None:
    """Demand that a tunnel gives back what an echoing end got."""
    if message.method == "PRI":
        got = received.rest
        if sum(wait_ms for _, wait_ms in message.cuts) > 9_900:
            return  # told so, if it took too long
    elif number < len(received.answers) and received.answers[number].status == 101:
        got = received.rest
    elif scenario.benign and caller.script.steady:
        raise Fault("a tunnel is not opened", f"{caller.raw[:500]!r}")
    else:
        return
    wanted = message.answer.encode("latin-1")
    if not all(behaviour.do == "echo" for behaviour in scenario.behaviours):
        return
    if not wanted.startswith(got) or (
        scenario.benign and caller.script.steady and got != wanted
    ):
        raise Fault("a tunnel changes what it carries", f"{got!r} instead of {wanted!r}")


def _check_answer(message: Message, answer: Answer, scenario: Scenario, *, slow: bool) -> None:
    """Demand of a whole answer that it is one to this message."""
    wanted = {message.status} | _possible(message, scenario) | ({408} if slow else set())
    if answer.status not in wanted:
        raise Fault(
            f"{answer.status} answers a {message.kind} request",
            f"{message.data[:300]!r}: {answer.body[:300]!r}",
        )
    if scenario.benign and answer.status != message.status:
        raise Fault(f"{answer.status} though all went well", f"{answer}")
    if answer.status == message.status == 200:
        match message.kind:
            case "predict" | "bypassed" if message.rows:
                _check_predictions(message, answer, scenario)
            case "forward":
                _check_echo(message, answer, scenario)
            case _:
                pass
    theirs = (b"x-model", b"1") in answer.headers or any(
        b.do == "raw" or b.lines for b in scenario.behaviours
    )
    if answer.status != 200 and not theirs and message.method != "HEAD":
        _check_refusal(answer)


def _possible(message: Message, scenario: Scenario) -> set[int]:
    """Return the statuses that a message may be answered with apart from its own."""
    possible: set[int] = set()
    if message.kind in ("predict", "forward", "bypassed"):
        possible |= _OWN_STATUSES
        for behaviour in scenario.behaviours:
            if behaviour.do == "raw":
                possible |= {304, 204, 999, 100, 99}
            if behaviour.do == "status" or behaviour.poison:
                possible.add(behaviour.status)
    if message.kind != "probe":
        for name in scenario.settings:
            possible |= _LIMITS.get(name, set())
    return possible


def _check_predictions(message: Message, answer: Answer, scenario: Scenario) -> None:
    lies = any(
        b.do not in ("echo", "silent") or b.lines or b.extra or b.early
        for b in scenario.behaviours
    )
    cut = any(b.permille < 1000 and b.framing == "close" for b in scenario.behaviours)
    try:
        content = strict_loads(answer.body)
        rows = content["predictions"]
    except (ValueError, KeyError, TypeError, RecursionError):
        if lies or cut:
            return
        raise Fault("a 200 holds no predictions", f"{answer.body[:500]!r}") from None
    if rows != message.rows and not lies:
        raise Fault("predictions are not those asked for", f"{message.rows}: {answer.body[:500]!r}")
    size = [int(value) for name, value in answer.headers if name == b"x-batch-size"]
    cookie = [value for name, value in answer.headers if name == b"set-cookie"]
    if size and size[0] > len(message.rows) and cookie and not lies:
        raise Fault("a batch of several carries a cookie down", f"{answer}")
    if message.kind == "predict" and "batchId" in content and not lies:
        if (b"x-batch-id", content["batchId"].encode()) not in answer.headers:
            raise Fault("batchId and X-Batch-Id differ", f"{answer}")
        if content.get("message") != "":
            raise Fault("an answer has no empty message", f"{answer}")
    elif message.kind == "predict" and scenario.settings.get("enable_batcher", True) and not lies:
        raise Fault("an answer to a predict request has no batchId", f"{answer}")


def _check_echo(message: Message, answer: Answer, scenario: Scenario) -> None:
    if any(b.do in ("body", "raw") or b.lines or b.extra or b.early for b in scenario.behaviours):
        return
    if any(b.do == "status" and b.status == 200 for b in scenario.behaviours):
        return
    cut = any(b.permille < 1000 and b.framing == "close" for b in scenario.behaviours)
    if answer.body != message.answer.encode("latin-1") and not cut:
        raise Fault(
            "a forwarded answer is changed", f"{answer.body[:300]!r}: {message.answer[:300]!r}"
        )


def _check_refusal(answer: Answer) -> None:
    try:
        content = json.loads(answer.body)
    except ValueError:
        content = None
    if not isinstance(content, dict) or list(content) != ["error"]:
        raise Fault("a refusal does not say what is wrong", f"{answer}")


def _check_time(
    caller: Caller,
    number: int,
    answer: Answer,
    scenario: Scenario,
    settings: BatcherSettings,
) -> None:
    """Demand that a predict request is answered in time, where nothing else delays it."""
    before = _as_treated(caller.script.messages[: number + 1], scenario)
    if (
        caller.script.steady
        and number < min(len(caller.sent_s), _MAX_OUTSTANDING)
        and all(message.kind in ("predict", "refused") for message in before)
    ):
        late_s = answer.ended_s - caller.sent_s[number] - settings.timeout_s
        if late_s > _LATE_S:
            raise Fault("a predict request is answered too late", f"by {late_s:.1f} s")
