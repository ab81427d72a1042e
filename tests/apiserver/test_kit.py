"""The API server of these tests, and what they have it with."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from tests.apiserver.kit import Api, ApiError, ApiServer, Manifest

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(namespace: str) -> Manifest:
    spec = {"containers": [{"name": "x", "image": "example/x:1"}]}
    meta = {"name": "x", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def test_service_account_admission_mounts_a_token(api: Api, namespace: str) -> None:
    made = api.create(pod(namespace))
    mounts = made["spec"]["containers"][0]["volumeMounts"]
    assert [mount["mountPath"] for mount in mounts] == [TOKEN_PATH]
    assert [item["metadata"]["uid"] for item in api.list("Pod", namespace)] == [
        made["metadata"]["uid"]
    ]


def test_a_service_account_may_do_what_its_role_says(
    api_server: ApiServer, api: Api, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = api_server.write_kubeconfig(
        tmp_path / "kubeconfig", api.token("default", namespace), namespace
    )
    refused = api_server.kubectl("get", "pods", kubeconfig=kubeconfig)
    assert refused.returncode == 1
    assert f'User "system:serviceaccount:{namespace}:default" cannot list' in refused.stderr
    with closing(api_server.client(api.token("default", namespace))) as nobody:
        with pytest.raises(ApiError, match="cannot list resource") as caught:
            nobody.list("Pod", namespace)
    assert caught.value.status == 403


def test_helm_reaches_the_server(api_server: ApiServer, namespace: str) -> None:
    done = api_server.helm("list", "--namespace", namespace, "--output", "json")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_kubectl_knows_inferenceservices(api_server: ApiServer, namespace: str) -> None:
    done = api_server.kubectl("get", "isvc", "--namespace", namespace, "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["items"] == []
