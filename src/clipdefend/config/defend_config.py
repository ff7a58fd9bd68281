"""The configuration of ``defend``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from clipdefend.choices import SubcaptionSchedule
from clipdefend.config.data_options import ColumnsConfig, excluded_run, pairs_option
from clipdefend.config.evaluation_options import EvalConfig
from clipdefend.config.fields import COUNT, NATURAL, nested, option
from clipdefend.config.model_options import ModelConfig, input_model
from clipdefend.config.run_options import RunConfig
from clipdefend.config.subcaption_options import SubcaptionConfig
from clipdefend.config.training_options import TrainConfig, defence_training


@dataclass(frozen=True, kw_only=True)
class DefendConfig(RunConfig):
    """Fine-tune a suspect model on clean pairs so that the backdoor goes and the accuracy stays."""

    command: ClassVar[str] = "defend"
    group: ClassVar[str] = "Defence"

    method: str = option(
        "cleanerclip",
        "--method",
        "Defence to use; poison --list shows all.",
        metavar="NAME",
    )
    n_aug: int = option(
        1000,
        "--n-aug",
        "Number of samples with sub-captions in each epoch; the paper uses 3000 against BadCLIP.",
        range=COUNT,
    )
    data: str | None = pairs_option(None, shown="those that the attack run started from")
    checkpoint: str | None = option(
        None,
        "--checkpoint",
        "Weights to clean instead of those of the input run.",
        metavar="FILE",
        shown="those of the run",
    )
    augment_from: str | None = option(
        None,
        "--augment-from",
        "Augment run with the sub-captions.",
        metavar="RUN",
        shown="the newest run for the same pairs, otherwise made on the fly",
    )
    triggers: str | None = option(
        None,
        "--triggers",
        "Scan of the suspect whose triggers unlearn starts from, beside its own perturbations.",
        metavar="RUN",
    )
    exclude_manifest: str | None = excluded_run()
    keep_poison: int = option(
        0,
        "--keep-poison",
        "Number of poisoned pairs that take the places of clean ones, as if the defender had overlooked them.",
        range=NATURAL,
    )
    num_samples: int | None = option(
        None,
        "--train-num-samples",
        "Number of pairs to sample from the data, since a defender has fewer than the attacker.",
        range=COUNT,
        shown="all",
    )
    fc_schedule: SubcaptionSchedule = option(
        "interleave",
        "--fc-schedule",
        "When the mini-batches with sub-captions are used: spread over the epoch, at its end,"
        " or within ordinary mini-batches.",
    )
    val_data: str | None = option(
        None,
        "--val-data",
        "Clean validation pairs, which are not trained on.",
        metavar="DATA",
        shown="the built-in eval split, or pairs left out by --train-num-samples, otherwise some of the training pairs",
    )
    val_pairs: int = option(
        256,
        "--val-pairs",
        "Number of validation pairs for the stopping rules; 0 turns them off.",
        range=NATURAL,
    )
    terms: dict[str, Any] = option(
        None, "Changes to the method's terms, as in --set terms.ssl.weight=2.", factory=dict
    )
    defence: dict[str, Any] = option(
        None, "Parameters of a defence that has its own, by --set defence.KEY=VALUE.", factory=dict
    )
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
    subcaptions: SubcaptionConfig = nested(SubcaptionConfig, "Sub-captions made here")
    train: TrainConfig = nested(defence_training, "Training")
    eval: EvalConfig = nested(EvalConfig, "Evaluation")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")
