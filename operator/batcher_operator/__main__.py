"""Entry point of `batcher-operator`."""

import asyncio
import logging
import os
import sys

from batcher_contract.logs import configure_logging
from batcher_operator.config import parse_args
from batcher_operator.program import run


def main() -> None:
    """Run the program; exit 2 after a sentence if it cannot begin."""
    config = parse_args(sys.argv[1:], os.environ)
    configure_logging(config.log_level, config.log_format)
    # At this level kopf tells of every event that it hands on.
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        asyncio.run(run(config))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"batcher-operator: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
