"""The alerts ask for metrics that the programs have."""

import json
import re

from prometheus_client.parser import text_string_to_metric_families

from batcher_operator.authority import Standing
from batcher_operator.memory import Memory
from batcher_operator.metrics import Metrics as OperatorMetrics
from batcher_sidecar.metrics import Metrics as SidecarMetrics
from batcher_webhook.metrics import Metrics as WebhookMetrics
from tests.chart.rendered import CASES, Chart, case, render

NAME = re.compile(r"\binference_batcher_\w+")
SELECTOR = re.compile(r'(inference_batcher_\w+)\{(\w+)="(\w+)"\}')


def rules(chart: Chart) -> dict[str, list[str]]:
    (group,) = chart.one("PrometheusRule")["spec"]["groups"]
    found: dict[str, list[str]] = {}
    for rule in group["rules"]:
        found.setdefault(rule["alert"], []).append(rule["expr"])
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("warning", "critical")
    return found


def scraped() -> dict[str, set[tuple[str, str]]]:
    """Every sample's name with the labels it had, of programs that saw a little."""
    operator = OperatorMetrics()
    operator.watch_cluster(Memory(), "image", lambda: 0)
    operator.watch_certificates(lambda: Standing(why_not_ready=""))
    sidecar = SidecarMetrics()
    sidecar.bind(queued_requests=lambda: 0, queued_bytes=lambda: 0, batches_in_flight=lambda: 0)
    sidecar.request_done("v1", "iris", 429)
    bodies = (operator.scrape()[0], sidecar.render()[0], WebhookMetrics().scrape()[0])
    found: dict[str, set[tuple[str, str]]] = {}
    for body in bodies:
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels.items())
    return found


def test_alerts_ask_for_metrics_that_exist() -> None:
    known = scraped()
    standalone = render({**CASES["pod monitor"], "mode": "standalone"})
    texts = [expr for exprs in rules(standalone).values() for expr in exprs]
    assert len(texts) >= 9
    for text in texts:
        names = NAME.findall(text)
        assert names and set(names) <= set(known), text
        for name, label, value in SELECTOR.findall(text):
            assert (label, value) in known[name], text


def test_alerts_speak_of_kserve_only_where_it_is() -> None:
    asked = CASES["pod monitor"]
    rule = json.dumps(render({**asked, "mode": "standalone"}).one("PrometheusRule"))
    assert "without batching" in rule
    assert "KServe" not in rule
    assert "KServe's own agent" in json.dumps(case("pod monitor").one("PrometheusRule"))


def test_certificates_are_late_before_they_expire_and_after_their_renewal() -> None:
    exprs = rules(case("pod monitor"))["InferenceBatcherCertificateExpires"]
    left = {
        match[1]: int(match[2])
        for expr in exprs
        if (match := re.search(r'certificate="(\w+)".*< (\d+)$', expr))
    }
    assert left == {"ca": 31536000 // 4, "serving": 2592000 // 4}


def test_alerts_are_asked_for_where_their_metrics_are() -> None:
    assert case("annotations").all("PrometheusRule") == []
    enabled = {"metrics": {"scrape": "annotations", "prometheusRule": {"enabled": True}}}
    assert "InferenceBatcherSaturated" in rules(case("pod monitor"))
    assert "InferenceBatcherSaturated" not in rules(render(enabled))
    assert "InferenceBatcherServiceNotApplied" not in rules(render(enabled))
    assert "InferenceBatcherServiceNotApplied" in rules(render({**enabled, "mode": "standalone"}))
    assert "InferenceBatcherCertificateExpires" not in rules(
        render({**enabled, **CASES["cert-manager"]})
    )
