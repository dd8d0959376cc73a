"""A history through the loop, from rows to figures."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from noria.backtest.figures import PREDICTORS
from noria.backtest.history import History, read_history
from noria.backtest.pool import Pool
from noria.backtest.progress import Progress
from noria.backtest.reporting import report_of
from noria.backtest.run import Result, without_servers
from noria.backtest.suggest import SETTINGS, Suggestion, parts, suggest
from noria.backtest.summary import print_summary
from noria.measures.measuring import value_of
from noria.report import page
from noria.spec import Model, parse_model

MakeStream = Callable[..., tuple[Model, Path]]
RunBacktest = Callable[..., tuple[Result, int]]


def test_the_loop_repairs_a_planted_change_that_the_frozen_model_can_not(result: Result) -> None:
    values = result.figures.values
    assert values["loop"] is not None
    assert values["frozen"] is not None
    assert values["loop"] > values["frozen"] + 0.05
    assert result.figures.count("promoted") >= 1
    assert result.figures.share is not None


def test_every_row_is_answered_and_the_pooled_metric_is_of_those_answers(result: Result) -> None:
    assert result.figures.rows == result.history.streamed == len(result.truth)
    for name in PREDICTORS:
        right = value_of("auc", result.truth, result.said[name])
        assert result.figures.values[name] == pytest.approx(right)
    assert sum(month.rows for month in result.figures.months) == result.figures.rows
    assert sum(week.rows for week in result.figures.weeks) == result.figures.rows


def test_a_retrain_learns_from_what_was_known_when_it_started_and_from_no_more(
    result: Result,
) -> None:
    assert result.figures.log
    for retrain in result.figures.log:
        known = result.history.known(round(retrain.at.timestamp() * 1000))
        assert retrain.rows == known.sum()


def test_a_version_answers_only_after_it_was_made(result: Result) -> None:
    event = result.history.event_ms[result.history.start :]
    for retrain in result.figures.log:
        answered = event[result.versions == int(retrain.version or 0)]
        assert (answered >= retrain.at.timestamp() * 1000).all()


def test_it_is_done_again_from_the_cache_without_a_fit_and_with_the_same_end(
    stream: tuple[Model, Path],
    history: History,
    cache: Path,
    ran: tuple[Result, int],
    run_backtest: RunBacktest,
) -> None:
    first, fitted = ran
    again, refitted = run_backtest(stream[0], history, cache, jobs=2)
    assert fitted > 0
    assert refitted == 0
    assert again.figures.to_json() | {"seconds": 0} == first.figures.to_json() | {"seconds": 0}


def test_a_fit_that_was_cut_off_is_done_again(
    stream: tuple[Model, Path],
    history: History,
    cache: Path,
    ran: tuple[Result, int],
    run_backtest: RunBacktest,
) -> None:
    folder = next((cache / "fits").iterdir())
    (folder / "done.json").unlink()
    (folder.with_name(f".{folder.name}.partial")).mkdir()
    again, refitted = run_backtest(stream[0], history, cache)
    assert refitted == 1
    assert again.figures.values == ran[0].figures.values


def test_the_figures_are_json_with_the_keys_that_programs_read(result: Result) -> None:
    found = json.loads(json.dumps(result.figures.to_json(), allow_nan=False))
    for name in ("values", "retrains", "costs"):
        assert set(found[name]) == set(PREDICTORS)
    assert found["metric"] == "auc"
    assert found["retrains"]["loop"] == len(found["log"])
    assert found["promoted"] + found["refused"] + found["aborted"] + found["failed"] <= len(
        found["log"]
    )
    assert found["alarms"] == len(found["signals"])
    assert {"share", "worst_month", "seconds", "rows"} <= set(found)


def test_predictions_are_parquet_with_one_row_per_answer(result: Result, tmp_path: Path) -> None:
    result.write_predictions(tmp_path / "new" / "said.parquet")
    found = pd.read_parquet(tmp_path / "new" / "said.parquet")
    assert len(found) == result.figures.rows
    assert {"event_time", "label_time", "label", "version", *PREDICTORS} == set(found.columns)
    assert found["event_time"].is_monotonic_increasing
    assert set(found["label"]) == {0, 1}


def test_the_report_and_the_table_say_what_the_figures_say(result: Result) -> None:
    figures = result.figures
    html = page(report_of(figures, "noria backtest -f model.yaml"))
    shown = Console(file=io.StringIO(), record=True, width=160)
    print_summary(shown, figures)
    table = shown.export_text()
    for name in PREDICTORS:
        assert f"{figures.values[name]:.4f}" in html
        assert f"{figures.values[name]:.4f}" in table
    for retrain in figures.log:
        assert retrain.run_id in html
        assert retrain.outcome in table
    assert "<script" not in html


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "metric"), [("text", "auc"), ("several", "auc"), ("number", "r2")]
)
def test_text_labels_several_classes_and_numbers_go_the_same_way(
    kind: str, metric: str, tmp_path: Path, stream_of: MakeStream, run_backtest: RunBacktest
) -> None:
    model, file = stream_of(tmp_path, kind, rows=1500)
    result, _ = run_backtest(model, read_history(model.spec, file.parent), tmp_path / "cache")
    assert result.figures.metric == metric
    assert all(result.figures.values[name] is not None for name in PREDICTORS)
    labels = set(result.predictions()["label"])
    if kind == "several":
        assert labels == {"low", "mid", "high"}
        assert result.said["loop"].shape == (result.figures.rows, 3)
        assert np.allclose(result.said["loop"].sum(axis=1), 1)
    if kind == "text":
        assert labels == {"yes", "no"}


def test_checks_that_need_a_server_are_left_out_and_said(stream: tuple[Model, Path]) -> None:
    tree = stream[0].model_dump(mode="json", by_alias=True)
    tree["spec"]["serving"]["canary"]["analysis"] = [
        {"metric": "error-rate", "max": 0.01},
        {"metric": "latency-p99", "max": "100ms"},
        {"metric": "log-loss", "maxDrop": 0.5},
    ]
    model, notes = without_servers(parse_model(tree))
    kept = [check.metric for check in model.spec.serving.canary.analysis]
    assert kept == ["error-rate", "log-loss"]
    assert "latency-p99" in notes[0]


def test_settings_are_chosen_on_rows_that_all_come_before_those_reported(history: History) -> None:
    seen, shown = parts(history)
    assert len(seen) == shown.start
    assert seen.event_ms.max() <= shown.event_ms[shown.start :].min()
    assert seen.streamed + shown.streamed == history.streamed


@pytest.mark.slow
def test_a_suggestion_is_a_model_that_can_be_pasted(
    stream: tuple[Model, Path], history: History, cache: Path
) -> None:
    seen, _ = parts(history)
    shown = Console(quiet=True)
    with Pool(2) as pool, Progress(shown, seen.streamed) as progress:
        found = suggest(stream[0], seen, pool, cache, progress)
    assert set(found.changed) <= {".".join(path) for path in SETTINGS}
    before = stream[0].model_dump(mode="json", by_alias=True)
    after = found.model.model_dump(mode="json", by_alias=True)
    assert (before == after) == (not found.changed)


def test_what_changed_is_written_as_it_stands_in_the_file(stream: tuple[Model, Path]) -> None:
    written = Suggestion(stream[0], {"retraining.newData.growth": 0.4}).yaml()
    assert written == "spec:\n  retraining:\n    newData:\n      growth: 0.4\n"
