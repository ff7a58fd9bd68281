"""The configuration of ``scan``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from clipdefend.choices import Precision
from clipdefend.config.data_options import ColumnsConfig, pairs_option
from clipdefend.config.fields import COUNT, POSITIVE, SHARE, Config, Range, nested, option
from clipdefend.config.model_options import ModelConfig, device_option, input_model
from clipdefend.config.run_options import RunConfig
from clipdefend.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Config):
    """The search for universal triggers."""

    families: tuple[str, ...] = option(
        ("patch", "additive", "blend", "warp"),
        "--families",
        "Kinds of triggers to search for.",
        metavar="NAME,NAME",
    )
    restarts: int = option(
        2, "--restarts", "Searches of each kind; the smallest trigger counts.", range=COUNT
    )
    steps: int = option(150, "--steps", "Gradient steps of a search.", range=COUNT)
    batch_size: int = option(32, "--batch-size", "Images of a step.", range=Range(low=2))
    images: int = option(64, "--images", "Images to search on, drawn by the seed.", range=Range(low=16))
    held_out: int = option(192, "--held-out", "Other images to measure on.", range=Range(low=16))
    lr: float = option(0.1, "Learning rate of Adam.", range=POSITIVE)
    goal: float = option(
        0.85,
        "--goal",
        "How much of what the clean images' mean cosine lacks to 1 a trigger must reach.",
        range=Range(above=0, below=1),
    )
    library: bool = option(True, "--library", "First try every known trigger that needs no training.")
    precision: Precision = option("fp32", "--precision", "Precision of the forward passes.")
    margin_starts: int = option(2, "Random images of each class, without clean images.", range=COUNT)
    margin_steps: int = option(60, "Gradient steps of each class, without clean images.", range=COUNT)

    def __post_init__(self) -> None:
        object.__setattr__(self, "families", tuple(dict.fromkeys(self.families)))
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class ThresholdsConfig(Config):
    """The verdict's bounds; calibrated on the built-in world."""

    backdoored: float = option(
        1.8,
        "--backdoored-from",
        "Score from which on a model is backdoored: how many times smaller its triggers are than the reference's.",
        range=POSITIVE,
    )
    clean: float = option(1.5, "--clean-up-to", "Score up to which a model is clean.", range=POSITIVE)
    library: float = option(
        0.5, "Excess over the reference of the images that a known trigger sends to one class.", range=SHARE
    )
    margin: float = option(
        0.05, "P-value of the maximum margin below which it is, without clean images.", range=SHARE
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clean > self.backdoored:
            raise ConfigError(
                f"--clean-up-to {self.clean:g} is above --backdoored-from {self.backdoored:g}: a model would be both."
            )


@dataclass(frozen=True, kw_only=True)
class VerdictGateConfig(Config):
    """A gate on the verdict, and how other programs are told of it."""

    fail_if: Literal["backdoored", "not-clean"] | None = option(
        None,
        "--fail-if",
        "Exit with code 3 if the verdict is this; not-clean: if it is backdoored or cannot tell.",
    )
    junit: str | None = option(None, "--junit", "Write the result of the gate as JUnit XML.", metavar="FILE")
    annotations: Literal["auto", "github", "none"] = option(
        "auto",
        "--annotations",
        "Report a failed gate as a GitHub annotation; auto does so if GITHUB_ACTIONS is true.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.junit is not None and self.fail_if is None:
            raise ConfigError("--junit has nothing to report without a gate: give --fail-if.")


@dataclass(frozen=True, kw_only=True)
class ScanConfig(RunConfig):
    """Search a model for a backdoor, without knowing its trigger or target."""

    command: ClassVar[str] = "scan"
    group: ClassVar[str] = "Scan"

    checkpoint: str | None = option(
        None, "--checkpoint", "Weights to scan in place of a run's.", metavar="FILE", shown="the run's"
    )
    data: str | None = pairs_option(
        None, shown="those of the attack; for a --checkpoint none: a test without images"
    )
    reference: str | None = option(
        None,
        "--reference",
        "Clean model of the same architecture: a run, a file, a tag of open_clip's, builtin, or none.",
        metavar="MODEL",
        shown="the weights that the attack started from",
    )
    class_names: str | None = option(
        None,
        "--class-names",
        "Class names among which the target is looked for: imagenet or a file.",
        metavar="SET",
        shown="builtin for built-in data, otherwise imagenet",
    )
    templates: str = option(
        "simple", "--templates", "Prompts: imagenet, simple, builtin, or a file.", metavar="SET"
    )
    search: SearchConfig = nested(SearchConfig, "Search")
    thresholds: ThresholdsConfig = nested(ThresholdsConfig, "Verdict")
    gate: VerdictGateConfig = nested(VerdictGateConfig, "Gates for pipelines")
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
    columns: ColumnsConfig = nested(ColumnsConfig, "Tables")
    device: str = device_option()
