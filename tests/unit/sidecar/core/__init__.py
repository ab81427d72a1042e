"""Unit tests of the rules of batching."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.playbook", f"{__name__}.simulation")
