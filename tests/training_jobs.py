"""Small training jobs for the tests of the loop."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipdefend.canvas import Canvas
from clipdefend.config import TrainConfig
from clipdefend.console import Console
from clipdefend.defences.terms_defence import TermsDefence
from clipdefend.models.builder import build_model
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model
from clipdefend.objectives.objective import build_objective
from clipdefend.training.devices import make_accelerator
from clipdefend.training.job import Job, freeze
from clipdefend.training.loop import Trainer
from memory_pairs import memory_pairs
from small_clip import small_architecture

ROWS = 20
BATCH = 4
STEPS = ROWS // BATCH
TIMING = ("samples_per_second", "step_seconds", "data_wait")


@dataclass(frozen=True)
class Made:
    factual: str
    counterfactual: str


@dataclass(frozen=True)
class Source:
    """Sub-captions of other rows each epoch."""

    per_epoch: int = 6

    def draw(self, epoch: int) -> tuple[np.ndarray, Mapping[int, Made]]:
        rows = np.random.default_rng(epoch).permutation(ROWS)[: self.per_epoch]
        return rows, {int(row): Made(f"a cat {row}", f"a dog {row}") for row in rows}


class Watcher(Console):
    """A console that nobody sees and that does something after a step of the training, or before the first."""

    def __init__(self, at: int | None = None, act: Callable[[], None] | None = None) -> None:
        super().__init__(quiet=True, stream=io.StringIO())
        self.at, self.act, self.steps = at, act, 0

    @contextmanager
    def progress(self, label: str, total: int | None = None, done: int = 0) -> Iterator[Any]:
        self.steps = done
        if self.at == done == 0 and self.act:
            self.act()
        yield self

    def update(self, n: int = 1, **values: object) -> None:
        self.steps += n
        if self.steps == self.at and self.act:
            self.act()


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def scale_of(model: ClipModel, *, full: bool = False) -> dict[str, float]:
    """Stands for an evaluation: a number that the weights decide."""
    with torch.no_grad():
        return {"ba@1": float(model.clip.visual.conv1.weight.double().abs().sum()) % 1.0}


def make_job(folder: Path, *, method: str = "cleanclip", **changes: Any) -> Job:
    """A job of 2 epochs of 5 steps; ``changes`` are fields of the job, or of its configuration."""
    objective = changes.pop("objective", None) or build_objective(method)
    config: dict[str, Any] = {"batch_size": BATCH, "epochs": 2, "lr": 1e-3, "warmup": 2, "log_every": 1}
    config["term_shares"] = 0
    fields = set(Job.__dataclass_fields__)
    config |= {key: changes.pop(key) for key in tuple(changes) if key not in fields}
    folder.mkdir(exist_ok=True)
    changes.setdefault("defence", TermsDefence(objective=objective))
    model = changes.setdefault("model", build_model(small_architecture(), seed=1))
    values: dict[str, Any] = {
        "suspect": freeze(model),
        "pairs": memory_pairs(ROWS),
        "canvas": Canvas(32),
        "config": TrainConfig(**config),
        "seed": 9,
        "folder": folder,
        "title": "Train",
        "subcaptions": Source() if objective.has_subset else None,
        "evaluate": scale_of,
        "select": lambda metrics: metrics["ba@1"],
    }
    return Job(**{**values, **changes})


def make_trainer(job: Job, console: Console | None = None) -> Trainer:
    accelerator = make_accelerator("cpu", job.config.precision, every_weight=job.uses_all)
    return Trainer(job, accelerator, console or Watcher())


def train(folder: Path, console: Console | None = None, **changes: Any) -> Trainer:
    """Train to the end; returns the trainer."""
    trainer = make_trainer(make_job(folder, **changes), console)
    trainer.run()
    return trainer


def log_of(folder: Path) -> list[dict[str, Any]]:
    """Records of ``metrics.jsonl`` without the timings."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [{key: value for key, value in record.items() if key not in TIMING} for record in records]


def weights(folder: Path, name: str = "model") -> dict[str, torch.Tensor]:
    return dict(load_model(f"local-dir:{folder / name}", None).clip.state_dict())


def equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
