"""One training run: optimiser, schedule, precision, resume state, logging."""

from __future__ import annotations

from dataclasses import dataclass

from clipdefend.choices import BatchNormMode, LrSchedule, Precision
from clipdefend.config.fields import COUNT, NATURAL, POSITIVE, Config, Range, option
from clipdefend.config.model_options import device_option


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """One training run, as attack and as defence. The defaults are the attack's of the CleanerCLIP paper."""

    batch_size: int = option(128, "--batch-size", "Pairs per process and micro-batch.", range=COUNT)
    epochs: int = option(5, "--epochs", "Passes over the pairs.", range=COUNT)
    lr: float = option(
        1e-5,
        "--lr",
        "Peak learning rate. On OpenAI's RN50 1e-6 plants no backdoor and 1e-5 does (CleanCLIP issue 3);"
        " 4.5e-6 removes one (BadCLIP's README).",
        range=POSITIVE,
    )
    wd: float = option(0.1, "--wd", "--weight-decay", "Weight decay of AdamW.", range=NATURAL)
    beta1: float = option(0.9, "--beta1", "First beta of AdamW.", range=Range(low=0, below=1))
    beta2: float = option(0.999, "--beta2", "Second beta of AdamW.", range=Range(low=0, below=1))
    eps: float = option(1e-8, "--eps", "Epsilon of AdamW.", range=POSITIVE)
    warmup: int = option(
        10_000, "--warmup", "--num-warmup-steps", "Steps of linear warm-up, as in the paper.", range=NATURAL
    )
    lr_scheduler: LrSchedule = option(
        "cosine",
        "--lr-scheduler",
        "Learning rate after the warm-up; cleanclip-compat repeats CleanCLIP's curve, one epoch ahead.",
    )
    grad_clip: float | None = option(
        None, "--grad-clip-norm", "Largest norm of the gradient.", range=POSITIVE, shown="none"
    )
    precision: Precision = option("fp32", "--precision", "Arithmetic of forward passes.")
    batch_norm: BatchNormMode = option(
        "train", "--batch-norm", "Update batch-norm statistics, or leave them as loaded."
    )
    save_every: int = option(
        0, "--save-every", "Steps between two resume states; 0: only after each epoch.", range=NATURAL
    )
    keep_state: bool = option(False, "--keep-state", "Keep the resume state of a finished run.")
    resume: str | None = option(
        None, "--resume", "Continue an unfinished run: its folder, or latest.", metavar="RUN", shown="none"
    )
    log_every: int = option(
        10, "--log-every", "--log-every-n-steps", "Steps between logged lines.", range=COUNT
    )
    eval_every: int = option(
        1,
        "--eval-every",
        "--zeroshot-frequency",
        "Epochs between evaluations; 0: at no time.",
        range=NATURAL,
    )
    accum_freq: int = option(
        1,
        "--accum-freq",
        "Micro-batches of a step: exact gradients of the whole batch in the memory of one.",
        range=COUNT,
    )
    grad_checkpointing: bool = option(False, "--grad-checkpointing", "Trade time for memory.")
    compile: bool = option(
        False, "--compile", "Compile the towers with torch.compile: slow to begin, faster then."
    )
    lock_image: bool = option(False, "--lock-image", "Keep the image tower as it is.")
    lock_text: bool = option(False, "--lock-text", "Keep the text tower as it is.")
    report_to: str = option(
        "none",
        "--report-to",
        "Trackers beside metrics.jsonl, comma-separated: tensorboard, wandb and all that Accelerate knows.",
        metavar="NAMES",
    )
    device: str = device_option()


def defence_training() -> TrainConfig:
    """The defence's defaults of the CleanerCLIP paper; its learning rate from BadCLIP's README."""
    return TrainConfig(batch_size=64, epochs=10, lr=4.5e-6)
