"""The images that the tests run, built and given to the nodes."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from batcher_contract import __version__
from tests.apiserver.kit import ROOT, StartError
from tests.cluster.kit.cluster import Cluster

__all__ = ["image", "load_images"]

ARCHIVES: Final = ROOT / ".cache" / "images"
_PRODUCT: Final = "inference-batcher-"
_TESTS: Final = "inference-batcher-test-"
_BUILD: Final = ROOT / "scripts" / "images" / "build.py"


def image(cluster: Cluster, name: str) -> str:
    """The whole name of an image, as in `image(cluster, "sidecar")`."""
    prefix = _TESTS if name in ("model", "sklearn") else _PRODUCT
    return f"{cluster.registry}/{prefix}{name}:{__version__}"


def load_images(cluster: Cluster) -> None:
    """Build all images from what is here now, and have the nodes know them."""
    if cluster.load is None:
        return  # the nodes pull them
    _build(cluster, _PRODUCT, ["sidecar", "control"])
    dockerfile = ROOT / "tests" / "cluster" / "images" / "Dockerfile"
    sidecar = f"SIDECAR={image(cluster, 'sidecar')}"
    more = ["--file", str(dockerfile), "--build-arg", sidecar]
    _build(cluster, _TESTS, ["model", "sklearn"], more)
    for archive in sorted(ARCHIVES.glob(f"{_PRODUCT}*.tar")):
        cluster.load(archive)


def _build(cluster: Cluster, prefix: str, targets: list[str], more: Sequence[str] = ()) -> None:
    command = [
        *(sys.executable, str(_BUILD), "--registry", cluster.registry, "--save", str(ARCHIVES)),
        *("--name", prefix, *more),
        *(word for target in targets for word in ("--target", target)),
    ]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise StartError("the images cannot be built: see the words above")
