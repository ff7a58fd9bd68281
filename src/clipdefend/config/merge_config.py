"""The configuration of ``merge``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from clipdefend.config.data_options import ColumnsConfig, pairs_option
from clipdefend.config.evaluation_options import EvalConfig
from clipdefend.config.fields import COUNT, NATURAL, POSITIVE, SHARE, Config, Range, nested, option
from clipdefend.config.model_options import ModelConfig, device_option, input_model
from clipdefend.config.run_options import RunConfig
from clipdefend.errors import ConfigError

MOST_SHARES = 101
"""Number of shares of one run, at most: each is measured."""


@dataclass(frozen=True, kw_only=True)
class ProxyConfig(Config):
    """The proxy for the success rate of an unknown attack: see ``clipdefend.defences.proxy_asr``."""

    at_most: float | None = option(
        None,
        "--proxy-at-most",
        "Largest proxy ASR of a share that may be chosen.",
        range=SHARE,
        shown="0.05 above the smallest of all shares",
    )
    steps: int = option(
        20, "--proxy-steps", "Gradient steps on each perturbation; 0 leaves them random.", range=NATURAL
    )
    members: int = option(2, "Perturbations of each kind.", range=COUNT)
    batch_size: int = option(32, "Images of a step.", range=Range(low=2))
    images: int = option(64, "Images to make perturbations on, drawn by the seed.", range=Range(low=16))
    held_out: int = option(192, "Other images to measure them on.", range=Range(low=16))
    step: float = option(0.3, "Length of a signed gradient step.", range=POSITIVE)
    templates: str = option(
        "simple", "Prompts of the classes that perturbed images go to: imagenet, simple, builtin, or a file."
    )


@dataclass(frozen=True, kw_only=True)
class MergeConfig(RunConfig):
    """Mix a cleaned model with its suspect, or a suspect with a clean relative, and choose the best share."""

    command: ClassVar[str] = "merge"
    group: ClassVar[str] = "Merge"

    other: str | None = option(
        None,
        "--with",
        "The other model, of the same architecture: a run, a file, a tag of open_clip's, or builtin.",
        metavar="MODEL",
        shown="the suspect that the input run was made from",
    )
    share: float | str = option(
        "0:1:0.1",
        "--share",
        "Share of the input model, 0 to 1: one, several with commas, or FIRST:LAST:STEP; the best is chosen.",
        metavar="A|A,A|A:B:STEP",
    )
    checkpoint: str | None = option(
        None,
        "--checkpoint",
        "Weights to mix with --with, in place of a run's.",
        metavar="FILE",
        shown="the run's",
    )
    data: str | None = pairs_option(None, shown="those that the attack run started from")
    norm_images: int = option(
        1024,
        "--norm-images",
        "Clean pairs on which statistics of batch norms are estimated, drawn by the seed.",
        range=COUNT,
    )
    proxy: ProxyConfig = nested(ProxyConfig, "Proxy")
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
    eval: EvalConfig = nested(EvalConfig, "Evaluation")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")
    device: str = device_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.shares  # raises where it is wrong

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares to try, ascending, each once. Raises ConfigError."""
        return parse_shares(self.share)


def parse_shares(given: float | str) -> tuple[float, ...]:
    """Read ``--share``: one number, several with commas, or FIRST:LAST:STEP with both ends.

    Returns:
        Shares from 0 to 1, ascending, each once, rounded to 6 places.

    Raises:
        ConfigError: it is none of these, or a share lies outside 0 to 1.
    """
    fault = ConfigError(
        f"--share is {given!r}; it takes a number from 0 to 1, several as in 0.3,0.5, or FIRST:LAST:STEP as in"
        f" 0:1:0.1, {MOST_SHARES} shares at most."
    )
    text = str(given)
    try:
        numbers = [float(part) for part in text.split(":" if ":" in text else ",")]
    except ValueError:
        raise fault from None
    if not all(math.isfinite(number) for number in numbers):
        raise fault
    if ":" in text:
        if (
            len(numbers) != 3
            or numbers[2] <= 0
            or not 0 <= (numbers[1] - numbers[0]) / numbers[2] < MOST_SHARES
        ):
            raise fault
        first, last, step = numbers
        numbers = [first + step * count for count in range(math.floor((last - first) / step + 1e-9) + 1)]
    shares = sorted({round(number, 6) for number in numbers})
    if not 0 <= shares[0] <= shares[-1] <= 1 or len(shares) > MOST_SHARES:
        raise fault
    return tuple(shares)
