"""Which clean pairs a defence is watched on."""

from __future__ import annotations

from clipdefend.canvas import Canvas
from clipdefend.commands.shared import inputs
from clipdefend.config import DefendConfig
from clipdefend.data.builtin_pairs import BuiltinPairs
from clipdefend.data.pairs import Pairs
from clipdefend.data.remaining_pairs import RemainingPairs
from clipdefend.errors import DataError
from clipdefend.models.clip import ClipModel
from clipdefend.runs import Context, WatchedPairs
from clipdefend.training.validation import MIN_PAIRS, Validation, draw_validation


def choose_watched(
    config: DefendConfig, pairs: Pairs, canvas: Canvas, suspect: ClipModel, context: Context
) -> tuple[Validation | None, WatchedPairs | None]:
    """Draw the pairs for the figures that need no knowledge of the attack, and say what the manifest keeps of them.

    Raises:
        DataError: too few of the pairs that ``--val-data`` names can be used. Too few of others are a warning.
    """
    chosen: Pairs
    if not config.val_pairs:
        return None, None
    held_out = True
    if config.val_data is not None:
        chosen = inputs.open_data(config.val_data, config.columns, context)
        chosen.bad_rows(config.max_bad)
    elif pairs.spec.startswith("builtin"):
        chosen = BuiltinPairs("eval")
    elif (
        config.num_samples is not None
        and isinstance(pairs, RemainingPairs)
        and len(pairs.without) >= MIN_PAIRS
    ):
        chosen = pairs.rest()
    else:
        chosen, held_out = pairs, False
    try:
        validation = draw_validation(chosen, canvas, suspect, size=config.val_pairs, seed=config.seed)
    except DataError as error:
        if config.val_data is not None:
            raise
        context.console.warn(str(error))
        return None, None
    return validation, WatchedPairs(data=chosen.spec, pairs=len(validation.images), held_out=held_out)
