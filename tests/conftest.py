"""What holds for every test."""

from pathlib import Path

import pytest
from hypothesis import configuration, settings

configuration.set_hypothesis_home_dir(Path(__file__).parents[1] / ".cache" / "hypothesis")
# A shared machine may be slow for a moment; pytest's own timeout bounds each test.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Goldens are renewed on demand only; each renewed one is reported as skipped."""
    parser.addoption(
        "--renew-goldens",
        action="store_true",
        help="write what becomes of the goldens under tests/unit, and what kubectl says in "
        "docs/admission.md, to be looked at in `git diff`",
    )
