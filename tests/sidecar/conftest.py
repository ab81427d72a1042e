"""Fixtures of the black-box tests."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest

from tests.sidecar.kit.rig import RigFactory, SidecarPool

_FAILED: Final = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember a failure for the fixtures' teardown."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if call.when == "call":
        item.stash[_FAILED] = report.failed
    return report  # type: ignore[return-value]


@pytest.fixture(scope="session")
def sidecars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SidecarPool]:
    pool = SidecarPool(tmp_path_factory.mktemp("sidecars"))
    yield pool
    pool.close()


@pytest.fixture
async def make_rig(
    sidecars: SidecarPool, request: pytest.FixtureRequest
) -> AsyncIterator[RigFactory]:
    """Makes a sidecar with a scripted model server behind it.

    At the end of a test that passed, each process must live, unless it was told to stop, and
    must have written no traceback.
    """
    factory = RigFactory(sidecars)
    yield factory
    failed = request.node.stash.get(_FAILED, True)
    if failed:
        for rig in factory.rigs:
            print(rig.sidecar.output)  # noqa: T201
    await factory.close(failed=failed)
