"""Fetch models with KServe's own downloader, as its storage initialiser does.

    python fetch.py URI FOLDER [URI FOLDER ...]

Credentials and options come from the environment. It exits with 1 and the reason, as the last
line, if a model cannot be had.
"""

from __future__ import annotations

import sys

from kserve_storage import Storage  # type: ignore[import-not-found]
from kserve_storage.logging import configure_logging  # type: ignore[import-not-found]


def main() -> None:
    """Fetch all, one after the other."""
    uris, folders = sys.argv[1::2], sys.argv[2::2]
    if not uris or len(uris) != len(folders):
        sys.exit("usage: fetch.py URI FOLDER [URI FOLDER ...]")
    configure_logging()
    try:
        Storage.download_files(uris, folders)
    except Exception as error:
        sys.exit(f"the model cannot be fetched: {error}")


if __name__ == "__main__":
    main()
