"""What holds for every test."""

from pathlib import Path

from hypothesis import configuration, settings

configuration.set_hypothesis_home_dir(Path(__file__).parents[1] / ".cache" / "hypothesis")
# A shared machine may be slow for a moment; pytest's own timeout bounds each test.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
