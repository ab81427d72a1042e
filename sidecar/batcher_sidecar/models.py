"""Which requests may share a call: what the model server says of its models, and what they answer.

Only the Open Inference Protocol needs that, and has metadata: each tensor's shape, and at Triton a
model's ``max_batch_size``. It is asked for once a model, on the connections that requests take, and
again after a while; nobody waits for it.

What a model answers is looked at for each batch key, since other outputs may be asked for, and
inputs have other dimensions. A **proof** is the answer to a lone request with as many rows as it
asked for, in every output: the key may be batched. It is **confirmed** by an answer with another
count of rows. Until then it might have been an output of just that length, whoever asks; so a
batch of exactly so many rows proves nothing, and nothing is sent in pieces.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from batcher_sidecar.core import Terms
from batcher_sidecar.questions import Facts, Question
from batcher_sidecar.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from batcher_sidecar.upstream import UpstreamPool

MAX_MODELS: Final = 256
"""How many models that have answered are remembered."""
MAX_KEYS: Final = 1024
"""How many batch keys with a proof are remembered."""
NEW_MODELS: Final = 32
NEW_KEYS: Final = 256
MAX_KEY_BYTES: Final = 8192
"""Requests with longer keys (for their paths or key headers) are not batched."""
ASK_AGAIN_S: Final = 60.0
"""How long metadata is taken to hold."""
UNBATCHABLE_S: Final = 60.0
"""How long is not batched what gave an answer that could not be divided by rows."""
RETRY_S: Final = 1.0
"""When to ask again where there was no answer to rely on; then twice as long, up to ASK_AGAIN_S."""
LASTING_S: Final = 16.0
"""Where it has come to be as long as this, it is told that a model is not batched for that."""
_MAX_ASKING: Final = 16

_log = logging.getLogger(__name__)


class Model:
    """What is known of one model, or of one version of it."""

    __slots__ = (
        "ask_at_s", "asking", "facts", "known", "path", "retry_s", "served", "told", "told_unknown",
        "told_unread", "unbatchable_until_s", "used_s",
    )  # fmt: skip

    def __init__(self, path: bytes) -> None:
        self.path = path
        """Its ``…/infer``, as a request that it answered spelt it."""
        self.known = False
        """What the model server says of it, or that it says nothing, is known."""
        self.facts = Facts()
        self.unbatchable_until_s = 0.0
        """For what an answer showed."""
        self.ask_at_s = 0.0
        self.retry_s = RETRY_S
        self.asking = False
        self.served = False  # it has answered a request: it is there, so its metadata should be
        self.told = self.told_unread = self.told_unknown = False  # the log has its name
        self.used_s = 0.0

    def unbatchable(self, now_s: float) -> bool:
        """Tell whether its requests are forwarded one by one."""
        return bool(self.facts.obstacle) or now_s < self.unbatchable_until_s


class Trust(Terms):
    """What is known of one batch key of a model."""

    __slots__ = ("confirmed", "forwarded_until_s", "key", "model", "rows", "since_s", "used_s")

    def __init__(self, model: Model, key: Hashable) -> None:
        super().__init__()
        self.model = model
        self.key = key
        self.rows = 0
        """Of the lone answer that proved it; 0 while there is no proof."""
        self.confirmed = False
        self.since_s = 0.0
        """Answers to what was sent before are no proof."""
        self.forwarded_until_s = 0.0
        """For answers that could not be read."""
        self.used_s = 0.0
        self.settle()

    def settle(self) -> None:
        """Derive what may be done from what is known."""
        known, self.max_rows = self.model.known, self.model.facts.max_rows
        self.single = not (known and self.rows)
        self.whole = not (known and (self.confirmed or self.max_rows))

    def doubt(self, now_s: float) -> None:
        """Drop the proof."""
        self.rows = 0
        self.confirmed = False
        self.since_s = now_s
        self.settle()


class Models:
    """Remembers a bounded number of models and keys."""

    def __init__(
        self,
        pool: UpstreamPool,
        changed: Callable[[], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty memory; ``changed`` is called when terms have changed by themselves."""
        self._pool = pool
        self._changed = changed
        self._clock_s = clock_s
        self._models: Remembered[Model] = Remembered(NEW_MODELS, MAX_MODELS, lambda _: None)
        self._keys: Remembered[Trust] = Remembered(
            NEW_KEYS, MAX_KEYS, lambda trust: trust.doubt(float("inf"))
        )
        self._asking: dict[Question, tuple[Model, bool]] = {}
        self._proved = False  # something may be, since proofs were dropped
        pool.on_unreachable = self.unreachable

    # --- requests -------------------------------------------------------------------------------

    def look(self, path: bytes, now_s: float) -> Model:
        """Return what is known of the model whose ``…/infer`` this is; ask if it is time to."""
        name = _canonical(path)
        model = self._models.get(name, now_s)
        if model is None:
            model = Model(path)
            self._models.add(name, model, now_s)
        if now_s >= model.ask_at_s and not model.asking and len(self._asking) < _MAX_ASKING:
            model.asking = True
            question = Question(self._pool, model.path.rpartition(b"/")[0], self._done)
            self._asking[question] = (model, model.served)
        return model

    def trust(self, model: Model, key: Hashable, now_s: float) -> Trust | None:
        """Return what is known of a batch key; None if its requests are to be forwarded."""
        trust = self._keys.get(key, now_s)
        if trust is None or trust.model is not model:
            if _size_bytes(key) > MAX_KEY_BYTES:
                return None
            trust = Trust(model, key)
            self._keys.add(key, trust, now_s)
        return None if now_s < trust.forwarded_until_s else trust

    # --- answers --------------------------------------------------------------------------------

    def by_rows(
        self, trust: Trust, path: bytes, rows: int, *,
        sent_s: float, now_s: float, several: bool = False, piece: bool = False,
    ) -> bool:  # fmt: skip
        """Note an answer with as many rows as were asked for; tell whether it may be used so.

        The call was sent at ``sent_s``, for ``several`` callers, or with a ``piece`` of a request.
        """
        model = trust.model
        self._is_there(model, path, now_s)
        stale = sent_s < trust.since_s
        if several:
            if stale or (not trust.confirmed and trust.rows in (0, rows)):
                return False
            model.told = False
        elif piece and trust.whole:
            return False  # it has come into doubt since the first piece was sent
        elif stale or now_s < model.unbatchable_until_s:
            return True
        if not trust.rows:
            trust.rows = rows
            trust.forwarded_until_s = 0.0
            self._proved = True
            self._keys.keep(trust.key, now_s)
            trust.settle()
        elif rows != trust.rows and not trust.confirmed:
            trust.confirmed = True
            trust.settle()
        return True

    def _is_there(self, model: Model, path: bytes, now_s: float) -> None:
        if not model.served:
            model.served = True
            model.path = path
            self._models.keep(_canonical(path), now_s)
            if not model.known:
                model.ask_at_s, model.retry_s = now_s, RETRY_S

    def not_by_rows(self, trust: Trust, path: bytes, what: str, now_s: float) -> None:
        """Note an answer with other rows than the model was asked for: it does not batch."""
        model = trust.model
        self._is_there(model, path, now_s)
        model.unbatchable_until_s = now_s + UNBATCHABLE_S
        self._doubt(model, now_s)
        self._changed()
        if not model.told:
            model.told = True
            _log.warning(
                "%s is not batched: %s; tried again every %g s", _name(path), what, UNBATCHABLE_S
            )

    def unreadable(self, trust: Trust, path: bytes, what: str, now_s: float) -> None:
        """Note a lone answer that is no proof either way, since it cannot be read."""
        model = trust.model
        self._is_there(model, path, now_s)
        if trust.rows:
            return  # others could
        trust.forwarded_until_s = now_s + UNBATCHABLE_S
        if not model.told_unread:
            model.told_unread = True
            _log.warning(
                "%s is not batched where its answers cannot be read: %s; tried again every %g s",
                _name(path), what, UNBATCHABLE_S,
            )  # fmt: skip

    # --- doubt ----------------------------------------------------------------------------------

    def lost(self, trust: Trust, now_s: float) -> None:
        """Note that the connection of a call was lost: the model may be another one from now on."""
        self._doubt(trust.model, now_s)
        self._changed()

    def unreachable(self) -> None:
        """Note that the model server is down: every model may be another one when it is back."""
        if self._proved:
            self._proved = False
            now_s = self._clock_s()
            for model in self._models:
                model.ask_at_s, model.retry_s = min(model.ask_at_s, now_s), RETRY_S
            for trust in self._keys:
                trust.doubt(now_s)
            self._changed()

    def _doubt(self, model: Model, now_s: float) -> None:
        for trust in self._keys:
            if trust.model is model:
                trust.doubt(now_s)

    # --- what the model server says -------------------------------------------------------------

    def _done(self, question: Question, facts: Facts | None) -> None:
        """A question has its answer, or will have none."""
        model, had_served = self._asking.pop(question)
        model.asking = False
        now_s = self._clock_s()
        if facts is None:
            self._unanswered(model, question.failure, now_s)
            return
        if not (facts.told or model.known or had_served):
            # A model that is not there has no metadata either; one that is now may have some.
            model.ask_at_s = now_s if model.served else now_s + RETRY_S
            return
        model.ask_at_s, model.retry_s = now_s + ASK_AGAIN_S, RETRY_S
        before = model.facts
        if not facts.told:  # what was known holds, so far as it forbids
            facts = Facts(False, 0, before.obstacle, before.max_rows)
        if model.known:
            if facts == before:
                return
            self._doubt(model, now_s)
        if facts.obstacle and facts.obstacle != before.obstacle:
            _log.warning("%s is not batched: %s", _name(model.path), facts.obstacle)
        elif (before.obstacle or model.told_unknown) and not facts.obstacle:
            _log.info("%s is batched from now on", _name(model.path))
        model.known = True
        model.told_unknown = False
        model.facts = facts
        for trust in self._keys:
            if trust.model is model:
                trust.settle()
        self._changed()

    def _unanswered(self, model: Model, failure: str, now_s: float) -> None:
        """Ask again later; tell, where that lasts, of a model that serves and so is not batched."""
        if not failure:  # there is no server, and it may be another one when it is back
            model.ask_at_s, model.retry_s = now_s + RETRY_S, RETRY_S
            return
        model.ask_at_s = now_s + model.retry_s
        lasting = model.retry_s >= LASTING_S and model.served and not model.known
        model.retry_s = min(2 * model.retry_s, ASK_AGAIN_S)
        if lasting and not model.told_unknown:
            model.told_unknown = True
            _log.warning(
                "%s is not batched, its requests are sent one by one: %s each time; have the model "
                "server answer that, with 404 where it has nothing to say; asked again within %g s",
                _name(model.path), failure, ASK_AGAIN_S,
            )  # fmt: skip

    def count_unbatchable(self) -> int:
        """Return how many models are not batched at present, be it for some of their keys.

        Those of which nothing is known yet count once it was told that this lasts.
        """
        now_s = self._clock_s()
        found = {trust.model for trust in self._keys if now_s < trust.forwarded_until_s}
        found.update([m for m in self._models if m.unbatchable(now_s) or m.told_unknown])
        return len(found)

    def close(self) -> None:
        """Ask no more."""
        for question in self._asking:
            question.give_up()


def _canonical(path: bytes) -> bytes:
    """Return one spelling for all that differ in percent signs only."""
    if b"%" not in path:
        return path
    names = [unquote_to_bytes(name) for name in path.split(b"/")]
    return b"/".join([n.replace(b"%", b"%25").replace(b"/", b"%2F") for n in names])


def _size_bytes(key: Hashable) -> int:
    """Return about how many bytes remembering a key takes."""
    if isinstance(key, tuple):
        return sum([8 + _size_bytes(part) for part in key])
    return len(key) if isinstance(key, bytes | str) else 0


def _name(path: bytes) -> str:
    """Return a path as it is written in the log."""
    return path.rpartition(b"/")[0].decode(errors="replace")
