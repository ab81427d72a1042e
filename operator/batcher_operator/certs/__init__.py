"""The webhook's certificates: how they are made, and what has to be written next."""
