"""Alibi Detect where torch is not installed, as in the environment of the demo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HIDDEN = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "xgboost"):
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
TABULAR = """
from pathlib import Path
import numpy as np
from monitoring.detectors import DetectorConfig, build_detector, load_detector
from monitoring.table import Column, Table

def rows(shift):
    random = np.random.default_rng(0)
    schema = (Column("a", "numeric"), Column("c", "categorical", ("x", "y")))
    columns = {"a": random.normal(shift, 1, 300), "c": random.integers(0, 2, 300).astype(np.int32)}
    return Table(schema, columns, 300)

built = build_detector(DetectorConfig("features", "tabular", backend="alibi", alpha=0.01), rows(0))
built.save(Path(sys.argv[1]))
for detector in (built, load_detector(Path(sys.argv[1]))):
    print(detector.score(rows(0)).drift, detector.score(rows(1)).drift)
print("torch" in sys.modules)
"""
MMD = """
import numpy as np
from monitoring.detectors import DetectorConfig, build_detector
from monitoring.table import Column, Table
from noria.errors import NotInstalled

table = Table((Column("a", "numeric"),), {"a": np.arange(50.0)}, 50)
try:
    build_detector(DetectorConfig("joint", sys.argv[1], backend="alibi", alpha=0.05), table)
except NotInstalled as error:
    print(error)
"""


def ran(code: str, argument: str) -> tuple[str, str]:
    command = [sys.executable, "-c", HIDDEN + code, argument]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout, found.stderr


@pytest.mark.slow
def test_the_detector_of_the_example_is_fitted_run_saved_and_loaded(tmp_path: Path) -> None:
    out, errors = ran(TABULAR, str(tmp_path / "saved"))
    assert out.split() == ["False", "True", "False", "True", "False"]
    assert "PyTorch" not in errors


@pytest.mark.parametrize("kind", ["mmd", "lsdd", "learned-kernel", "online-mmd"])
def test_a_kind_that_needs_torch_says_so_and_the_fix(kind: str) -> None:
    out, _ = ran(MMD, kind)
    assert f"kind: {kind} with backend: alibi needs torch" in out
    assert "install noria[alibi]" in out
