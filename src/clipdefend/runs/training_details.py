# ruff: noqa: RUF009  # recorded_if_set() returns a dataclass field
"""The details of runs that train a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clipdefend.runs.pairs_details import CanvasRecord
from clipdefend.runs.recorded import Details, recorded_if_set


@dataclass(frozen=True, kw_only=True)
class TrainingDetails(Details):
    """Details of a run that trains a model; all fields have defaults, because older versions recorded fewer.

    Attributes:
        fingerprint: fingerprint of the training pairs.
        canvas: geometry of the images.
        objective: the objective as a formula.
        terms: name -> settings of each term, if the defence is a set of terms.
        defence, phases: settings and phases of any other defence.
        steps, subcaption_steps: number of optimiser steps, and of those with a sub-caption batch.
        arithmetic: precision, layout and the timings that chose them, for ``--precision auto``.
        processes, global_batch: number of processes, and pairs per step over all of them.
        training_seconds: training time without evaluations.
        best_epoch: epoch of ``best/``, fractional for an evaluation within an epoch; None if there is none.
        stopped_epoch: epoch at which ``--stop-at`` was met.
        bad: count and examples of unusable rows.
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
    """Details of a victim: the attack's name, the initial weights, and whether the victim meets ``--accept``."""

    backdoored: bool = True
    attack: str | None = None
    weights: str | None = None
    accepted: bool | None = recorded_if_set()


@dataclass(frozen=True, kw_only=True)
class CleanDetails(TrainingDetails):
    """Details of a model that ``clean`` has cleaned.

    Attributes:
        method, lr: what was chosen.
        reason: why, in words.
        within: whether the choice is within the bounds of the rule.
        accuracy: what accuracy means here, such as "BA@1".
        references: figures of the suspect under the canaries, and of the planted copy before it was cleaned.
        candidates: one entry for each that was tried, with its figures.
        merges: one entry for each share of the chosen one that was mixed with the planted copy, with its figures.
        share: the share of the cleaned weights in the result.
        dropped: names of those that did not fit into the budget.
        canaries: one entry for each that was planted, with its figures.
        floor: mean ASR@1 of the suspect under the canaries that count.
        scans: "before" and "after" -> verdict, score, target and reason.
        attack: name of the true attack, if the cleaned run has one; it is shown and never used.
        shares: number of pairs that canaries poison some of, to check, to train on, and to train the copy on.
    """

    method: str | None = None
    lr: float | None = None
    reason: str = ""
    within: bool = False
    accuracy: str = ""
    references: list[Any] = field(default_factory=list)
    candidates: list[Any] = field(default_factory=list)
    merges: list[Any] = field(default_factory=list)
    share: float = 1.0
    dropped: list[Any] = field(default_factory=list)
    canaries: list[Any] = field(default_factory=list)
    floor: float | None = None
    scans: dict[str, Any] = field(default_factory=dict)
    attack: str | None = None
    shares: dict[str, Any] = field(default_factory=dict)
