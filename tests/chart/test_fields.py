"""Every field of an InferenceService: honoured, refused or warned about, never dropped in silence.

Each field that the chart's definition knows is set, alone, in a service that runs: the objects that
come of it change, or something is said that names the field or its value.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from batcher_contract.standalone import COMPONENTS, FRAMEWORKS, SCALING_FIELDS
from batcher_operator.standalone.workload import Workload
from tests.chart.rendered import RELEASE, render
from tests.unit.operator.standalone.golden_files import Json, made

KSERVE: Final = Path(__file__).parent / "kserve_fields.json"
"""What KServe v0.20 defines, but for parts that are Kubernetes' own."""

KEPT: Final = "x-kubernetes-preserve-unknown-fields"
OWN: Final = {"name": "kserve-container", "image": "example/own:1"}
METRIC: Final = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
ITEMS: Final[Json] = {
    "containers": OWN,
    "initContainers": {"name": "early", "image": "example/early:1"},
    "metrics": METRIC,
}
"""What an item of a list has where one field of it is set."""

BESIDE: Final[Json] = {
    "scaleMetric": {"scaleTarget": 50},
    "metrics[].resource.name": {"target": {"averageUtilization": 50}},
}
"""What a field needs beside it."""

VALUES: Final[Json] = {
    "canaryTrafficPercent": 10,
    "confidential": {"enabled": True},
    "deploymentStrategy.type": "Recreate",
    "maxReplicas": 5,
    "metrics[].resource.name": "memory",
    "metrics[].resource.target.type": "Value",
    "metrics[].type": "External",
    "minReplicas": 2,
    "protocolVersion": "v9",
    "scaleMetric": "memory",
    "scaleMetricType": "AverageValue",
    "storageUri": "pvc://sample",
}
"""By the end of a field's path: a value other than the default, where one must be of a kind."""

