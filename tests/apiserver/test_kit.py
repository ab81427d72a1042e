"""The API server of these tests, and what they have it with."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.apiserver.kit import (
    ROOT,
    Api,
    ApiError,
    ApiServer,
    Manifest,
    Program,
    StartError,
    program_path,
    until,
)

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


def test_nothing_is_left_after_a_crash(tmp_path: Path) -> None:
    """Its process is killed: the programs end, and the folder goes."""
    program = (
        "import time\n"
        "from tests.apiserver.kit import running_api_server\n"
        "with running_api_server() as server:\n"
        "    print(server.folder, *server.pids, flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        folder, *pids = process.stdout.readline().split()
        try:
            assert Path(folder).is_dir()
            assert len(pids) == 2
            assert all(is_running(pid) for pid in pids)
        finally:
            process.kill()
    until(lambda: not any(is_running(pid) for pid in pids), "both programs have ended")
    until(lambda: not Path(folder).exists(), "the folder is gone")


def is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def test_a_program_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Program([sys.executable, "-c", "raise SystemExit('no luck')"], log=log) as program:
        with pytest.raises(StartError, match="ended with 1:\nno luck"):
            program.wait_for_output("serving")


def test_a_program_is_told_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(StartError, match="etcd is missing: mend KUBEBUILDER_ASSETS"):
        program_path("etcd")
    own = tmp_path / "etcd"
    own.touch(mode=0o755)
    assert program_path("etcd") == str(own)
