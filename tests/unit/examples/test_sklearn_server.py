"""The example's model server says what is missing."""

from pathlib import Path

import joblib  # type: ignore[import-untyped]
import pytest
from sklearn.dummy import DummyClassifier  # type: ignore[import-untyped]

from examples.sklearn.server import ModelFileError, SklearnModel, find_model


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl", "iris.pickle"])
def test_the_one_model_is_found_whatever_lies_beside_it(tmp_path: Path, name: str) -> None:
    for each in (name, "README.md"):
        (tmp_path / each).touch()
    (tmp_path / "old.joblib").mkdir()
    assert find_model(tmp_path) == tmp_path / name


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], r"holds no file: put a model there, as model\.joblib or model\.pkl or"),
        (["b.txt", "a.onnx"], r"holds a\.onnx, b\.txt: put a model there"),
        (["b.pkl", "a.joblib"], r"holds several models \(a\.joblib, b\.pkl\): leave one"),
    ],
)
def test_a_folder_without_one_model(tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ModelFileError, match=words):
        find_model(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read: No such file or directory"):
        find_model(tmp_path / "nowhere")


def test_predictions(tmp_path: Path) -> None:
    fitted = DummyClassifier(strategy="constant", constant=1).fit([[1.0], [2.0]], [0, 1])
    joblib.dump(fitted, tmp_path / "model.joblib")
    model = SklearnModel("m", tmp_path)
    model.load()
    assert model.predict({"instances": [[1.0], [2.0], [3.0]]}) == {"predictions": [1, 1, 1]}
