"""What the chart takes as values, and how it refuses what it does not."""

import json
from typing import Any

import pytest
import yaml

from batcher_contract import __version__
from tests.chart.rendered import CASES, helm, refusal
from tests.chart.test_definitions import DEFINED, STANDALONE
from tests.chart.values_table import CHART, leaves, rows, shown_table, table

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def test_the_chart_is_of_the_programs_version() -> None:
    meta = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert meta["version"] == meta["appVersion"] == __version__
    assert meta["kubeVersion"] == ">=1.30.0-0"


def test_helm_lint_finds_nothing() -> None:
    done = helm("lint", "--strict", "--kube-version", "1.30.0", str(CHART))
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_every_value_is_explained() -> None:
    assert set(leaves()) == {row.path for row in rows()}


def test_the_readme_shows_every_value() -> None:
    assert shown_table() == table(), "run `python -m tests.chart.values_table`"


def test_the_schema_knows_every_value_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(value: Any, schema: Any, path: str) -> None:
        if isinstance(value, dict) and "properties" in schema:
            assert set(value) == set(schema["properties"]) - {"global"}, path
            for key, inner in value.items():
                compare(inner, schema["properties"][key], f"{path}.{key}")

    compare(values, SCHEMA, "")


def test_no_object_of_the_schema_takes_unknown_keys() -> None:
    def walk(schema: Any, path: str) -> None:
        if isinstance(schema, list):
            for item in schema:
                walk(item, path)
        if not isinstance(schema, dict):
            return
        if "properties" in schema:
            assert schema["additionalProperties"] is False, path
        for key, inner in schema.items():
            walk(inner, f"{path}/{key}")

    walk(SCHEMA, "")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"webhok": {}}, "additional properties 'webhok' not allowed"),
        ({"webhook": {"replica": 2}}, "'/webhook': additional properties 'replica' not allowed"),
        (
            {"certificates": {"certManager": {"enable": True}}},
            "'/certificates/certManager': additional properties 'enable' not allowed",
        ),
        ({"webhook": {"replicas": 0}}, "'/webhook/replicas': minimum: got 0, want 1"),
        ({"webhook": {"replicas": "2"}}, "'/webhook/replicas': got string, want integer"),
        ({"webhook": {"port": 443}}, "'/webhook/port': minimum: got 443, want 1,024"),
        ({"webhook": {"failurePolicy": {"pods": "ignore"}}}, "one of 'Ignore', 'Fail'"),
        ({"uid": 0}, "'/uid': minimum: got 0, want 1"),
        ({"uid": "root"}, "'/uid': maxLength"),
        ({"logLevel": "trace"}, "'/logLevel': value must be one of"),
        (
            {"image": {"sidecar": {"digest": "abc"}}},
            "'/image/sidecar/digest': 'abc' does not match",
        ),
        ({"sidecar": {"imagePullSecrets": ["x"]}}, "got string, want object"),
        ({"sidecar": {"resources": {"limits": {"cpu": "1 core"}}}}, "does not match pattern"),
        ({"metrics": {"scrape": "both"}}, "'/metrics/scrape': value must be one of"),
        ({"metrics": {"podMonitor": {"interval": "15"}}}, "does not match pattern"),
        ({"networkPolicy": {"metricsFrom": [{}]}}, "minProperties"),
        ({"commonLabels": {"a": 1}}, "got number, want string"),
        (
            {"webhook": {"hostNetwork": True, "port": 10250}},
            "webhook.port 10250 is the kubelet's on the host's network",
        ),
        ({"webhook": {"port": 9084}}, "webhook.healthPort 9084 is also the webhook's port"),
        (
            {"certificates": {"caLifetimeSeconds": 86400}},
            "certificates.lifetimeSeconds 2592000 exceeds certificates.caLifetimeSeconds 86400",
        ),
        (
            {"certificates": {"lifetimeSeconds": 900}},
            "certificates.overlapSeconds 600 exceeds a third of certificates.lifetimeSeconds 900",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_values_are_refused(values: dict[str, Any], words: str) -> None:
    assert words in refusal(values)


def test_every_value_is_set_in_some_case() -> None:
    def paths(value: object, path: str) -> set[str]:
        found = {path}
        if isinstance(value, dict):
            for key, inner in value.items():
                found |= paths(inner, f"{path}.{key}" if path else key)
        return found

    used = set().union(*(paths(values, "") for values in (*CASES.values(), DEFINED, STANDALONE)))
    unused = {row.path for row in rows()} - used
    # Plain texts, like others that are set.
    assert unused <= {
        "fullnameOverride",
        "image.control.repository",
        "image.control.tag",
        "image.sidecar.repository",
        "image.sidecar.digest",
        "certificates.certManager.issuerRef.group",
        "metrics.podMonitor.sidecars",
    }
