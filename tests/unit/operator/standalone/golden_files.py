"""InferenceServices with what is around them, and what they come to: read, made and written."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from batcher_operator.standalone.credentials import read_account, read_secret
from batcher_operator.standalone.runtimes import read_runtime
from batcher_operator.standalone.workload import Found, Platform, Unwanted, Workload, workload_of

__all__ = [
    "CASES",
    "Json",
    "found_in",
    "given",
    "made",
    "report",
    "service_in",
    "wanted_path",
    "write",
]

Json = dict[str, Any]

FOLDER: Final = Path(__file__).parent / "golden"
CASES: Final = sorted(p.name.removesuffix(".given.yaml") for p in FOLDER.glob("*.given.yaml"))


def given(case: str) -> list[Json]:
    """An InferenceService, and the runtimes, accounts, Secrets and ConfigMaps that are there."""
    text = (FOLDER / f"{case}.given.yaml").read_text()
    return [document for document in yaml.safe_load_all(text) if document]


def wanted_path(case: str) -> Path:
    return FOLDER / f"{case}.wanted.yaml"


def service_in(documents: Iterable[Json]) -> Json:
    (service,) = (each for each in documents if each["kind"] == "InferenceService")
    return service


def found_in(documents: Iterable[Json]) -> Found:
    by_kind: dict[str, list[Json]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    runtimes = (*by_kind.get("ServingRuntime", ()), *by_kind.get("ClusterServingRuntime", ()))
    accounts = map(read_account, by_kind.get("ServiceAccount", ()))
    secrets = map(read_secret, by_kind.get("Secret", ()))
    scalers = by_kind.get("HorizontalPodAutoscaler", ())
    return Found(
        runtimes=tuple(map(read_runtime, runtimes)),
        accounts={each.name: each for each in accounts},
        secrets={each.name: each for each in secrets},
        settings={
            each["metadata"]["labels"]["component"]: each["data"]["settings.json"]
            for each in by_kind.get("ConfigMap", ())
        },
        autoscaled=frozenset(each["spec"]["scaleTargetRef"]["name"] for each in scalers),
    )


def made(documents: list[Json]) -> Workload:
    return workload_of(service_in(documents), found_in(documents), Platform())


def report(workload: Workload) -> Json:
    """What a workload says besides its objects; nothing that is empty."""
    said: Json = {
        "faults": [str(fault) for fault in workload.faults],
        "batchingFaults": [str(fault) for fault in workload.batching_faults],
        "warnings": list(workload.warnings),
        "unwanted": [_shown(each) for each in workload.unwanted],
        "runtime": workload.runtime and f"{workload.runtime.kind} {workload.runtime.name}",
        "stopped": workload.stopped,
    }
    return {key: value for key, value in said.items() if value}


def _shown(unwanted: Unwanted) -> str:
    after = f" after {unwanted.after_rollout_of}" if unwanted.after_rollout_of else ""
    return f"{unwanted.kind} {unwanted.name}{after}"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def write(documents: Iterable[Mapping[str, Any]]) -> str:
    """A YAML stream; plain JSON, as it goes to the API server."""
    values = json.loads(json.dumps(list(documents)))
    text: str = yaml.dump_all(
        values, Dumper=_Dumper, sort_keys=False, width=100, explicit_start=True
    )
    return text
