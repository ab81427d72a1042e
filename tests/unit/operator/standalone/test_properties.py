"""What holds for objects that nobody foresaw: goldens with parts taken out, doubled or replaced."""

import copy
import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batcher_contract import BatcherSettings, parse_settings_file
from batcher_contract.standalone import judge
from batcher_operator.standalone.credentials import read_account, read_secret
from batcher_operator.standalone.runtimes import read_runtime
from batcher_operator.standalone.status import Observed, status_of
from batcher_operator.standalone.workload import Found, Platform, workload_of
from tests.unit.operator.standalone import golden_files
from tests.unit.operator.standalone.golden_files import CASES, Json, found_in, made, service_in

DOCUMENTS = {case: golden_files.given(case) for case in CASES}
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70_000),
    st.floats(allow_nan=False),
    st.sampled_from(
        ["", "kserve-container", "cpu", "{{.Name}}", "{{", "pvc://", "s3://b/x", "\x00"]
    ),
    st.just([]),
    st.just({}),
    st.just([{}]),
    st.just([[]]),
    st.just([1, "x", None]),
    st.just({"name": "kserve-container", "ports": 1}),
    st.just([{"name": "inference-http", "containerPort": 1}]),
)
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
SERVICE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@st.composite
def mutated(draw: st.DrawFn, whole: bool = True) -> list[Json]:
    """The documents of a case, the InferenceService or all of them changed at random."""
    documents = copy.deepcopy(DOCUMENTS[draw(st.sampled_from(CASES))])
    for _ in range(draw(st.integers(1, 4))):
        document = documents[draw(st.integers(0, len(documents) - 1 if whole else 0))]
        parts = [key for key in ("metadata", "spec", "data") if key in document]
        if parts:
            _mutate(draw, document, draw(st.sampled_from(parts)))
    return documents


def _mutate(draw: st.DrawFn, node: Any, key: Any) -> None:
    """Walk down to a random place; remove, double or replace what is there."""
    while True:
        child = node[key]
        if isinstance(child, dict | list) and child and draw(st.integers(0, 5)):
            node = child
            keys = sorted(node, key=str) if isinstance(node, dict) else list(range(len(node)))
            key = draw(st.sampled_from(keys))
            continue
        what = draw(st.sampled_from(["remove", "replace", "double"]))
        if what == "remove":
            del node[key]
        elif what == "double" and isinstance(node, list):
            node.append(copy.deepcopy(child))
        else:
            node[key] = copy.deepcopy(draw(JUNK))
        return


def found_by(documents: list[Json]) -> Found:
    """What is found among documents that may hold anything."""
    by_kind: dict[str, list[Json]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    runtimes = (*by_kind.get("ServingRuntime", ()), *by_kind.get("ClusterServingRuntime", ()))
    accounts = [read_account(each) for each in by_kind.get("ServiceAccount", ())]
    secrets = [read_secret(each) for each in by_kind.get("Secret", ())]
    return Found(
        runtimes=tuple(map(read_runtime, runtimes)),
        accounts={each.name: each for each in accounts},
        secrets={each.name: each for each in secrets},
    )


@given(mutated())
def test_nothing_is_too_strange(documents: list[Json]) -> None:
    service, found = service_in(documents), found_by(documents)
    was = copy.deepcopy(documents)
    workload = workload_of(service, found, Platform())
    assert documents == was
    assert workload == workload_of(service, found, Platform())
    text = json.dumps(workload.objects)
    assert json.loads(text) == list(workload.objects)
    for said in (*workload.faults, *workload.batching_faults, *workload.warnings):
        assert "\n" not in str(said)
        assert str(said)
    judgement = judge(service)
    assert not judgement.faults or workload.faults
    status = status_of(service, workload, Observed(), "2030-01-01T00:00:00Z")
    assert json.loads(json.dumps(status)) == status
    assert ready(status) != "True"


@given(JUNK)
def test_what_is_no_inferenceservice_is_not_run(value: Any) -> None:
    for service in ({"spec": value}, {"spec": {"predictor": value}}, {"metadata": value}):
        workload = workload_of(service, Found(), Platform())
        assert workload.faults or workload.stopped


@given(mutated(whole=False))
def test_names_and_labels_are_such_as_kubernetes_takes(documents: list[Json]) -> None:
    service = service_in(documents)
    for each in workload_of(service, found_by(documents), Platform()).objects:
        meta = each["metadata"]
        assert SERVICE_NAME.fullmatch(meta["name"]) or each["kind"] == "ConfigMap"
        ours = ("app", "component", "serving.kserve.io/inferenceservice")
        assert all(LABEL.fullmatch(meta["labels"][key]) for key in ours)
        if each["kind"] == "Service":
            names = [port["name"] for port in each["spec"]["ports"]]
            assert len(names) == len(set(names))
            assert len({(p["port"], p["protocol"]) for p in each["spec"]["ports"]}) == len(names)


@given(st.text("abz019-.A", min_size=1, max_size=60), st.booleans())
def test_a_name_is_refused_or_fits_everywhere(name: str, transformed: bool) -> None:
    documents = copy.deepcopy(DOCUMENTS["transformer" if transformed else "batcher"])
    service = service_in(documents)
    service["metadata"]["name"] = name
    workload = made(documents)
    for each in workload.objects:
        assert SERVICE_NAME.fullmatch(each["metadata"]["name"]) or each["kind"] == "ConfigMap"
        assert all(LABEL.fullmatch(value) for value in each["metadata"]["labels"].values())
        if each["kind"] == "Service":
            assert all(PORT_NAME.fullmatch(port["name"]) for port in each["spec"]["ports"])
    assert workload.objects or workload.faults


NUMBERS = st.one_of(st.integers(-5, 10**7), st.just("32"), st.just(True), st.none())
TEXTS = st.sampled_from(["", "0", "1", "7", "300", "64Mi", "1e3", "true", "x"])


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["maxBatchSize", "maxLatency", "timeout", "other"], NUMBERS)
    ),
    st.dictionaries(
        st.sampled_from(
            [
                f"inference-batcher.io/{key}"
                for key in ("timeout", "max-queue-bytes", "max-body-bytes", "hard-max-batch-size",
                            "memory-limit", "drain-quiet", "drain-timeout", "nonsense")
            ]
        ),
        TEXTS,
    ),
    st.one_of(
        st.none(),
        st.sampled_from(
            ["", "{}", '{"timeout": "1000", "max-latency": "400000"}', '{"max-batchsize": "9"}']
        ),
    ),
)  # fmt: skip
def test_a_file_of_settings_is_always_one_that_sidecars_take(
    section: Json, annotations: dict[str, str], last: str | None
) -> None:
    documents = copy.deepcopy(DOCUMENTS["batcher"])
    service = service_in(documents)
    service["spec"]["predictor"]["batcher"] = section
    service["metadata"]["annotations"] = annotations
    found = found_in(documents)
    settings = {} if last is None else {"predictor": last}
    found = Found(runtimes=found.runtimes, accounts=found.accounts, secrets=found.secrets,
                  settings=settings)  # fmt: skip
    workload = workload_of(service, found, Platform())
    assert not workload.faults
    text = workload.objects[0]["data"]["settings.json"]
    base = BatcherSettings(max_queue_bytes=2**40)
    for fault in parse_settings_file(text, base).faults:
        assert "max-body-bytes" in fault.field or "max-queue-bytes" in fault.field


def ready(status: Json) -> str:
    (condition,) = (each for each in status["conditions"] if each["type"] == "Ready")
    word: str = condition["status"]
    return word
