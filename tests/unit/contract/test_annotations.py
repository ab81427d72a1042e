"""Annotations: read over the same table, told in the user's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_contract import BatcherSettings, PodOptions, parse_annotations
from batcher_contract.names import ANNOTATION_PREFIX


def ours(**texts: str) -> dict[str, str]:
    return {ANNOTATION_PREFIX + key.replace("_", "-"): text for key, text in texts.items()}


def faults_of(annotations: dict[str, str], base: BatcherSettings | None = None) -> list[str]:
    return [str(fault) for fault in parse_annotations(annotations, base).faults]


def test_values_reach_their_fields() -> None:
    parsed = parse_annotations(
        ours(
            timeout="30",
            strategy="window",
            max_concurrency="8",
            hard_max_batch_size="64",
            isolate_failures="false",
            batch_key_headers="authorization",
            row_signature="type",
            max_queue_size="50",
            max_queue_bytes="32Mi",
            max_body_bytes="1Mi",
            drain_quiet="1",
            drain_timeout="2",
            inject="false",
            cpu_request="100m",
            cpu_limit="1",
            memory_request="64Mi",
            memory_limit="1Gi",
            restarted_at="now",
        )
    )
    assert parsed.faults == ()
    assert parsed.settings == BatcherSettings(
        timeout_s=30,
        max_concurrency=8,
        hard_max_batch_size=64,
        isolate_failures=False,
        batch_key_headers=("authorization",),
        row_signature="type",
        max_queue_size=50,
        max_queue_bytes=32 * 2**20,
        max_body_bytes=2**20,
        drain_quiet_s=1,
        drain_timeout_s=2,
    )
    assert parsed.extras == PodOptions(
        inject=False,
        cpu_request="100m",
        cpu_limit="1",
        memory_request="64Mi",
        memory_limit="1Gi",
        restarted_at="now",
    )
    assert len(parsed.given) == 18


def test_the_annotations_of_others_are_none_of_our_business() -> None:
    parsed = parse_annotations(
        {"kubectl.kubernetes.io/last-applied-configuration": "{}", "timeout": "x", "a/timeout": "x"}
    )
    assert parsed.faults == ()
    assert parsed.settings == BatcherSettings()
    assert parsed.extras == PodOptions()


def test_what_the_webhook_wrote_is_known() -> None:
    assert parse_annotations(ours(decision="injected")).extras.decision == "injected"


def test_the_base_stands_where_nothing_is_said() -> None:
    base = BatcherSettings(max_batch_size=8, max_latency_ms=100, timeout_s=10)
    parsed = parse_annotations(ours(max_concurrency="2"), base)
    assert parsed.settings.max_batch_size == 8
    assert parsed.settings.timeout_s == 10
    assert parsed.settings.max_concurrency == 2
    assert parsed.given == {"max_concurrency"}


@pytest.mark.parametrize(
    ("annotations", "sentence"),
    [
        (
            ours(timout="3"),
            (
                "inference-batcher.io/timout is an unknown annotation: "
                "did you mean inference-batcher.io/timeout?"
            ),
        ),
        (
            ours(max_batchsize="3"),
            (
                "inference-batcher.io/max-batchsize is an unknown annotation: "
                "set maxBatchSize in the batcher section instead"
            ),
        ),
        (
            {"inference-batcher.io/maxLatency": "3"},
            (
                "inference-batcher.io/maxLatency is an unknown annotation: "
                "set maxLatency in the batcher section instead"
            ),
        ),
        (
            ours(max_concurrency="none"),
            (
                'inference-batcher.io/max-concurrency "none" is not a whole number: '
                "give a whole number of batches from 1 to 10000"
            ),
        ),
        (
            ours(inject="no"),
            'inference-batcher.io/inject "no" is neither true nor false: give true or false',
        ),
        (
            ours(timeout="3"),
            (
                'inference-batcher.io/timeout "3" must exceed maxLatency, '
                "which is 5000 milliseconds: give more than 5 seconds, or lower maxLatency"
            ),
        ),
        (
            ours(cpu_request="2", cpu_limit="1500m"),
            (
                'inference-batcher.io/cpu-limit "1500m" must be at least '
                "inference-batcher.io/cpu-request, which is 2: "
                "give at least 2, or lower inference-batcher.io/cpu-request"
            ),
        ),
        (
            ours(memory_limit="64"),
            (
                'inference-batcher.io/memory-limit "64" is less than 16Mi: '
                "give memory as Kubernetes writes it, at least 16Mi, as in 256Mi"
            ),
        ),
    ],
)
def test_faults_are_told_in_the_words_of_annotations(
    annotations: dict[str, str], sentence: str
) -> None:
    assert faults_of(annotations) == [sentence]


def test_a_word_like_none_of_ours_gets_the_list() -> None:
    (sentence,) = faults_of(ours(zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz="1"))
    assert "remove it, or use one of" in sentence
    assert "inference-batcher.io/timeout" in sentence


def test_every_fault_is_told_and_the_rest_applied() -> None:
    parsed = parse_annotations(ours(timeout="x", strateg="y", max_concurrency="0", drain_quiet="2"))
    assert [fault.field for fault in parsed.faults] == [
        "inference-batcher.io/strateg",
        "inference-batcher.io/timeout",
        "inference-batcher.io/max-concurrency",
    ]
    assert parsed.settings == BatcherSettings(drain_quiet_s=2)


def test_a_contradiction_falls_back_to_the_base() -> None:
    base = BatcherSettings(max_latency_ms=10_000)
    parsed = parse_annotations(ours(timeout="7"), base)
    assert parsed.settings == base
    assert parsed.given == set()


def test_a_base_that_contradicts_itself_is_told_and_can_be_mended() -> None:
    base = BatcherSettings(max_latency_ms=400_000)
    assert len(faults_of({}, base)) == 1
    assert faults_of(ours(timeout="500"), base) == []


@given(
    st.dictionaries(
        st.sampled_from(["timeout", "inject", "cpu-limit", "drain-quiet", "nonsense", ""]).map(
            ANNOTATION_PREFIX.__add__
        ),
        st.text(),
    )
)
def test_any_text_is_applied_or_told(annotations: dict[str, str]) -> None:
    parsed = parse_annotations(annotations)
    assert len(parsed.given) + len(parsed.faults) == len(annotations)


def test_a_section_is_read_together_with_the_annotations() -> None:
    section = {"maxBatchSize": "8", "maxLatency": "400000"}
    parsed = parse_annotations({f"{ANNOTATION_PREFIX}timeout": "600"}, section=section)
    assert parsed.settings.max_latency_ms == 400_000
    assert parsed.given == {"max_batch_size", "max_latency_ms", "timeout_s"}
    assert parsed.faults == ()


def test_a_section_that_contradicts_a_default_is_not_applied() -> None:
    parsed = parse_annotations({}, section={"maxLatency": "400000"})
    assert parsed.settings == BatcherSettings()
    assert [fault.field for fault in parsed.faults] == ["maxLatency"]
