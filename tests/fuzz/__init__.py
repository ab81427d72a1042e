"""Hostile bytes against the data port and the codec; see ``python -m tests.fuzz --help``."""
