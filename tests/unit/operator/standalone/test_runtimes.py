"""Which runtime serves a model, and what becomes of its container."""

from typing import Any

import pytest

from batcher_contract import SettingsError
from batcher_operator.standalone.merge import merged_container, merged_pod
from batcher_operator.standalone.placeholders import Metadata, filled
from batcher_operator.standalone.runtimes import (
    Runtime,
    choose,
    read_runtime,
    with_defaults,
    with_tag,
)
from tests.unit.operator.standalone.golden_files import Json

WHERE = "spec.predictor.model"


def runtime(name: str, namespace: str = "", server_type: str = "", **spec: Any) -> Runtime:
    """A runtime of any version of sklearn that may be chosen, unless `spec` says otherwise."""
    annotations = {"serving.kserve.io/server-type": server_type} if server_type else {}
    given = {
        "supportedModelFormats": [{"name": "sklearn", "autoSelect": True}],
        "containers": [{"name": "kserve-container", "image": "x"}],
        **spec,
    }
    meta = {"name": name, "namespace": namespace, "annotations": annotations}
    return read_runtime({"metadata": meta, "spec": given})


def formats(*entries: Json) -> Json:
    return {"supportedModelFormats": [{"autoSelect": True, **entry} for entry in entries]}


def model(**fields: Any) -> Json:
    return {"modelFormat": {"name": "sklearn"}, **fields}


def chosen(wanted: Json, *runtimes: Runtime) -> str:
    return choose(wanted, runtimes, "models", WHERE).name


def complaint(wanted: Json, *runtimes: Runtime) -> str:
    with pytest.raises(SettingsError) as caught:
        chosen(wanted, *runtimes)
    return str(caught.value)


def test_a_runtime_of_the_namespace_comes_before_one_of_the_cluster() -> None:
    ours, theirs = (
        runtime("b", "models"),
        runtime("a", **formats({"name": "sklearn", "priority": 9})),
    )
    assert chosen(model(), theirs, ours) == "b"
    assert chosen(model(), theirs, runtime("b", "elsewhere")) == "a"


def test_one_that_is_named_is_looked_for_in_the_namespace_first() -> None:
    ours, theirs = runtime("same", "models", disabled=False), runtime("same", disabled=True)
    assert chosen(model(runtime="same"), theirs, ours) == "same"


def test_priority_decides_and_none_is_the_least() -> None:
    runtimes = [
        runtime("a"),
        runtime("b", **formats({"name": "sklearn", "priority": 2})),
        runtime("c", **formats({"name": "sklearn", "priority": 1})),
    ]
    assert chosen(model(), *runtimes) == "b"


@pytest.mark.parametrize(
    ("version", "known", "served"),
    [
        (None, None, True),
        (None, "1", True),
        ("1", "1", True),
        ("1", "2", False),
        ("1", None, False),
    ],
)
def test_versions(version: str | None, known: str | None, served: bool) -> None:
    wanted = {"modelFormat": {"name": "sklearn", **({"version": version} if version else {})}}
    entry = {"name": "sklearn", **({"version": known} if known else {})}
    one = runtime("one", **formats(entry))
    if served:
        assert chosen(wanted, one) == "one"
    else:
        assert "is served by no runtime" in complaint(wanted, one)


@pytest.mark.parametrize(
    "spec",
    [
        {"disabled": True},
        {"multiModel": True},
        {"workerSpec": {}},
        {"protocolVersions": ["v2"]},
        {"supportedModelFormats": [{"name": "sklearn"}]},
        {"supportedModelFormats": [{"name": "xgboost", "autoSelect": True}]},
        {"containers": [{"name": "mlserver"}]},
    ],
)
def test_what_is_not_chosen(spec: Json) -> None:
    assert complaint(model(), runtime("a", **spec)) == (
        'spec.predictor.model.modelFormat "sklearn" is served by no runtime that speaks v1 and may '
        "be chosen by itself: create a ServingRuntime with the format and autoSelect, change the "
        "format's version or spec.predictor.model.protocolVersion, or name one in "
        "spec.predictor.model.runtime"
    )


