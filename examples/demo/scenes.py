"""What the demo shows. Each function is one scene; each of its claims is checked."""

from __future__ import annotations

import json
import re
import textwrap
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from examples.demo.stage import DemoError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.demo.report import Report

__all__ = ["PATH", "Counters", "Site", "a_bad_request", "one_batch", "one_caller"]

PATH = "/v1/models/iris:predict"
REQUEST_TIMEOUT_S = 20.0
QUEUED_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.002

Rows = list[list[float | None]]


@dataclass(frozen=True)
class Counters:
    """What the model server itself counted since it started."""

    calls: int
    rows: int

    def since(self, earlier: Counters) -> Counters:
        """Return what was counted since `earlier`."""
        return Counters(self.calls - earlier.calls, self.rows - earlier.rows)


@dataclass(frozen=True)
class Reply:
    """An answer, and the milliseconds from sending the request to having it."""

    response: requests.Response
    took_ms: float

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object, or an empty one if it is none."""
        try:
            body = self.response.json()
        except requests.JSONDecodeError:
            return {}
        return body if isinstance(body, dict) else {}

    @property
    def batch_size(self) -> str:
        """How many instances the batch held, by its header."""
        return self.response.headers.get("X-Batch-Size", "-")

    @property
    def batch_id(self) -> str:
        """The id that all members of the batch share."""
        return str(self.body.get("batchId", "-"))

    def gives(self, predictions: Sequence[int]) -> bool:
        """Tell whether this is a success with exactly these predictions."""
        return self.response.status_code == 200 and self.body.get("predictions") == predictions


@dataclass(frozen=True)
class Site:
    """Where the programs are, and what the model says of the iris data set when asked directly."""

    report: Report
    model_port: int
    port: int
    admin_port: int
    window_ms: int
    batch_size: int
    rows: Rows
    predictions: list[int]

    def url(self, port: int) -> str:
        """Return the model's URL at one of the two servers."""
        return f"http://127.0.0.1:{port}{PATH}"

    def counters(self) -> Counters:
        """Ask the model server what it has counted."""
        url = f"http://127.0.0.1:{self.model_port}/metrics"
        text = requests.get(url, timeout=REQUEST_TIMEOUT_S).text
        return Counters(
            calls=_metric(text, 'request_predict_seconds_count{model_name="iris"}'),
            rows=_metric(text, "iris_rows_total"),
        )

    def wait_queued(self, count: int) -> None:
        """Wait until that many requests wait in the sidecar. Raises `DemoError` in the long run."""
        url = f"http://127.0.0.1:{self.admin_port}/metrics"
        deadline = time.monotonic() + QUEUED_TIMEOUT_S
        while time.monotonic() < deadline:
            text = requests.get(url, timeout=REQUEST_TIMEOUT_S).text
            if _metric(text, "inference_batcher_queued_requests") >= count:
                return
            time.sleep(POLL_INTERVAL_S)
        raise DemoError(f"{count} requests should wait in the sidecar, but do not.")


def _metric(text: str, name: str) -> int:
    match = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return int(float(match[1])) if match else 0


def ask(url: str, rows: Rows) -> Reply:
    """Send rows as the example client does."""
    began = time.perf_counter()
    response = requests.post(url, data=json.dumps({"instances": rows}), timeout=REQUEST_TIMEOUT_S)
    return Reply(response, (time.perf_counter() - began) * 1000)


def one_caller(site: Site) -> None:
    """The example client, unchanged."""
    report = site.report
    url = site.url(site.port)
    report.scene("1  A client that knows nothing of batching")
    report.code(
        f'url = "{url}"\n'
        'data = {"instances": load_iris().data[:3].tolist()}\n'
        "response = requests.post(url, data=json.dumps(data))"
    )
    before = site.counters()
    reply = ask(url, site.rows[:3])
    seen = site.counters().since(before)
    report.json(reply.body or reply.response.text)
    status = reply.response.status_code
    body = reply.body
    report.claim(
        status == 200 and _is_uuid4(reply.batch_id) and body.get("message") == "",
        f"{status} with batchId, message and predictions.",
        f"The answer should be 200 with a batchId and an empty message, but is {status}.",
    )
    report.claim(
        reply.gives(site.predictions[:3]) and seen == Counters(1, 3),
        "The predictions are what the model server answers when asked directly.",
        f"The predictions should be {site.predictions[:3]} from 1 call with 3 rows, but are "
        f"{body.get('predictions')} from {seen.calls} calls with {seen.rows} rows.",
    )
    report.claim(
        reply.took_ms >= site.window_ms,
        f"Being alone, it waited the whole window for company: {reply.took_ms:.0f} ms, "
        f"maxLatency {site.window_ms} ms.",
        f"A lone request should wait {site.window_ms} ms, but took {reply.took_ms:.0f} ms.",
    )
    if timing := reply.response.headers.get("Server-Timing"):
        report.fact(f"Server-Timing: {timing}")


