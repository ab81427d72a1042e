"""The admission webhook that puts the batching sidecar into pods."""
