"""The cluster that the tests run on: the one of KUBECONFIG, kind, or our own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.apiserver.kit import ROOT, Api, Program, StartError, program_path
from tests.cluster.kit.own import OwnCluster

__all__ = ["Cluster", "running_cluster"]

_KIND: Final = "inference-batcher-e2e"
_PROXY_SAYS: Final = "Starting to serve on 127.0.0.1:"


class _Found(NamedTuple):
    what: str
    kubeconfig: Path
    registry: str = "localhost"
    load: Callable[[Path], None] | None = None
    volumes: Path | None = None


class Cluster:
    """A cluster and its administrator; made by `running_cluster`."""

    def __init__(self, found: _Found, folder: Path, api: Api) -> None:
        self.what = found.what
        """Which cluster it is, in words."""
        self.kubeconfig = found.kubeconfig
        self.registry = found.registry
        """What the images' names begin with."""
        self.load = found.load
        """Gives the nodes an image from an archive; None where they pull their images."""
        self.volumes = found.volumes
        """Where the only node may have its volumes; None where that is not this machine."""
        self.api = api
        self._folder = folder

    def kubectl(self, *args: str, stdin: str | None = None, within_s: float = 60.0) -> str:
        """Run kubectl; its output. Fails the test if it fails."""
        return self._run("kubectl", *args, stdin=stdin, within_s=within_s)

    def helm(self, *args: str, within_s: float = 240.0) -> str:
        """Run helm; its output. Fails the test if it fails."""
        return self._run("helm", *args, within_s=within_s)

    def _run(
        self, program: str, *args: str, stdin: str | None = None, within_s: float = 60.0
    ) -> str:
        done = subprocess.run(
            [program_path(program), *args],
            env=self.env,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert done.returncode == 0, f"{program} {' '.join(args)}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def env(self) -> dict[str, str]:
        """The environment for kubectl and helm."""
        home = str(self._folder)
        caches = dict.fromkeys(("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"), home)
        return {**os.environ, **caches, "HOME": home, "KUBECONFIG": str(self.kubeconfig)}

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Server-side apply of several objects."""
        items = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=items)

    def execute(self, namespace: str, pod: str, *command: str, container: str = "") -> str:
        """Run a command in a pod; its output."""
        of = ["-c", container] if container else []
        return self.kubectl("exec", "-n", namespace, pod, *of, "--", *command)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """The cluster of KUBECONFIG if that is set, else kind, else our own; says which.

    One that was there before is left there. Nodes of a cluster that is not ours pull the images
    from E2E_REGISTRY, where they must have been pushed. Raises StartError.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = _find(stack, folder)
        sys.stderr.write(f"\ntests/cluster: on {found.what}\n")
        proxy = Program(
            [program_path("kubectl"), f"--kubeconfig={found.kubeconfig}", "proxy", "--port=0"],
            log=folder / "proxy.log",
        )
        stack.enter_context(proxy)
        proxy.wait_for_output("\n")
        url = "http://127.0.0.1:" + proxy.output.partition(_PROXY_SAYS)[2].split()[0]
        api = stack.enter_context(closing(Api(url, Path("/dev/null"))))
        yield Cluster(found, folder, api)


def _find(stack: ExitStack, folder: Path) -> _Found:
    own = OwnCluster()
    given = os.environ.get("KUBECONFIG")
    if given and Path(given).resolve() != own.kubeconfig:
        registry = os.environ.get("E2E_REGISTRY", "")
        if not registry:
            raise StartError(
                "set E2E_REGISTRY to where the nodes of your cluster shall pull the images from"
            )
        return _Found(f"the cluster of KUBECONFIG={given}", Path(given), registry)
    if own.is_up:
        return _found_own("the cluster of `make cluster-up`", own)
    if shutil.which("kind") and _docker_works():
        return _with_kind(stack, folder)
    # It takes the cluster down when this process has ended, however that happens.
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.kit", "keep"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    stack.callback(keeper.communicate, timeout=240)
    own.up()
    return _found_own("a cluster of our own, which goes when they are done", own)


def _found_own(what: str, own: OwnCluster) -> _Found:
    return _Found(what, own.kubeconfig, load=own.load, volumes=own.volumes)


def _docker_works() -> bool:
    command = ["docker", "info"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _with_kind(stack: ExitStack, folder: Path) -> _Found:
    def kind(*args: str) -> None:
        command = ["kind", *args, "--name", _KIND]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            raise StartError(f"`{' '.join(command)}` failed: {done.stderr}")

    def load(archive: Path) -> None:
        kind("load", "image-archive", str(archive))

    kubeconfig = folder / "kind.kubeconfig"
    kind("delete", "cluster")  # what a crash may have left
    stack.callback(kind, "delete", "cluster")
    kind("create", "cluster", "--wait", "180s", "--kubeconfig", str(kubeconfig))
    return _Found("a kind cluster, which goes when they are done", kubeconfig, load=load)
