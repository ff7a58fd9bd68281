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
        "cleanerclip", "--method", "ft, ssl, cleanclip, cleanerclip, par or par-clean.", metavar="NAME"
    )
    n_aug: int = option(
        1000,
        "--n-aug",
        "Sub-captioned samples of each epoch; the paper takes 3000 against BadCLIP.",
        range=COUNT,
    )
    data: str | None = pairs_option(None, shown="those that the attack was made from")
    checkpoint: str | None = option(
        None, "--checkpoint", "Weights to clean in place of a run's.", metavar="FILE", shown="the run's"
    )
    augment_from: str | None = option(
        None,
        "--augment-from",
        "Augment run with the sub-captions.",
        metavar="RUN",
        shown="the newest of the same pairs, else made here",
    )
    exclude_manifest: str | None = excluded_run()
    num_samples: int | None = option(
        None,
        "--train-num-samples",
        "Pairs to draw from the data once, as a defender has fewer than the attacker.",
        range=COUNT,
        shown="all",
    )
    fc_schedule: SubcaptionSchedule = option(
        "interleave", "--fc-schedule", "Where the sub-captioned batches go in an epoch."
    )
    val_data: str | None = option(
        None,
        "--val-data",
        "Clean pairs, not trained on, that the training is watched on.",
        metavar="DATA",
        shown="the built-in eval split, those that --train-num-samples left out, else some of the training",
    )
    val_pairs: int = option(
        256, "--val-pairs", "So many of them, for rules that say when to stop; 0: none.", range=NATURAL
    )
    terms: dict[str, Any] = option(
        None, "Changes to the method's terms, by --set terms.ssl.weight=2.", factory=dict
    )
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
    subcaptions: SubcaptionConfig = nested(SubcaptionConfig, "Sub-captions made here")
    train: TrainConfig = nested(defence_training, "Training")
    eval: EvalConfig = nested(EvalConfig, "Evaluation")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")
