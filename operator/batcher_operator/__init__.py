"""The operator that keeps certificates, webhook configurations and Events."""
