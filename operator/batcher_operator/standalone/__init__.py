"""Standalone mode, without KServe: from an InferenceService to the objects that run it. Pure."""