@pytest.mark.parametrize(
    ("wanted", "spec", "problem"),
    [
        ({}, {"disabled": True}, "is disabled"),
        ({}, {"multiModel": True}, "is for several models at once"),
        ({}, {"workerSpec": {}}, "is for several nodes"),
        (
            {"protocolVersion": "v1"},
            {"protocolVersions": ["v2", "grpc-v2"]},
            "speaks v2 and grpc-v2, not v1",
        ),
        ({}, formats({"name": "onnx"}), "does not serve the format sklearn"),
        ({}, {"containers": [{"name": "x"}]}, "has no container named kserve-container"),
    ],
)
def test_one_that_is_named_and_does_not_fit(wanted: Json, spec: Json, problem: str) -> None:
    said = complaint(model(runtime="a", **wanted), runtime("a", **spec))
    assert said == (
        f'spec.predictor.model.runtime "a" {problem}: name another, or leave the field out to have '
        "one chosen"
    )


def test_one_that_is_named_need_not_be_for_choosing_nor_for_v1() -> None:
    named = runtime(
        "a", supportedModelFormats=[{"name": "sklearn"}], protocolVersions=["v2"]
    )  # fmt: skip
    assert chosen(model(runtime="a"), named) == "a"


def test_one_that_is_named_and_not_there() -> None:
    assert complaint(model(runtime="gone"), runtime("gone", "elsewhere")) == (
        'spec.predictor.model.runtime "gone" names no ServingRuntime of the namespace and no '
        "ClusterServingRuntime: create it, or leave the field out to have one chosen"
    )


def test_several_and_nothing_to_decide_by() -> None:
    assert complaint(model(), runtime("b"), runtime("a")) == (
        'spec.predictor.model.modelFormat "sklearn" is served equally well by the '
        "ClusterServingRuntimes a, b: name one in spec.predictor.model.runtime, or give them "
        "priorities"
    )


@pytest.mark.parametrize(
    ("server_type", "image", "version", "limits", "result"),
    [
        ("", "x/server:1", "2", {}, "x/server:2"),
        ("", "x:5000/server", "2", {}, "x:5000/server:2"),
        ("", f"x/server@sha256:{'a' * 64}", "2", {}, f"x/server@sha256:{'a' * 64}"),
        ("", "x/server:1", "", {"nvidia.com/gpu": 1}, "x/server:1"),
        ("torchserve", "x/server:1", "", {"nvidia.com/gpu": 1}, "x/server:1-gpu"),
        ("torchserve", "x/server:1-gpu", "", {"nvidia.com/mig-1g.5gb": 1}, "x/server:1-gpu"),
        ("torchserve", "x/server:1", "", {"cpu": 1}, "x/server:1"),
        ("vllmserver", "x/vllm:1", "", {}, "x/vllm-cpu:1"),
        ("vllmserver", "x/vllm:1", "", {"nvidia.com/gpu": 1}, "x/vllm:1"),
        ("vllmserver", "x/vllm", "", {}, "x/vllm"),
    ],
)
def test_images(server_type: str, image: str, version: str, limits: Json, result: str) -> None:
    wanted = model(runtimeVersion=version)
    assert with_tag(image, wanted, runtime("a", server_type=server_type), limits) == result


def test_torchserve_is_told_its_protocol() -> None:
    served, labels = with_defaults(model(), runtime("kserve-torchserve"), "iris")
    assert labels == {"serviceEnvelope": "kserve"}
    assert served["env"] == [{"name": "PROTOCOL_VERSION", "value": "v1"}]
    second = model(protocolVersion="v2", env=[{"name": "PROTOCOL_VERSION", "value": "mine"}])
    served, labels = with_defaults(second, runtime("kserve-torchserve"), "iris")
    assert labels == {"serviceEnvelope": "kservev2"}
    assert served["env"] == [{"name": "PROTOCOL_VERSION", "value": "mine"}]


