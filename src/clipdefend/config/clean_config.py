"""The configuration of ``clean``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from clipdefend.config.data_options import ColumnsConfig, pairs_option
from clipdefend.config.evaluation_options import EvalConfig
from clipdefend.config.fields import COUNT, POSITIVE, SHARE, Config, Range, nested, option
from clipdefend.config.model_options import ModelConfig, input_model
from clipdefend.config.run_options import RunConfig
from clipdefend.config.training_options import TrainConfig, defence_training
from clipdefend.errors import ConfigError

MOST_SHARED = 0.4
"""Largest expected share of a canary's pairs that others poison, too."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, kw_only=True)
class CanaryConfig(Config):
    """Backdoors of our own, planted in a copy of the suspect to see what removes them."""

    attacks: tuple[str, ...] = option(
        ("badnet", "blended", "sig"),
        "--canaries",
        "Triggers that are planted in a copy of the suspect; poison --list shows all.",
        metavar="NAME,NAME",
    )
    targets: tuple[str, ...] | None = option(
        None,
        "--canary-targets",
        "Target class of each canary.",
        metavar="NAME,NAME",
        shown="drawn by the seed",
    )
    share: float = option(
        0.2,
        "--canary-share",
        "Fraction of the pairs among which canaries poison some; no candidate trains on them.",
        range=Range(above=0, below=1),
    )
    rate: float = option(
        0.1,
        "--canary-rate",
        "Fraction of those pairs that each canary poisons.",
        range=Range(above=0, high=1),
    )
    epochs: int | None = option(
        None,
        "--canary-epochs",
        "Epochs of planting.",
        range=COUNT,
        metavar="N",
        shown="those of finetune-attack",
    )
    lr: float | None = option(
        None,
        "--canary-lr",
        "Learning rate of planting.",
        range=POSITIVE,
        metavar="X",
        shown="that of finetune-attack",
    )
    learned: float = option(
        0.5, "--canary-learned", "ASR@1 from which on a planted canary was learned, and counts.", range=SHARE
    )
    images: int = option(
        1000, "--canary-images", "Number of labelled images that canaries are measured on.", range=COUNT
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", tuple(dict.fromkeys(self.attacks)))
        super().__post_init__()
        if not self.attacks:
            raise ConfigError("--canaries is empty: give at least one trigger, such as badnet.")
        others = len(self.attacks) - 1
        if others and 1 - (1 - self.rate) ** others > MOST_SHARED:
            most = 1 - (1 - MOST_SHARED) ** (1 / others)
            raise ConfigError(
                f"--canary-rate {self.rate:g} is too much for {others + 1} canaries, which would poison each other's"
                f" pairs: at most {math.floor(100 * most) / 100:g}."
            )
        if self.targets is not None and len(self.targets) != len(self.attacks):
            raise ConfigError(
                f"--canary-targets names {len(self.targets)} classes for {len(self.attacks)} canaries: give one each."
            )


@dataclass(frozen=True, kw_only=True)
class ChoiceConfig(Config):
    """The rule by which a candidate is chosen."""

    asr: float = option(
        0.03,
        "--max-canary-asr",
        "Largest mean ASR@1 of the canaries that counts as clean, above that of the suspect without them.",
        range=SHARE,
    )
    recovery: float = option(
        0.8,
        "--min-canary-recovery",
        "Smallest mean recovery@1 of the canaries that counts as clean: RA@1 divided by the suspect's.",
        range=SHARE,
    )


@dataclass(frozen=True, kw_only=True)
class CleanConfig(RunConfig):
    """Clean a suspect checkpoint without knowing its trigger: try defences on backdoors of our own, apply the best."""

    command: ClassVar[str] = "clean"
    group: ClassVar[str] = "Clean"

    checkpoint: str | None = option(
        None,
        "--checkpoint",
        "Weights to clean instead of those of an input run.",
        metavar="FILE",
        shown="those of the run",
    )
    data: str | None = pairs_option(None, shown="those that the attack run started from")
    num_samples: int | None = option(
        None,
        "--train-num-samples",
        "Number of pairs to use, drawn by the seed.",
        range=COUNT,
        metavar="N",
        shown="all",
    )
    check_pairs: int = option(
        1000,
        "--check-pairs",
        "Without labelled images: number of pairs that nothing trains on, for retrieval.",
        range=Range(low=16),
    )
    candidates: tuple[str, ...] | None = option(
        None,
        "--candidates",
        "Defences to try: METHOD for its usual rates, or METHOD:RATE.",
        metavar="METHOD[:RATE],...",
        shown="ft, cleanclip, par-clean and unlearn at multiples of --lr",
    )
    budget: str | None = option(
        None,
        "--budget",
        "Time for the whole command, such as 2h or 90m; the costliest candidates that do not fit are left out.",
        metavar="TIME",
        shown="no limit",
    )
    jobs: int = option(1, "--jobs", "Number of runs at a time; they share the cores.", range=COUNT)
    merge_shares: tuple[float, ...] | None = option(
        (0.6, 0.8),
        "--merge-shares",
        "Shares of the cleaned weights to try with the rest from the suspect, if the canaries stay gone; null: none.",
        range=Range(above=0, below=1),
        metavar="X,X",
    )
    scan: bool = option(
        True,
        "--scan",
        "Scan the suspect first and the cleaned model last, for triggers that need no attacker.",
    )
    reference: str | None = option(
        None,
        "--reference",
        "Clean model of the same architecture for the scans: a run, a file, a tag of open_clip's, builtin, or none.",
        metavar="MODEL",
        shown="the weights that the attack started from",
    )
    canaries: CanaryConfig = nested(CanaryConfig, "Canaries")
    choice: ChoiceConfig = nested(ChoiceConfig, "Choice")
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
    train: TrainConfig = nested(defence_training, "Training of the candidates")
    eval: EvalConfig = nested(EvalConfig, "Evaluation")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.seconds  # noqa: B018  # checks the text
        if self.train.stop_at is not None:
            raise ConfigError("--stop-at does not apply to clean, whose candidates go through all epochs.")

    @property
    def seconds(self) -> float | None:
        """The budget in seconds; None without one. Raises ConfigError for another text."""
        if self.budget is None:
            return None
        number, unit = self.budget[:-1], self.budget[-1:].lower()
        plain = number.replace(".", "", 1)
        if (
            unit not in _UNITS
            or not (plain.isascii() and plain.isdigit())
            or len(plain) > 9
            or float(number) <= 0
        ):
            raise ConfigError(f"--budget is {self.budget!r}; it takes a time such as 45m, 2h or 1.5d.")
        return float(number) * _UNITS[unit]
