"""The protocols that are batched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher_sidecar.codecs.v1 import V1Codec
from batcher_sidecar.codecs.v2 import V2Codec

if TYPE_CHECKING:
    from batcher_sidecar.codecs.base import Codec
    from batcher_sidecar.codecs.signature import RowSignature


@dataclass(slots=True)
class Codecs:
    """One codec for each protocol."""

    v1: Codec
    v2: Codec

    @classmethod
    def of(cls, row_mode: RowSignature) -> Codecs:
        """Make them all."""
        return cls(V1Codec(row_mode), V2Codec())

    def apply(self, row_mode: RowSignature) -> None:
        """Sign the rows of requests that come from now on this way."""
        self.v1.apply(row_mode)
