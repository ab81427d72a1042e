"""InferenceServices, and the objects that they come to.

`make goldens` writes the files anew; look at the difference.
"""

import copy
import json

import pytest
import yaml

from batcher_operator.standalone.workload import Platform, workload_of
from tests.unit.operator.standalone.golden_files import (
    CASES,
    Json,
    found_in,
    given,
    made,
    report,
    service_in,
    wanted_path,
    write,
)


@pytest.mark.parametrize("case", CASES)
def test_an_inferenceservice_becomes_its_golden(case: str, request: pytest.FixtureRequest) -> None:
    workload = made(given(case))
    text = write([report(workload), *workload.objects])
    path = wanted_path(case)
    if request.config.getoption("--renew-goldens"):
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            pytest.skip(f"renewed {path.name}: look at its difference")
        return
    assert list(yaml.safe_load_all(path.read_text())) == list(yaml.safe_load_all(text))


def test_every_golden_has_its_inferenceservice() -> None:
    folder = wanted_path("x").parent
    assert {p.name.removesuffix(".wanted.yaml") for p in folder.glob("*.wanted.yaml")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_same_comes_of_the_same_and_nothing_given_is_changed(case: str) -> None:
    documents = given(case)
    service, found = service_in(documents), found_in(documents)
    untouched = copy.deepcopy(documents)
    first = workload_of(service, found, Platform())
    for made_object in first.objects:
        # What is done to objects that were made does not reach what they were made of.
        _spoil(made_object)
    second = workload_of(service, found, Platform())
    assert documents == untouched
    assert json.dumps(second.objects) == json.dumps(made(given(case)).objects)


@pytest.mark.parametrize("case", CASES)
def test_a_new_value_of_a_batching_setting_changes_no_pod_template(case: str) -> None:
    documents = given(case)
    before = templates(documents)
    service = service_in(documents)
    for component in ("predictor", "transformer"):
        if service["spec"].get(component, {}).get("batcher") is not None:
            service["spec"][component]["batcher"] = {"maxBatchSize": 7, "maxLatency": 11}
            annotations = service["spec"][component].setdefault("annotations", {})
            annotations["inference-batcher.io/max-concurrency"] = "9"
    assert templates(documents) == before


def templates(documents: list[Json]) -> list[Json]:
    made_objects = made(documents).objects
    return [each["spec"]["template"] for each in made_objects if each["kind"] == "Deployment"]


def _spoil(value: object) -> None:
    if isinstance(value, dict):
        for each in value.values():
            _spoil(each)
        value.clear()
    elif isinstance(value, list):
        for each in value:
            _spoil(each)
        value.clear()
