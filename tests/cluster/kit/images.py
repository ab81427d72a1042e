"""The images that the tests run, built and given to the nodes."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from batcher_contract import __version__
from tests.apiserver.kit import ROOT, StartError
from tests.cluster.kit.archive import write_archive
from tests.cluster.kit.cluster import Cluster

__all__ = ["image", "load_images"]

ARCHIVES: Final = ROOT / ".cache" / "images"
_PRODUCT: Final = "inference-batcher-"
_TESTS: Final = "inference-batcher-test-"
_BUILD: Final = ROOT / "scripts" / "images" / "build.py"
_EXTRAS: Final = ROOT / "scripts" / "kubernetes" / "extras.py"
_BUILT_EXTRAS: Final = ROOT / ".cache" / "kubernetes" / "extras"
_OF_TESTS: Final = Path("tests/cluster/images/Dockerfile")
_OF_SKLEARN: Final = Path("examples/sklearn/Dockerfile")


def image(cluster: Cluster, name: str) -> str:
    """The whole name of an image, as in `image(cluster, "sidecar")`."""
    return image_name(cluster.registry, name)


def image_name(registry: str, name: str) -> str:
    """The same, where images' names begin with `registry`."""
    prefix = _PRODUCT if name in ("sidecar", "control") else _TESTS
    return f"{registry}/{prefix}{name}:{__version__}"


def load_images(cluster: Cluster) -> None:
    """Build all images from what is here now, and have the nodes know them."""
    if cluster.load is None:
        return  # the nodes pull them
    registry = cluster.registry
    _build(registry, _PRODUCT, "--target", "sidecar", "--target", "control")
    of_sidecar = ("--build-arg", f"SIDECAR={image(cluster, 'sidecar')}")
    targets = ("--target", "model", "--target", "storage")
    _build(registry, _TESTS, "--file", str(_OF_TESTS), *targets, *of_sidecar)
    _build(registry, _TESTS, "--file", str(_OF_SKLEARN), "--target", "sklearn")
    write_s3(registry)
    for archive in sorted(ARCHIVES.glob(f"{_PRODUCT}*.tar")):
        cluster.load(archive)


def write_s3(registry: str) -> Path:
    """Write the image of the S3 server, versitygw, which is built first; the archive."""
    _run(str(_EXTRAS), "versitygw")
    archive, program = ARCHIVES / f"{_TESTS}s3.tar", _BUILT_EXTRAS / "versitygw"
    write_archive(archive, image_name(registry, "s3"), {"/versitygw": program}, ["/versitygw"])
    return archive


def _build(registry: str, prefix: str, *options: str) -> None:
    more = ("--save", str(ARCHIVES), "--name", prefix, *options)
    _run(str(_BUILD), "--registry", registry, *more)


def _run(*command: str) -> None:
    if subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode:
        raise StartError("the images cannot be built: see the words above")
