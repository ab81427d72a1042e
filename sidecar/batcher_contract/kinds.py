"""The kinds of values that fields take: how each is read, bounded, compared and written."""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from batcher_contract.names import HOP_BY_HOP_HEADERS
from batcher_contract.quantities import format_bytes, parse_quantity

__all__ = [
    "BadValueError",
    "Choice",
    "HeaderNames",
    "Host",
    "Kind",
    "Number",
    "Quantity",
    "Size",
    "Switch",
    "Text",
    "Whole",
    "plain",
]


class BadValueError(ValueError):
    """A text is no value of its kind; the message goes on from the text: `is less than 1`."""


class Kind(Protocol):
    """How the values of one field are read and written. `render` then `parse` is the identity."""

    @property
    def metavar(self) -> str:
        """Stands for the value in a synopsis: `MS`."""

    @property
    def expected(self) -> str:
        """What to give, with bounds: `a whole number of instances from 1 to 1000000`."""

    def parse(self, text: str) -> Any:
        """The value a text stands for; raises BadValueError."""

    def render(self, value: Any) -> str:
        """The text that stands for a value."""

    def magnitude(self, value: Any) -> Decimal:
        """A value as a number, for comparisons; only kinds that have an order."""


class _Unordered:
    def magnitude(self, value: object) -> Decimal:
        raise TypeError(f"{value!r} has no magnitude")


