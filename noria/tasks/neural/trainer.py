"""The loop: batches, AdamW, the validation part, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Final, Protocol

import msgspec
import torch
from accelerate import Accelerator

from noria.errors import TrainingError
from noria.tasks.neural.checkpoints import Checkpoints, Epoch, Position, State
from noria.tasks.neural.plan import Places, Plan

_log: Final = logging.getLogger("noria.training")


class Lesson(Protocol):
    """What a family gives to be trained: a network, its rows, and what is wanted of it."""

    @property
    def network(self) -> torch.nn.Module:
        """The network; it is trained in place."""
        ...

    @property
    def rows(self) -> int:
        """How many rows there are to learn from, of the validation part none."""
        ...

    def losses(
        self, network: torch.nn.Module, places: Places, device: torch.device
    ) -> torch.Tensor:
        """Return the loss of each of the rows at m places, (m,), with its gradient."""
        ...

    def weight(self, places: Places) -> float:
        """Return what the rows at places weigh together: a step's loss is divided by that."""
        ...

    def value(self, network: torch.nn.Module, device: torch.device) -> float | None:
        """Return the metric on the validation part, the greater the better; None: there is none."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The weights of the best epoch, by name, and what each epoch gave."""

    weights: Mapping[str, torch.Tensor]
    best: int
    history: tuple[Epoch, ...]
    accumulate: int


def _tell(said: str) -> None:
    _log.info("%s", said)


