"""What the command lines of the webhook and the operator have in common."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from batcher_contract.fields import FIELDS
from batcher_contract.kinds import BadValueError, Kind

__all__ = ["Parser", "add_log_flags", "reads"]


class Parser(argparse.ArgumentParser):
    """Ends with exit code 2 and one sentence where a command line is wrong."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def reads(kind: Kind) -> Callable[[str], Any]:
    """A kind of value as argparse wants its types."""

    def read(text: str) -> Any:
        try:
            return kind.parse(text)
        except BadValueError as error:
            raise argparse.ArgumentTypeError(f'"{text}" {error}: give {kind.expected}') from None

    return read


def add_log_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--log-level` and `--log-format`."""
    for name in ("log_level", "log_format"):
        field = FIELDS[name]
        choices = field.kind.metavar.split("|")
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, choices=choices, default=field.default, help=field.meaning)
