"""Build the images of the Dockerfile with docker, podman or buildah, whichever works here.

    python scripts/images/build.py                          both images, into the engine's store
    python scripts/images/build.py --save .cache/images     and each as an archive in that folder

Images are named `inference-batcher-<target>:<version>`; `--registry` goes before that. The base is
`--base` or python:3.13-slim; where that cannot be fetched and debootstrap can be had, one is made
from Debian's packages. pip uses the configuration that it has on this machine.

With `--file`, `--context` and `--target` it builds other Dockerfiles the same way.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from base import LOCAL_BASE, make_base
from engine import Engine, fail, find_engine, run, say

ROOT: Final = Path(__file__).parents[2]
BASE: Final = "python:3.13-slim"
TARGETS: Final = ("sidecar", "control")
PULL_S: Final = 300
CERT: Final = "/etc/pip-cert.pem"
SYSTEM_CERTS: Final = Path("/etc/ssl/certs/ca-certificates.crt")


def main() -> None:
    """Build, say how large the images are, and save them if asked to."""
    parser = argparse.ArgumentParser(description="Build the images.")
    parser.add_argument("--registry", default="", help="put before the names, as in host/team")
    parser.add_argument("--base", default="", help=f"image with Python ({BASE}, or one of Debian)")
    parser.add_argument("--save", type=Path, help="folder for an archive of each image")
    parser.add_argument("--file", type=Path, default=ROOT / "Dockerfile")
    parser.add_argument("--context", type=Path, default=ROOT)
    parser.add_argument("--target", action="append", help="some of the Dockerfile's targets")
    parser.add_argument("--name", default="inference-batcher-", help="what names begin with")
    parser.add_argument("--build-arg", action="append", default=[], help="NAME=VALUE")
    options = parser.parse_args()
    engine = find_engine(ROOT / ".cache" / "images")
    base = options.base or find_base(engine)
    prefix = f"{options.registry.rstrip('/')}/" if options.registry else ""
    for target in options.target or TARGETS:
        name = f"{prefix}{options.name}{target}:{version()}"
        args = [f"BASE={base}", *options.build_arg]
        build(engine, name, target, options.file, options.context, args)
        say(f"{name}: {engine.size_bytes(name) / 1e6:.0f} MB")
        if options.save:
            options.save.mkdir(parents=True, exist_ok=True)
            engine.save(name, options.save / f"{options.name}{target}.tar")


def version() -> str:
    """The version of all programs."""
    text = (ROOT / "sidecar" / "batcher_contract" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    return found.group(1) if found else fail("it cannot find the version")


def find_base(engine: Engine) -> str:
    """The usual base if it is there or can be fetched, else one from Debian's packages."""
    if engine.has(LOCAL_BASE):
        return LOCAL_BASE
    if engine.has(BASE) or engine.runs("pull", BASE, within_s=PULL_S):
        return BASE
    say(f"{BASE} cannot be fetched here: making a base image from Debian's packages (a minute)")
    make_base(engine)
    return LOCAL_BASE


def build(
    engine: Engine, name: str, target: str, file: Path, context: Path, args: list[str]
) -> None:
    """Build one image; pip's configuration is shown to the build, and is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        secrets = pip_secrets(Path(folder))
        run(
            *(*engine.build, "--file", str(file), "--target", target, "--tag", name),
            *(word for arg in args for word in ("--build-arg", arg)),
            *(f"--secret=id={key},src={path}" for key, path in secrets.items()),
            str(context),
            env=engine.env,
        )  # fmt: skip


def pip_secrets(folder: Path) -> dict[str, Path]:
    """pip's configuration as a file for the build, and the certificates that it names."""
    command = (sys.executable, "-m", "pip", "config", "list")
    listing = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    values: dict[str, str] = {}
    # pip lists files before the environment, which wins, so the last one stays.
    for line in listing.stdout.splitlines():
        key, _, quoted = line.partition("=")
        values[key.rpartition(".")[2]] = ast.literal_eval(quoted)
    certificate = Path(values.pop("cert", None) or os.environ.get("SSL_CERT_FILE") or SYSTEM_CERTS)
    # Folders of this machine are not there in the build.
    values = {k: v for k, v in values.items() if not any(w.startswith("/") for w in v.split())}
    secrets: dict[str, Path] = {}
    if certificate.is_file():
        values["cert"] = CERT
        secrets["pip-cert"] = certificate
    if values:
        lines = [f"{key} = " + "\n  ".join(value.split()) for key, value in values.items()]
        secrets["pip-config"] = folder / "pip.conf"
        secrets["pip-config"].write_text("\n".join(["[global]", *lines, ""]))
    return secrets


if __name__ == "__main__":
    main()