def plain(number: float | Decimal) -> str:
    """A number in digits, without an exponent and without zeros that say nothing."""
    text = f"{Decimal(str(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _bounded(value: Decimal, minimum: str, maximum: str, low: Decimal, high: Decimal) -> None:
    if value < low:
        raise BadValueError(f"is less than {minimum}")
    if value > high:
        raise BadValueError(f"is more than {maximum}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A whole number of some unit."""

    unit: str
    minimum: int
    maximum: int
    metavar: str = "N"

    @property
    def expected(self) -> str:
        """What to give."""
        of_unit = f" of {self.unit}" if self.unit else ""
        return f"a whole number{of_unit} from {self.minimum} to {self.maximum}"

    def parse(self, text: str) -> int:
        """Read decimal digits."""
        if not re.fullmatch(r"-?[0-9]{1,40}", text):
            raise BadValueError("is not a whole number")
        value = int(text)
        bounds = str(self.minimum), str(self.maximum), Decimal(self.minimum), Decimal(self.maximum)
        _bounded(Decimal(value), *bounds)
        return value

    def render(self, value: int) -> str:
        """Write decimal digits."""
        return str(value)

    def magnitude(self, value: int) -> Decimal:
        """The number."""
        return Decimal(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number of some unit, with or without a fraction."""

    unit: str
    minimum: float
    maximum: float
    metavar: str = "N"

    @property
    def expected(self) -> str:
        """What to give."""
        bounds = f"from {plain(self.minimum)} to {plain(self.maximum)}"
        return f"a plain number of {self.unit} {bounds}"

    def parse(self, text: str) -> float:
        """Read decimal digits with an optional fraction: no exponent, no unit."""
        if not re.fullmatch(r"-?[0-9]{1,40}(\.[0-9]{1,40})?", text):
            raise BadValueError("is not a plain number")
        low, high = Decimal(str(self.minimum)), Decimal(str(self.maximum))
        _bounded(Decimal(text), plain(self.minimum), plain(self.maximum), low, high)
        return float(text)

    def render(self, value: float) -> str:
        """Write decimal digits."""
        return plain(value)

    def magnitude(self, value: float) -> Decimal:
        """The number."""
        return Decimal(str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A number of bytes, plain or with a suffix as Kubernetes writes it."""

    minimum: int
    maximum: int
    metavar: str = "BYTES"

    @property
    def expected(self) -> str:
        """What to give."""
        bounds = f"from {format_bytes(self.minimum)} to {format_bytes(self.maximum)}"
        return f"bytes {bounds}, plain or as in 64Mi"

    def parse(self, text: str) -> int:
        """Read a quantity that comes to whole bytes."""
        value = parse_quantity(text)
        if value is None or value != int(value):
            raise BadValueError("is not a number of bytes")
        bounds = format_bytes(self.minimum), format_bytes(self.maximum)
        _bounded(value, *bounds, Decimal(self.minimum), Decimal(self.maximum))
        return int(value)

    def render(self, value: int) -> str:
        """Write with the largest suffix that loses nothing."""
        return format_bytes(value)

    def magnitude(self, value: int) -> Decimal:
        """The bytes."""
        return Decimal(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A Kubernetes resource quantity, kept as it was written."""

    what: str
    minimum: str
    example: str
    metavar: str = "QUANTITY"

    @property
    def expected(self) -> str:
        """What to give."""
        return f"{self.what} as Kubernetes writes it, at least {self.minimum}, as in {self.example}"

    def parse(self, text: str) -> str:
        """Check the syntax and the lower bound."""
        value = parse_quantity(text)
        if value is None:
            raise BadValueError("is not a Kubernetes quantity")
        if value < self.magnitude(self.minimum):
            raise BadValueError(f"is less than {self.minimum}")
        return text

    def render(self, value: str) -> str:
        """As it was written."""
        return value

    def magnitude(self, value: str) -> Decimal:
        """Cores or bytes."""
        return parse_quantity(value) or Decimal(0)


@dataclass(frozen=True, slots=True)
class Switch(_Unordered):
    """True or false, with the spellings that Go's flag packages accept."""

    metavar: str = "true|false"
    expected: str = "true or false"

    def parse(self, text: str) -> bool:
        """Read one of the spellings of strconv.ParseBool."""
        if text in ("1", "t", "T", "TRUE", "true", "True"):
            return True
        if text in ("0", "f", "F", "FALSE", "false", "False"):
            return False
        raise BadValueError("is neither true nor false")

    def render(self, value: bool) -> str:
        """`true` or `false`."""
        return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Choice(_Unordered):
    """One of a few words."""

    options: tuple[str, ...]

    @property
    def metavar(self) -> str:
        """The words."""
        return "|".join(self.options)

    @property
    def expected(self) -> str:
        """The words."""
        return " or ".join(self.options)

    def parse(self, text: str) -> str:
        """Demand one of the words, in their case."""
        if text not in self.options:
            raise BadValueError("is not known")
        return text

    def render(self, value: str) -> str:
        """The word."""
        return value


@dataclass(frozen=True, slots=True)
class HeaderNames(_Unordered):
    """Names of request headers, kept in lower case, each once."""

    # They frame or steer one connection, or are the proxy's own, so no batch could carry them.
    forbidden: Collection[str] = HOP_BY_HOP_HEADERS | {"content-length", "expect", "host"}
    metavar: str = "NAME,..."
    expected: str = (
        "header names separated by commas, none of them hop-by-hop, Host, Content-Length or Expect"
    )

    def parse(self, text: str) -> tuple[str, ...]:
        """Read names that are tokens (RFC 9110 section 5.6.2); an empty text is no names."""
        names = [name.strip().lower() for name in text.split(",")] if text.strip() else []
        for name in names:
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name):
                raise BadValueError("holds something that is no header name")
            if name in self.forbidden:
                raise BadValueError(f"names {name}, which is never passed on")
        return tuple(dict.fromkeys(names))

    def render(self, value: tuple[str, ...]) -> str:
        """Separate by commas."""
        return ",".join(value)


@dataclass(frozen=True, slots=True)
class Host(_Unordered):
    """A host name or an IP address, without brackets and without a port."""

    metavar: str = "HOST"
    expected: str = "a host name or an IP address, without brackets and port"

    def parse(self, text: str) -> str:
        """Check the syntax; nothing is looked up."""
        if ":" in text or re.fullmatch(r"[0-9.]+", text):
            try:
                return str(ipaddress.ip_address(text))
            except ValueError:
                raise BadValueError("is not an IP address") from None
        if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})", text):
            raise BadValueError("is not a host name")
        return text

    def render(self, value: str) -> str:
        """As it is."""
        return value


@dataclass(frozen=True, slots=True)
class Text(_Unordered):
    """Any text."""

    metavar: str = "TEXT"
    expected: str = "any text"

    def parse(self, text: str) -> str:
        """As it is."""
        return text

    def render(self, value: str) -> str:
        """As it is."""
        return value
