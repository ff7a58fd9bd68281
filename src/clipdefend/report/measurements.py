"""The measured models of a report, once for each setting of the evaluation, with their lineage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any

from clipdefend.config import KINDS, kind_of
from clipdefend.console import one_line
from clipdefend.evaluation.flat_metrics import recovery, select_prefix
from clipdefend.evaluation.setting import IMAGES, EvaluationSetting
from clipdefend.report.collect import RunCollection, finite_numbers
from clipdefend.report.recipe import Recipe, attack_name, defence_name, recipe
from clipdefend.runs import Run

NAMES = {"class_names": "class names", "templates": "prompts", "quick": "subset of", "root": "images in"}
"""Words for facts of a setting whose own names do not read well."""

LINEAGE = {kind.command: kind.heading for kind in KINDS.values() if kind.heading}
"""Command -> prefix of its settings in a recipe."""


@dataclass(frozen=True)
class Setting:
    """What the evaluations in one table have in common: all that BA depends on, and the ASR protocol.

    Trigger and target are not among it: they tell attacks apart, which have rows of their own within a table.

    Attributes:
        shared: the setting without trigger and target.
        apart: phrases that distinguish the table from others with the same data, number of images and protocol.
    """

    shared: EvaluationSetting
    apart: tuple[str, ...] = ()

    @classmethod
    def of(cls, evaluation: EvaluationSetting) -> Setting:
        """Return the part of an evaluation's setting that a table shares."""
        return cls(replace(evaluation, target=None, trigger=None, n_triggered=None))

    @property
    def key(self) -> str:
        """A text that is equal for equal settings."""
        return json.dumps(asdict(self.shared), sort_keys=True, default=str)

    @property
    def title(self) -> str:
        """The title of the table."""
        return ", ".join((self.base, *self.apart))

    @property
    def base(self) -> str:
        """The title without ``apart``."""
        known = {
            "exclude-target": "ASR without the target's own images",
            "all": "ASR over all images",
        }
        protocol, data = one_line(str(self.shared.protocol)), one_line(str(self.shared.data))
        return f"{data}, {self.shared.n_clean or 0:,} clean images, {known.get(protocol, protocol)}"


def tell_apart(settings: Sequence[Setting]) -> list[Setting]:
    """Return the settings with titles that name what those with equal bases differ in, and nothing else."""
    found = []
    for one in settings:
        alike = [other for other in settings if other.base == one.base]
        differing = [name for name in IMAGES if len({repr(getattr(each.shared, name)) for each in alike}) > 1]
        values = {name: getattr(one.shared, name) for name in differing}
        words = tuple(
            f"{NAMES.get(name, name)} {'default' if value is None else one_line(str(value))}"
            for name, value in values.items()
        )
        found.append(replace(one, apart=words))
    return found


@dataclass(frozen=True)
class Measurement:
    """The metrics of one model in one setting.

    Attributes:
        run: the evaluation, or the training run that measured its own model.
        model: the run that wrote the weights; None for a bare checkpoint.
        attack, defence: base names, without settings.
        recipe: settings of the whole lineage, with keys that begin with "poison.", "attack.", "defence." or
            "augment.". Where the model is measured under another attack than it was trained on, the settings of the
            latter begin with "attack.trained_on.". The target is the evaluation's.
        seeds: of the runs of the lineage, by the same prefixes.
        values: flat metrics as fractions, with the recovery where the clean model's RA is known.
        evaluation: the setting, which decides what other metrics are comparable.
        own_epochs: whether the model was evaluated in this setting during training as well, so that its epochs are
            comparable with these metrics.
        lineage: the run and its ancestors, the nearest of each command.
    """

    run: Run
    model: Run | None
    attack: str
    defence: str
    recipe: Recipe
    seeds: Mapping[str, Any]
    values: Mapping[str, float]
    evaluation: EvaluationSetting
    own_epochs: bool
    lineage: tuple[Run, ...] = field(repr=False)

    @property
    def setting(self) -> Setting:
        """The setting of the table that the metrics belong in."""
        return Setting.of(self.evaluation)

    @property
    def trigger_run(self) -> Run | None:
        """The run whose trigger it was measured with; None without one."""
        return next((run for run in self.lineage if run.kind.trigger), None)

    @property
    def identity(self) -> str:
        """A text that is equal for runs with the same settings and seeds."""
        return json.dumps(
            [self.setting.key, self.attack, self.defence, self.recipe, self.seeds], sort_keys=True
        )

    @property
    def rank(self) -> tuple[bool, str, str]:
        """Sort key of measurements of one model, of which the last counts: evaluations come last, then newer runs."""
        return self.run.command == "evaluate", str(self.run.manifest.get("end")), self.run.name


