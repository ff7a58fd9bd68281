"""Two processes train as one does: batches, learning rates, metrics, bad rows, faults and interruptions."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from PIL import Image

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas
from clipdefend.data.decode import ImageError
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.defences.deep_clustering import DeepClustering
from clipdefend.defences.defence import Defence
from clipdefend.defences.shrink_perturb import ShrinkPerturb
from clipdefend.defences.unlearn import Unlearn
from clipdefend.distributed import launch
from clipdefend.errors import ClipDefendError, Interrupted
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.builder import build_model
from memory_pairs import MemoryPairs, memory_pairs, noise
from small_clip import small_architecture
from training_jobs import ROWS, Watcher, equal, interrupt, log_of, make_job, make_trainer, train, weights

WORLD = 2
METHODS = ("ft", "cleanclip", "cleanerclip")
STILL: dict[str, Any] = {
    "lr": 5e-6,
    "warmup": 4,
    "batch_norm": "eval",
    "epochs": 4,
    "eval_every": 4,
    "term_shares": 3,
}
DEFENCES: dict[str, Defence] = {
    "shrink-perturb": ShrinkPerturb(shrink=0.9, perturb=0.01, method="ft"),
    "deep-clustering": DeepClustering(clusters=4, method="ft", assignment="stored"),
    "unlearn": Unlearn(members=1, ramp=0, restart=8),
}
"""Weights that are changed before the first step; clusters of all processes' images, made in each epoch; perturbations
that follow the gradients of all processes' images."""
MOVING: dict[str, Any] = {"method": "cleanerclip", "epochs": 2}


class Noise(LabelledImages):
    """Row r is ``noise(r)``; row 5 is bad."""

    def _decode(self, row: int) -> Image.Image:
        if row == 5:
            raise ImageError("cannot be decoded")
        return noise(row)

    def image_ref(self, row: int) -> str:
        return f"{row}.png"


@dataclass
class OnlyHere(MemoryPairs):
    """Pairs that one process cannot read at all."""

    broken: int = 1

    def image(self, row: int) -> Image.Image:
        if launch.current().rank == self.broken:
            raise ImageError(f"Row {row} of memory: the disk of process {self.broken} is gone")
        return super().image(row)


def benchmark() -> Benchmark:
    """29 images in batches of four: the last batch is smaller, and one process has a batch more."""
    names = ["cat", "dog", "house", "banana"]
    labels = np.arange(29) % 4
    images = Noise(classes=names, templates=None, spec="memory", recognised="memory", labels=labels)
    return Benchmark(
        images=images,
        templates=["a {}", "the {}"],
        canvas=Canvas(32),
        ks=[1, 2],
        trigger=Trigger.create("badnet", {}, size=32, seed=1),
        target=1,
        batch_size=4,
        max_bad=0.1,
    )


def steps_by(folder: Path, *, batch: int) -> None:
    """What one process and two do alike, for each method."""
    for method in METHODS:
        train(folder / method, method=method, batch_size=batch, evaluate=benchmark(), **STILL)
    for name, defence in DEFENCES.items():
        train(folder / name, defence=defence, batch_size=batch, evaluate=None, **STILL)
    train(
        folder / "cached", method="cleanerclip", batch_size=batch // 2, accum_freq=2, evaluate=None, **STILL
    )


