"""``evaluate --detect``: measures how well triggered images are detected at test time."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipdefend.canvas import Canvas
from clipdefend.commands.shared.inputs import AttackRecord
from clipdefend.config import EvaluateConfig
from clipdefend.data.image_reader import read_canvases
from clipdefend.detection import INPUT_SCORES
from clipdefend.detection.curves import Curve
from clipdefend.draws import permutation
from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation.input_detection import make_detector
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.metrics import attacked
from clipdefend.models.clip import ClipModel
from clipdefend.runs import Context

PREFIX = "detect_"


class DetectMeasurement:
    """Measures detectors of triggered images on labelled images.

    Half of the images serve as known clean ones; the others are judged with and without the trigger, those of the
    target class only without it. The judged images are the traffic for lorex.

    Args:
        config: configuration of the command; its ``detect.scores`` is not None.
        canvas: geometry of the images, that of the attack.
        context: context of the command.
        attack: the attack whose trigger is to be detected.
        benchmark: the labelled images.

    Raises:
        ConfigError: no trigger, no labelled images, or an unknown detector.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        canvas: Canvas,
        context: Context,
        attack: AttackRecord | None,
        benchmark: Benchmark | None,
    ) -> None:
        if attack is None or benchmark is None:
            missing = "a trigger: name an attack with --attack-from" if attack is None else "--eval-data"
            raise ConfigError(f"--detect separates triggered from clean images and needs {missing}.")
        self.names = tuple(dict.fromkeys(config.detect.scores or ()))
        for name in self.names:
            INPUT_SCORES.build(name)
        self.config, self.canvas, self.context = config, canvas, context
        self.attack, self.benchmark = attack, benchmark

    def __call__(self, model: ClipModel) -> tuple[dict[str, float], dict[str, Any]]:
        """Return metrics of a model, such as ``detect_strip_auroc``, and details for the manifest."""
        known, rows, clean = self._images()
        labels = self.benchmark.images.labels[rows]
        counted = np.ones(len(rows), np.bool_)
        if self.benchmark.target is not None:
            counted = attacked(labels, self.benchmark.target)
        if not counted.any():
            raise DataError(
                f"--detect needs images of other classes than the target's, but all {len(rows)} that were drawn are"
                " of that class: raise --detect-images."
            )
        chosen = torch.from_numpy(counted)
        triggered = self.attack.trigger(clean[chosen], rows[counted].tolist())
        metrics: dict[str, float] = {}
        total = len(self.names) * (len(clean) + len(triggered))
        with self.context.console.progress("Detect", total=total) as bar:
            for name in self.names:
                detector = make_detector(
                    name,
                    model,
                    classes=self.benchmark.images.classes,
                    templates=self.benchmark.templates,
                    clean=known,
                    traffic=torch.cat([clean, triggered]),
                    seed=self.config.seed,
                )
                curve = Curve.of(detector(triggered).numpy())
                bar.update(len(triggered))
                curve.add_negatives(detector(clean).numpy())
                bar.update(len(clean))
                metrics |= curve.auroc(self.config.seed).flat(f"{PREFIX}{name}_auroc")
        counts = {"n_detect_clean": len(clean), "n_detect_triggered": len(triggered)}
        details = {name: INPUT_SCORES.build(name).to_dict() for name in self.names}
        return {**metrics, **counts}, {"known": len(known), "detectors": details}

    def _images(self) -> tuple[Tensor, Any, Tensor]:
        """Return known clean images, and rows and pixels of the images to judge; float in [0, 1]."""
        images, wanted = self.benchmark.images, 2 * self.config.detect.images
        order = permutation(len(images), self.config.seed, "detect")
        # Unusable images are counted by the evaluation itself.
        found = dict(islice(read_canvases(images, order, self.canvas), wanted))
        if len(found) < 4:
            raise DataError(
                f"--detect needs at least four usable images, but {images.spec} has {len(found)}."
            )
        pixels = torch.stack(list(found.values())).float() / 255
        half = len(found) // 2
        return pixels[:half], np.array(list(found)[half:], np.int64), pixels[half:]