def find_measurements(collection: RunCollection) -> tuple[list[Measurement], list[str]]:
    """Return the measurements of a report without repetitions, by the place of their runs.

    Returns:
        The measurements, and notes for readers on what was left out.
    """
    found = [
        one
        for run in collection.runs
        if run.kind.measured
        for one in [_measurement(run, collection)]
        if one is not None
    ]
    by_model: dict[tuple[str, str], Measurement] = {}
    for one in sorted(found, key=lambda one: one.rank):
        # As text, since a manifest may hold anything.
        setting = json.dumps(asdict(one.evaluation), sort_keys=True, default=str)
        by_model[(one.model or one.run).sha256, setting] = one
    kept: dict[str, Measurement] = {}
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
    return sorted(kept.values(), key=lambda one: collection.place(one.run)), notes


def _measurement(run: Run, collection: RunCollection) -> Measurement | None:
    """Return what a run measured; None where it did not measure BA."""
    values = finite_numbers(run.metrics)
    if "ba@1" not in values:
        return None
    lineage = _lineage(run, collection)
    poison = next((each for each in lineage.values() if each.kind.trigger), None)
    defend = lineage.get("defend")
    recipes = {
        f"{LINEAGE[command]}.{key}": value
        for command, each in lineage.items()
        if command in LINEAGE
        for key, value in recipe(each).items()
    }
    seeds = {LINEAGE[c]: each.config.get("seed") for c, each in lineage.items() if c in LINEAGE}
    merge = lineage.get("merge")
    attack, defence = attack_name(poison), defence_name(defend)
    if merge is not None:
        defence = f"{defence}, merged" if defend else "merged"
    if "clean" in lineage:
        defence = f"clean ({defence})"
    checkpoint = _checkpoint(run)
    model = None if checkpoint else merge or defend or lineage.get("finetune-attack")
    trained_on = collection.ancestor(model, "poison") if model else poison
    if trained_on is not None and poison is not None and trained_on.sha256 != poison.sha256:
        attack = f"{attack}, model of {attack_name(trained_on)}"
        recipes |= {f"attack.trained_on.{key}": value for key, value in recipe(trained_on).items()}
    if checkpoint:
        defence = one_line(f"checkpoint {'/'.join(PurePath(checkpoint).parts[-2:])}")
        recipes["checkpoint"] = checkpoint
    evaluation = EvaluationSetting.of(run, poison)
    if poison is not None and evaluation.target != EvaluationSetting.of(poison, poison).target:
        recipes["poison.target"] = evaluation.target
    return Measurement(
        run=run,
        model=model,
        attack=attack,
        defence=defence,
        recipe=recipes,
        seeds=seeds,
        values=values | recovery(values, _floor(values, evaluation, lineage, collection)),
        evaluation=evaluation,
        own_epochs=model is not None
        and not evaluation.differences(EvaluationSetting.of(model, trained_on), attack=True),
        lineage=tuple(lineage.values()),
    )


def _lineage(run: Run, collection: RunCollection) -> dict[str, Run]:
    """Return command -> the nearest run of it, from the run itself back to its poison run."""
    found = {command: collection.ancestor(run, command) for command in reversed(KINDS)}
    return {command: each for command, each in found.items() if each is not None}


def _checkpoint(run: Run) -> str | None:
    """Return the bare checkpoint, or the name of the model, that an evaluation measured; None for a run's weights."""
    if run.command != "evaluate":
        return None
    model = run.config.get("model")
    given = run.config.get("checkpoint")
    if given is None and isinstance(model, Mapping) and not _has_model(run):
        given = model.get("name")
    return given if isinstance(given, str) else None


def _has_model(run: Run) -> bool:
    return any(kind_of(str(record.get("command"))).model for record in run.manifest["parents"])


def _floor(
    values: Mapping[str, float],
    evaluation: EvaluationSetting,
    lineage: Mapping[str, Run],
    collection: RunCollection,
) -> dict[str, float]:
    """Return the comparable metrics of the clean model, as the evaluation recorded them, else the attack."""
    own = select_prefix(values, "floor_")
    attack = lineage.get("finetune-attack")
    if own or attack is None:
        return own
    theirs = EvaluationSetting.of(attack, collection.ancestor(attack, "poison"))
    return evaluation.comparable(theirs, select_prefix(finite_numbers(attack.metrics), "floor_"))
