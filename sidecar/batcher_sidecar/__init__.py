"""The batching proxy that stands in front of a model server."""
