# ruff: noqa: RUF009  # recorded_if_set() returns a dataclass field
"""The ``details`` that each command records in its manifest, as dataclasses that can be written and read.

Manifests of older versions remain readable: fields that they lack have defaults, and unknown keys are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clipdefend.runs.pairs_details import CanvasRecord, PairsDetails
from clipdefend.runs.recorded import Details, recorded_if_set
from clipdefend.runs.training_details import CleanDetails, FinetuneAttackDetails, TrainingDetails

if TYPE_CHECKING:
    from clipdefend.runs.manifest import Run


@dataclass(frozen=True, kw_only=True)
class PoisonDetails(PairsDetails):
    """Details of a poison run.

    Attributes:
        rows: number of the clean pairs.
        poisoned, cross: number of pairs with the trigger, and of those with the noisy trigger and their own captions.
        target: class name in the poisoned captions.
        trigger: see ``Trigger.to_dict``.
        bad: count and examples of unusable rows.
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
    """Details of an augment run.

    Attributes:
        operations: number of counterfactuals by operation.
        without_noun, without_counterfactual: count and examples of captions without a sub-caption.
    """

    operations: dict[str, Any] = field(default_factory=dict)
    without_noun: dict[str, Any] = field(default_factory=dict)
    without_counterfactual: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WatchedPairs(Details):
    """The validation pairs of a defence, whose metrics need no knowledge of the attack.

    Attributes:
        data: their source, as for ``--data`` and ``--val-data``.
        pairs: number of pairs.
        held_out: False if the run was also trained on them.
    """

    data: str | None = None
    pairs: int = 0
    held_out: bool


@dataclass(frozen=True, kw_only=True)
class DefendDetails(TrainingDetails):
    """Details of a cleaned model.

    Attributes:
        method: value of ``--method``.
        attack: name of the attack, if the defended run has one.
        subcaption_seconds: time spent making sub-captions.
        visible: the validation pairs; None if there are none.
    """

    method: str | None = None
    attack: str | None = None
    subcaption_seconds: float = 0.0
    visible: WatchedPairs | None = None


@dataclass(frozen=True, kw_only=True)
class MergeDetails(PairsDetails):
    """Details of a merged model.

    Attributes:
        share: share of the input model.
        other: name of the other model.
        chosen: whether the share was chosen among several.
        bound: largest proxy ASR of a share that could be chosen.
        accuracy: the metric by which the share was chosen.
        shares: for each share its figures.
        norm_images: number of images for the statistics of batch norms; 0 if the model has none.
        canvas: geometry of the images.
        attack: name of the attack, if the input run has one.
        bad: count and examples of unusable rows.
    """

    share: float
    other: str
    chosen: bool = False
    bound: float | None = None
    accuracy: str = "ba@1"
    shares: list[Any] = field(default_factory=list)
    norm_images: int = 0
    canvas: CanvasRecord | None = recorded_if_set()
    attack: str | None = None
    bad: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FilterDetails(PairsDetails):
    """Details of a filter run.

    Attributes:
        scores: name of each score -> findings of its preparation.
        decided_by: the score by which rows are flagged.
        limit: smallest score of a flagged row; None if no row is flagged.
        references: number of pairs among which neighbours were searched.
        truth: name of the poison run that knows which rows are poisoned; None if there is none.
        canvas: geometry of the images.
        processes: number of processes that shared the work.
        bad: count and examples of unusable rows, which are not flagged.
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
    """Details of every run with a trigger; the fields are those of `PoisonDetails`."""

    trigger: dict[str, Any]
    target: str
    canvas: CanvasRecord


@dataclass(frozen=True, kw_only=True)
class ScanDetails(Details):
    """Details of a scan, and of the run folder of each trigger that it found, below ``triggers/``.

    Attributes:
        trigger, target, canvas: the found trigger with the highest ASR, as an attack; its suspected target; and the
            geometry of the images. The first two are None if nothing was searched.
        verdict, score, reason, rule: verdict on the model; None in the folder of a single trigger.
        found: one entry for each kind of trigger: its figures, its learning curve and its folder.
        reference: name and findings of the reference model; None without one.
        library: known triggers with the share of images that each sends to one class.
        margins: p-value and largest margin of each class, if there were no images.
        images, held_out: number of images for the search, and for the measurement.
        fingerprint: fingerprint of the pairs.
        bad: count and examples of unusable images.
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
    """Details of an evaluation.

    Attributes:
        eval_data, classes, templates, bad: the labelled images, the number of classes and prompts, bad rows; None
            without zero-shot evaluation.
        exported: number of images of each exported set.
        probe, retrieval, detect: other measurements and their settings.
        canvas: geometry of the images.
        attack, target, asr_protocol: the attack that ASR refers to.
        gates: the verdict of each gate.
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
    "merge": MergeDetails,
    "clean": CleanDetails,
    "scan": ScanDetails,
    "evaluate": EvaluateDetails,
}
"""Command -> class of its details."""


def details_of(run: Run) -> Details:
    """Read the details of a run by its command; commands that are not in ``DETAILS`` have empty details.

    Raises:
        RunError: a value is missing or has another type.
    """
    return DETAILS.get(run.command, Details).of(run)