def test_containers_are_merged_as_a_strategic_merge_patch_does() -> None:
    base = {
        "name": "kserve-container",
        "image": "runtime",
        "command": ["run"],
        "args": ["--a"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"containerPort": 8080, "name": "http1"}],
        "volumeMounts": [{"mountPath": "/a", "name": "a"}],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 5},
    }
    over = {
        "args": ["--b"],
        "env": [
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "C", "value": "3"},
        ],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}, {"containerPort": 9000}],
        "volumeMounts": [{"mountPath": "/a", "name": "b"}, {"mountPath": "/c", "name": "c"}],
        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}},
        "securityContext": {"capabilities": {"drop": ["NET_RAW"]}},
        "readinessProbe": {"httpGet": {"port": 9000}},
        "image": None,
    }
    assert merged_container(base, over) == {
        "name": "kserve-container",
        "image": "runtime",
        "command": ["run"],
        "args": ["--a", "--b"],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "C", "value": "3"},
        ],
        "ports": [
            {"containerPort": 8080, "name": "http1", "protocol": "TCP"},
            {"containerPort": 9000},
        ],
        "volumeMounts": [{"mountPath": "/a", "name": "b"}, {"mountPath": "/c", "name": "c"}],
        "resources": {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "2"}},
        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["NET_RAW"]}},
        "readinessProbe": {"httpGet": {"port": 9000}, "periodSeconds": 5},
    }


def test_pods_are_merged_too_but_for_what_only_one_can_say() -> None:
    base = {
        "nodeSelector": {"a": "1", "b": "1"},
        "tolerations": [{"key": "a"}],
        "volumes": [{"name": name, "emptyDir": {}} for name in "uvw"],
        "imagePullSecrets": [{"name": "a"}],
        "hostIPC": True,
        "containers": [{"name": "x"}],
    }
    over = {
        "nodeSelector": {"b": "2"},
        "tolerations": [{"key": "b"}],
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
        "imagePullSecrets": [{"name": "b"}],
        "hostNetwork": True,
    }
    assert merged_pod(base, over) == {
        "nodeSelector": {"a": "1", "b": "2"},
        "tolerations": [{"key": "b"}],
        "volumes": [
            {"name": "u", "emptyDir": {}},
            {"name": "v", "secret": {"secretName": "s"}},
            {"name": "w", "emptyDir": {}},
        ],
        "imagePullSecrets": [{"name": "b"}, {"name": "a"}],
        "hostNetwork": True,
    }


@pytest.mark.parametrize(
    ("runtimes", "users", "merged"),
    [
        ("ab", "", "ab"),
        ("ab", "xy", "xyab"),
        ("ab", "xb", "xab"),
        ("ab", "bx", "abx"),
        ("ab", "ba", "ba"),
        ("abc", "cxa", "bcxa"),
        ("abcd", "xcya", "xbcyad"),
    ],
)
def test_the_order_is_that_of_kubernetes(runtimes: str, users: str, merged: str) -> None:
    # As `strategicpatch.StrategicMergePatch` has it: requests are for the first port.
    base, over = ({"env": [{"name": name} for name in each]} for each in (runtimes, users))
    env = merged_container(base, over)["env"]
    assert "".join(entry["name"] for entry in env) == merged


def test_requests_are_for_the_users_port() -> None:
    base = {"ports": [{"containerPort": 8080, "protocol": "TCP"}]}
    ports = merged_container(base, {"ports": [{"containerPort": 9000}]})["ports"]
    assert [port["containerPort"] for port in ports] == [9000, 8080]


METADATA = Metadata(
    name="iris", namespace="models", labels={"a": "l"}, annotations={"a": "x", "b.c/d": "y"}
)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{.Name}}", "iris"),
        ("--name={{ .Name }}.{{.Namespace}}", "--name=iris.models"),
        ("a {{- .Name -}} b", "airisb"),
        ("{{.Labels.a}}{{.Annotations.a}}{{.Annotations.none}}", "lx"),
        ('{{index .Annotations "b.c/d"}}{{ index .Labels `a` }}', "yl"),
        ("{not one}", "{not one}"),
        ("}} {", "}} {"),
    ],
)
def test_placeholders(text: str, result: str) -> None:
    assert filled({"args": [text, 1]}, METADATA, "x") == {"args": [result, 1]}


@pytest.mark.parametrize(
    "text", ["{{.UID}}", "{{ .Labels }}", "{{", "{{.Name}", "{{range .Labels}}", "{{ {{.Name}}"]
)
def test_unknown_placeholders(text: str) -> None:
    with pytest.raises(SettingsError, match="is an unknown placeholder: use"):
        filled([text], METADATA, "the runtime")


def test_what_a_placeholder_stands_for_is_not_read_again() -> None:
    metadata = Metadata(name="iris", namespace="m", labels={}, annotations={"a": "{{.Name}}"})
    assert filled("{{.Annotations.a}}", metadata, "x") == "{{.Name}}"
