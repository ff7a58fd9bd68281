"""One training run: optimiser, schedule, precision, resume state, logging."""

from __future__ import annotations

from dataclasses import dataclass

from clipdefend.choices import BatchNormMode, LrSchedule, TrainPrecision
from clipdefend.config.conditions import parse_conditions
from clipdefend.config.fields import COUNT, NATURAL, POSITIVE, Config, Range, option
from clipdefend.config.model_options import device_option
from clipdefend.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """One training run, as attack and as defence. The defaults are the attack's of the CleanerCLIP paper."""

    batch_size: int = option(128, "--batch-size", "Batch size per process and micro-batch.", range=COUNT)
    epochs: int = option(5, "--epochs", "Number of epochs.", range=COUNT)
    lr: float = option(
        1e-5,
        "--lr",
        "Peak learning rate. On OpenAI's RN50 1e-6 plants no backdoor and 1e-5 does (CleanCLIP issue 3);"
        " 4.5e-6 removes one (BadCLIP's README).",
        range=POSITIVE,
    )
    wd: float = option(0.1, "--wd", "--weight-decay", "AdamW weight decay.", range=NATURAL)
    beta1: float = option(0.9, "--beta1", "AdamW beta1.", range=Range(low=0, below=1))
    beta2: float = option(0.999, "--beta2", "AdamW beta2.", range=Range(low=0, below=1))
    eps: float = option(1e-8, "--eps", "AdamW epsilon.", range=POSITIVE)
    warmup: int = option(
        10_000, "--warmup", "--num-warmup-steps", "Number of linear warm-up steps.", range=NATURAL
    )
    lr_scheduler: LrSchedule = option(
        "cosine",
        "--lr-scheduler",
        "Learning rate schedule after the warm-up; cleanclip-compat reproduces that of CleanCLIP's code,"
        " which runs one epoch ahead.",
    )
    grad_clip: float | None = option(
        None, "--grad-clip-norm", "Clip the gradient norm to this value.", range=POSITIVE
    )
    precision: TrainPrecision = option(
        "fp32",
        "--precision",
        "Floating-point precision of the forward pass; auto tries a few steps and takes the fastest one for this"
        " model on this machine.",
    )
    batch_norm: BatchNormMode = option(
        "train",
        "--batch-norm",
        "Batch norm: train uses and updates batch statistics; eval keeps those of the checkpoint.",
    )
    save_every: int = option(
        0, "--save-every", "Steps between resume states; 0 saves one after each epoch only.", range=NATURAL
    )
    keep_state: bool = option(False, "--keep-state", "Keep the resume state after the run has finished.")
    resume: str | None = option(
        None, "--resume", "Unfinished run to resume: its folder, or latest.", metavar="RUN"
    )
    log_every: int = option(
        10, "--log-every", "--log-every-n-steps", "Steps between log entries.", range=COUNT
    )
    term_shares: int = option(
        10,
        "--term-shares",
        "Steps between measurements of each term's share of the gradient; 0 turns them off.",
        range=NATURAL,
    )
    eval_every: float = option(
        1.0,
        "--eval-every",
        "--zeroshot-frequency",
        "Epochs between evaluations; 0.5 makes two in each epoch, 0 turns them off.",
        range=NATURAL,
    )
    keep_epochs: str | None = option(
        None,
        "--keep-epochs",
        "Keep the weights of these epochs as epochs/NNN/: all, or numbers such as 5,10.",
        metavar="all|N,...",
        shown="the last and the best",
    )
    stop_at: str | None = option(
        None,
        "--stop-at",
        "End training after the first evaluation that reaches these values, as in ba@1=0.25.",
        metavar="METRIC=X,...",
    )
    accum_freq: int = option(
        1,
        "--accum-freq",
        "Number of micro-batches per step. Gradients are those of the whole batch, in the memory of one micro-batch.",
        range=COUNT,
    )
    grad_checkpointing: bool = option(
        False, "--grad-checkpointing", "Recompute activations in the backward pass: less memory, more time."
    )
    compile: bool = option(
        False, "--compile", "Compile the towers with torch.compile: a slow start, then faster steps."
    )
    lock_image: bool = option(False, "--lock-image", "Freeze the image tower.")
    lock_text: bool = option(False, "--lock-text", "Freeze the text tower.")
    report_to: str = option(
        "none",
        "--report-to",
        "Comma-separated trackers to log to besides metrics.jsonl: tensorboard, wandb,"
        " and others that Accelerate supports.",
        metavar="NAMES",
    )
    device: str = device_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        every = self.eval_every
        whole = every if every >= 1 or every == 0 else 1 / every
        if abs(whole - round(whole)) > 1e-6:
            raise ConfigError(
                f"--eval-every is {every:g}; it must be a whole number of epochs, or a whole part of one such as 0.5."
            )
        if parse_conditions(self.stop_at, "--stop-at") and not every:
            raise ConfigError("--stop-at needs evaluations, which --eval-every 0 turns off.")
        self.kept_epochs  # noqa: B018  # checks the numbers

    @property
    def kept_epochs(self) -> tuple[int, ...] | None:
        """The numbers of ``keep_epochs``; None for all epochs or none. Raises ConfigError for other texts."""
        if self.keep_epochs in (None, "all"):
            return None
        parts = [part.strip() for part in str(self.keep_epochs).split(",")]
        if not all(part.isascii() and part.isdigit() and int(part[:9]) > 0 for part in parts):
            raise ConfigError(
                f"--keep-epochs is {self.keep_epochs!r}; it takes all, or epochs from 1 such as 5,10."
            )
        return tuple(int(part[:9]) for part in parts)


def defence_training() -> TrainConfig:
    """The defence's defaults of the CleanerCLIP paper; its learning rate from BadCLIP's README."""
    return TrainConfig(batch_size=64, epochs=10, lr=4.5e-6)
