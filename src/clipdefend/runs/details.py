# ruff: noqa: RUF009  # recorded_if_set() returns a dataclass field
"""What each command records of its own in the ``details`` of a manifest, and reading it back.

Manifests of older versions stay readable: a field that they lack has a default, and keys that this version does not
know are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clipdefend.runs.recorded import Details, recorded_if_set

if TYPE_CHECKING:
    from clipdefend.runs.manifest import Run


@dataclass(frozen=True, kw_only=True)
class PairsSource(Details):
    """Where pairs came from, so that the same ones can be opened again.

    Attributes:
        spec: as ``--data`` named them.
        image_key, caption_key, delimiter: of a table, where flags named them.
        image_root: absolute.
    """

    spec: str
    image_key: str | None = None
    caption_key: str | None = None
    delimiter: str | None = None
    image_root: str | None = None


@dataclass(frozen=True, kw_only=True)
class PairsDetails(Details):
    """What every run that was made from pairs says of them.

    Attributes:
        fingerprint: of the pairs.
        source: where they came from; None in runs that only trained on them.
    """

    fingerprint: str
    source: PairsSource | None = None


@dataclass(frozen=True, kw_only=True)
class CanvasRecord(Details):
    """Geometry under a trigger: side in pixels, crop or squash, and the interpolation of the resizing."""

    mode: str
    size: int | None = None
    interpolation: str = "bicubic"


@dataclass(frozen=True, kw_only=True)
class PoisonDetails(PairsDetails):
    """Of a poison run.

    Attributes:
        rows: number of the clean pairs.
        poisoned, cross: pairs that carry the trigger, and pairs with the noisy trigger and their own captions.
        target: class name in the poisoned captions.
        trigger: see ``Trigger.to_dict``.
        bad: count and examples of rows that could not be used.
        learning: how a learned trigger was learned.
    """

    rows: int
    poisoned: int
    target: str
    trigger: dict[str, Any]
    canvas: CanvasRecord
    cross: int = 0
    bad: dict[str, Any] = field(default_factory=dict)
    learning: dict[str, Any] | None = recorded_if_set()


@dataclass(frozen=True, kw_only=True)
class AugmentDetails(PairsDetails):
    """Of an augment run.

    Attributes:
        operations: number of counterfactuals by operation.
        without_noun, without_counterfactual: count and examples of captions that gave no sub-caption.
    """

    operations: dict[str, Any] = field(default_factory=dict)
    without_noun: dict[str, Any] = field(default_factory=dict)
    without_counterfactual: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingDetails(Details):
    """Of a run that trains a model; everything has a default, as older versions recorded less.

    Attributes:
        fingerprint: of the training pairs.
        canvas: geometry of the images.
        objective: in words.
        terms: name -> settings of each term, where the defence is a set of terms.
        defence, phases: of any other defence.
        steps, subcaption_steps: optimiser steps, and those of them that carried a sub-captioned batch.
        arithmetic: precision, layout and the seconds that chose them, for ``--precision auto``.
        processes, global_batch: how many processes, and the pairs of a step over all of them.
        training_seconds: without evaluations.
        best_epoch: of ``best/``; None where there is none. A fraction for an evaluation within an epoch.
        stopped_epoch: the epoch whose evaluation reached ``--stop-at``.
        bad: count and examples of rows that could not be used.
    """

    fingerprint: str | None = None
    canvas: CanvasRecord | None = recorded_if_set()
    objective: str | None = None
    terms: dict[str, Any] | None = recorded_if_set()
    defence: dict[str, Any] | None = recorded_if_set()
    phases: list[Any] | None = recorded_if_set()
    steps: int = 0
    arithmetic: dict[str, Any] | None = recorded_if_set()
    processes: int = 1
    global_batch: int = 0
    subcaption_steps: int = 0
    training_seconds: float = 0.0
    best_epoch: float | None = None
    stopped_epoch: float | None = recorded_if_set()
    bad: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FinetuneAttackDetails(TrainingDetails):
    """Of a victim: the attack's name, the weights that it began with, and whether it meets ``--accept``."""

    backdoored: bool = True
    attack: str | None = None
    weights: str | None = None
    accepted: bool | None = recorded_if_set()


@dataclass(frozen=True, kw_only=True)
class WatchedPairs(Details):
    """The clean pairs that a defence was watched on, by figures that need no knowledge of the attack.

    Attributes:
        data: where they come from, as ``--data`` and ``--val-data`` name it.
        pairs: their number.
        held_out: False where the run was trained on them as well.
    """

    data: str | None = None
    pairs: int = 0
    held_out: bool


