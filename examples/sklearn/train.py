"""Train an iris classifier on the data that scikit-learn ships, and write it to a folder.

    python train.py FOLDER

The folder is made if need be, and holds `model.joblib` then.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import joblib  # type: ignore[import-untyped]
from sklearn.datasets import load_iris  # type: ignore[import-untyped]
from sklearn.svm import SVC  # type: ignore[import-untyped]


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description="Write an iris classifier.")
    parser.add_argument("folder", type=Path, help="where to write model.joblib")
    folder: Path = parser.parse_args().folder
    features, species = load_iris(return_X_y=True)
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(SVC().fit(features, species), folder / "model.joblib")


if __name__ == "__main__":
    main()
