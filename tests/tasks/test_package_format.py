"""The model package: what is refused, and what loading costs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from noria.errors import IntegrityError, InvalidInput, NotInstalled, TrainingError
from noria.tasks.families import family
from noria.tasks.package import load_predictor, package_digest, read_manifest
from noria.tasks.tabular.hand_made import package_linear


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "package"
    package_linear(path, "toy", ["a", "b"], [1.0, -2.0], 0.5)
    return path


def test_a_hand_made_linear_model_predicts_what_its_coefficients_say(package: Path) -> None:
    answer = load_predictor(package).predict({"a": np.array([1.0, 0.0]), "b": np.array([0, 3])})
    expected = 1 / (1 + np.exp(-np.array([1.5, -5.5])))
    np.testing.assert_allclose(answer["probability"], expected, rtol=1e-14)
    assert answer["label"].tolist() == [1, 0]


def test_a_hand_made_regression_and_three_classes_predict(tmp_path: Path) -> None:
    package_linear(tmp_path / "r", "r", ["a"], [2.0], 1.0, "tabular-regression")
    value = load_predictor(tmp_path / "r").predict({"a": np.array([4])})["prediction"]
    assert value.tolist() == [9.0]
    package_linear(tmp_path / "k", "k", ["a"], [[1.0, 0.0, -1.0]], [0.0, 0.0, 0.0])
    answer = load_predictor(tmp_path / "k").predict({"a": np.array([5.0, -5.0])})
    assert answer["probability"].shape == (2, 3)
    assert answer["label"].tolist() == [0, 2]


def test_the_same_model_gives_the_same_digest(package: Path, tmp_path: Path) -> None:
    package_linear(tmp_path / "again", "toy", ["a", "b"], [1.0, -2.0], 0.5)
    package_linear(tmp_path / "other", "toy", ["a", "b"], [1.0, -2.0], 0.6)
    digest = package_digest(package)
    assert digest == package_digest(tmp_path / "again")
    assert digest != package_digest(tmp_path / "other")
    assert load_predictor(package, digest=digest).manifest.model == "toy"


def test_another_digest_is_refused(package: Path) -> None:
    with pytest.raises(IntegrityError, match="expected 000"):
        load_predictor(package, digest="0" * 64)


def test_a_changed_byte_is_refused(package: Path) -> None:
    path = package / "linear.npz"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"linear\.npz"):
        load_predictor(package)


def test_a_missing_and_an_added_file_are_refused(package: Path) -> None:
    (package / "planted.py").write_text("")
    with pytest.raises(IntegrityError, match=r"planted\.py: not listed"):
        load_predictor(package)
    (package / "planted.py").unlink()
    (package / "linear.npz").unlink()
    with pytest.raises(IntegrityError, match="no such file"):
        load_predictor(package)


@pytest.mark.parametrize("path", ["../x.npz", "/etc/passwd", "a/../../x", "a\\b", "", "./x"])
def test_a_path_that_leaves_the_package_is_refused(package: Path, path: str) -> None:
    manifest = json.loads((package / "noria.json").read_text())
    manifest["files"][path] = "0" * 64
    (package / "noria.json").write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match="leaves the package"):
        load_predictor(package)


def test_a_link_is_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.npz").write_bytes((package / "linear.npz").read_bytes())
    (package / "linear.npz").unlink()
    (package / "linear.npz").symlink_to(tmp_path / "outside.npz")
    with pytest.raises(IntegrityError, match="symbolic link"):
        load_predictor(package)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"format": 2}, "reads format 1"), ({"surprise": 1}, "surprise"), ({"rows": "x"}, "rows")],
)
def test_an_unknown_manifest_is_refused(
    package: Path, change: dict[str, object], said: str
) -> None:
    manifest = json.loads((package / "noria.json").read_text())
    (package / "noria.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(IntegrityError, match=said):
        read_manifest(package)


def test_an_unknown_family_or_algorithm_is_not_installed(package: Path) -> None:
    text = (package / "noria.json").read_text()
    (package / "noria.json").write_text(text.replace("tabular-classification", "telepathy"))
    with pytest.raises(NotInstalled, match="telepathy"):
        load_predictor(package)
    (package / "noria.json").write_text(text.replace('"linear"', '"oracle"'))
    with pytest.raises(NotInstalled, match="oracle"):
        load_predictor(package)


def test_a_package_is_not_written_over_another(package: Path) -> None:
    with pytest.raises(TrainingError, match="not empty"):
        package_linear(package, "toy", ["a"], [1.0], 0.0)


@pytest.mark.parametrize(
    "columns",
    [
        {"a": np.zeros(1)},
        {"a": np.zeros(2), "b": np.zeros(1)},
        {"a": np.zeros((1, 1)), "b": np.zeros(1)},
        {"a": np.array(["x"], dtype=object), "b": np.zeros(1)},
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(
    package: Path, columns: dict[str, np.ndarray]
) -> None:
    with pytest.raises(InvalidInput, match=r"column '[ab]'"):
        load_predictor(package).predict(columns)


def test_a_linear_package_needs_numpy_only(package: Path) -> None:
    code = (
        "import sys, numpy, pathlib\n"
        "from noria.tasks.package import load_predictor\n"
        "p = load_predictor(pathlib.Path(sys.argv[1]))\n"
        "p.predict({'a': numpy.zeros(1), 'b': numpy.zeros(1)})\n"
        "heavy = {'pandas', 'scipy', 'sklearn', 'pydantic', 'lightgbm', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(package)], check=True, timeout=60)


def test_one_row_of_a_linear_model_takes_microseconds(package: Path) -> None:
    predictor = load_predictor(package)
    row = {"a": np.zeros(1), "b": np.zeros(1)}
    best = min(_seconds(lambda: predictor.predict(row)) for _ in range(200))
    assert best < 100e-6


def _seconds(call: object) -> float:
    start = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - start


def test_threads_share_a_predictor(package: Path) -> None:
    predictor = load_predictor(package)
    wrong: list[float] = []

    def ask(value: float) -> None:
        expected = 1 / (1 + np.exp(-(value + 0.5)))
        for _ in range(200):
            got = predictor.predict({"a": np.array([value]), "b": np.zeros(1)})
            if abs(got["probability"][0] - expected) > 1e-12:
                wrong.append(value)

    threads = [threading.Thread(target=ask, args=(float(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_family_that_is_not_installed_says_so() -> None:
    with pytest.raises(NotInstalled, match="'tea-leaves' is not a task family that is installed"):
        family("tea-leaves")
