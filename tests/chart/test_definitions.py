"""The kinds that the chart defines where KServe is not, and the runtimes that come with them."""

import re
import tempfile
from pathlib import Path
from typing import Final

import pytest

from batcher_contract.standalone import is_object_name
from batcher_operator.default_runtimes import read_runtimes
from tests.apiserver.kit import Manifest
from tests.chart.pod_security import violations
from tests.chart.rendered import RELEASE, Values, args_of, pod_templates, render
from tests.unit.operator.standalone.golden_files import given, made

PLURALS: Final = ("clusterservingruntimes", "inferenceservices", "servingruntimes")
KEEP: Final = {"helm.sh/resource-policy": "keep"}
RESOURCES: Final = {"limits": {"memory": "1Gi"}}
DEFINED: Final[Values] = {
    "crds": {"enabled": True},
    "commonLabels": {"team": "ml"},
}
STANDALONE: Final[Values] = {
    "mode": "standalone",
    "commonLabels": {"team": "ml"},
    "servingRuntimes": {"sklearn": {"image": "example/s:1", "resources": RESOURCES}},
}


def test_nothing_is_defined_unless_it_is_asked_for() -> None:
    assert render({}, RELEASE).all("CustomResourceDefinition") == []


def test_what_is_defined_stays_and_says_whose_it_is() -> None:
    metas = [each["metadata"] for each in render(DEFINED, RELEASE).all("CustomResourceDefinition")]
    assert sorted(meta["name"] for meta in metas) == [f"{p}.serving.kserve.io" for p in PLURALS]
    for meta in metas:
        assert meta["annotations"] == KEEP
        assert meta["labels"]["app.kubernetes.io/name"] == "inference-batcher"
        assert meta["labels"]["team"] == "ml"
        assert "namespace" not in meta


@pytest.mark.parametrize("component", ["predictor", "transformer"])
@pytest.mark.parametrize("key", ["serviceAccount", "serviceAccountName"])
def test_an_account_has_a_name_that_kubernetes_takes(component: str, key: str) -> None:
    definitions = render(DEFINED, RELEASE).all("CustomResourceDefinition")
    (found,) = (each for each in definitions if each["spec"]["names"]["kind"] == "InferenceService")
    (version,) = found["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    schema = spec[component]["properties"][key]
    for name in ("s3-sa", "a.b-c", "0", "x" * 253, "x" * 254, "../x", "A", "a/b", ".", "a..b"):
        taken = re.search(schema["pattern"], name) and len(name) <= schema["maxLength"]
        assert bool(taken) == is_object_name(name), name
    assert re.search(schema["pattern"], "")


def runtimes(values: Values) -> tuple[Manifest, ...]:
    """What the operator is told to have, as it reads it."""
    chart = render(values, RELEASE)
    (told,) = (arg for arg in args_of(chart, "operator") if arg.startswith("--cluster-runtimes="))
    pod = pod_templates(chart)["operator"]["spec"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    (volume,) = pod["volumes"]
    assert volume["name"] == mount["name"]
    config_map = chart.one("ConfigMap", "-runtimes")
    assert volume["configMap"] == {"name": config_map["metadata"]["name"]}
    with tempfile.TemporaryDirectory() as folder:
        for key, text in config_map["data"].items():
            (Path(folder) / key).write_text(text)
        return read_runtimes(Path(told.partition("=")[2].replace(mount["mountPath"], folder)))


def test_a_runtime_for_scikit_learn() -> None:
    (runtime,) = runtimes(STANDALONE)
    (container,) = runtime["spec"]["containers"]
    assert container["image"] == "example/s:1"
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert runtime["metadata"]["labels"] == {
        "app.kubernetes.io/component": "runtimes",
        "app.kubernetes.io/instance": RELEASE,
        "app.kubernetes.io/managed-by": "inference-batcher",
        "app.kubernetes.io/name": "inference-batcher",
        "app.kubernetes.io/version": "0.1.0",
        "team": "ml",
    }
    assert violations(runtime["spec"]) == []


def test_pods_that_it_serves_in_keep_to_the_restricted_profile() -> None:
    documents = [each for each in given("batcher") if each["kind"] != "ClusterServingRuntime"]
    workload = made([*documents, *runtimes(STANDALONE)])
    (deployment,) = (each for each in workload.objects if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert violations(pod) == []
    assert "--model_name=batcher" in pod["containers"][0]["args"]


def test_without_an_image_the_runtime_is_not_wanted() -> None:
    (runtime,) = runtimes({**STANDALONE, "servingRuntimes": {"sklearn": {"image": ""}}})
    assert "spec" not in runtime
    assert runtime["metadata"]["name"] == "kserve-sklearnserver"


def test_runtimes_are_the_operators_in_standalone_mode_alone() -> None:
    chart = render({**STANDALONE, "mode": "kserve"}, RELEASE)
    assert chart.all("ClusterServingRuntime") == chart.all("ConfigMap") == []
    assert not [arg for arg in args_of(chart, "operator") if "runtimes" in arg]


def test_another_runtime_makes_a_new_operator() -> None:
    image = {"servingRuntimes": {"sklearn": {"image": "example/s:2"}}}
    charts = [render({**STANDALONE, **more}, RELEASE) for more in ({}, image)]
    first, second = (pod_templates(chart)["operator"]["metadata"] for chart in charts)
    assert first["annotations"] != second["annotations"]
