"""Fixtures of the tests against a real API server."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.apiserver.kit import Api, ApiServer, running_api_server
from tests.apiserver.kit.webhook import Webhook


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """One API server for all tests, which knows InferenceServices."""
    with running_api_server() as server:
        with closing(server.client()) as api:
            server.install_inferenceservices(api)
        yield server


@pytest.fixture(scope="session")
def api(api_server: ApiServer) -> Iterator[Api]:
    """Its administrator."""
    with closing(api_server.client()) as client:
        yield client


@pytest.fixture
def namespace(api_server: ApiServer, api: Api) -> Iterator[str]:
    """A namespace for one test; its pods and InferenceServices go with the test."""
    name = api_server.new_namespace(api)
    yield name
    for kind in ("InferenceService", "Pod"):
        api.delete_all(kind, name)


@pytest.fixture(scope="session")
def webhook(api_server: ApiServer) -> Iterator[Webhook]:
    """Our webhook as a process, not registered."""
    webhook = Webhook(api_server.folder, api_server.authority)
    with webhook.running():
        yield webhook
