"""What the toy served is kept by a monitor with both of its targets, and the toy learns it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Another process, for families are found once in each. The monitor is a real one, and the steps are
# those of a pipeline; only the servers between are left out.
LEARNS = """
import json, random, sys, time
from pathlib import Path

import pandas as pd

from components import steps
from monitoring.config import MonitorConfig
from monitoring.service import Monitor, Setting
from noria.spec import load_model
from noria.tasks.candidate import make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor

folder = Path(sys.argv[1])
model = load_model(folder / "mood" / "model.yaml")
spec, toy = model.spec, family("toy-text")
served = folder / "monitor" / "served"
text = model.model_dump_json(by_alias=True)


def candidate(number, champion):
    rows = folder / f"rows{number}.parquet"
    where = str(served) if served.exists() else ""
    steps.ingest(model=text, base=str(folder / "mood"), as_of="", rows=rows, served=where)
    frame = pd.read_parquet(rows)
    out = folder / f"made{number}"
    made = make_candidate(toy, spec, frame, champion, out, model="mood")
    return made, frame, load_predictor(made.package)


def said(predictor, texts):
    return predictor.predict({"text": texts})["prediction"]


first, _, predictor = candidate(1, None)
monitor = Monitor(MonitorConfig.from_model(model), Setting(folder / "monitor"), time.time)
reference = {"path": str(first.reference), "champion": True}
monitor.put_reference("1", json.dumps(reference).encode()).result()
monitor.flush()
words = {"fine": (1, 0), "calm": (1, -1), "poor": (-1, 0), "Wild": (0, 2), "Odd": (3, -2)}
chance = random.Random(0)
texts = [" ".join(chance.choices(list(words), k=4)) for _ in range(400)]
truth = [[sum(words[w][i] for w in text.split()) for i in (0, 1)] for text in texts]
scores = said(predictor, texts)
for kind, name, datatype, shape, data in (
    ("request", "text", "BYTES", [400], texts),
    ("response", "prediction", "FP64", [400, 2], scores.ravel().tolist()),
):
    tensor = {"name": name, "datatype": datatype, "shape": shape, "data": data}
    headers = {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "r",
        "ce-type": f"org.kubeflow.serving.inference.{kind}",
        "ce-source": "http://localhost/",
        "ce-inferenceservicename": "mood",
        "ce-annotations": json.dumps({"noria.dev/model-version": "1"}),
    }
    body = {"inputs" if kind == "request" else "outputs": [tensor]}
    monitor.accept(headers, json.dumps(body).encode()).result()


def tell(rows, source, factor, names=("pleasant", "lively")):
    labels = [
        {"id": f"r:{row}", "label": factor * truth[row][i], "target": name, "source": source}
        for row in rows
        for i, name in enumerate(("pleasant", "lively"))
        if name in names
    ]
    body = json.dumps({"model": "mood", "labels": labels}).encode()
    monitor.feedback(body)[0].result()


tell(range(400), "judge:words", 0.5)
tell(range(300), "feedback", 1.0)
tell(range(300, 390), "feedback", 1.0, ["lively"])
monitor.flush()
status = monitor.status()
monitor.close()
second, frame, learned = candidate(2, first.package)
print(json.dumps({
    "waiting": sorted(status["waiting"]),
    "aside": status["aside"],
    "unkept": status["counts"]["dropped"]["unkept"],
    "served": frame.attrs["noria.served"],
    "columns": list(frame.columns),
    "labels": frame[["pleasant", "lively"]].to_numpy().tolist()[-400:],
    "truth": truth,
    "before": said(predictor, ["Odd Odd"])[0].tolist(),
    "after": said(learned, ["Odd Odd"])[0].tolist(),
    "gates": [gate.verdict for gate in second.evaluation.gates],
}))
"""
KEPT = """
    served: {retention: 36500d}
    features: [{name: text, type: text}]
"""


def test_both_targets_of_what_was_served_are_kept_and_learned(toy: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(toy)}

    def python(*words: object) -> str:
        command = [sys.executable, *map(str, words)]
        ran = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    python("-m", "noria.cli", "init", "mood", "--family", "toy-text")
    python("mood/data.py")
    model = tmp_path / "mood" / "model.yaml"
    model.write_text(model.read_text().replace("  data:\n", "  data:\n" + KEPT.lstrip("\n")))
    found = json.loads(python("-c", LEARNS, tmp_path).splitlines()[-1])
    assert found["unkept"] == 0
    # The length of the texts is watched, for the reference has it.
    assert found["waiting"] == ["performance"]
    assert found["aside"] == {}
    assert found["columns"] == ["text", "pleasant", "lively"]
    assert (found["served"]["rows"], found["served"]["known"]) == (400, 400)
    # People's word takes the judge's place target by target.
    truth = found["truth"]
    expected = [[pleasant, lively] for pleasant, lively in truth[:300]]
    expected += [[pleasant / 2, lively] for pleasant, lively in truth[300:390]]
    expected += [[pleasant / 2, lively / 2] for pleasant, lively in truth[390:]]
    assert sorted(found["labels"]) == sorted(expected)
    # The source has no such word.
    assert found["before"] != pytest.approx([6, -4], abs=1.5)
    assert found["after"] == pytest.approx([6, -4], abs=1.5)
    assert found["gates"]
