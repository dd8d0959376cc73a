"""A loop that is replayed: where the season changes its shape the model loses to the naive."""

from __future__ import annotations

import csv
import random
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MODEL = """apiVersion: noria.dev/v1alpha1
kind: Model
metadata: {name: depots}
spec:
  task:
    family: forecasting
    options: {step: day, horizon: 4, history: 42, levels: [80], origins: 14}
  data:
    source: {csv: {paths: [data/rows.csv]}}
    entityKey: [depot]
    eventTime: day
    target: parcels
  gates: {champion: [{metric: mase}]}
  serving:
    canary: {steps: [50], minSamples: 100, analysis: [{metric: error-rate, max: 0.01}]}
  monitoring:
    window: {rows: 200}
    # A loss by smape alone would have to be out of all reason.
    performance: {window: {rows: 100}, drop: {metric: smape, max: 150}}
  retraining: {signals: [performance], change: {rows: 200, factor: 1.5}}
"""
START = datetime(2026, 1, 5, tzinfo=UTC)
DEPOTS, DAYS, CHANGE, ASKED = 60, 224, 200, 192
WEEK = (1.25, 1.1, 1.0, 1.0, 1.15, 0.6, 0.3)
OTHER = (0.3, 0.6, 1.15, 1.0, 1.0, 1.1, 1.25)


def project(folder: Path, then: tuple[float, ...]) -> Path:
    """Sixty depots with a week of one shape, and from the day CHANGE on of another."""
    (folder / "data").mkdir(parents=True)
    chance = random.Random(0)
    with (folder / "data" / "rows.csv").open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["depot", "day", "parcels"])
        for number in range(DEPOTS):
            level = chance.lognormvariate(5.5, 0.8)
            for day in range(DAYS):
                usual = level * (then if day >= CHANGE else WEEK)[day % 7]
                parcels = round(usual * chance.lognormvariate(0.0, 0.1), 1)
                at = (START + timedelta(days=day)).date().isoformat()
                rows.writerow([f"D{number:02}", at, parcels])
    (folder / "model.yaml").write_text(MODEL)
    return folder


def noria(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "noria.cli", *words, "--home", "home"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def replayed(folder: Path) -> str:
    start = (START + timedelta(days=ASKED)).date().isoformat()
    return noria(folder, "replay", "-f", "model.yaml", "--clock", "event", "--start", start)


def test_a_season_of_another_shape_is_a_loss_and_the_model_is_trained_again(
    tmp_path: Path,
) -> None:
    said = replayed(project(tmp_path / "changed", OTHER))
    retrains = re.findall(r"^(2026-\S+) +v[0-9]+ .* performance: skill is -", said, re.MULTILINE)
    assert retrains, said
    day = datetime.fromisoformat(retrains[0]).replace(tzinfo=UTC)
    assert START + timedelta(days=CHANGE) < day < START + timedelta(days=CHANGE + 14)


def test_a_season_that_stays_is_none(tmp_path: Path) -> None:
    said = replayed(project(tmp_path / "same", WEEK))
    assert "retrains: none" in said
    (skill,) = re.findall(r", skill (-?[0-9.]+),", said)
    assert 0.1 < float(skill) < 0.3
