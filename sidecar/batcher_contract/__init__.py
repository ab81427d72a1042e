"""What the sidecar, the webhook and the operator agree on. Standard library only."""

from batcher_contract.annotations import ParsedAnnotations, parse_annotations
from batcher_contract.faults import Fault, SettingsError
from batcher_contract.fields import FIELDS, Field
from batcher_contract.flags import ParsedFlags, parse_flags, settings_to_flags, split_arguments
from batcher_contract.live import parse_settings_file, render_settings_file
from batcher_contract.settings import BatcherSettings, PodOptions, ProcessOptions

__all__ = [
    "FIELDS",
    "BatcherSettings",
    "Fault",
    "Field",
    "ParsedAnnotations",
    "ParsedFlags",
    "PodOptions",
    "ProcessOptions",
    "SettingsError",
    "__version__",
    "parse_annotations",
    "parse_flags",
    "parse_settings_file",
    "render_settings_file",
    "settings_to_flags",
    "split_arguments",
]

__version__ = "0.1.0"
"""The version of all programs: they are released together."""
