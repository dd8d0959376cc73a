"""A runner that does nothing until a test tells it how to end; same arguments as the real one."""

import argparse
import sys
import time
from pathlib import Path

from noria.loop.values import RunPhase, RunRequest, RunResult, RunStatus, from_json
from pipelines.rundir import Progress, RunDir

parser = argparse.ArgumentParser()
parser.add_argument("--run-dir", type=Path)
parser.add_argument("--request", type=Path)
folder = RunDir(parser.parse_known_args()[0].run_dir)
request = from_json((folder.path / "request.json").read_bytes(), RunRequest)
folder.write_pid()
with (folder.path.parent / "started").open("a") as started:
    started.write(f"{request.run_id}\n")
folder.write_status(RunStatus(request.run_id, RunPhase.RUNNING))
folder.write_progress(Progress("train"))
order = folder.path / "order"
while not order.exists():
    time.sleep(0.01)
said = order.read_text()
if said == "fail":
    folder.write_status(RunStatus(request.run_id, RunPhase.FAILED, "train: too few rows"))
    sys.exit(1)
result = from_json(said, RunResult)
folder.write_status(RunStatus(request.run_id, RunPhase.SUCCEEDED, "", result))
