"""The rules of batching, without any I/O.

The core takes *events* with a time and returns *commands*; ``runtime.py`` alone joins it to sockets
and a clock. Times are seconds of one monotonic clock. Payloads, answers and failures are opaque
here: what they hold is known to the codecs and to the runtime.

The rules, as far as they are decided here (numbers as in ``docs/rules.md``):

1.  **Key.** Only requests with an equal key share a batch. A request marked ``alone`` shares none.
2.  **Cut.** A batch is cut at the moment a slot is granted, oldest request first: the shortest run
    of waiting requests whose instances reach ``max_batch_size``, or, if all that wait are fewer,
    all of them once the oldest's window is over. The size is a trigger, not a cap.
3.  **Window.** ``max_latency_ms`` from the moment the request's last byte arrived.
4.  **Concurrency.** At most ``max_concurrency`` batches are in flight per path. What is due and has
    no slot stays unsealed. The slot goes to the due key whose oldest request is oldest.
5.  **Hard cap.** With ``hard_max_batch_size`` the run stops before the request that would exceed
    it. A request that alone exceeds it is sent in pieces, one after the other, failing as one. A
    key's ``max_rows`` ends the run likewise, and fills a batch; nothing is sent in pieces for it.
6.  **Deadline.** A request unanswered ``timeout_s`` after its arrival is refused and leaves. None
    is sent after its deadline.
7.  **Leaving.** Who leaves is forgotten; a call whose members have all left is cancelled.
8.  **Limits.** At most ``max_queue_size`` requests wait.
9.  **Isolation.** A batch whose failure may be one member's fault is halved until the culprit
    stands alone, within a budget of calls (``isolation.py``). Where the answer cannot be divided
    by rows, nobody is at fault: each member is sent alone.
10. **Terms.** Of some keys it must be learnt first whether their requests may share a call at all,
    or be sent in pieces: their ``Terms`` say so, and are looked at whenever a batch might be cut.

An arrived request ends in exactly one ``Answer``, ``Fail`` or ``Refuse``, unless it leaves first.

``model.py`` holds what events and commands speak of, ``queues.py`` what waits, ``policy.py`` when a
key is due, ``isolation.py`` the budget and the memory of keys that cannot be batched, ``timers.py``
the one heap of deadlines, ``limits.py`` the budget of bytes, ``batcher.py`` the state machine.
"""

from batcher_sidecar.core.batcher import Batcher
from batcher_sidecar.core.limits import ByteBudget
from batcher_sidecar.core.model import (
    FREE,
    Answer,
    Answered,
    Call,
    Cancel,
    Command,
    Draining,
    Event,
    Fail,
    Failed,
    Indivisible,
    Left,
    Refuse,
    Request,
    Send,
    SettingsChanged,
    Terms,
    TermsChanged,
    Tick,
    WakeAt,
)

__all__ = [
    "FREE",
    "Answer",
    "Answered",
    "Batcher",
    "ByteBudget",
    "Call",
    "Cancel",
    "Command",
    "Draining",
    "Event",
    "Fail",
    "Failed",
    "Indivisible",
    "Left",
    "Refuse",
    "Request",
    "Send",
    "SettingsChanged",
    "Terms",
    "TermsChanged",
    "Tick",
    "WakeAt",
]
