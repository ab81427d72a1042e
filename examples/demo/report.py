"""What the demo prints, and the record of whether each of its claims held."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

__all__ = ["Report"]


class Report:
    """A terminal, and the claims made on it. Colours only where they are wanted (rich decides)."""

    def __init__(self) -> None:
        # What is printed holds brackets and numbers that are neither markup nor to be coloured.
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.held = 0
        self.failed: list[str] = []

    def title(self, title: str, text: str) -> None:
        """Print the first thing that is seen."""
        self.console.print(Panel(Text(text), title=title, title_align="left", padding=(0, 1)))

    def scene(self, title: str) -> None:
        """Begin a part."""
        self.console.print()
        self.console.rule(Text(title, style="bold"), align="left")

    def say(self, text: str, style: str = "") -> None:
        """Print paragraphs, one for each line."""
        width = self.console.width
        folded = [textwrap.fill(line, width) for line in text.split("\n")]
        self.console.print(Text("\n".join(folded), style=style), soft_wrap=True)

    def command(self, arguments: Sequence[str]) -> None:
        """Print a command line, options kept together with their values where it is folded."""
        words = " ".join(arguments).replace(" --", "\n--").split("\n")
        width = self.console.width - 4
        lines = [words[0]]
        for word in words[1:]:
            if len(lines[-1]) + 1 + len(word) > width:
                lines.append("    " + word)
            else:
                lines[-1] += " " + word
        self.console.print(Text(" \\\n".join(f"  {line}" for line in lines), style="cyan"))

    def code(self, text: str) -> None:
        """Print Python source."""
        self.console.print(Syntax(text, "python", theme="ansi_dark", background_color="default"))

    def json(self, document: object) -> None:
        """Print a JSON document, one line for each of its fields."""
        text = json.dumps(document)
        if isinstance(document, dict):
            fields = [
                f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items()
            ]
            text = "{\n" + ",\n".join(fields) + "\n}"
        self.console.print(
            Syntax(text, "json", theme="ansi_dark", background_color="default", word_wrap=True)
        )

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table. A column whose title starts with `<` is text, the others are numbers."""
        table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
        for column in columns:
            justify: Literal["left", "right"] = "left" if column.startswith("<") else "right"
            table.add_column(column.removeprefix("<"), justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*[Text(cell) for cell in row])
        self.console.print(table)

    def claim(self, held: bool, text: str, otherwise: str) -> None:
        """Print what was shown if it held. If not, print and remember `otherwise`, a sentence."""
        if held:
            self.held += 1
            self._line("ok", "bold green", text)
        else:
            self.failed.append(otherwise)
            self._line("NO", "bold red", otherwise)

    def fact(self, text: str) -> None:
        """Print something measured that is neither good nor bad."""
        self._line("--", "bold", text)

    def working(self, text: str) -> AbstractContextManager[object]:
        """Show that something takes time, where there is a terminal to show it on."""
        return self.console.status(Text(text))

    def progress(self) -> Progress:
        """Return a progress bar; it shows on terminals only and goes when it is done."""
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    def _line(self, mark: str, style: str, text: str) -> None:
        # Folded here because a grid would pad each line with spaces to the full width.
        folded = textwrap.fill(
            text, self.console.width, initial_indent="     ", subsequent_indent="     "
        )
        self.console.print(Text(f"  {mark} ", style=style), end="")
        self.console.print(Text(folded[5:]), soft_wrap=True)
