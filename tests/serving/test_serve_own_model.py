"""A model of the project's own on the model server: what its class does wrong costs one request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noria.tasks.package import Feature, Input, Manifest, package_digest, write_package
from noria.tasks.tabular.hand_made import outputs_of

CODE = """
import sys

class Half:
    def fit(self, train): pass
    def save(self, folder): pass
    @classmethod
    def load(cls, folder):
        (folder / "half.txt").read_text()
        return cls()
    def predict(self, features):
        x = features["x"].to_numpy()
        if (x == 1).any():
            raise ValueError("secret of the house")
        if (x == 2).any():
            sys.exit(3)
        if (x == 3).any():
            return x[:0]
        if (x == 4).any():
            return x / 0.0
        return x / 2
"""
URL = "/v2/models/m/infer"


@pytest.fixture
def own_package(tmp_path: Path) -> Path:
    """A package of a class that halves a number."""
    manifest = Manifest(
        model="m",
        family="custom",
        algorithm="own-class",
        inputs=(Input("x", "FP64", "numeric"),),
        outputs=outputs_of(()),
        features=(Feature("x", "numeric"),),
        options={"model": "half.py:Half", "allowPickle": False},
    )
    files = {"code/half.py": CODE.encode(), "model/half.txt": b"0.5"}
    write_package(tmp_path / "package", manifest, files)
    return tmp_path / "package"


def asked(value: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [value]}]}


def test_a_class_that_fails_is_a_500_that_is_counted_and_the_server_goes_on(
    start_server: Any, own_package: Path
) -> None:
    server = start_server("--digest", package_digest(own_package), of=own_package)
    with server.client() as client:
        assert client.post(URL, json=asked(5.0)).json()["outputs"][0]["data"] == [2.5]
        for bad in (1.0, 2.0, 3.0):
            answer = client.post(URL, json=asked(bad))
            assert answer.status_code == 500
            assert "incident" in answer.json()["error"]
            assert "secret" not in answer.text
        answer = client.post(URL, json=asked(4.0))
        assert answer.status_code == 500
        assert answer.json()["error"].startswith("outputs.prediction: the model answered inf for")
        assert client.post(URL, json=asked(7.0)).json()["outputs"][0]["data"] == [3.5]
    assert server.metric("noria_requests_total", code="500") == 4
    assert server.metric("noria_rows_not_finite_total", output="prediction") == 1
    assert server.stop() == 0
    said = server.log.read_text()
    assert "half.py:Half: predict failed: ValueError: secret of the house (line 14)" in said


def test_code_that_was_changed_after_it_was_registered_does_not_run(
    start_server: Any, own_package: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    (own_package / "code" / "half.py").write_text(f"open({str(ran)!r}, 'w')\n{CODE}")
    with pytest.raises(AssertionError, match=r"code/half\.py: its sha256 is"):
        start_server(of=own_package)
    assert not ran.exists()
