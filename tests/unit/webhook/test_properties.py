"""What holds for pods that nobody foresaw: goldens with parts taken out, doubled or replaced."""

import copy
import json
from dataclasses import replace
from typing import Any, get_args

import jsonpatch
from hypothesis import given
from hypothesis import strategies as st

from batcher_contract import FIELDS, BatcherSettings, SettingsError, parse_flags, split_arguments
from batcher_contract.quantities import parse_quantity
from batcher_contract.settings import Mode
from batcher_webhook.decide import Action, decide
from batcher_webhook.inject import Sidecar
from batcher_webhook.patch import difference
from batcher_webhook.pods import is_ours
from tests.unit.webhook.golden_files import CASES, SIDECAR, Pod, applied, before
from tests.unit.webhook.test_golden import as_json

PODS = {case: before(case) for case in CASES}
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70_000),
    st.sampled_from(["", "agent", "9081", "true", "--enable-batcher", "\x00", "h2c"]),
    st.just([]),
    st.just({}),
    st.just([{}]),
    st.just([[]]),
    st.just({"name": "agent"}),
    st.just([{"name": "agent"}]),
)
OUR_KEYS = [field.annotation_key for field in FIELDS.values() if field.annotation is not None]
MODES = st.sampled_from(get_args(Mode))
KSERVE_KEYS = [
    "internal.serving.kserve.io/batcher-max-batchsize",
    "internal.serving.kserve.io/batcher-max-latency",
]
TEXTS = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "7", "500m", "64Mi", "2Gi", "1e3", "true", "false", "x"]),
    st.integers(0, 10**7).map(str),
    st.text(max_size=8),
)


@st.composite
def mutated(draw: st.DrawFn) -> Pod:
    pod = copy.deepcopy(PODS[draw(st.sampled_from(CASES))])
    for _ in range(draw(st.integers(1, 4))):
        _mutate(draw, pod)
    return pod


def _mutate(draw: st.DrawFn, node: Any) -> None:
    """Walk down to a random place; remove, double or replace what is there."""
    while isinstance(node, dict | list) and node:
        keys = sorted(node, key=str) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        child = node[key]
        if isinstance(child, dict | list) and child and draw(st.integers(0, 3)):
            node = child
            continue
        what = draw(st.sampled_from(["remove", "replace", "double"]))
        if what == "remove":
            del node[key]
        elif what == "double" and isinstance(node, list):
            node.append(copy.deepcopy(child))
        else:
            node[key] = copy.deepcopy(draw(JUNK))
        return


@st.composite
def annotated(draw: st.DrawFn) -> Pod:
    pod = copy.deepcopy(PODS[draw(st.sampled_from(CASES))])
    keys = st.sampled_from([*OUR_KEYS, *KSERVE_KEYS, "inference-batcher.io/nonsense"])
    pod["metadata"]["annotations"].update(draw(st.dictionaries(keys, TEXTS, max_size=6)))
    return pod


@given(st.one_of(mutated(), annotated()))
def test_no_pod_is_too_strange(pod: Pod) -> None:
    was = copy.deepcopy(pod)
    decision, after = applied(pod)
    assert pod == was
    assert decision.text
    operations = json.loads(json.dumps(difference(pod, after)))
    assert as_json(jsonpatch.apply_patch(pod, operations)) == as_json(after)
    assert as_json(applied(after)[1]) == as_json(after)


@given(JUNK, MODES)
def test_what_is_no_pod_is_ignored(value: Any, mode: Mode) -> None:
    pod = value if isinstance(value, dict) else {"spec": value}
    assert not decide(pod, SIDECAR.resources, mode).action.injects


@given(st.one_of(mutated(), annotated()))
def test_without_kserve_nothing_is_waited_for_and_nothing_is_kserves(pod: Pod) -> None:
    decision, after = applied(pod, mode="standalone")
    assert decision.action in (Action.IGNORE, Action.LEAVE, Action.ADD)
    assert decision.reason not in ("Waiting", "ForeignAgent")
    assert "KServe" not in decision.text.partition("; not applied")[0].replace("NotOfKServe", "")
    assert as_json(applied(after, mode="standalone")[1]) == as_json(after)


@given(annotated())
def test_an_injected_sidecar_can_start(pod: Pod) -> None:
    decision, after = applied(pod, Sidecar(image="example/batcher-sidecar:1"))
    ours = [c for c in after["spec"]["containers"] if is_ours(c)]
    if not decision.action.injects:
        return
    assert len(ours) == 1
    (container,) = ours
    texts, faults = split_arguments(container["args"])
    resources = container["resources"]
    for name in ("cpu", "memory"):
        low, high = (parse_quantity(resources[kind][name]) for kind in ("requests", "limits"))
        assert low is not None
        assert high is not None
        assert low <= high
    flags = parse_flags(texts, _base_of(resources["limits"]["memory"]))
    if faults or flags.faults:
        raise SettingsError([*faults, *flags.faults])
    assert decision.settled is not None
    for name in decision.settled.given:
        if hasattr(flags.settings, name):
            assert getattr(flags.settings, name) == getattr(decision.settled.settings, name)


def _base_of(memory_limit: str) -> BatcherSettings:
    """As the sidecar's process makes it of its container's limit."""
    limit = parse_quantity(memory_limit)
    assert limit is not None
    return replace(BatcherSettings(), max_queue_bytes=int(limit) // 4)
