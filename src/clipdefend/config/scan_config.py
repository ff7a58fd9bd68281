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
        2, "--restarts", "Number of searches of each kind; the smallest trigger is kept.", range=COUNT
    )
    steps: int = option(150, "--steps", "Number of gradient steps per search.", range=COUNT)
    batch_size: int = option(32, "--batch-size", "Number of images per step.", range=Range(low=2))
    images: int = option(
        64, "--images", "Number of images to search on, drawn at random.", range=Range(low=16)
    )
    held_out: int = option(
        192, "--held-out", "Number of other images on which the triggers are measured.", range=Range(low=16)
    )
    lr: float = option(0.1, "Learning rate of Adam.", range=POSITIVE)
    goal: float = option(
        0.85,
        "--goal",
        "Mean cosine that a trigger must reach, as a fraction of the way from that of the clean images to 1.",
        range=Range(above=0, below=1),
    )
    library: bool = option(True, "--library", "Try every known trigger that needs no training first.")
    precision: Precision = option("fp32", "--precision", "Precision of the forward passes.")
    margin_starts: int = option(
        2, "Number of random images per class in the test without clean images.", range=COUNT
    )
    margin_steps: int = option(
        60, "Number of gradient steps per class in the test without clean images.", range=COUNT
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "families", tuple(dict.fromkeys(self.families)))
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class ThresholdsConfig(Config):
    """Thresholds of the verdict: above and below what clean models of the built-in world and a photo CLIP reach."""

    backdoored: float = option(
        2.0,
        "--backdoored-from",
        "Lowest score of a backdoored model: how many times smaller its triggers are than the reference model's.",
        range=POSITIVE,
    )
    clean: float = option(1.5, "--clean-up-to", "Highest score of a clean model.", range=POSITIVE)
    library: float = option(
        0.5,
        "Share of the images that a known trigger must send to one class, beyond the share in the reference model.",
        range=SHARE,
    )
    margin: float = option(
        0.05,
        "P-value of the maximum margin below which a model is backdoored, without clean images.",
        range=SHARE,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clean > self.backdoored:
            raise ConfigError(
                f"--clean-up-to {self.clean:g} is above --backdoored-from {self.backdoored:g}: a model would be both."
            )


@dataclass(frozen=True, kw_only=True)
class VerdictGateConfig(Config):
    """A gate on the verdict, and how its result is reported to other programs."""

    fail_if: Literal["backdoored", "not-clean"] | None = option(
        None,
        "--fail-if",
        "Exit with code 3 on this verdict; not-clean stands for backdoored and cannot tell.",
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
        None, "--checkpoint", "Weights to scan instead of those of a run.", metavar="FILE", shown="the run's"
    )
    data: str | None = pairs_option(
        None, shown="those of the attack; with --checkpoint none, which leaves the test without images"
    )
    reference: str | None = option(
        None,
        "--reference",
        "Clean model of the same architecture: a run, a file, local-dir:DIR, an open_clip tag, builtin, or none.",
        metavar="MODEL",
        shown="the weights that the attack started from",
    )
    class_names: str | None = option(
        None,
        "--class-names",
        "Class names among which the target is sought: imagenet or a file.",
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
