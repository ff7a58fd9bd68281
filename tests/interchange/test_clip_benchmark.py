"""CLIP_benchmark itself on an export and on a saved model; it is no dependency, so skipped where it is not there."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.interchange.clip_benchmark import clip_benchmark_json
from clipdefend.interchange.export import Export
from clipdefend.models.clip import ClipModel
from clipdefend.models.save import save_model
from memory_sets import CLASSES, NoisyImages

ROWS = 40
TEMPLATES = ["a {}", "a photo of a {}."]


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) >= "2.4.0", reason="CLIP_benchmark 1.6.2 fails with NumPy 2.4"
)
def test_its_evaluator_finds_the_accuracy_and_the_attack_success_that_we_find(
    small_model: ClipModel, tmp_path: Path
) -> None:
    builder = pytest.importorskip("clip_benchmark.datasets.builder")
    zero_shot = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    models = pytest.importorskip("clip_benchmark.models")
    labels = np.arange(ROWS) % len(CLASSES)
    images = NoisyImages(classes=CLASSES, templates=None, spec="", recognised="", labels=labels)
    trigger, canvas = Trigger.create("blended", size=32, seed=3), Canvas(32)
    same: dict[str, Any] = {
        "images": images,
        "templates": TEMPLATES,
        "canvas": canvas,
        "trigger": trigger,
        "target": 1,
    }
    ours = Benchmark(**same, ks=(1,))(small_model)
    Export(**same).write(tmp_path / "sets")
    save_model(small_model, tmp_path / "model")
    model, transform, tokenizer = models.load_clip(
        "open_clip", f"local-dir:{tmp_path / 'model'}", "none", None, "cpu"
    )
    model.eval()
    for name, metric in (("clean", "ba@1"), ("triggered-asr", "asr@1"), ("triggered-ra", "ra@1")):
        found = builder.build_dataset(
            f"wds/{name}", root=str(tmp_path / "sets" / name), transform=transform, split="test"
        )
        loader: Any = torch.utils.data.DataLoader(found.batched(8), batch_size=None)
        loader.dataset.classes = found.classes
        theirs = zero_shot.evaluate(
            model, loader, tokenizer, found.classes, found.templates, "cpu", amp=False
        )
        assert theirs["acc1"] == pytest.approx(ours[metric], abs=5e-5), name


def test_its_build_merges_our_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = pytest.importorskip("clip_benchmark.cli")
    for number, metrics in enumerate(({"ba@1": 0.5, "asr@1": 0.25}, {"ba@1": 0.75})):
        text = clip_benchmark_json(metrics, dataset="d", model="RN50", pretrained=str(number), extra={})
        (tmp_path / f"{number}.json").write_text(text)
    table = tmp_path / "table.csv"
    files = [str(tmp_path / f"{number}.json") for number in range(2)]
    monkeypatch.setattr(sys, "argv", ["clip_benchmark", "build", *files, "--output", str(table)])
    cli.main()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model_fullname"], row["acc1"], row["asr1"]) for row in rows] == [
        ("RN50 0", "0.5", "0.25"),
        ("RN50 1", "0.75", ""),
    ]