def end_of(folder: Path, **changes: Any) -> str:
    """Class and text of the error that ends a training run."""
    try:
        train(folder, **changes)
    except ClipDefendError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def one_process(rank: int, port: int, folder: Path) -> None:
    from accelerate.state import PartialState

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(WORLD))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    PartialState._reset_state()  # of the tests before
    here = launch.connect()
    steps_by(folder, batch=2)
    found: dict[str, Any] = {}
    train(folder / "whole", **MOVING)
    try:  # one process alone is asked to stop
        train(folder / "stopped", Watcher(3, interrupt if rank == 1 else None), **MOVING)
    except Interrupted as stopped:
        found["stopped"] = stopped.folder == folder / "stopped"
    trainer = make_trainer(make_job(folder / "stopped", **MOVING))
    trainer.restore()
    found["left"] = trainer.progress.global_step
    train(folder / "stopped", **MOVING)
    bad = train(folder / "bad", method="ft", pairs=memory_pairs(ROWS, {3, 8}), max_bad=0.1)
    found["bad"] = sorted(bad.bad.rows)
    found["too bad"] = end_of(folder / "more", method="ft", pairs=memory_pairs(ROWS, {3, 8, 9}), max_bad=0.1)
    texts = memory_pairs(ROWS).texts
    found["fault"] = end_of(folder / "fault", method="ft", pairs=OnlyHere(texts), max_bad=1.0)
    torch.save(found, folder / f"{rank}.pt")
    here.leave(0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``one/`` and ``two/`` processes' trainings."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    steps_by(folder / "one", batch=4)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.start_processes(one_process, (port, folder / "two"), nprocs=WORLD, start_method="forkserver")  # type: ignore[attr-defined, no-untyped-call]
    return folder


def results(place: Path) -> list[dict[str, Any]]:
    return [torch.load(place / "two" / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*METHODS, "shrink-perturb", "unlearn", "cached"])
def test_two_processes_make_the_steps_of_one(place: Path, name: str) -> None:
    one, two = log_of(place / "one" / name), log_of(place / "two" / name)
    steps = [[record for record in log if record["event"] == "step"] for log in (one, two)]
    assert len(steps[0]) == len(steps[1]) == 20
    for first, second in zip(*steps, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], abs=1e-5)
        assert (second["step"], second["lr"]) == (first["step"], first["lr"])
    shares = [[record for record in log if record["event"] == "terms-epoch"] for log in (one, two)]
    assert len(shares[0]) == (0 if name in ("ft", "shrink-perturb") else 4)
    for first, second in zip(*shares, strict=True):
        names = [key for key in first if key.startswith("share_")]
        assert [second[key] for key in names] == pytest.approx([first[key] for key in names], abs=1e-4)
    rates = [record["lr"] for record in steps[1]]
    assert rates[:4] == pytest.approx([1.25e-6, 2.5e-6, 3.75e-6, 5e-6])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    start = build_model(small_architecture(), seed=1).clip.state_dict()
    ends = weights(place / "one" / name), weights(place / "two" / name)
    for key, end in ends[0].items():
        # The keys' biases have no gradient but rounding, which Adam enlarges to steps of any direction.
        bound = 1e-4 if key.endswith(("attn.in_proj_bias", "k_proj.bias")) else 2e-6
        assert torch.allclose(end, ends[1][key], rtol=0, atol=bound), key
    trained = (
        "visual.attnpool.c_proj.weight" if name == "unlearn" else "text_projection"
    )  # unlearn leaves the text tower alone
    assert float((ends[0][trained] - start[trained]).abs().max()) > 2e-5
    if name == "unlearn":
        assert torch.equal(ends[0]["text_projection"], start["text_projection"])


@pytest.mark.slow
def test_two_processes_find_the_clusters_of_one(place: Path) -> None:
    """The first epoch's: later, a last bit of the weights can put an image into another cluster."""
    logs = [log_of(place / name / "deep-clustering") for name in ("one", "two")]
    one, two = ([r for r in log if r["event"] == "step" and r["epoch"] == 1] for log in logs)
    assert len(one) == len(two) == 5
    for first, second in zip(one, two, strict=True):
        assert second["cluster"] == pytest.approx(first["cluster"], abs=1e-6)
        assert second["mmcl"] == pytest.approx(first["mmcl"], abs=1e-5)


@pytest.mark.slow
def test_metrics_are_those_of_one_process(place: Path) -> None:
    one, two = (log_of(place / name / "ft")[0] for name in ("one", "two"))
    for name in ("lift", "lift_se"):  # which batches of another size round differently
        assert one.pop(name) == pytest.approx(two.pop(name), rel=1e-12)
    assert one == two
    assert one["n_clean"] == 28
    assert one["n_triggered"] > 0


@pytest.mark.slow
def test_both_stop_at_the_step_where_one_is_asked_and_go_on_to_the_same_end(place: Path) -> None:
    for found in results(place):
        assert found["stopped"]
        assert found["left"] == 3
    assert log_of(place / "two" / "stopped") == log_of(place / "two" / "whole")
    assert equal(weights(place / "two" / "stopped"), weights(place / "two" / "whole"))
    state = place / "two" / "stopped" / "state"
    assert end_of(place / "two" / "stopped", **MOVING) == (
        "RunError: The run was started with 2 processes, but there is 1 process now: resume it with the same"
        " number."
    )
    assert state.is_dir()


@pytest.mark.slow
def test_bad_rows_and_faults_are_everybodys(place: Path) -> None:
    first, second = results(place)
    assert first["bad"] == second["bad"] == [3, 8]
    assert first["too bad"] == second["too bad"]
    assert "3 of 20 rows cannot be used, more than --max-bad 0.1" in first["too bad"]
    assert first["fault"] == second["fault"]
    assert "the disk of process 1 is gone" in first["fault"]
