"""Predictions that come in columns are the predictions that come as events."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring.config import MonitorConfig
from monitoring.service import Monitor, Setting
from monitoring.tables import ADDED
from noria.errors import InvalidInput
from noria.predictions import MEDIA_TYPE, Block, DictColumn, Output, encode
from noria.spec import load_model

HEADERS = {"content-type": MEDIA_TYPE}
WINDOW = 100
_numbers = count()


class Opened:
    """Opens monitors of one model, each in a new folder unless one is named."""

    def __init__(self, config: MonitorConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._open: dict[Path, Monitor] = {}

    def __call__(self, home: Path | None = None) -> Monitor:
        home = home or self._folder / f"home{next(_numbers)}"
        setting = Setting(home, "event")
        self._open[home] = Monitor(self._config, setting, lambda: 1_700_000_000.0)
        return self._open[home]

    def close(self, home: Path) -> None:
        self._open.pop(home).close()

    def close_all(self) -> None:
        for home in list(self._open):
            self.close(home)


@pytest.fixture
def opened(tmp_path: Path, model_file: Callable[..., Path]) -> Iterator[Opened]:
    model = model_file(
        window={"rows": WINDOW},
        performance={"metrics": ["auc"], "window": {"rows": WINDOW}},
    )
    found = Opened(MonitorConfig.from_model(load_model(model)), tmp_path)
    yield found
    found.close_all()


def champion(monitor: Monitor, reference: Path) -> None:
    body = json.dumps({"path": str(reference), "champion": True}).encode()
    monitor.put_reference("1", body).result()


def found(monitor: Monitor) -> dict[str, Any]:
    """What a monitor has found; how many records it took to say so is not part of it."""
    monitor.flush()
    status = monitor.status()
    for name in ("received", "processed", "dropped"):
        status["counts"].pop(name)
    windows = {
        stream: [bytes(one) for one in monitor.windows(stream, 1000)]
        for stream in ("features", "prediction", "performance/1")
    }
    return status | {"windows": windows, "streams": status["windows"]}


def post(monitor: Monitor, wire: SimpleNamespace, drawn: Any, kind: str) -> None:
    identity, request, scores = drawn
    body = request if kind == "request" else wire.response(scores)
    monitor.accept(wire.headers(identity, kind), json.dumps(body).encode()).result()


def minute(i: int) -> str:
    return f"2013-02-01T{i // 60:02d}:{i % 60:02d}:00Z"


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_however_predictions_are_cut_into_blocks_the_same_is_found(
    data: st.DataObject,
    opened: Opened,
    world: Any,
    wire: SimpleNamespace,
    tmp_path: Path,
) -> None:
    """Cut anywhere, some sent twice, some first as one event or both, labels before and after."""
    reference = tmp_path / f"reference{next(_numbers)}"
    world.reference(reference, rows=300)
    rows = data.draw(st.lists(st.sampled_from([1, 1, 2, 20, 130]), min_size=4, max_size=30))
    drawn = []
    for i, size in enumerate(rows):
        # Two requests each have the same entity keys.
        request = world.request(size, 3.0 * (i > 10), 1000 * (i // 2), minute(i // 2))
        drawn.append((f"r{i}", request, world.scores(size)))
    labelled = [(i, data.draw(st.booleans())) for i in range(0, len(rows), 2)]

    def label(monitor: Monitor, i: int) -> None:
        labels = [
            {"key": str(1000 * i + row), "label": row % 2}
            if i % 4
            else {"id": f"r{i}:{row}", "label": row % 2}
            for row in range(rows[i] + 3)
        ]
        monitor.feedback(json.dumps({"labels": labels}).encode())[0].result()

    plain, blocks = opened(), opened()
    for monitor in (plain, blocks):
        champion(monitor, reference)
        for i, before in labelled:
            if before:
                label(monitor, i)
    for one in drawn:
        post(plain, wire, one, "request")
        post(plain, wire, one, "response")

    place = again = 0
    while place < len(drawn):
        stop = place + data.draw(st.integers(1, 8))
        taken = drawn[place:stop]
        events = data.draw(st.sampled_from([(), (), ("request", "response")]))
        for kind in events:
            # The first of the block, and what is in front of it, have come as events already.
            post(blocks, wire, taken[0], kind)
        again += len(events)
        body = wire.block(taken)
        for _ in range(data.draw(st.integers(1, 2))):
            blocks.accept(*body).result()
        earlier = data.draw(st.integers(0, place))
        if data.draw(st.booleans()) and earlier < place:
            blocks.accept(*wire.block(drawn[earlier:stop])).result()
        place = stop
    for monitor in (plain, blocks):
        for i, before in labelled:
            if not before:
                label(monitor, i)

    expected, actual = found(plain), found(blocks)
    assert actual["counts"].pop("duplicates") >= again
    assert expected["counts"].pop("duplicates") == 0
    assert actual == expected
    assert actual["counts"]["rows"] == sum(rows)


def test_an_open_window_is_filled_again_after_a_restart(
    opened: Opened,
    world: Any,
    wire: SimpleNamespace,
    tmp_path: Path,
) -> None:
    reference = world.reference(tmp_path / "reference", rows=300)
    drawn = [(f"r{i}", world.request(7, 0.0, 7 * i), world.scores(7)) for i in range(40)]
    through, restarted = opened(), opened(tmp_path / "restarted")
    for monitor in (through, restarted):
        champion(monitor, reference)
        # The second block is cut by what came before: its rows are more than one pair.
        monitor.accept(*wire.block(drawn[3:5])).result()
        monitor.accept(*wire.block(drawn[:9])).result()
    restarted.flush()
    opened.close(tmp_path / "restarted")
    restarted = opened(tmp_path / "restarted")
    for monitor in (through, restarted):
        monitor.accept(*wire.block(drawn[9:])).result()
    expected = found(through)
    # Two of the features; the prediction still learns.
    assert expected["counts"]["windows"] == 2
    assert "prediction" in expected["waiting"]
    assert found(restarted) == expected


@pytest.mark.parametrize("first", ["request", "response"])
def test_half_a_pair_that_came_before_is_completed_by_the_block(
    opened: Opened, world: Any, wire: SimpleNamespace, first: str
) -> None:
    monitor = opened()
    drawn = [(f"r{i}", world.request(2), world.scores(2)) for i in range(3)]
    post(monitor, wire, drawn[1], first)
    monitor.accept(*wire.block(drawn)).result()
    for kind in ("request", "response"):
        post(monitor, wire, drawn[1], kind)
    counts = monitor.flush()
    assert (counts["requests"], counts["responses"], counts["rows"]) == (3, 3, 6)
    assert counts["duplicates"] == 3


def test_one_id_twice_in_a_block_is_one_prediction(
    opened: Opened, world: Any, wire: SimpleNamespace
) -> None:
    monitor = opened()
    drawn = [(name, world.request(2), world.scores(2)) for name in ("a", "b", "a", "c")]
    monitor.accept(*wire.block(drawn)).result()
    counts = monitor.flush()
    assert (counts["requests"], counts["rows"], counts["duplicates"]) == (3, 6, 2)


def test_a_label_beyond_a_requests_rows_is_not_its_neighbours(
    opened: Opened, world: Any, wire: SimpleNamespace
) -> None:
    monitor = opened()
    drawn = [(f"r{i}", world.request(2), world.scores(2)) for i in range(3)]
    monitor.accept(*wire.block(drawn)).result()
    labels = [{"id": "r0:2", "label": 1}, {"id": "r1:1", "label": 0}]
    monitor.feedback(json.dumps({"labels": labels}).encode())[0].result()
    counts = monitor.flush()
    assert (counts["labels"], counts["joined"]) == (2, 1)


def numbers(*given: float) -> bytes:
    return np.array(given, np.float64).tobytes()


def whole(*given: int) -> bytes:
    return np.array(given, np.int32).tobytes()


def block(**changes: Any) -> bytes:
    parts = {
        "model": "flights",
        "version": "1",
        "ids": ("a", "b"),
        "rows": whole(1, 2),
        "inputs": {
            "distance": numbers(1, 2, 3),
            "carrier": DictColumn(("AA", "DL"), whole(0, 1, -1)),
        },
        "outputs": {"probability": Output(numbers(0.1, 0.2, 0.3))},
    }
    return encode(Block(**(parts | changes)))


def test_a_block_that_fits_is_taken(opened: Opened) -> None:
    monitor = opened()
    monitor.accept(HEADERS, block()).result()
    assert monitor.flush()["rows"] == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "body: no block of predictions: "),
        (b"\x93\x01\x02\x03", "body: no block of predictions: "),
        (block(model="other"), "model: 'other' is not watched here; this monitor watches"),
        (block(ids=()), "rows: 8 bytes do not fit 0 ids"),
        (block(rows=b"123"), "rows: 3 bytes do not fit 2 ids"),
        (block(rows=whole(3, 0)), r"rows\[1\]: 0 is not at least 1"),
        (block(rows=whole(4, -1)), r"rows\[1\]: -1 is not at least 1"),
        (block(ids=("a", "")), r"ids\[1\]: '' is empty or over 256 long"),
        (block(ids=("x" * 257, "b")), r"ids\[0\]: 'xxx.* is empty or over 256 long"),
        (block(inputs={"distance": numbers(1, 2)}), "inputs.'distance': 2 values do not fit 3"),
        (block(inputs={"distance": b"1234"}), "inputs.'distance': 0.5 values do not fit 3 rows"),
        (block(inputs={"distance": b""}), "inputs.'distance': 0 values do not fit 3 rows"),
        (
            block(inputs={"carrier": DictColumn(("AA",), whole(0, 1, 0))}),
            "inputs.'carrier': codes beyond its 1 values",
        ),
        (
            block(inputs={"carrier": DictColumn(("AA",), whole(0, -2, 0))}),
            "inputs.'carrier': codes beyond its 1 values",
        ),
        (block(inputs={}), r"inputs: none of the model's features is there, only \[\]"),
        (block(inputs={"x": numbers(1, 2, 3)}), r"features is there, only \['x'\]; expected"),
        (block(outputs={}), "outputs: empty"),
        (block(outputs={"p": Output(numbers(1, 2))}), "outputs.'p': 2 values do not fit 3 rows"),
        (block(outputs={"p": Output(numbers(1, 2, 3), 2)}), "outputs.'p': 3 values do not fit 6"),
        (block(outputs={"p": Output(b"", 0)}), "outputs.'p'.width: 0 is not at least 1"),
        (
            block(
                inputs={
                    "distance": numbers(1, 2, 3),
                    "scheduled": DictColumn(("noon",), whole(0, 0, 0)),
                }
            ),
            "inputs.scheduled: 'noon' is not ISO 8601",
        ),
    ],
    ids=map(str, count()),
)
def test_a_block_that_does_not_fit_is_refused_by_the_name_of_its_field(
    opened: Opened, body: bytes, said: str
) -> None:
    monitor = opened()
    with pytest.raises(InvalidInput, match=said):
        monitor.accept(HEADERS, body)
    assert monitor.flush()["received"] == 0


def test_every_damaged_block_is_refused_or_counted(opened: Opened) -> None:
    monitor = opened()
    chance = np.random.default_rng(0)
    good = block()
    refused = 0
    for _ in range(500):
        body = bytearray(good)
        for place in chance.integers(0, len(body), 3):
            body[place] = chance.integers(0, 256)
        try:
            monitor.accept(HEADERS, bytes(body)).result()
        except InvalidInput:
            refused += 1
    assert refused > 100
    assert monitor.flush()["unreadable"] == 0


def test_numbers_and_texts_mean_the_same_in_both_forms(
    opened: Opened, wire: SimpleNamespace, world: Any, tmp_path: Path
) -> None:
    """Null, an infinity, a category written as a number, a boolean where a number belongs."""
    reference = world.reference(tmp_path / "reference", rows=300)
    plain, blocks = opened(), opened()
    inputs = {
        "carrier": [1.0, 2.5, None, 7.0] * 25,
        "distance": [True, False, True, True] * 25,
        "wind": [None, 3.0, 4.5, None] * 25,
        "scheduled": [1_359_720_000_000.0, None, 1_359_720_060_000.0, None] * 25,
        "flight_id": ["a", None, "c", "d"] * 25,
    }
    scores = [0.25, 0.5, 0.75, 0.5] * 25
    champion(plain, reference)
    champion(blocks, reference)
    tensors = [wire.tensor(name, "FP64", column) for name, column in inputs.items()]
    post(plain, wire, ("r", {"inputs": tensors}, np.array(scores)), "request")
    post(plain, wire, ("r", {"inputs": tensors}, np.array(scores)), "response")
    columns = {
        "carrier": numbers(*[1.0, 2.5, np.nan, 7.0] * 25),
        "distance": DictColumn(("false", "true"), whole(*[1, 0, 1, 1] * 25)),
        "wind": numbers(*[np.nan, 3.0, 4.5, -np.inf] * 25),
        "scheduled": numbers(*[1_359_720_000_000.0, np.nan, 1_359_720_060_000.0, np.inf] * 25),
        "flight_id": DictColumn(("a", "c", "d"), whole(*[0, -1, 1, 2] * 25)),
    }
    outputs = {"prediction": Output(numbers(*scores))}
    body = block(ids=("r",), rows=whole(100), inputs=columns, outputs=outputs)
    blocks.accept(HEADERS, body).result()
    for monitor in (plain, blocks):
        labels = [{"key": key, "label": 1} for key in ("a", "c")]
        monitor.feedback(json.dumps({"labels": labels}).encode())[0].result()
    expected = found(plain)
    assert expected["watermark"] == 1_359_720_060.0
    assert expected["counts"]["joined"] == 50
    assert expected["quality"] is not None
    assert found(blocks) == expected


@pytest.mark.parametrize(("width", "kept"), [(2, [1]), (3, [0, 1, 2])])
def test_of_two_classes_the_positive_one_is_kept_of_more_all_are(
    opened: Opened, width: int, kept: list[int], tmp_path: Path
) -> None:
    monitor = opened(tmp_path / "home")
    matrix = np.random.default_rng(0).dirichlet(np.ones(width), 3)
    monitor.accept(
        HEADERS, block(outputs={"probability": Output(matrix.tobytes(), width)})
    ).result()
    monitor.flush()
    with sqlite3.connect(tmp_path / "home" / "state.db") as state:
        ((found,),) = state.execute("SELECT prediction FROM pairs").fetchall()
    assert np.frombuffer(found).tolist() == matrix[:, kept].ravel().tolist()


def test_state_of_an_earlier_version_is_read_on(
    opened: Opened, world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    monitor = opened(home)
    post(monitor, wire, ("old", world.request(2), scores := world.scores(2)), "request")
    post(monitor, wire, ("old", world.request(2), scores), "response")
    monitor.flush()
    opened.close(home)
    with sqlite3.connect(home / "state.db") as state:
        for table, column, _ in ADDED:
            state.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    monitor = opened(home)
    monitor.accept(*wire.block([("new", world.request(2), scores)])).result()
    labels = [{"id": f"{name}:{row}", "label": row} for name in ("old", "new") for row in (0, 1)]
    monitor.feedback(json.dumps({"labels": labels}).encode())[0].result()
    counts = monitor.flush()
    assert (counts["rows"], counts["joined"]) == (4, 4)
