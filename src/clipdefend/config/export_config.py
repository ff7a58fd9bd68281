"""The configuration of ``export``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from clipdefend.config.fields import nested, option
from clipdefend.config.model_options import ModelConfig, input_model
from clipdefend.config.run_options import RunConfig


@dataclass(frozen=True, kw_only=True)
class ExportConfig(RunConfig):
    """Write a model for other libraries, with its tokenizer, its preprocessing and a model card."""

    command: ClassVar[str] = "export"
    group: ClassVar[str] = "Export"

    format: Literal["open_clip", "transformers", "state-dict"] = option(
        "open_clip",
        "--format",
        "open_clip's local-dir layout, transformers' CLIPModel or SiglipModel, or a bare state dict.",
    )
    weights: Literal["last", "best"] = option(
        "last", "--weights", "Weights of the last epoch, or of the run's best one, where it kept them."
    )
    checkpoint: str | None = option(
        None, "--checkpoint", "Weights to export in place of a run's.", metavar="FILE", shown="the run's"
    )
    model: ModelConfig = nested(input_model, "Model of a bare checkpoint")
