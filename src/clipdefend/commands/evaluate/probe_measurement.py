"""``evaluate --linear-probe``: BA, ASR and RA of a linear probe on the frozen image tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipdefend.canvas import Canvas
from clipdefend.commands.shared import inputs
from clipdefend.config import EvaluateConfig
from clipdefend.data.bad import BadRows
from clipdefend.data.classes import resolve_target
from clipdefend.data.labelled.probe_splits import SplitRows, Splits, open_splits
from clipdefend.data.labelled.torchvision_sets import qualify_set_name
from clipdefend.distributed import launch
from clipdefend.errors import ConfigError, DataError
from clipdefend.evaluation.cache import Cache
from clipdefend.evaluation.encoding import Encoded, Reading
from clipdefend.evaluation.features import features
from clipdefend.evaluation.linear_probe import Probe, Samples, layer_probe, logistic_probe
from clipdefend.evaluation.tally import Tally
from clipdefend.models.clip import ClipModel
from clipdefend.runs import Context

PREFIX = "probe_"


class ProbeMeasurement:
    """One probe: its data, opened and checked before anything is measured.

    Args:
        config: of the command; its ``probe.data`` is not None.
        canvas: geometry of the images, the attack's.
        context: for people, and for the folder of the runs.
        attack: None for accuracy alone.

    Raises:
        ConfigError, DataError: data that cannot be used.
    """

    def __init__(
        self, config: EvaluateConfig, canvas: Canvas, context: Context, attack: inputs.AttackRecord | None
    ) -> None:
        self.config, self.canvas, self.context, self.attack = config, canvas, context, attack
        self.splits = self._open()
        self.target = self._target()
        self.bad = {id(part.images): part.images.bad_rows(config.max_bad) for part in self._parts()}
        self.cache = Cache(context.runs / inputs.CACHE / "features")

    def __call__(self, model: ClipModel) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics ``probe_ba@1``, ``probe_asr@1`` and so on of a model, and what the manifest says of them."""
        train, validation = (self._samples(model, part) for part in self._parts()[:2])
        test = self._features(model, self.splits.test, triggered=self.attack is not None)
        probe = self._probe(train, validation)
        if not probe.facts.get("converged", True):
            self.context.console.warn("The probe's logistic regression did not converge in 1,000 iterations.")
        labels = self.splits.test.images.labels
        protocol = self.config.eval.asr_protocol
        tally = Tally(labels=labels, target=self.target, protocol=protocol, cosines=False)
        triggered = None if test.triggered is None else probe.scores(test.triggered)
        tally.add(test.rows, probe.scores(test.clean), triggered)
        metrics = {f"{PREFIX}{name}": value for name, value in tally.metrics(self.ks).items()}
        return metrics, self._details(probe)

    @property
    def ks(self) -> list[int]:
        """Those k's at which not every image is a hit; k = 1 is measured in any case."""
        classes = len(self.splits.test.images.classes)
        return sorted({1, *(k for k in self.config.eval.topk if k < classes)})

    def _open(self) -> Splits:
        config = self.config.probe
        if config.data is None:
            raise ConfigError("There is nothing to probe: give --linear-probe DATA.")
        root = config.root or self.config.eval.root
        data = qualify_set_name(config.data)
        splits = launch.current().main_process_first(  # which downloads what the others open
            lambda: open_splits(
                data,
                train=None if config.train is None else qualify_set_name(config.train),
                samples=config.samples,
                root=Path(root) if root else None,
                download=self.config.eval.download,
                seed=self.config.seed,
            )
        )
        self.context.console.info(f"Probe: {splits.test.images.recognised}; {splits.how}")
        return splits

    def _target(self) -> int | None:
        """Index of the target, where it is one of the classes."""
        if self.attack is None:
            return None
        wanted = self.config.target or self.attack.target
        try:
            return resolve_target(self.splits.test.images.classes, wanted)
        except DataError:
            self.context.console.warn(
                f"The target {wanted!r} is not a class of {self.config.probe.data}: the probe has no ASR, and its"
                " RA counts every triggered image. --target names another class."
            )
            return None

    def _parts(self) -> tuple[SplitRows, SplitRows, SplitRows]:
        return self.splits.train, self.splits.validation, self.splits.test

    def _samples(self, model: ClipModel, part: SplitRows) -> Samples:
        found = self._features(model, part, triggered=False)
        return Samples(features=found.clean, labels=part.images.labels[found.rows])

    def _features(self, model: ClipModel, part: SplitRows, *, triggered: bool) -> Encoded:
        reading = Reading(
            canvas=self.canvas,
            trigger=self.attack.trigger if self.attack is not None and triggered else None,
            batch_size=self.config.eval.batch_size,
            workers=self.config.workers,
        )
        bad = self.bad[id(part.images)]
        with self.context.console.progress("Features for the probe", total=len(part.rows)) as bar:
            return features(
                model, part.images, part.rows, reading, bad=bad, cache=self.cache, report=bar.update
            )

    def _probe(self, train: Samples, validation: Samples) -> Probe:
        config, classes = self.config.probe, len(self.splits.test.images.classes)
        if config.protocol == "logistic":
            return logistic_probe(train, validation, classes)
        return layer_probe(
            train + validation,
            classes,
            lr=config.lr,
            epochs=config.epochs,
            batch_size=config.batch_size,
            weight_decay=config.weight_decay,
            seed=self.config.seed,
        )

    def _details(self, probe: Probe) -> dict[str, Any]:
        bad: list[BadRows] = list(self.bad.values())
        return {
            "data": self.splits.test.images.spec,
            "how": self.splits.how,
            "classes": len(self.splits.test.images.classes),
            "has_target": self.target is not None,
            "training": probe.facts,
            "bad": [rows.summary() for rows in bad if rows.count],
        }
