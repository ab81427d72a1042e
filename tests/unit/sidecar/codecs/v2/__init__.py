"""The Open Inference Protocol: requests, answers and what model servers say of models."""
