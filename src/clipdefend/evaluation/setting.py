"""The conditions of an evaluation, which decide whose figures may stand side by side."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from clipdefend.attacks.trigger import TENSOR_FILE
from clipdefend.data.classes import plain_name
from clipdefend.errors import RunError
from clipdefend.runs import EvaluateDetails, MergeDetails, Run, TrainingDetails, TriggerDetails, details_of

Value = TypeVar("Value")

IMAGES = {
    "data": "other images",
    "root": "another folder of images",
    "split": "another split",
    "class_names": "other class names",
    "templates": "other prompts",
    "quick": "another subset",
    "canvas": "another canvas",
    "n_clean": "another number of images",
}
"""What evaluations must have in common for BA to be comparable, each with the phrase for a difference in it."""
ATTACK = {
    "protocol": "another ASR protocol",
    "target": "another target",
    "trigger": "another trigger",
    "n_triggered": "another number of triggered images",
}
"""What they must have in common as well for ASR and RA to be comparable."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSetting:
    """Everything that decides whether two evaluations are comparable.

    BA depends on the images, the prompts and the geometry; ASR and RA depend on the trigger, the target and the
    protocol as well. The k, the batch size and the model are not part of the setting, and neither are the size of the
    canvas and the interpolation, which belong to the model (the trigger's digest covers the size that it was made for).

    Attributes:
        data, root, split, class_names, templates: the labelled images and prompts, as configured.
        quick: number of images of the fixed subset; None: all images.
        canvas: "crop" or "squash"; None if an old manifest does not record it.
        protocol: which triggered images count.
        target: name of the target class; None without an attack.
        trigger: digest of the trigger, see ``trigger_digest``; None without an attack.
        n_clean, n_triggered: numbers of measured images; None before the measurement.
    """

    data: str | None = None
    root: str | None = None
    split: str | None = None
    class_names: str | None = None
    templates: str | None = None
    quick: int | None = None
    canvas: str | None = None
    protocol: str | None = None
    target: str | None = None
    trigger: str | None = None
    n_clean: int | None = None
    n_triggered: int | None = None

    @classmethod
    def from_config(
        cls, record: Mapping[str, Any], *, canvas: str | None, target: str | None, poison: Run | None
    ) -> EvaluationSetting:
        """Return the setting of an evaluation that has not been carried out.

        Args:
            record: its ``eval`` configuration as plain data.
            canvas: "crop" or "squash".
            target: name of the target class.
            poison: the run whose trigger is used.
        """
        keys = ("data", "root", "split", "class_names", "templates", "quick")
        return cls(
            **{key: record.get(key) for key in keys},
            protocol=record.get("asr_protocol"),
            canvas=canvas,
            target=plain_name(target) if target is not None and poison is not None else None,
            trigger=trigger_digest(poison) if poison is not None else None,
        )

    @classmethod
    def of(cls, run: Run, poison: Run | None) -> EvaluationSetting:
        """Return the setting in which a finished run's figures were measured.

        Manifests of older versions lack some of the facts, which are then taken from the attack.

        Args:
            run: an ``evaluate``, ``merge``, ``defend`` or ``finetune-attack`` run.
            poison: the run whose trigger was used, see ``find_trigger_run``.

        Raises:
            RunError: the record of one of them is damaged.
        """
        record = run.config.get("eval")
        record = dict(record) if isinstance(record, Mapping) else {}
        if run.command != "evaluate":
            record["quick"] = None  # between epochs alone: the figures of a manifest are those of all images
        details = details_of(run)
        attack = TriggerDetails.of(poison) if poison is not None else None
        own_target = details.target if isinstance(details, EvaluateDetails) else None
        target = own_target or run.config.get("target") or (attack.target if attack else None)
        own_canvas = (
            details.canvas if isinstance(details, EvaluateDetails | TrainingDetails | MergeDetails) else None
        )
        canvas = own_canvas.mode if own_canvas else run.config.get("canvas")
        setting = cls.from_config(
            record,
            canvas=canvas or (attack.canvas.mode if attack else None),
            target=None if target is None else str(target),
            poison=poison,
        )
        return setting.with_counts(run.metrics)

    def with_counts(self, metrics: Mapping[str, Any]) -> EvaluationSetting:
        """Return the same setting with the numbers of images from flat metrics."""
        counts = {key: metrics.get(key) for key in ("n_clean", "n_triggered")}
        return dataclasses.replace(self, **counts)

    def differences(self, other: EvaluationSetting, *, attack: bool) -> dict[str, tuple[Any, Any]]:
        """Return what keeps figures of two evaluations from being compared.

        Args:
            other: the other evaluation.
            attack: whether ASR and RA are compared as well, or BA alone.

        Returns:
            Name of each fact that differs -> its values here and there. Numbers of images that one of the two does
            not know yet are ignored.
        """
        found = {}
        for name in (*IMAGES, *(ATTACK if attack else ())):
            own, theirs = getattr(self, name), getattr(other, name)
            unknown = name in ("n_clean", "n_triggered") and None in (own, theirs)
            if own != theirs and not unknown:
                found[name] = (own, theirs)
        return found

    def comparable(self, other: EvaluationSetting, metrics: Mapping[str, Value]) -> dict[str, Value]:
        """Return the flat metrics of another evaluation that are comparable with this one's: all, BA alone or none."""
        if self.differences(other, attack=False):
            return {}
        if self.differences(other, attack=True):
            return {name: value for name, value in metrics.items() if name.startswith("ba@")}
        return dict(metrics)


def describe_differences(differences: Iterable[str]) -> str:
    """Return a phrase for the facts that differ; counts are named only where nothing else differs."""
    names = list(differences)
    causes = [name for name in names if not name.startswith("n_")] or names
    return ", ".join((IMAGES | ATTACK)[name] for name in causes)


def find_trigger_run(run: Run) -> Run | None:
    """Return the run whose trigger a run was measured with; None if there is none or it no longer exists."""
    with contextlib.suppress(RunError):
        return run.trigger_run()
    return None


def trigger_digest(poison: Run) -> str:
    """Return the digest of a poison run's trigger, equal for equal triggers whatever pairs they were put on.

    It covers the attack's parameters, the size of the canvas, the seed and, by the recorded digest of their file, the
    tensors. The file itself is not read.
    """
    files = {
        str(entry["path"]): entry["sha256"]
        for entry in poison.manifest["outputs"]
        if entry["path"] == TENSOR_FILE
    }
    facts = json.dumps([TriggerDetails.of(poison).trigger, files], sort_keys=True, default=str)
    return hashlib.sha256(facts.encode()).hexdigest()
