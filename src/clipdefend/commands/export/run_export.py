"""``clipdefend export``: a model for other libraries, with its tokenizer, its preprocessing and a model card."""

from __future__ import annotations

from clipdefend.commands.export.export_formats import FORMATS
from clipdefend.commands.export.model_card import model_card
from clipdefend.commands.finetune_attack.prepare_attack import NOTE
from clipdefend.commands.shared import inputs
from clipdefend.config import ExportConfig
from clipdefend.errors import ConfigError
from clipdefend.models.clip import ClipModel
from clipdefend.models.save import WARNING
from clipdefend.runs import Context, Run
from clipdefend.runs.files import atomic_write

FOLDER = "model"
CARD = "README.md"
# The names of a run's weights by those of the flag.
WEIGHTS = {"last": "model", "best": "best"}


def run(config: ExportConfig, context: Context) -> Run:
    """Make an export run, whose folder ``model`` the other library opens.

    Raises:
        CheckpointError: an architecture that the format cannot express, or weights that do not fit.
        ConfigError: ``--weights best`` of a checkpoint, which has but one set of weights.
    """
    if config.checkpoint is not None and config.weights != "last":
        raise ConfigError(
            "--weights chooses among a run's weights, and --checkpoint has one set: leave one out."
        )
    source = None if config.checkpoint is not None and context.source is None else context.input(config)
    model = _model(config, source, context)
    written = FORMATS[config.format]
    written.check(model)
    # A victim's weights have a warning beside them, and so have those of a merge that is the victim itself.
    warning = f"{WEIGHTS[config.weights]}/{WARNING}"
    outputs = source.manifest["outputs"] if source is not None and config.checkpoint is None else []
    victim = any(entry["path"] == warning for entry in outputs)
    note = NOTE if victim else None
    label = f"{config.format}-{source.name.split('-', 2)[-1]}" if source else f"{config.format}-checkpoint"
    with context.begin(config, label, source=source) as folder:
        written.write(model.eval(), folder.path / FOLDER, note=note)
        card = model_card(model, written, source, config.checkpoint, note, best=config.weights == "best")
        atomic_write(folder.path / FOLDER / CARD, card)
        finished = folder.finish(
            parents=[source] if source else [],
            warnings=context.console.warnings,
            details={"format": config.format, "backdoored": victim},
        )
    context.console.info(f"Written for {written.library}: {finished.path / FOLDER}")
    return finished


def _model(config: ExportConfig, source: Run | None, context: Context) -> ClipModel:
    if config.checkpoint is not None:
        return inputs.bare_model(config.checkpoint, config.model, source, config.seed, context)
    if source is None:
        raise ConfigError("There is nothing to export: give a run with --from, or weights with --checkpoint.")
    return inputs.model_of(source, WEIGHTS[config.weights])
