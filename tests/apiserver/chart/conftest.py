"""An API server of the chart's own: the webhook configurations' names are fixed."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.apiserver.chart.release import RELEASE, THEIRS, Helm, definition, is_served
from tests.apiserver.kit import Api, ApiServer, make_namespace, running_api_server, until
from tests.chart.rendered import NAMESPACE


@pytest.fixture(scope="package")
def server() -> Iterator[ApiServer]:
    """It knows the kinds of others that the chart can make; its namespace is restricted."""
    with running_api_server() as server, closing(server.client()) as api:
        server.install_inferenceservices(api)
        for kind in THEIRS:
            api.create(definition(kind))
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        make_namespace(
            api, NAMESPACE, {**restricted, "pod-security.kubernetes.io/warn": "restricted"}
        )
        for kind in THEIRS:
            until(partial(is_served, api, kind), f"{kind} is served")
        yield server


@pytest.fixture
def admin(server: ApiServer) -> Iterator[Api]:
    with closing(server.client()) as api:
        yield api


@pytest.fixture
def helm(server: ApiServer, admin: Api, tmp_path: Path) -> Iterator[Helm]:
    """Helm; what a test leaves installed goes with it."""
    yield Helm(server, tmp_path)
    server.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found")
