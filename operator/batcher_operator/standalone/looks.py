"""Looks at objects that may hold anything, and plain copies of them."""

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "Json",
    "is_name",
    "listed",
    "mapping",
    "named",
    "objects",
    "plain",
    "set_env",
    "text",
    "texts",
    "whole",
]

Json = dict[str, Any]
_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_LONGEST_NAME: Final = 253


def plain(value: Any) -> Any:
    """A copy in dictionaries and lists, of whatever read-only kinds the value is made."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    # kopf hands out read-only views that are no dicts.
    return value if isinstance(value, Mapping) else {}


def listed(value: object) -> list[Any]:
    """The items if the value is a list, else none."""
    return list(value) if isinstance(value, list | tuple) else []


def objects(value: object) -> list[Any]:
    """The objects among a list's items."""
    return [each for each in listed(value) if isinstance(each, Mapping)]


def named(value: object, name: str) -> Any | None:
    """The first object of that name in a list, or None."""
    return next((each for each in objects(value) if each.get("name") == name), None)


def text(value: object) -> str:
    """The value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def is_name(value: str) -> bool:
    """Whether an object, as a Secret, can have this name: a DNS subdomain, as in RFC 1123."""
    return len(value) <= _LONGEST_NAME and _NAME.fullmatch(value) is not None


def texts(value: object) -> dict[str, str]:
    """An object's texts by key: annotations, labels."""
    return {
        key: each
        for key, each in mapping(value).items()
        if isinstance(key, str) and isinstance(each, str)
    }


def whole(value: object) -> int | None:
    """The value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def set_env(container: Json, name: str, value: str) -> None:
    """Give a container's environment variable this value, whatever it had."""
    entries = objects(container.get("env"))
    container["env"] = [each for each in entries if each.get("name") != name]
    container["env"].append({"name": name, "value": value})
