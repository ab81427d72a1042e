"""Settings that change while the sidecar runs: the file that tells them, looked at every second."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from batcher_contract import parse_settings_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher_contract import BatcherSettings

__all__ = ["LOOK_EVERY_S", "LiveSettings"]

LOOK_EVERY_S: Final = 1.0
"""A kubelet brings a changed ConfigMap within about a minute, so this adds next to nothing."""

_log = logging.getLogger(__name__)


class LiveSettings:
    """The settings in force: what flags say, and over them what the file says, if there is one.

    A file that is wrong in any way is not applied at all: the last good one stays in force, and so
    it does when the file goes away.
    """

    def __init__(
        self, flags: BatcherSettings, path: str | None, apply: Callable[[BatcherSettings], None]
    ) -> None:
        self.settings = flags
        self._flags = flags
        self._path = None if path is None else Path(path)
        self._apply = apply
        self._since = _now()
        self._text: str | None = None
        self._fault = ""

    def shown(self) -> dict[str, Any]:
        """For ``/config``: the settings in force, since when, and what is wrong with the file."""
        shown: dict[str, Any] = {"since": self._since, "settings": asdict(self.settings)}
        if self._fault:
            shown["settings_file_fault"] = self._fault
        return shown

    async def look(self) -> None:
        """Read the file, and apply it if it is new and nothing is wrong with it."""
        if self._path is None:
            return
        try:
            text = await asyncio.to_thread(self._path.read_text)
        except FileNotFoundError:
            self._text, self._fault = None, ""  # as before the ConfigMap is there
            return
        except (OSError, UnicodeDecodeError) as error:
            self._text = None
            self._complain(f"cannot read {self._path} ({error})")
            return
        if text == self._text:
            return
        self._text = text
        parsed = parse_settings_file(text, self._flags)
        if parsed.faults:
            self._complain("; ".join(map(str, parsed.faults)))
            return
        self._fault = ""
        if parsed.settings != self.settings:
            self.settings = parsed.settings
            self._since = _now()
            self._apply(parsed.settings)
            _log.info("settings changed: %s", " ".join(text.split()))

    async def keep_fresh(self) -> NoReturn:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    def _complain(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            _log.error("settings stay as they are: %s", fault)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
