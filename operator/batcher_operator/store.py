"""What bringing workloads about asks of the API server."""

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Object", "Store"]

Object = dict[str, Any]


class Store(Protocol):
    """The API server. Each call is bounded in time and raises OSError with a sentence."""

    async def get(self, path: str) -> Object | None:
        """An object, or None where there is none."""

    async def put(self, path: str, body: Mapping[str, Any]) -> Object:
        """Replace an object; Conflict if its resourceVersion is not the one in `body`."""

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> Object:
        """Server-side apply, also against other managers.

        Conflict if there is a uid in `body` and no object of that uid at the path.
        """

    async def delete(self, path: str, uid: str) -> None:
        """Delete an object if it is still the one of this uid."""

    async def list_items(self, path: str, labels: str = "") -> list[Object]:
        """The objects of a collection, or those that a selector of labels fits.

        None where there is no such kind.
        """
