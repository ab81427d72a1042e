"""Whose an object is that has the name of one of ours."""

from collections.abc import Mapping
from typing import Any

from batcher_operator.standalone.workload import MANAGED_BY, MANAGED_BY_LABEL

__all__ = ["is_ours", "owns"]


def owns(uid: str, found: Mapping[str, Any]) -> bool:
    """Whether the InferenceService of this uid owns an object, whoever made it."""
    owners = found["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == uid for owner in owners)


def is_ours(uid: str, found: Mapping[str, Any]) -> bool:
    """Whether an object is made for the InferenceService of this uid, and may be changed.

    KServe's are, as they have that owner. Those that we made for an earlier InferenceService of the
    same name are as well: they have our label, and an owner that is gone.
    """
    labels = found["metadata"].get("labels") or {}
    return owns(uid, found) or labels.get(MANAGED_BY_LABEL) == MANAGED_BY