def train(
    lesson: Lesson,
    plan: Plan,
    checkpoints: Checkpoints | None = None,
    tell: Callable[[str], None] = _tell,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a network. On a CPU the same rows, plan and threads give the same weights.

    Several processes of ``torch.distributed`` (``torchrun``) divide each batch; each returns the
    same weights.

    Args:
        lesson: What is trained.
        plan: How.
        checkpoints: Where it carries on from when it was killed; None: it begins anew.
        tell: Is told of each epoch, with the time that is left, and of what is out of the ordinary.
        clock: Seconds.

    Raises:
        TrainingError: The loss is not finite, or memory is short even for one row at a time.
    """
    with _threads(plan.threads):
        return _Run(lesson, plan, checkpoints, tell, clock).run()


class _Run:
    """One training under way."""

    def __init__(
        self,
        lesson: Lesson,
        plan: Plan,
        checkpoints: Checkpoints | None,
        tell: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self.lesson, self.plan, self.tell, self.clock = lesson, plan, tell, clock
        self.checkpoints = checkpoints
        gpu = torch.cuda.is_available()
        self.accelerator = Accelerator(cpu=not gpu, mixed_precision="bf16" if gpu else "no")
        self.device = self.accelerator.device
        self.alone = self.accelerator.num_processes == 1
        optimizer = torch.optim.AdamW(
            lesson.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self.network, self.optimizer = self.accelerator.prepare(lesson.network, optimizer)
        self.plain = self.accelerator.unwrap_model(self.network)
        self.best: Mapping[str, torch.Tensor] = {}
        self.at = Position(accumulate=plan.accumulate)

    def run(self) -> Trained:
        self._resume()
        began, first = self.clock(), self.at.epoch
        while self.at.epoch < self.plan.epochs and not self._stale():
            self._epoch()
            passed = self.clock() - began
            left = passed / (self.at.epoch - first) * (self.plan.epochs - self.at.epoch)
            self.tell(_said(self.at.history[-1], self.plan.epochs, left))
        if self.checkpoints is not None and self.accelerator.is_main_process:
            self.checkpoints.remove()
        return Trained(self.best, self.at.best, self.at.history, self.plan.accumulate)

    def _resume(self) -> None:
        found = None if self.checkpoints is None else self.checkpoints.read()
        if found is None:
            return
        self.plain.load_state_dict(dict(found.network))
        _restore(self.optimizer.optimizer, found.optimizer, self.device)
        self.best, self.at = found.best, found.position
        self.plan = replace(self.plan, accumulate=found.position.accumulate)
        self.tell(f"carries on at step {self.at.step} of epoch {self.at.epoch + 1}")

    def _stale(self) -> bool:
        patience, history = self.plan.patience, self.at.history
        if not patience or not history or history[-1].value is None:
            return False
        return self.at.epoch - self.at.best >= patience

    def _epoch(self) -> None:
        rows = self.lesson.rows
        batches = self.plan.batches(self.at.epoch, rows)
        self.network.train()
        while self.at.step < len(batches):
            loss = self._step(self.at.epoch * len(batches) + self.at.step, batches[self.at.step])
            self.at = msgspec.structs.replace(
                self.at, step=self.at.step + 1, loss=self.at.loss + loss
            )
            kept = self.checkpoints
            if kept is not None and self.at.step % kept.steps == 0 and self.at.step < len(batches):
                self._keep()
        self.network.eval()
        value = self.lesson.value(self.plain, self.device)
        done = Epoch(self.at.epoch + 1, self.at.loss / len(batches), value)
        best = self.at.best
        if value is None or best == 0 or value > _known(self.at.history[best - 1].value):
            best = done.number
            self.best = {name: one.detach().clone() for name, one in _state(self.plain).items()}
        self.at = Position(
            done.number, 0, 0.0, best, self.plan.accumulate, (*self.at.history, done)
        )
        if self.checkpoints is not None:
            self._keep()

    def _step(self, step: int, batch: Places) -> float:
        """Take one step of the optimizer; return its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(step, self.lesson.rows)
        while True:
            self.optimizer.zero_grad()
            try:
                loss = self._gradient(step, batch)
                break
            except torch.OutOfMemoryError as error:
                self._smaller(batch, error)
        if self.plan.clip:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        self.optimizer.step()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of step {step + 1} is {loss}", fix="give a lower learning_rate"
            )
        return loss

    def _gradient(self, step: int, batch: Places) -> float:
        """Add up the gradient of a batch; return its loss, the mean over what its rows weigh."""
        accelerator = self.accelerator
        rank, processes = accelerator.process_index, accelerator.num_processes
        torch.manual_seed(_seed(self.plan.seed, step, rank))
        parts = self.plan.parts(batch, rank, processes)
        whole = self.lesson.weight(batch)
        total = torch.zeros((), device=self.device)
        for number, part in enumerate(parts):
            # Processes exchange gradients once a step, with the last part.
            waits = number + 1 < len(parts) and not self.alone
            with accelerator.no_sync(self.network) if waits else nullcontext():
                with accelerator.autocast():
                    losses = self.lesson.losses(self.network, part, self.device)
                    # Gradients of processes are averaged: each counts as all of them.
                    loss = losses.float().sum() / whole * processes
                accelerator.backward(loss)
            total += loss.detach() / processes
        if not self.alone:
            total = accelerator.reduce(total, "sum")
        return float(total)

    def _smaller(self, batch: Places, error: Exception) -> None:
        self.optimizer.zero_grad()
        part = -(-batch.size // (self.plan.accumulate * self.accelerator.num_processes))
        if not self.alone:
            raise TrainingError(
                f"memory is short for {part} rows at a time, and other processes wait for this one",
                fix="give a lower batch_size, or a greater accumulate",
            ) from error
        if part <= 1:
            raise TrainingError(
                "memory is short for one row at a time", fix="give a smaller network or input"
            ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.plan = self.plan.halved()
        self.at = msgspec.structs.replace(self.at, accumulate=self.plan.accumulate)
        self.tell(
            f"memory is short for {part} rows at a time: computes {-(-part // 2)}, and adds up "
            f"{self.plan.accumulate} of them; a step has as many rows as before"
        )

    def _keep(self) -> None:
        if self.checkpoints is None or not self.accelerator.is_main_process:
            return
        optimizer = _optimizer_state(self.optimizer.optimizer)
        self.checkpoints.write(State(self.at, _state(self.plain), optimizer, self.best))


def _state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict(network.state_dict())


def _optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{place}.{name}": value for place, one in state.items() for name, value in one.items()}


def _restore(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], device: torch.device
) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        place, _, key = name.partition(".")
        # AdamW counts its steps on the CPU.
        state.setdefault(int(place), {})[key] = value if key == "step" else value.to(device)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of what is random in a step: what resumes draws the same."""
    return (seed * 1_000_003 + step * 4_099 + rank) % (1 << 63)


def _known(value: float | None) -> float:
    return -math.inf if value is None else value


def _said(done: Epoch, epochs: int, left: float) -> str:
    value = "" if done.value is None else f", validation {done.value:.4f}"
    until = "" if done.number == epochs else f", at most {left:.0f} s left"
    return f"epoch {done.number} of {epochs}: loss {done.loss:.4f}{value}{until}"


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