RENAMED: Final = {
    f"spec.{component}.containers[].name": "the container that serves is always kserve-container"
    for component in ("predictor", "transformer")
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the definition."""

    path: str
    schema: Json
    parents: tuple[Json, ...]
    """The schemas from the spec's down to the one that it is a field of."""


@cache
def spec_schema() -> Json:
    definitions = render({"crds": {"enabled": True}}, RELEASE).all("CustomResourceDefinition")
    (definition,) = (d for d in definitions if d["spec"]["names"]["kind"] == "InferenceService")
    (version,) = definition["spec"]["versions"]
    schema: Json = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def fields_of(schema: Json, path: str, parents: tuple[Json, ...]) -> Iterator[Field]:
    if schema.get("type") == "array":
        yield from fields_of(schema["items"], f"{path}[]", (*parents, schema))
    for key, inner in schema.get("properties", {}).items():
        field = Field(f"{path}.{key}", inner, (*parents, schema))
        if not any(inner.get("properties", inner.get("items", {}).get("properties", {}))):
            yield field
        yield from fields_of(inner, field.path, field.parents)


FIELDS: Final = list(fields_of(spec_schema(), "spec", ()))
SCALING: Final = [each for each in FIELDS if set(each.path.split(".")) & set(SCALING_FIELDS)]


def sample(path: str, schema: Json) -> Any:
    for end, value in VALUES.items():
        if path.endswith(f".{end}"):
            return copy.deepcopy(value)
    kind = schema.get("type")
    if kind == "array":
        return [sample(f"{path}[]", schema["items"])]
    if kind == "object":
        kept = KEPT in schema or "additionalProperties" in schema
        named = "name" if KEPT in schema else "sample"
        return {named: "sample"} if kept else {}
    return {"integer": 7, "boolean": True, "string": "sample"}.get(kind or "", "7")


def around(path: str) -> Json:
    """The spec of a service that runs, to set the field in."""
    parts = path.split(".")
    served = {"model": {"modelFormat": {"name": "sklearn"}}}
    predictor: Json = {**served, "batcher": {}, "minReplicas": 1, "maxReplicas": 3}
    if parts[2:] and parts[1] == "predictor":
        if parts[2] in FRAMEWORKS or parts[2] == "containers[]":
            del predictor["model"]
        if parts[2] in FRAMEWORKS:
            predictor[parts[2]] = {}
    spec = {"predictor": predictor}
    if parts[1] == "transformer":
        own = {"containers": [OWN], "batcher": {}, "minReplicas": 1, "maxReplicas": 3}
        spec["transformer"] = own
    return copy.deepcopy(spec)


def set_in(spec: Json, field: Field, value: Any) -> Json:
    """The spec with the field at that value; with None it has all that is around the field."""
    *steps, last = field.path.split(".")[1:]
    node = spec
    for step in steps:
        key = step.removesuffix("[]")
        if key != step:
            items = node.setdefault(key, [copy.deepcopy(ITEMS.get(key, {}))])
            node = items[0]
        else:
            node = node.setdefault(key, {})
    for end, more in BESIDE.items():
        if field.path.endswith(f".{end}"):
            for key, each in copy.deepcopy(more).items():
                node[key] = {**node.get(key, {}), **each} if isinstance(each, dict) else each
    if "[]" in field.path:
        for key in field.parents[-1].get("required", ()):
            schema = field.parents[-1]["properties"][key]
            if key != last:
                node.setdefault(key, sample(f"{field.path.rpartition('.')[0]}.{key}", schema))
    if value is not None:
        node[last] = value
    return spec


def come_to(spec: Json) -> Workload:
    formats = [{"name": name, "autoSelect": True} for name in ("sklearn", *FRAMEWORKS)]
    server = {"name": "kserve-container", "image": "example/server:1"}
    runtime: Json = {
        "kind": "ClusterServingRuntime",
        "metadata": {"name": "runtime"},
        "spec": {"supportedModelFormats": formats, "containers": [server]},
    }
    runtime["spec"]["protocolVersions"] = ["v1", "v2"]
    meta = {"name": "iris", "namespace": "models", "uid": "u"}
    account = {"kind": "ServiceAccount", "metadata": {"name": "sample"}, "secrets": []}
    return made([{"kind": "InferenceService", "metadata": meta, "spec": spec}, runtime, account])


def said(workload: Workload) -> list[str]:
    return [*map(str, (*workload.faults, *workload.batching_faults)), *workload.warnings]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.path)
def test_a_field_is_honoured_refused_or_warned_about(field: Field) -> None:
    if field.path in RENAMED:
        return
    see_what_becomes_of(field, around(field.path))


@pytest.mark.parametrize("field", SCALING, ids=lambda field: field.path)
def test_a_field_about_scaling_is_so_where_nothing_scales(field: Field) -> None:
    spec = around(field.path)
    for component in COMPONENTS:
        for key in ("minReplicas", "maxReplicas"):
            spec.get(component, {}).pop(key, None)
    see_what_becomes_of(field, spec)


def see_what_becomes_of(field: Field, spec: Json) -> None:
    value = sample(field.path, field.schema)
    before = come_to(set_in(copy.deepcopy(spec), field, None))
    after = come_to(set_in(copy.deepcopy(spec), field, value))
    new = [each for each in said(after) if each not in said(before)]
    key = field.path.rpartition(".")[2]
    whole = ".".join(field.path.split(".")[:3])
    of_all = any(each.startswith(f"{whole} ") for each in said(after))
    if not of_all and not any(key in each or str(value) in each for each in new):
        assert after.objects, new
        assert after.objects != before.objects


def known_in(path: str) -> set[str]:
    node = spec_schema()
    for step in path.split(".")[1:]:
        node = node["properties"][step.removesuffix("[]")]
        node = node["items"] if step.endswith("[]") else node
        if KEPT in node:
            return {"*", *node.get("properties", {})}
    return set(node["properties"])


@pytest.mark.parametrize(("path", "names"), json.loads(KSERVE.read_text()).items())
def test_every_field_of_kserves_is_known(path: str, names: list[str]) -> None:
    known = known_in(path)
    assert "*" in known or set(names) <= known
