"""What ``defend`` needs before its first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from clipdefend.commands.defend.defence_score import defence_score
from clipdefend.commands.defend.watching import choose_watched
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.found_triggers import FoundTriggers, read_triggers
from clipdefend.commands.shared.kept_poison import keep_poison
from clipdefend.commands.shared.preparation import Preparation
from clipdefend.commands.shared.subcaption_source import (
    GeneratedSubcaptions,
    RecordedSubcaptions,
    open_subcaptions,
)
from clipdefend.config import ColumnsConfig, DefendConfig, to_dict
from clipdefend.data.pairs import Pairs
from clipdefend.data.remaining_pairs import RemainingPairs
from clipdefend.defences.defence import Defence
from clipdefend.defences.unlearn import Unlearn
from clipdefend.draws import permutation
from clipdefend.errors import ConfigError
from clipdefend.evaluation.recorded_floor import floor_of_run
from clipdefend.evaluation.setting import EvaluationSetting
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model
from clipdefend.runs import Run, WatchedPairs
from clipdefend.training.job import Evaluation, Metrics
from clipdefend.training.validation import Validation, measure_all


class DefencePreparation(Preparation[DefendConfig]):
    """The inputs of ``defend``: a suspect, clean pairs and, for some methods, sub-captions."""

    attack_run: ClassVar[bool] = False

    @cached_property
    def defence(self) -> Defence:
        """How the model is trained. Raises ConfigError where triggers are given to a method that takes none."""
        defence = super().defence
        if self.found is None:
            return defence
        if not isinstance(defence, Unlearn):
            raise ConfigError(
                f"--triggers is of --method unlearn, not of {self.config.method}: leave it out."
            )
        return replace(defence, triggers=self.found.triggers)

    @cached_property
    def found(self) -> FoundTriggers | None:
        """The triggers that ``--triggers`` names, and their scan."""
        given = self.config.triggers
        return read_triggers(self.context, given, self.model.image_size) if given is not None else None

    @cached_property
    def source(self) -> Run | None:
        """The run whose model is cleaned; None where a checkpoint is given alone."""
        if self.config.checkpoint is not None and self.context.source is None:
            return None
        return self.find_input()

    @cached_property
    def model(self) -> ClipModel:
        """The suspect. Raises ConfigError when neither a run nor a checkpoint names it."""
        config = self.config
        if config.checkpoint is not None:
            return inputs.bare_model(config.checkpoint, config.model, self.source, config.seed, self.context)
        if self.source is not None:
            return inputs.model_of(self.source)
        if not self.stand_in:
            raise ConfigError("Nothing to defend: give a run with --from, or weights with --checkpoint.")
        name = config.model.name or "tiny"
        weights = config.model.pretrained or ("builtin" if name == "tiny" else None)
        return load_model(name, weights, seed=config.seed)

    @cached_property
    def pretrained(self) -> bool:
        return True

    @cached_property
    def all_pairs(self) -> Pairs:
        """The pairs before any are left out. Raises ConfigError when neither a flag nor an attack names them."""
        config = self.config
        if config.data is not None:
            return inputs.open_data(config.data, config.columns, self.context)
        if self.poison is not None:
            return inputs.recorded_pairs(self.poison, self.context)
        if self.stand_in:
            return inputs.open_data("builtin", ColumnsConfig(), self.context)
        raise ConfigError("Clean pairs are needed: a checkpoint alone does not name them. Give --data.")

    @cached_property
    def pairs(self) -> Pairs:
        """The defender's pairs, with the poisoned ones that ``--keep-poison`` leaves among them."""
        count = self.config.keep_poison
        if not count:
            return self._clean_pairs
        self.context.console.info(f"Keeping {count:,} poisoned pairs")
        return keep_poison(self._clean_pairs, self.poison, count, self.config.seed)

    @cached_property
    def _clean_pairs(self) -> Pairs:
        """The pairs that the defender means to train on."""
        config = self.config
        pairs = self.remaining_pairs
        if config.num_samples is not None and config.num_samples < len(pairs):
            left_out = permutation(len(pairs), config.seed, "num-samples")[config.num_samples :]
            pairs = RemainingPairs(pairs, left_out)
        return pairs

    @cached_property
    def _watched(self) -> tuple[Validation | None, WatchedPairs | None]:
        return choose_watched(self.config, self._clean_pairs, self.canvas, self.suspect, self.context)

    @property
    def watched(self) -> WatchedPairs | None:
        """What the manifest says of the pairs that training is watched on."""
        return self._watched[1]

    @cached_property
    def benchmark(self) -> Benchmark | None:
        """The evaluation after each epoch, with the clean model's figures where they are known and comparable."""
        benchmark = super().benchmark
        if benchmark is not None and self.attack is not None:
            setting = EvaluationSetting.from_config(
                {**to_dict(self.config.eval), "quick": None},
                canvas=self.canvas.mode,
                target=self.attack.target,
                poison=self.poison,
            )
            benchmark.clean = floor_of_run(self.source, setting)
        return benchmark

    @property
    def evaluate(self) -> Evaluation | None:
        return measure_all(self.benchmark, self._watched[0])

    @cached_property
    def _subcaptions(self) -> tuple[GeneratedSubcaptions | RecordedSubcaptions | None, Run | None]:
        return open_subcaptions(self.config, self.pairs, self.context) if self.has_subset else (None, None)

    @property
    def subcaptions(self) -> GeneratedSubcaptions | RecordedSubcaptions | None:
        return self._subcaptions[0]

    @property
    def subcaptioned_rows(self) -> int:
        return min(self.config.n_aug, len(self.pairs)) if self.has_subset else 0

    @property
    def parents(self) -> list[Run]:
        """The runs that this one is made from."""
        return [run for run in (self.source, self._subcaptions[1]) if run is not None]

    @property
    def select(self) -> Callable[[Metrics], float]:
        return defence_score

    @property
    def title(self) -> str:
        return f"Defend {self.config.method}"

    @property
    def extras(self) -> dict[str, Any]:
        return {"schedule": self.config.fc_schedule}
