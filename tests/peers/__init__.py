"""The sidecar in front of model servers that others wrote, asked by clients that others wrote."""
