"""What the sidecar, the webhook and the operator agree on. Standard library only."""

from batcher_contract.settings import BatcherSettings

__all__ = ["BatcherSettings"]
