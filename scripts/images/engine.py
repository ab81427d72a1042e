"""What builds images here: docker, podman or buildah."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

QUICK_S: Final = 60
BUILD_S: Final = 1800
LAST_WORDS: Final = 4000


@dataclass(frozen=True)
class Engine:
    """A program that builds images, and what it needs to be told."""

    name: str
    options: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> tuple[str, ...]:
        return (self.name, *self.options)

    @property
    def build(self) -> tuple[str, ...]:
        """Its command that builds, with the layers kept for the next time."""
        if self.name == "buildah":
            return (*self.command, "build", "--layers", "--quiet")
        return (*self.command, "build", "--quiet")

    def runs(self, *args: str, within_s: float = QUICK_S) -> bool:
        """Whether a command of it ends well."""
        return runs(*self.command, *args, env=self.env, within_s=within_s)

    def has(self, image: str) -> bool:
        """Whether it has the image."""
        kind = ("--type", "image") if self.name == "buildah" else ()
        verb = ("inspect",) if self.name == "buildah" else ("image", "inspect")
        return self.runs(*verb, *kind, image)

    def size_bytes(self, image: str) -> int:
        """How large the image is, unpacked."""
        if self.name == "buildah":
            images = json.loads(run(*self.command, "images", "--json", env=self.env))
            wanted = image if "/" in image else f"localhost/{image}"
            sizes = [i["size"] for i in images if wanted in (i.get("names") or ())]
            return parsed_size(sizes[0])
        return int(run(*self.command, "image", "inspect", "--format", "{{.Size}}", image))

    def save(self, image: str, archive: Path) -> None:
        """Write the image to an archive that container runtimes import, unless it is there."""
        written = archive.with_suffix(".id")
        same = f"{image} {self._id(image)}"
        if archive.exists() and written.exists() and written.read_text() == same:
            return
        fresh = archive.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        command: tuple[str, ...]
        if self.name == "buildah":
            archive_options = ("--quiet", "--disable-compression")
            command = ("push", *archive_options, image, f"oci-archive:{fresh}:{image}")
        else:
            command = ("save", "--output", str(fresh), image)
        run(*self.command, *command, env=self.env)
        fresh.replace(archive)
        written.write_text(same)

    def _id(self, image: str) -> str:
        if self.name == "buildah":
            kind = ("--type", "image", "--format", "{{.FromImageID}}")
            return run(*self.command, "inspect", *kind, image, env=self.env)
        return run(*self.command, "image", "inspect", "--format", "{{.Id}}", image)


def parsed_size(text: str) -> int:
    """A size as buildah writes it (`133 MB`), in bytes."""
    number, unit = text.split()
    return round(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])


def find_engine(home: Path) -> Engine:
    """The first that works, not the first that is installed; exits if there is none.

    buildah keeps its images under `home`, and runs what it builds without a daemon.
    """
    for name in ("docker", "podman"):
        if runs(name, "info"):
            return Engine(name, env={"DOCKER_BUILDKIT": "1"})
    if os.geteuid() == 0 and not runs("buildah", "--version"):
        debian("buildah")
    home.mkdir(parents=True, exist_ok=True)
    stores = ("--root", str(home / "store"), "--runroot", str(home / "run"))
    # Where overlays do not work each layer is a full copy.
    for driver in ("overlay", "vfs"):
        engine = Engine(
            "buildah",
            (*stores[:1], f"{stores[1]}-{driver}", *stores[2:], "--storage-driver", driver),
            {"BUILDAH_ISOLATION": "chroot"},
        )
        if engine.runs("info") and engine.runs("images"):
            return engine
    fail("neither docker, podman nor buildah works here: install one of them, or start it")


def debian(*packages: str) -> None:
    """Install Debian packages that are missing."""
    script = Path(__file__).parents[1] / "debian.py"
    if subprocess.run((sys.executable, str(script), *packages), check=False).returncode:  # noqa: S603
        sys.exit(1)


def runs(*command: str, env: dict[str, str] | None = None, within_s: float = QUICK_S) -> bool:
    """Whether a command can be started and ends well in time."""
    try:
        done = subprocess.run(  # noqa: S603
            command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            capture_output=True, check=False, timeout=within_s,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def run(*command: str, env: dict[str, str] | None = None) -> str:
    """Run a command; its output. Exits with its last words if it fails."""
    done = subprocess.run(  # noqa: S603
        command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=BUILD_S,
    )  # fmt: skip
    if done.returncode:
        sys.stderr.write((done.stdout + done.stderr)[-LAST_WORDS:])
        fail(f"`{' '.join(command)}` failed with status {done.returncode}: see the words above")
    return done.stdout


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fail(text: str) -> NoReturn:
    """Exit with a sentence."""
    sys.exit(f"scripts/images/build.py: {text}.")
