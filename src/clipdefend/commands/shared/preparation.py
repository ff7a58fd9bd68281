"""What a training command needs before its first step, opened once for the command and for ``doctor`` alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from clipdefend.canvas import Canvas
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.exclusion import Exclusion, exclude_rows
from clipdefend.config import DefendConfig, FinetuneAttackConfig
from clipdefend.config.conditions import Condition, parse_conditions
from clipdefend.data.pairs import Pairs
from clipdefend.data.remaining_pairs import RemainingPairs
from clipdefend.defences.build_defence import build_defence
from clipdefend.defences.defence import Defence, Phase
from clipdefend.errors import ConfigError, RunError
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel
from clipdefend.runs import Context, Run
from clipdefend.training.job import Evaluation, Job, Metrics, SubCaptionSource, freeze

C = TypeVar("C", DefendConfig, FinetuneAttackConfig)


class Preparation(ABC, Generic[C]):
    """The inputs of a training run, each opened on first use; ``job`` puts them together.

    The command calls ``open``, which meets the first fault; ``doctor`` looks at one property after the other and
    collects the faults.

    Args:
        config: of the command.
        context: of the command.
        stand_in: take what an input run that is not there yet would bring from the built-in world, for ``doctor``.
    """

    attack_run: ClassVar[bool]
    """Whether a backdoor is planted rather than removed."""

    def __init__(self, config: C, context: Context, *, stand_in: bool = False) -> None:
        self.config: C = config
        self.context = context
        self.stand_in = stand_in

    def open(self) -> None:
        """Open everything that the job needs. Raises ClipDefendError for the first thing that is wrong."""
        for name in ("defence", "source", "attack", "model", "pairs", "canvas", "phases", "benchmark"):
            getattr(self, name)
        self.check_conditions()
        self.job(Path())

    @property
    def conditions(self) -> dict[str, Sequence[Condition]]:
        """Flag -> the conditions on metrics that it sets."""
        return {"--stop-at": parse_conditions(self.config.train.stop_at, "--stop-at")}

    def check_conditions(self) -> None:
        """Raise ConfigError for a condition on what the evaluation does not measure."""
        for flag, conditions in self.conditions.items():
            for condition in conditions:
                if self.benchmark is None:
                    raise ConfigError(f"{flag} needs labelled images: give them with --eval-data.")
                if not condition.metric.startswith("ba") and self.benchmark.trigger is None:
                    raise ConfigError(f"{flag} names {condition.metric}, and no trigger is known here.")
                if condition.k not in self.benchmark.ks:
                    known = ",".join(map(str, self.benchmark.ks))
                    raise ConfigError(
                        f"{flag} names {condition.metric}, and --topk {known} does not measure it: add {condition.k}."
                    )

    @cached_property
    def defence(self) -> Defence:
        """How the model is trained."""
        return build_defence(self.config.method, self.config.terms, self.config.defence)

    @cached_property
    @abstractmethod
    def source(self) -> Run | None:
        """The input run; None where there is none."""

    def find_input(self) -> Run | None:
        """The input run; None where a run that was not named is missing and the built-in world stands in."""
        try:
            return self.context.input(self.config)
        except RunError:
            if not self.stand_in or self.context.source is not None:
                raise
            return None

    @cached_property
    def poison(self) -> Run | None:
        """The poison run that the input run descends from."""
        return self.attack.run if self.attack else None

    @cached_property
    def attack(self) -> inputs.AttackRecord | None:
        """The attack of that run."""
        return inputs.find_attack(self.source)

    @cached_property
    @abstractmethod
    def model(self) -> ClipModel:
        """The model that training begins with."""

    @cached_property
    @abstractmethod
    def pretrained(self) -> bool:
        """Whether that model has trained weights."""

    @cached_property
    def suspect(self) -> ClipModel:
        """A frozen copy of the model as it came, which reference terms and drift compare with."""
        return freeze(self.model)

    @cached_property
    def pairs(self) -> Pairs:
        """The training pairs."""
        return self.remaining_pairs

    @cached_property
    @abstractmethod
    def all_pairs(self) -> Pairs:
        """The pairs before any are left out."""

    @cached_property
    def exclusion(self) -> Exclusion | None:
        """The rows that ``--exclude-manifest`` leaves out, and the run that flagged them."""
        given = self.config.exclude_manifest
        return exclude_rows(self.context, given, self.all_pairs) if given is not None else None

    @property
    def remaining_pairs(self) -> Pairs:
        """The pairs without the rows that ``--exclude-manifest`` leaves out."""
        if self.exclusion is None:
            return self.all_pairs
        return RemainingPairs(self.all_pairs, self.exclusion.rows)

    @cached_property
    def phases(self) -> list[Phase]:
        """The defence's phases for these pairs."""
        return list(self.defence.phases(self.config.train, len(self.pairs)))

    @property
    def has_subset(self) -> bool:
        """Whether a phase works on sub-captions."""
        return any(phase.objective.has_subset for phase in self.phases)

    @cached_property
    def canvas(self) -> Canvas:
        """Geometry of the images."""
        return inputs.canvas_of(self.model, self.attack)

    @cached_property
    def benchmark(self) -> Benchmark | None:
        """The evaluation after each epoch; None without labelled images."""
        return inputs.make_benchmark(self.config.eval, self.config, self.canvas, self.context, self.attack)

    @property
    def evaluate(self) -> Evaluation | None:
        """All that is measured after each epoch."""
        return self.benchmark

    @property
    def subcaptions(self) -> SubCaptionSource | None:
        """Where the sub-captions come from, for objectives with such terms."""
        return None

    @property
    @abstractmethod
    def select(self) -> Callable[[Metrics], float]:
        """The value of an epoch's metrics whose largest epoch is kept as ``best/``."""

    @property
    @abstractmethod
    def title(self) -> str:
        """Label of the progress bar."""

    @property
    def extras(self) -> dict[str, Any]:
        """What the job has beside the common fields."""
        return {}

    @property
    def subcaptioned_rows(self) -> int:
        """Rows of an epoch that have sub-captions, at most: known without opening them."""
        return 0

    def trial_job(self, folder: Path, pairs: Pairs) -> Job:
        """A training run on other pairs that measures nothing and reads no sub-captions, to try a few steps of."""
        return Job(
            folder=folder,
            title=self.title,
            model=self.model,
            defence=self.defence,
            suspect=self.suspect,
            pairs=pairs,
            canvas=self.canvas,
            config=self.config.train,
            seed=self.config.seed,
            max_bad=self.config.max_bad,
            workers=self.config.workers,
            **self.extras,
        )

    def job(self, folder: Path) -> Job:
        """The training run, in a separate folder."""
        return replace(
            self.trial_job(folder, self.pairs),
            evaluate=self.evaluate,
            select=self.select if self.benchmark else None,
            subcaptions=self.subcaptions,
        )
