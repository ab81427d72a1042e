"""Load, cost and latency of the sidecar beside other proxies, in one run: ``make bench``."""
