"""The budget of bytes that waiting requests, joined bodies and unwritten answers share (rule 8)."""

from __future__ import annotations


class ByteBudget:
    """Counts bytes against a limit. New work asks (``reserve``); work already accepted is counted
    without asking (``add``), so that it ends, and makes new work wait outside until it has."""

    __slots__ = ("limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def reserve(self, size_bytes: int) -> bool:
        """Take ``size_bytes`` if they fit; tell whether they did."""
        if self.used_bytes + size_bytes > self.limit_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    def add(self, size_bytes: int) -> None:
        """Take ``size_bytes`` unconditionally."""
        self.used_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Give ``size_bytes`` back."""
        self.used_bytes -= size_bytes