def one_batch(site: Site) -> None:
    """20 and then 32 instances: the size is a trigger, not a cap."""
    report = site.report
    report.scene(f"2  20 + 32 instances, maxBatchSize {site.batch_size}: one batch of 52")
    url = site.url(site.port)
    sizes = (20, 32)
    parts = (slice(0, 20), slice(20, 52))
    before = site.counters()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, url, site.rows[parts[0]])
        site.wait_queued(1)
        second = pool.submit(ask, url, site.rows[parts[1]])
        replies = (first.result(), second.result())
    seen = site.counters().since(before)
    report.table(
        ("<caller", "rows", "status", "X-Batch-Size", "ms", "<batchId"),
        [
            (
                name,
                str(size),
                str(reply.response.status_code),
                reply.batch_size,
                f"{reply.took_ms:.0f}",
                reply.batch_id,
            )
            for name, size, reply in zip(("first", "second"), sizes, replies, strict=True)
        ],
    )
    ids = {reply.batch_id for reply in replies}
    report.claim(
        len(ids) == 1 and _is_uuid4(*ids) and {reply.batch_size for reply in replies} == {"52"},
        "Both travelled in one batch of 52 and share its batchId.",
        "Both should share one batch of 52 and one batchId, but do not.",
    )
    report.claim(
        seen == Counters(1, 52),
        "The model server counted 1 call with 52 rows.",
        "The model server should have counted 1 call with 52 rows, "
        f"but counted {seen.calls} with {seen.rows}.",
    )
    report.claim(
        all(
            reply.gives(site.predictions[part]) for reply, part in zip(replies, parts, strict=True)
        ),
        "Each caller got its own rows' predictions, in its own order.",
        "Somebody did not get exactly its own rows' predictions.",
    )


def a_bad_request(site: Site) -> None:
    """Four callers fill a batch; one of them sends a row that the model cannot take."""
    report = site.report
    report.scene("3  A bad request fails alone")
    size = site.batch_size // 4
    parts = [slice(start, start + size) for start in range(0, 4 * size, size)]
    rows = [[list(row) for row in site.rows[part]] for part in parts]
    rows[2][-1][2] = None
    report.say(
        f"Four callers with {size} rows each fill a batch. A row of the third lacks a value:\n"
        f"  {json.dumps(rows[2][-1])}"
    )
    direct = ask(site.url(site.model_port), rows[2])
    before = site.counters()
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(ask, [site.url(site.port)] * 4, rows))
    seen = site.counters().since(before)
    report.table(
        ("<caller", "status", "<answer"),
        [
            (
                str(number),
                str(reply.response.status_code),
                textwrap.shorten(
                    str(reply.body.get("error") or f"predictions {reply.body.get('predictions')}"),
                    width=52,
                    placeholder=" ...",
                ),
            )
            for number, reply in enumerate(replies, 1)
        ],
    )
    bad = replies[2]
    report.claim(
        (bad.response.status_code, bad.response.content)
        == (direct.response.status_code, direct.response.content)
        and bad.response.status_code >= 400,
        f"The bad one got the model server's own {direct.response.status_code}, byte for byte.",
        f"The bad request should get the model server's {direct.response.status_code} "
        f"({direct.response.text!r}), but got {bad.response.status_code} ({bad.response.text!r}).",
    )
    report.claim(
        all(replies[i].gives(site.predictions[parts[i]]) for i in (0, 1, 3)),
        "Its three neighbours got 200 with their own predictions.",
        "A neighbour of the bad request did not get its own predictions.",
    )
    # The whole, two halves of which one fails, and that one's two halves.
    report.claim(
        seen == Counters(5, 4 * size + 2 * (2 * size) + 2 * size),
        f"They did share a batch: it failed, and {seen.calls - 1} smaller calls found the culprit "
        f"({seen.calls} calls in all, {seen.rows} rows).",
        "One shared batch and four smaller calls were expected, but the model server counted "
        f"{seen.calls} calls with {seen.rows} rows.",
    )


def _is_uuid4(text: str) -> bool:
    try:
        return uuid.UUID(text).version == 4
    except ValueError:
        return False
