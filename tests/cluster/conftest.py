"""Fixtures of the tests on a cluster; `make e2e` runs them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cluster.kit.cluster import Cluster, running_cluster
from tests.cluster.kit.images import image, load_images
from tests.cluster.kit.product import Mode, Product, has_kserve
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import clear_namespaces, restricted_namespace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only `make e2e` runs these; what they wait for is bounded by each, and all by this."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("cluster")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300, func_only=True))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster, whose nodes have the images."""
    with running_cluster() as cluster:
        load_images(cluster)
        yield cluster


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Iterator[Product]:
    """What installs the product; it is gone in the end."""
    clear_namespaces(cluster)
    product = Product(cluster)
    product.prepare()
    yield product
    if product.mode:
        product.uninstall()
    product.clear()


@pytest.fixture
def product(release: Product) -> Product:
    """The product, installed beside KServe or what stands in for it."""
    return installed(release, "kserve")


@pytest.fixture
def standalone(release: Product, cluster: Cluster) -> Product:
    """The product, installed in standalone mode."""
    if has_kserve(cluster):
        pytest.skip("KServe runs the InferenceServices of this cluster")
    return installed(release, "standalone")


def installed(release: Product, mode: Mode) -> Product:
    if release.mode and release.mode != mode:
        release.uninstall()
    if not release.mode:
        release.install(mode)
    return release


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that enforces the restricted Pod Security Standard."""
    name = restricted_namespace(cluster)
    yield name
    cluster.api.delete("Namespace", name)


@pytest.fixture
def caller(cluster: Cluster, namespace: str) -> Iterator[Caller]:
    """A pod in that namespace that calls."""
    caller = Caller(cluster, namespace, image(cluster, "model"))
    caller.start()
    with closing(caller):
        yield caller
