"""A recommender in the model server: users, histories, filters, and why an answer is cold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from noria.errors import IntegrityError, InvalidInput
from noria.tasks.package import load_predictor, read_package, write_package
from noria.tasks.recommendation.items import NOTHING, number_of
from tests.recommendation.conftest import shelves
from tests.serving.conftest import RunningServer


def ask(server: RunningServer, **inputs: Any) -> dict[str, list[Any]]:
    """Return each output by name, a list for each request."""
    answer = post(server, **inputs)
    assert answer.status_code == 200, answer.text
    return {
        one["name"]: np.array(one["data"], object).reshape(one["shape"]).tolist()
        for one in answer.json()["outputs"]
    }


def post(server: RunningServer, **inputs: Any) -> httpx.Response:
    tensors = [
        {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": values}
        for name, values in inputs.items()
    ]
    with server.client() as client:
        return client.post("/v2/models/m/infer", json={"inputs": tensors})


def read_by(reader: str) -> set[str]:
    return {book for name, book, _ in shelves() if name == reader}


def test_a_known_user_is_answered_by_what_is_known(server: RunningServer) -> None:
    found = ask(server, reader=["R01", "R02"])
    for reader, items, cold in zip(("R01", "R02"), found["items"], found["coldStart"], strict=True):
        shelf = {book[0] for book in read_by(reader)}
        assert len(shelf) == 1
        # Twelve books, of which they have read eight.
        assert {book[0] for book in items} == shelf
        assert not set(items) & read_by(reader)
        assert cold == ""
    assert found["ignored"] == [0, 0]
    assert found["prediction"][0] == [number_of(book) for book in found["items"][0]]
    assert sorted(found["scores"][0], reverse=True) == found["scores"][0]


def test_a_history_that_is_sent_answers_whoever_it_is(server: RunningServer) -> None:
    # R02 keeps to shelf a: what is sent counts, and what is kept does not.
    found = ask(server, reader=["R02", "nobody"], history=["b00|b01|b02", "b00|b01|b02"])
    assert found["items"][0] == found["items"][1]
    assert {book[0] for book in found["items"][0]} == {"b"}
    assert not set(found["items"][0]) & {"b00", "b01", "b02"}
    assert found["coldStart"] == ["", ""]


def test_a_cold_start_is_popular_and_said(server: RunningServer, package: Path) -> None:
    found = ask(server, reader=["nobody", "nobody", None], history=[None, "zzz|yyy", ""])
    popular = load_predictor(package).settings.items[:4]  # type: ignore[attr-defined]
    assert found["items"] == [popular] * 3
    assert found["coldStart"] == [
        "no history was sent and the user is not known: popular items",
        "no item of the history is known: popular items",
        "no history was sent and the user is not known: popular items",
    ]
    assert found["ignored"] == [0, 2, 0]


def test_an_unknown_item_is_ignored_and_counted(server: RunningServer) -> None:
    one, other = ask(server, history=["a00|zzz|a01"]), ask(server, history=["a00|a01"])
    assert one["items"] == other["items"]
    assert (one["ignored"], other["ignored"]) == ([1], [0])


def test_filters_leave_out_and_choose_and_what_is_left_is_filled_up(server: RunningServer) -> None:
    whole = ask(server, history=["a00|a01"])["items"][0]
    without = ask(server, history=["a00|a01"], exclude=[f"{whole[0]}|unheard"])["items"][0]
    assert without[:3] == whole[1:]
    few = ask(server, history=["a00|a01"], only=["b05|a00|a07|unheard"])
    # One of them has been read, one is not known.
    assert few["items"] == [["a07", "b05", "", ""]]
    assert few["prediction"] == [[number_of("a07"), number_of("b05"), NOTHING, NOTHING]]
    assert few["scores"][0][2:] == [0.0, 0.0]
    none = ask(server, history=["a00"], only=["unheard"])
    assert none["items"] == [[""] * 4]


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ({"name": "history", "shape": [1], "datatype": "FP64", "data": [7]},
         "does not fit the input history"),
        ({"name": "film", "shape": [1], "datatype": "BYTES", "data": ["a"]},
         "'film' is not an input of this model"),
        ({"name": "history", "shape": [1, 2], "datatype": "BYTES", "data": ["a", "b"]},
         "[1, 2]; this model has inputs that are not numbers: send one tensor per input"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_in_words(
    server: RunningServer, tensor: dict[str, Any], said: str
) -> None:
    with server.client() as client:
        answer = client.post("/v2/models/m/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_what_is_watched_of_a_request(package: Path) -> None:
    model = load_predictor(package)
    columns = {"history": np.array(["a00|a01|zzz|yyy", None, "b03"], object)}
    found = model.describe(columns)  # type: ignore[attr-defined]
    assert found["unknown"].tolist() == [0.5, 0.0, 0.0]
    assert found["cold"].tolist() == [0.0, 1.0, 0.0]
    readers = len({reader for reader, _, _ in shelves()})

    def bits(*books: str) -> float:
        counts = [sum(book == one for _, one, _ in shelves()) for book in books]
        return float(np.mean(-np.log2(np.array(counts) / readers)))

    assert found["rarity"][0] == pytest.approx(bits("a00", "a01"))
    assert np.isnan(found["rarity"][1])
    answered = model.predict(columns)["items"]
    assert found["novelty"] == pytest.approx([bits(*row) for row in answered])


def test_the_server_imports_no_library_of_training(package: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from noria.tasks.package import load_predictor\n"
        f"import numpy as np; model = load_predictor(Path({str(package)!r}))\n"
        "model.predict({'history': np.array(['a00'], object)})\n"
        "print(sorted({'implicit', 'scipy', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_package_whose_parts_do_not_fit_is_refused(package: Path, tmp_path: Path) -> None:
    manifest, files = read_package(package)
    said = json.loads(files["recommend.json"])
    for name, value in (("items", said["items"][:-1]), ("users", []), ("method", "bpr")):
        other = {**files, "recommend.json": json.dumps({**said, name: value}).encode()}
        write_package(tmp_path / name, manifest, other)
        with pytest.raises(IntegrityError, match="train again"):
            load_predictor(tmp_path / name)


def test_a_request_of_nothing_is_refused_in_words(package: Path) -> None:
    with pytest.raises(InvalidInput, match="neither reader nor history is sent"):
        load_predictor(package).predict({})
