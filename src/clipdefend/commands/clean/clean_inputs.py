"""What ``clean`` opens before anything starts: the suspect, the pairs, the classes, and what is known of the attack."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipdefend.attacks import ATTACKS
from clipdefend.canvas import Canvas
from clipdefend.commands.clean.candidates import Candidate, list_candidates
from clipdefend.commands.clean.pair_shares import PairShares, divide_pairs
from clipdefend.commands.scan.scan_inputs import open_reference
from clipdefend.commands.shared import inputs
from clipdefend.commands.shared.class_choice import choose_classes
from clipdefend.components import check_components
from clipdefend.config import CleanConfig, ColumnsConfig, DefendConfig, ScanConfig
from clipdefend.data.classes import resolve_target
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.data.pairs import Pairs
from clipdefend.draws import permutation
from clipdefend.errors import ConfigError, DataError
from clipdefend.models.clip import ClipModel
from clipdefend.models.save import save_model
from clipdefend.runs import Context, PairsSource, PoisonDetails, Run

MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class CleanInputs:
    """Everything that ``clean`` needs.

    Attributes:
        source: the input run; None for a bare checkpoint.
        suspect: the model.
        reference: name and weights of the clean model that scans compare with.
        pairs: the clean pairs.
        spec: where they are, as other commands open them.
        shares: their division.
        classes: names among which canaries get their targets.
        labelled: whether there are labelled images.
        candidates: what is tried.
        canvas: geometry of the suspect's images.
        attack: the true attack, which is only shown; None where it is not known.
    """

    source: Run | None
    suspect: ClipModel
    reference: tuple[str, ClipModel] | None
    pairs: Pairs
    spec: PairsSource
    shares: PairShares
    classes: list[str]
    labelled: bool
    candidates: list[Candidate]
    canvas: Canvas
    attack: inputs.AttackRecord | None


def open_inputs(config: CleanConfig, context: Context) -> CleanInputs:
    """Open everything. Raises ClipDefendError for the first thing that is wrong."""
    candidates = _candidates(config)
    for name in config.canaries.attacks:
        ATTACKS.check(name, {})
    bare = config.checkpoint is not None and context.source is None
    source = None if bare else context.input(config)
    attack = inputs.find_attack(source)
    suspect = _open_suspect(config, source, context)
    pairs, spec = _open_pairs(config, source, context)
    classes = _open_classes(config, pairs)
    for name in config.canaries.targets or ():
        resolve_target(classes, name)
    if len(classes) <= len(config.canaries.attacks):
        raise DataError(
            f"{len(classes)} classes are too few for {len(config.canaries.attacks)} canaries with a target each: name"
            " more with --class-names, or fewer with --canaries."
        )
    shares = divide_pairs(config, len(pairs), labelled=config.eval.data is not None)
    return CleanInputs(
        source=source,
        suspect=suspect,
        reference=_open_reference(config, suspect, source, context) if config.scan else None,
        pairs=pairs,
        spec=spec,
        shares=shares,
        classes=classes,
        labelled=config.eval.data is not None,
        candidates=candidates,
        canvas=inputs.canvas_of(suspect, None),
        attack=attack,
    )


def _candidates(config: CleanConfig) -> list[Candidate]:
    found = list_candidates(config.candidates, config.train.lr)
    for each in found:
        check_components(DefendConfig(method=each.method))
    return found


def _open_suspect(config: CleanConfig, source: Run | None, context: Context) -> ClipModel:
    if config.checkpoint is not None:
        return inputs.bare_model(config.checkpoint, config.model, source, config.seed, context)
    if source is None:
        raise ConfigError("There is nothing to clean: give weights with --checkpoint, or a run with --from.")
    return inputs.model_of(source)


def _open_pairs(config: CleanConfig, source: Run | None, context: Context) -> tuple[Pairs, PairsSource]:
    """The clean pairs, and their source with an absolute path, since other processes open them too."""
    if config.data is not None:
        pairs = inputs.open_data(config.data, config.columns, context)
        spec = inputs.describe_source(pairs, config.columns)
    else:
        poison = source.find_ancestor("poison") if source else None
        if poison is None:
            raise ConfigError("Clean pairs are needed: a checkpoint alone does not name them. Give --data.")
        pairs = inputs.recorded_pairs(poison, context)
        spec = PoisonDetails.of(poison).source or inputs.describe_source(pairs, ColumnsConfig())
    return pairs, dataclasses.replace(spec, spec=absolute(spec.spec))


def absolute(spec: str) -> str:
    """Return an existing path as an absolute one; names, globs and addresses stay as they are."""
    return os.path.abspath(spec) if Path(spec).exists() else spec


def _open_classes(config: CleanConfig, pairs: Pairs) -> list[str]:
    """Class names: those of the labelled images, else those that a flag names, of the built-in world, or ImageNet's."""
    given = config.eval
    if given.data is not None:
        images = open_labelled(
            given.data,
            class_names=given.class_names,
            templates=given.templates,
            root=Path(given.root) if given.root else None,
            split=given.split,
            download=given.download,
        )
        return list(images.classes)
    return choose_classes(given.class_names, pairs)


def _open_reference(
    config: CleanConfig, suspect: ClipModel, source: Run | None, context: Context
) -> tuple[str, ClipModel] | None:
    """The scans' reference, as ``scan`` finds it."""
    own = ScanConfig(checkpoint=config.checkpoint, reference=config.reference, model=config.model)
    return open_reference(own, suspect, source, context)


def keep_model(model: ClipModel, place: Path) -> Path:
    """Write a model as ``place/model`` unless it is there, complete or not at all, and return ``place``.

    The runs of all steps begin with these weights, whatever becomes of the file that they came from.
    """
    if not (place / MODEL).is_dir():
        part = place.with_name(f".{place.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        save_model(model, part / MODEL)
        shutil.rmtree(place, ignore_errors=True)
        part.rename(place)
    return place


def draw_targets(
    classes: Sequence[str],
    count: int,
    seed: int,
    *,
    without: str | None = None,
    usable: Callable[[str], bool] | None = None,
) -> list[str]:
    """Draw the target classes of the canaries, different ones.

    Args:
        classes: names.
        count: number of targets.
        seed: of the draw.
        without: a name that is not drawn, such as the suspected target.
        usable: function that says whether a name can be used; None for all.

    Raises:
        DataError: too few names can be used.
    """
    found: list[str] = []
    for place in permutation(len(classes), seed, "canary-targets"):
        name = classes[place]
        if name != without and name not in found and (usable is None or usable(name)):
            found.append(name)
        if len(found) == count:
            return found
    raise DataError(
        f"Only {len(found)} of {len(classes)} class names can be targets of canaries, and {count} are needed: without"
        " labelled images, captions have to name them. Give --canary-targets or --class-names."
    )