@dataclass(frozen=True, kw_only=True)
class DefendDetails(TrainingDetails):
    """Of a cleaned model.

    Attributes:
        method: as ``--method`` named it.
        attack: name of the attack, where the defended run has one.
        subcaption_seconds: time that making sub-captions took.
        visible: the pairs that the run was watched on; None where it was not.
    """

    method: str | None = None
    attack: str | None = None
    subcaption_seconds: float = 0.0
    visible: WatchedPairs | None = None


@dataclass(frozen=True, kw_only=True)
class FilterDetails(PairsDetails):
    """Of a filter run.

    Attributes:
        scores: name of each score -> what its preparation found.
        decided_by: the score that flags rows.
        limit: flagged rows have this score or a larger one; None where none is flagged.
        references: number of pairs among which neighbours were looked for.
        truth: name of the poison run that says which rows are poisoned; None where it is not known.
        canvas: geometry of the images.
        processes: how many shared the work.
        bad: count and examples of rows that could not be used; they are not flagged.
    """

    scores: dict[str, Any] = field(default_factory=dict)
    decided_by: str = ""
    limit: float | None = None
    references: int = 0
    truth: str | None = None
    canvas: CanvasRecord | None = None
    processes: int = 1
    bad: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TriggerDetails(Details):
    """What every run with a trigger says of it; the fields are those of `PoisonDetails`."""

    trigger: dict[str, Any]
    target: str
    canvas: CanvasRecord


@dataclass(frozen=True, kw_only=True)
class ScanDetails(Details):
    """Of a scan, and of each trigger that it found, in a run folder of its own below the scan's ``triggers/``.

    Attributes:
        trigger, target, canvas: the found trigger with the highest ASR, as an attack, its suspected target and the
            geometry under it; the first two are None where nothing was searched.
        verdict, score, reason, rule: of the model; None in the folder of a single trigger.
        found: one entry for each kind of trigger: its figures, its learning curve and where it lies.
        reference: the same of the reference model, and its name; None without one.
        library: known triggers with the share of the images that each sends to one class.
        margins: p-value and largest margin of each class, where there were no images.
        images, held_out: number of images that were searched and measured on.
        fingerprint: of the pairs.
        bad: count and examples of images that could not be used.
    """

    trigger: dict[str, Any] | None = recorded_if_set()
    target: str | None = recorded_if_set()
    canvas: CanvasRecord | None = recorded_if_set()
    verdict: str | None = recorded_if_set()
    score: float | None = recorded_if_set()
    reason: str | None = recorded_if_set()
    rule: str | None = recorded_if_set()
    found: list[Any] = field(default_factory=list)
    reference: dict[str, Any] | None = recorded_if_set()
    library: list[Any] | None = recorded_if_set()
    margins: dict[str, Any] | None = recorded_if_set()
    images: int = 0
    held_out: int = 0
    fingerprint: str | None = recorded_if_set()
    bad: dict[str, Any] | None = recorded_if_set()


@dataclass(frozen=True, kw_only=True)
class EvaluateDetails(Details):
    """Of an evaluation.

    Attributes:
        eval_data, classes, templates, bad: the labelled images, the number of classes and prompts, bad rows; None
            without zero-shot evaluation.
        exported: number of images of each exported set.
        probe, retrieval, detect: what was measured besides, and how.
        canvas: geometry of the images.
        attack, target, asr_protocol: what ASR is about.
        gates: a verdict each.
    """

    eval_data: str | None = recorded_if_set()
    classes: int | None = recorded_if_set()
    templates: int | None = recorded_if_set()
    bad: dict[str, Any] | None = recorded_if_set()
    exported: dict[str, Any] | None = recorded_if_set()
    probe: dict[str, Any] | None = recorded_if_set()
    retrieval: dict[str, Any] | None = recorded_if_set()
    detect: dict[str, Any] | None = recorded_if_set()
    canvas: CanvasRecord | None = None
    attack: str | None = None
    target: str | None = None
    asr_protocol: str | None = None
    gates: list[Any] = field(default_factory=list)


DETAILS: dict[str, type[Details]] = {
    "poison": PoisonDetails,
    "filter": FilterDetails,
    "augment": AugmentDetails,
    "finetune-attack": FinetuneAttackDetails,
    "defend": DefendDetails,
    "scan": ScanDetails,
    "evaluate": EvaluateDetails,
}
"""Command -> what it records."""


def details_of(run: Run) -> Details:
    """Read the details of a run by its command; those of a command that is not in ``DETAILS`` have no fields.

    Raises:
        RunError: a value is missing or of another type.
    """
    return DETAILS.get(run.command, Details).of(run)
