"""Bounds that an evaluation must meet, and how the verdict is reported to other programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clipdefend.config.fields import SHARE, Config, option
from clipdefend.errors import ConfigError

BOUND = "X[@K],..."

Bound = float | str | None


@dataclass(frozen=True, kw_only=True)
class GatesConfig(Config):
    """Bounds of BA, ASR, RA and recovery; a share for k = 1, or several with their k as in 0.05@1,0.2@5."""

    max_asr: Bound = option(
        None,
        "--max-asr",
        "Exit with code 3 if ASR@K is above this bound; several as 0.05@1,0.2@5.",
        metavar=BOUND,
    )
    min_ba: Bound = option(None, "--min-ba", "Exit with code 3 if BA@K is below this bound.", metavar=BOUND)
    min_ra: Bound = option(None, "--min-ra", "Exit with code 3 if RA@K is below this bound.", metavar=BOUND)
    min_recovery: Bound = option(
        None,
        "--min-recovery",
        "Exit with code 3 if recovery@K (RA@K divided by that of the clean model) is below this bound.",
        metavar=BOUND,
    )
    max_ba_drop: Bound = option(
        None,
        "--max-ba-drop",
        "Exit with code 3 if BA@K is lower than that of --against by more than this.",
        metavar=BOUND,
    )
    against: str | None = option(
        None,
        "--against",
        "Evaluation of the same images that --max-ba-drop compares with.",
        metavar="RUN",
    )
    junit: str | None = option(None, "--junit", "Write the result of the gates as JUnit XML.", metavar="FILE")
    annotations: Literal["auto", "github", "none"] = option(
        "auto",
        "--annotations",
        "Report failed gates as GitHub annotations; auto does so if GITHUB_ACTIONS is true.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        bounds = self.bounds
        if ("--max-ba-drop" in bounds) != (self.against is not None):
            raise ConfigError(
                "--max-ba-drop and --against need each other: the largest drop, and the run that BA is"
                " compared with."
            )
        if self.junit is not None and not bounds:
            raise ConfigError(
                "--junit has nothing to report without a gate: give --max-asr, --min-ba, --min-ra, --min-recovery or"
                " --max-ba-drop."
            )

    @property
    def bounds(self) -> dict[str, dict[int, float]]:
        """Flag -> k -> bound, of the gates that were given."""
        given = {
            "--max-asr": self.max_asr,
            "--min-ba": self.min_ba,
            "--min-ra": self.min_ra,
            "--min-recovery": self.min_recovery,
            "--max-ba-drop": self.max_ba_drop,
        }
        return {flag: parse_bounds(value, flag) for flag, value in given.items() if value is not None}

    def check_ks(self, measured: Sequence[int]) -> None:
        """Raise ConfigError for a bound at a k that is not measured; k = 1 always is."""
        for flag, bounds in self.bounds.items():
            for k in bounds:
                if k != 1 and k not in measured:
                    known = ",".join(map(str, measured))
                    raise ConfigError(
                        f"{flag} names k = {k}, and --topk {known} does not measure it: add it to --topk."
                    )


def parse_bounds(given: float | str, flag: str) -> dict[int, float]:
    """k -> bound of "0.05", for k = 1, or of "0.05@1,0.2@5".

    Raises:
        ConfigError: no share from 0 to 1, no whole k from 1, or a k that is named twice.
    """
    found: dict[int, float] = {}
    for part in str(given).split(","):
        text, at, k_text = part.strip().partition("@")
        try:
            bound, k = float(text), int(k_text) if at else 1
        except ValueError:
            bound, k = math.nan, 0
        if math.isnan(bound) or k < 1:
            raise ConfigError(
                f"{flag} is {given!r}; it takes a share for k = 1 as in 0.05, or for others as in 0.05@1,0.2@5."
            )
        if bound not in SHARE:
            raise ConfigError(f"{flag} is {bound!r}; it must be {SHARE}.")
        if k in found:
            raise ConfigError(f"{flag} {given} names k = {k} twice: give one bound for each k.")
        found[k] = bound
    return found
