"""Rights as roles grant them: one by one, and with one taken away."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.apiserver.kit.api import Api

__all__ = ["Right", "rights_in", "without"]

Json = dict[str, Any]


class Right(NamedTuple):
    """One verb on one resource, or on one object of it."""

    kind: str
    """`ClusterRole` or `Role`."""

    group: str
    resource: str
    verb: str
    name: str = ""


def rights_in(role: Json) -> Iterator[Right]:
    """All that a role grants."""
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames") or [""]:
                        yield Right(role["kind"], group, resource, verb, name)


def _rules_of(rights: Iterable[Right]) -> list[Json]:
    return [
        {
            "apiGroups": [right.group],
            "resources": [right.resource],
            "verbs": [right.verb],
            **({"resourceNames": [right.name]} if right.name else {}),
        }
        for right in rights
    ]


@contextmanager
def without(api: Api, roles: Sequence[Json], missing: Right) -> Iterator[None]:
    """Have the roles grant all but one right inside, and that one again afterwards."""
    for role in roles:
        rights = [right for right in rights_in(role) if right != missing]
        api.replace({**role, "rules": _rules_of(rights)})
    try:
        yield
    finally:
        for role in roles:
            meta = role["metadata"]
            now = api.get(role["kind"], meta["name"], meta.get("namespace"))
            api.replace({**now, "rules": role["rules"]})
