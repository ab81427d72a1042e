"""Looks at an object that may hold anything."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["mapping", "objects", "shown", "whole"]


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    # kopf hands out read-only views that are no dicts.
    return value if isinstance(value, Mapping) else {}


def objects(value: object) -> list[Mapping[str, Any]]:
    """The objects among a list's items."""
    listed: Sequence[Any] = value if isinstance(value, list | tuple) else ()
    return [each for each in listed if isinstance(each, Mapping)]


def whole(value: object) -> int | None:
    """The value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def shown(value: object) -> str | None:
    """A value as it is quoted, or None where it is better not."""
    return str(value) if isinstance(value, str | int) else None
