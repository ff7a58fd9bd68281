"""Every model that was measured, once for each setting of the evaluation, with its lineage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from clipdefend.config import KINDS
from clipdefend.console import one_line
from clipdefend.report.collect import Collected, numbers
from clipdefend.report.recipe import Recipe, attack_name, defence_name, recipe
from clipdefend.runs import Run

SETTING = ("data", "root", "split", "class_names", "templates", "asr_protocol")
"""What two evaluations must have in common for their figures to stand in one table; topk is no part of it."""

LINEAGE = {kind.command: kind.heading for kind in KINDS.values() if kind.heading}


@dataclass(frozen=True)
class Setting:
    """How a model was evaluated."""

    data: str
    protocol: str
    n_clean: int
    key: str

    @property
    def title(self) -> str:
        """For people."""
        protocol = {
            "exclude-target": "ASR without the target's own images",
            "all": "ASR over all images",
        }
        words = protocol.get(self.protocol, self.protocol)
        return f"{self.data}, {self.n_clean:,} clean images, {words}"


@dataclass(frozen=True)
class Measured:
    """Figures of one model.

    Attributes:
        run: the evaluation, or the training whose own evaluation it is.
        model: the run that made the weights; None for a bare checkpoint.
        attack, defence: base names.
        recipe: settings of the lineage, keys begin with "poison.", "attack.", "defence." or "augment."; those of the
            attack that the model was trained on, where it is measured under another, with "attack.trained_on.".
        seeds: of the lineage, by the same names.
        values: flat metrics.
        setting: of the evaluation.
        own_trigger: whether the attack is the one that the model was trained on; then its epochs are of this attack.
    """

    run: Run
    model: Run | None
    attack: str
    defence: str
    recipe: Recipe
    seeds: Mapping[str, Any]
    values: Mapping[str, float]
    setting: Setting
    own_trigger: bool
    lineage: tuple[Run, ...] = field(repr=False)

    @property
    def trigger(self) -> str | None:
        """SHA-256 of the poison run whose trigger it was measured with."""
        return next((run.sha256 for run in self.lineage if run.command == "poison"), None)

    @property
    def identity(self) -> str:
        """Equal for runs of the same settings and seeds."""
        return json.dumps(
            [self.setting.key, self.attack, self.defence, self.recipe, self.seeds], sort_keys=True
        )

    @property
    def rank(self) -> tuple[bool, str, str]:
        """Which of several measurements of one model counts: evaluations before a training's own, then the
        newest.
        """
        return self.run.command == "evaluate", str(self.run.manifest.get("end")), self.run.name


def measured(collected: Collected) -> tuple[list[Measured], list[str]]:
    """The measurements of a report, and notes of those that were left out as repetitions."""
    found = [
        one
        for run in collected.runs
        if run.kind.measured
        for one in [_measure(run, collected)]
        if one is not None
    ]
    by_model: dict[tuple[str, str | None, str], Measured] = {}
    for one in sorted(found, key=lambda one: one.rank):
        weights = (one.model or one.run).sha256
        by_model[weights, one.trigger, one.setting.key] = one
    kept: dict[str, Measured] = {}
    repeated = 0
    for one in sorted(by_model.values(), key=lambda one: one.rank):
        repeated += one.identity in kept
        kept[one.identity] = one
    notes = []
    if repeated:
        notes.append(
            f"{repeated} runs repeat the settings and seeds of a newer one; the newer one counts, so that no"
            " spread is understated."
        )
    return sorted(kept.values(), key=lambda one: collected.place(one.run)), notes


def _measure(run: Run, collected: Collected) -> Measured | None:
    values = numbers(run.metrics)
    if "ba@1" not in values:
        return None
    lineage = _lineage(run, collected)
    poison, defend = lineage.get("poison"), lineage.get("defend")
    recipes = {
        f"{LINEAGE[command]}.{key}": value
        for command, each in lineage.items()
        if command in LINEAGE
        for key, value in recipe(each).items()
    }
    seeds = {LINEAGE[c]: each.config.get("seed") for c, each in lineage.items() if c in LINEAGE}
    attack, defence = attack_name(poison), defence_name(defend)
    checkpoint = _checkpoint(run)
    model = None if checkpoint else defend or lineage.get("finetune-attack")
    trained_on = collected.ancestor(model, "poison") if model else poison
    if trained_on is not None and poison is not None and trained_on.sha256 != poison.sha256:
        attack = f"{attack}, model of {attack_name(trained_on)}"
        recipes |= {f"attack.trained_on.{key}": value for key, value in recipe(trained_on).items()}
    if checkpoint:
        defence = one_line(f"checkpoint {'/'.join(PurePath(checkpoint).parts[-2:])}")
        recipes["checkpoint"] = checkpoint
    return Measured(
        run=run,
        model=model,
        attack=attack,
        defence=defence,
        recipe=recipes,
        seeds=seeds,
        values=values,
        setting=_setting(run, values),
        own_trigger=trained_on is poison,
        lineage=tuple(lineage.values()),
    )


def _lineage(run: Run, collected: Collected) -> dict[str, Run]:
    """Command -> the nearest run of it, from the run itself back to its poison run."""
    found = {command: collected.ancestor(run, command) for command in reversed(KINDS)}
    return {command: each for command, each in found.items() if each is not None}


def _checkpoint(run: Run) -> str | None:
    """The bare checkpoint that an evaluation took in place of a run's weights."""
    given = run.config.get("checkpoint") if run.command == "evaluate" else None
    return given if isinstance(given, str) else None


def _setting(run: Run, values: Mapping[str, float]) -> Setting:
    record = run.config.get("eval")
    chosen = {key: record.get(key) for key in SETTING} if isinstance(record, Mapping) else {}
    own = {key: run.config.get(key) for key in ("target", "canvas")} if run.command == "evaluate" else {}
    n_clean = int(values.get("n_clean", 0))
    facts = {**chosen, **{key: value for key, value in own.items() if value}, "n": n_clean}
    return Setting(
        data=one_line(str(chosen.get("data"))),
        protocol=one_line(str(chosen.get("asr_protocol"))),
        n_clean=n_clean,
        key=json.dumps(facts, sort_keys=True, default=str),
    )
