"""The difference of two objects as a JSON Patch (RFC 6902)."""

from collections.abc import Mapping
from typing import Any

import jsonpatch

__all__ = ["difference"]


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The operations that make `after` of `before`; none if they are equal."""
    operations: list[dict[str, Any]] = jsonpatch.make_patch(before, after).patch
    return operations
