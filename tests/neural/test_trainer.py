"""The trainer: it repeats, resumes, divides its work, and answers a lack of memory."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from noria.errors import IntegrityError, TrainingError
from noria.tasks.neural.checkpoints import FILE, Checkpoints, Position, State
from noria.tasks.neural.trainer import train
from noria.tasks.neural.weights import packed, unpacked
from noria.tasks.pickles import pickle_in

SCRIPT = Path(__file__).with_name("lesson.py")


def _lesson() -> ModuleType:
    spec = importlib.util.spec_from_file_location("neural_lesson", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


L = _lesson()


def silent(said: str) -> None:
    pass


def run(what: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), what, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_same_plan_gives_the_same_weights_and_another_seed_others() -> None:
    digests = [L.digest(train(L.Points(), L.PLAN, tell=silent)) for _ in range(2)]
    assert digests[0] == digests[1]
    other = train(L.Points(), replace(L.PLAN, seed=4), tell=silent)
    assert L.digest(other) != digests[0]


def test_it_is_adamw_with_clipped_gradients() -> None:
    """Against the loop that a textbook has, of the same batches and rates."""
    lesson, plan = L.Points(dropout=0.0), L.PLAN
    done = train(L.Points(dropout=0.0), plan, tell=silent)
    optimizer = torch.optim.AdamW(lesson.network.parameters(), weight_decay=plan.weight_decay)
    for epoch in range(done.best):
        for number, batch in enumerate(plan.batches(epoch, lesson.rows)):
            optimizer.param_groups[0]["lr"] = plan.rate(
                epoch * plan.steps(lesson.rows) + number, lesson.rows
            )
            optimizer.zero_grad()
            lesson.losses(lesson.network, batch, None).mean().backward()
            torch.nn.utils.clip_grad_norm_(lesson.network.parameters(), plan.clip)
            optimizer.step()
    for name, one in lesson.network.state_dict().items():
        torch.testing.assert_close(done.weights[name], one)


def test_a_training_that_is_interrupted_anywhere_ends_with_the_same_weights(
    tmp_path: Path,
) -> None:
    class Interruption(Exception): ...

    class Interrupted(L.Points):  # type: ignore[name-defined,misc]
        steps = 0

        def losses(self, network: Any, places: Any, device: Any) -> torch.Tensor:
            if self.asked == self.steps:
                raise Interruption
            return super().losses(network, places, device)

    kept = Checkpoints(tmp_path, "points", steps=4)
    told: list[str] = []
    for step in (1, 7, 10):
        lesson = Interrupted()
        lesson.steps = step
        with pytest.raises(Interruption):
            train(lesson, L.PLAN, kept, tell=told.append)
    done = train(L.Points(), L.PLAN, kept, tell=told.append)
    assert "carries on at step 4 of epoch 3" in told
    assert L.digest(done) == L.digest(train(L.Points(), L.PLAN, tell=silent))


@pytest.mark.slow
def test_processes_that_are_killed_at_random_steps_end_with_the_same_weights(
    tmp_path: Path,
) -> None:
    process = run("killed", tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    said = json.loads(out)
    assert said["kills"] >= 2
    assert said["digest"] == L.digest(train(L.Points(), L.PLAN, tell=silent))
    assert not (tmp_path / FILE).exists()


@pytest.mark.slow
def test_two_processes_give_the_loss_of_one_with_the_same_batches(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        run("together", tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in (0, 1)
    ]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["digest"] == second["digest"]
    alone = train(L.Points(dropout=0.0), L.PLAN, tell=silent)
    assert first["losses"] == pytest.approx([one.loss for one in alone.history], rel=1e-5)


def test_parts_that_are_added_up_give_what_a_whole_batch_gives() -> None:
    whole = train(L.Points(dropout=0.0), L.PLAN, tell=silent)
    parts = train(L.Points(dropout=0.0), replace(L.PLAN, accumulate=3), tell=silent)
    found = [one.loss for one in parts.history]
    assert found == pytest.approx([one.loss for one in whole.history], rel=1e-5)


def test_a_lack_of_memory_halves_what_is_computed_at_once_and_says_so() -> None:
    told: list[str] = []
    lesson = L.Points(dropout=0.0, most=5)
    done = train(lesson, L.PLAN, tell=told.append)
    whole = train(L.Points(dropout=0.0), L.PLAN, tell=silent)
    assert done.accumulate == 4
    assert lesson.sizes[:3] == [15, 8, 4]
    found = [one.loss for one in done.history]
    assert found == pytest.approx([one.loss for one in whole.history], rel=1e-5)
    assert [one for one in told if one.startswith("memory is short for 15 rows at a time")]


def test_a_lack_of_memory_for_one_row_is_an_error() -> None:
    class Greedy(L.Points):  # type: ignore[name-defined,misc]
        def losses(self, network: Any, places: Any, device: Any) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainingError, match="one row at a time"):
        train(Greedy(), L.PLAN, tell=silent)


def test_it_ends_after_epochs_without_a_gain_and_keeps_the_best() -> None:
    class Worse(L.Points):  # type: ignore[name-defined,misc]
        values = iter([0.5, 0.8, 0.7, 0.6, 0.9])

        def value(self, network: Any, device: Any) -> float:
            return next(self.values)

    lesson = Worse()
    done = train(lesson, replace(L.PLAN, epochs=9, patience=2), tell=silent)
    assert [one.number for one in done.history] == [1, 2, 3, 4]
    assert done.best == 2
    assert not torch.equal(done.weights["0.weight"], lesson.network[0].weight)


def test_it_says_how_far_it_is_and_how_long_it_takes() -> None:
    told: list[str] = []
    seconds = iter(range(0, 100, 10))
    train(L.Points(), L.PLAN, tell=told.append, clock=lambda: float(next(seconds)))
    assert told[0].startswith("epoch 1 of 4: loss ")
    assert told[0].endswith("at most 30 s left")
    assert told[3].startswith("epoch 4 of 4")


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(TrainingError, match="lower learning_rate"):
        train(L.Points(), replace(L.PLAN, learning_rate=1e30, clip=0.0), tell=silent)


def test_a_checkpoint_is_safetensors_and_of_one_training_alone(tmp_path: Path) -> None:
    state = State(Position(epoch=1, step=2), {"w": torch.ones(2)}, {"0.step": torch.tensor(3.0)})
    Checkpoints(tmp_path, "mine").write(state)
    assert not pickle_in((tmp_path / FILE).read_bytes())
    found = Checkpoints(tmp_path, "mine").read()
    assert found is not None
    assert found.position == state.position
    torch.testing.assert_close(found.network["w"], torch.ones(2))
    assert Checkpoints(tmp_path, "another").read() is None
    (tmp_path / FILE).write_bytes(b"no safetensors at all")
    with pytest.raises(TrainingError, match="remove it"):
        Checkpoints(tmp_path, "mine").read()


def test_weights_are_plain_numbers_in_one_order() -> None:
    tensors = {"b": torch.arange(3.0), "a": torch.zeros(2)}
    content = packed(tensors)
    assert content == packed(dict(reversed(tensors.items())))
    np.testing.assert_array_equal(unpacked(content, "w")["b"].numpy(), [0.0, 1.0, 2.0])
    with pytest.raises(IntegrityError, match="w: is no file of safetensors"):
        unpacked(content[:20], "w")
