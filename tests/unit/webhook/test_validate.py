"""What is told to somebody who applies an InferenceService."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_webhook.settle import Resources
from batcher_webhook.validate import Verdict, validate

PREFIX = "inference-batcher.io/"


def service(
    batcher: Any = None,
    annotations: dict[str, Any] | None = None,
    own: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    predictor: dict[str, Any] = {"model": {"modelFormat": {"name": "sklearn"}}, **more}
    if batcher is not None:
        predictor["batcher"] = batcher
    if own is not None:
        predictor["annotations"] = {PREFIX + key: text for key, text in own.items()}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "iris",
            "annotations": {PREFIX + key: text for key, text in (annotations or {}).items()},
        },
        "spec": {"predictor": predictor},
    }


def judged(new: dict[str, Any], old: dict[str, Any] | None = None) -> Verdict:
    return validate(new, old or {}, Resources())


def told(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return [str(fault) for fault in judged(new, old).faults]


@pytest.mark.parametrize(
    "right",
    [
        service(),
        service({}),
        service({"maxBatchSize": 32, "maxLatency": 10000}),
        service({"maxBatchSize": None}),
        service({"maxBatchSize": 8, "newInALaterKServe": "x"}),
        service({"maxLatency": 400_000}, {"timeout": "600"}, terminationGracePeriodSeconds=500),
        service({"maxLatency": 50}, {"timeout": "30", "inject": "false", "cpu-request": "50m"}),
        service({"maxLatency": 50}, {"max-body-bytes": "512Mi", "memory-limit": "4Gi"}),
        {},
        {"spec": {"predictor": {"batcher": {}}}},
    ],
)
def test_right_services_pass_in_silence(right: dict[str, Any]) -> None:
    assert judged(right) == Verdict()


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (
            service({"maxBatchSize": 0}),
            (
                'spec.predictor.batcher.maxBatchSize "0" is less than 1: '
                "give a whole number of instances from 1 to 1000000"
            ),
        ),
        (
            service({"maxLatency": -5}),
            (
                'spec.predictor.batcher.maxLatency "-5" is less than 1: '
                "give a whole number of milliseconds from 1 to 3600000"
            ),
        ),
        (
            service({"timeout": 0}),
            (
                'spec.predictor.batcher.timeout "0" is less than 0.001: '
                "give a plain number of seconds from 0.001 to 86400"
            ),
        ),
        (
            service({"maxBatchSize": "32"}),
            (
                'spec.predictor.batcher.maxBatchSize "32" is not a whole number: '
                "give a whole number of instances from 1 to 1000000, without quotes"
            ),
        ),
        (
            service([]),
            "spec.predictor.batcher is not an object: give maxBatchSize and maxLatency in it",
        ),
        (
            service({"maxLatency": 400_000}),
            (
                'spec.predictor.batcher.maxLatency "400000" must be less than '
                "inference-batcher.io/timeout, which is 300 seconds: give less than 300000 "
                "milliseconds, or raise inference-batcher.io/timeout"
            ),
        ),
        (
            service({"maxBatchSize": 32}, {"hard-max-batch-size": "16"}),
            (
                'metadata.annotations[inference-batcher.io/hard-max-batch-size] "16" must be '
                "at least maxBatchSize, which is 32 instances: give at least 32 instances, or "
                "lower maxBatchSize"
            ),
        ),
        (
            service({}, {"max-concurency": "2"}),
            (
                "metadata.annotations[inference-batcher.io/max-concurency] is an unknown "
                "annotation: did you mean inference-batcher.io/max-concurrency?"
            ),
        ),
        (
            service({}, {"max-latency": "2"}),
            (
                "metadata.annotations[inference-batcher.io/max-latency] is an unknown annotation: "
                "set maxLatency in the batcher section instead"
            ),
        ),
        (
            service({}, own={"strategy": "magic"}),
            (
                'spec.predictor.annotations[inference-batcher.io/strategy] "magic" is not known: '
                "give window"
            ),
        ),
        (
            service({}, {"timeout": 30}),
            (
                'metadata.annotations[inference-batcher.io/timeout] "30" is not a text: '
                "put it in quotes"
            ),
        ),
        (
            service({}, {"cpu-request": "2", "cpu-limit": "1"}),
            (
                'metadata.annotations[inference-batcher.io/cpu-limit] "1" must be at least '
                "inference-batcher.io/cpu-request, which is 2: give at least 2, or lower "
                "inference-batcher.io/cpu-request"
            ),
        ),
    ],
)
def test_a_fault_names_path_value_and_remedy(wrong: dict[str, Any], fault: str) -> None:
    assert told(wrong) == [fault]


def test_all_faults_are_told_at_once() -> None:
    wrong = service({"maxBatchSize": 0, "maxLatency": -1}, {"max-concurrency": "0", "nope": "1"})
    wrong["spec"]["transformer"] = {"batcher": {"maxLatency": 0}}
    assert len(told(wrong)) == 5


def test_a_component_overrides_the_service() -> None:
    assert told(service({}, {"timeout": "1"}, {"timeout": "60"})) == []


def test_annotations_of_no_batcher_may_contradict_each_other_but_not_be_nonsense() -> None:
    assert told(service(None, {"timeout": "1"})) == []
    assert len(told(service(None, {"timeout": "soon"}))) == 1


def test_the_batcher_of_one_component_does_not_judge_another() -> None:
    mixed = service(None, {"timeout": "1"})
    mixed["spec"]["transformer"] = {"batcher": {"maxLatency": 100}}
    assert told(mixed) == []


def test_a_raw_explainer_with_a_batcher_is_refused() -> None:
    wrong = service()
    wrong["spec"]["explainer"] = {"batcher": {"maxLatency": 5}}
    assert judged(wrong).faults == ()
    assert judged(wrong).warnings == (
        "spec.explainer.batcher has no effect: KServe passes it to nobody",
    )
    wrong["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Standard"
    assert told(wrong) == [
        (
            "spec.explainer.batcher makes KServe's Service point at a port that nobody serves in "
            "Standard mode: remove it, and put the batcher section under spec.predictor"
        )
    ]
    assert told(wrong, wrong) == []


def test_an_object_that_was_wrong_may_be_changed_and_deleted() -> None:
    wrong = service({"maxBatchSize": 0}, {"nope": "1"})
    labelled = copy.deepcopy(wrong)
    labelled["metadata"]["labels"] = {"team": "a"}
    assert told(labelled, wrong) == []
    worse = copy.deepcopy(labelled)
    worse["spec"]["predictor"]["batcher"]["maxLatency"] = 0
    assert len(told(worse, wrong)) == 1
    other = copy.deepcopy(wrong)
    other["spec"]["predictor"]["batcher"]["maxBatchSize"] = -1
    assert len(told(other, wrong)) == 1
    worse["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert judged(worse, wrong) == Verdict()


@pytest.mark.parametrize(
    ("useless", "warning"),
    [
        (service({}, containerConcurrency=1), "spec.predictor.containerConcurrency 1 lets in"),
        (service({"timeout": 30}), "the annotation inference-batcher.io/timeout"),
        (service({"maxLatency": 40_000}), "needs 45 s"),
        (service({"maxLatency": 10_000}, terminationGracePeriodSeconds=12), "gets 12 s"),
        (service({}, {"drain-quiet": "40", "drain-timeout": "60"}), "needs 45 s"),
        (service({}, {"decision": "Injected: x"}), "the webhook writes it"),
    ],
)
def test_what_is_useless_is_warned_of(useless: dict[str, Any], warning: str) -> None:
    verdict = judged(useless)
    assert verdict.faults == ()
    assert len(verdict.warnings) == 1
    assert warning in verdict.warnings[0]
    assert len(verdict.warnings[0]) <= 256


def test_knative_chooses_the_grace_period_itself() -> None:
    long = service({"maxLatency": 40_000})
    long["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Knative"
    assert judged(long) == Verdict()


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "predictor",
                    "transformer",
                    "explainer",
                    "batcher",
                    "annotations",
                    "timeout",
                    "maxLatency",
                    "containerConcurrency",
                    "terminationGracePeriodSeconds",
                    "inference-batcher.io/timeout",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JUNK, JUNK, JUNK)
def test_nothing_is_too_strange(metadata: Any, spec: Any, old: Any) -> None:
    new = {"metadata": metadata, "spec": spec, "status": old}
    judged(new, {"metadata": old, "spec": old})
    assert judged(new, new).faults == ()


def standalone(service: dict[str, Any]) -> Verdict:
    return validate(service, {}, Resources(), "standalone")


def test_standalone_mode_honours_the_sections_timeout() -> None:
    container = {"name": "kserve-container", "image": "a:1"}
    service = {
        "metadata": {"name": "iris"},
        "spec": {"predictor": {"containers": [container], "batcher": {"timeout": 60}}},
    }
    assert standalone(service) == Verdict()
    batcher = service["spec"]["predictor"]["batcher"]  # type: ignore[index]
    batcher["timeout"] = 2
    (fault,) = standalone(service).faults
    assert fault.field == "spec.predictor.batcher.timeout"
    assert "must exceed" in fault.problem


def test_standalone_mode_refuses_and_warns_of_what_only_kserve_does() -> None:
    container = {"name": "kserve-container", "image": "a:1"}
    service = {
        "metadata": {"name": "iris"},
        "spec": {
            "predictor": {
                "containers": [container],
                "batcher": {},
                "logger": {"mode": "all"},
                "containerConcurrency": 1,
            }
        },
    }
    verdict = standalone(service)
    assert [fault.field for fault in verdict.faults] == ["spec.predictor.logger"]
    assert verdict.warnings == (
        "spec.predictor.containerConcurrency has no effect: it is enforced by Knative only",
    )
    assert validate(service, {}, Resources()).faults == ()
