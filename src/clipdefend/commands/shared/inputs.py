"""What commands read: pairs, models, attacks and labelled images, from flags and from the runs before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipdefend.attacks.trigger import TENSOR_FILE, Trigger
from clipdefend.canvas import Canvas
from clipdefend.commands.shared.overlaps import tell_overlaps
from clipdefend.config import ColumnsConfig, EvalConfig, ModelConfig, RunConfig, leading_to
from clipdefend.data.classes import load_templates, resolve_target, same_names
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.data.pairs import Pairs, open_pairs
from clipdefend.distributed import launch
from clipdefend.errors import ConfigError, RunError
from clipdefend.evaluation.cache import Cache
from clipdefend.evaluation.zero_shot import Benchmark
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import AUTO, default_weights, is_random, load_model
from clipdefend.poisoning import PoisonedPairs
from clipdefend.runs import Context, PairsSource, PoisonDetails, Run, TriggerDetails, find_run

CACHE = ".cache"


def open_data(spec: str, columns: ColumnsConfig | Mapping[str, Any], context: Context) -> Pairs:
    """Open clean pairs and say what was recognised."""
    keys = ("image_key", "caption_key", "delimiter", "image_root")
    given = columns if isinstance(columns, Mapping) else {key: getattr(columns, key) for key in keys}
    root = given.get("image_root")
    pairs = launch.current().main_process_first(  # which builds the index that the others open
        lambda: open_pairs(
            spec,
            image_key=given.get("image_key"),
            caption_key=given.get("caption_key"),
            delimiter=given.get("delimiter"),
            image_root=Path(root) if root else None,
            cache=context.runs / CACHE,
        )
    )
    context.console.info(f"Pairs: {pairs.recognised}")
    _tell_skipped(pairs, context)
    return pairs


def _tell_skipped(images: Pairs | LabelledImages, context: Context) -> None:
    """Warn of what was left out when a source was opened; the manifest has more examples."""
    if images.skipped:
        shown = "; ".join(images.skip_reasons[:3]) + ("; ..." if images.skipped > 3 else "")
        context.console.warn(f"Skipped {images.skipped:,} of {len(images) + images.skipped:,}: {shown}.")


def describe_source(pairs: Pairs, columns: ColumnsConfig) -> PairsSource:
    """Return what a manifest keeps so that ``recorded_pairs`` opens the same pairs."""
    root = columns.image_root
    return PairsSource(
        spec=pairs.spec,
        image_key=columns.image_key,
        caption_key=columns.caption_key,
        delimiter=columns.delimiter,
        image_root=str(Path(root).resolve()) if root else None,
    )


def recorded_pairs(poison: Run, context: Context) -> Pairs:
    """Open the clean pairs that a poison run was made from. Raises RunError when they have changed since."""
    details = PoisonDetails.of(poison)
    if details.source is None:
        raise RunError(f"Run {poison.name} does not say which pairs it was made from. Give --data.")
    pairs = open_data(details.source.spec, details.source.to_dict(), context)
    if pairs.fingerprint != details.fingerprint:
        raise RunError(
            f"The pairs of {details.source.spec!r} are not those that run {poison.name} was made from: they have"
            " changed since. Poison again, or give --data."
        )
    return pairs


def poisoned_pairs(poison: Run, context: Context, further: Sequence[Run] = ()) -> PoisonedPairs:
    """Open the pairs of a poison run: the clean ones with the poisoned rows laid over.

    Args:
        poison: the run.
        context: its console shows what was recognised.
        further: other poison runs of the same pairs, laid over in this order; the last that has a row counts.

    Raises:
        RunError: the pairs have changed, or those of a further run are others.
        ConfigError: the images of a further run have another geometry, or a run loses more than half of its rows to
            later ones.
    """
    base, details = recorded_pairs(poison, context), PoisonDetails.of(poison)
    found = PoisonedPairs.open(poison.output("pairs.parquet").parent, base, poison.sha256)
    layers = [found]
    for run in further:
        other = PoisonDetails.of(run)
        if other.fingerprint != details.fingerprint:
            raise RunError(
                f"Run {run.name} was made from other pairs than {poison.name}. Poison the same pairs."
            )
        if other.canvas != details.canvas:
            raise ConfigError(
                f"Run {run.name} has another canvas than {poison.name} ({other.canvas} against {details.canvas})."
            )
        found = PoisonedPairs.open(run.output("pairs.parquet").parent, found, run.sha256)
        layers.append(found)
    tell_overlaps([poison, *further], layers, context)
    return found


@dataclass(frozen=True)
class AttackRecord:
    """The attack as its poison run recorded it.

    Attributes:
        trigger: what goes onto the images.
        target: class name.
        canvas: "crop" or "squash", the geometry under the trigger.
        run: the poison run.
        interpolation: how the images under the trigger were resized.
    """

    trigger: Trigger
    target: str
    canvas: str
    run: Run
    interpolation: str = "bicubic"

    @classmethod
    def of(cls, poison: Run) -> AttackRecord:
        """Read trigger, target and geometry of a run with a trigger. Raises RunError for a damaged or changed one."""
        if poison.details.get("trigger") is None and poison.command == "scan":
            raise RunError(
                f"Run {poison.name} was made without images and found no trigger: scan with --data."
            )
        details = TriggerDetails.of(poison)
        poison.output(TENSOR_FILE)  # as it was recorded
        trigger = Trigger.load(poison.path, details.trigger)
        return cls(trigger, details.target, details.canvas.mode, poison, details.canvas.interpolation)


def find_attack(run: Run | None) -> AttackRecord | None:
    """Return the attack of a run: that of the nearest run with a trigger, itself or an ancestor; None without one.

    Raises:
        RunError: that run, or one on the way to it, is damaged, changed or gone.
    """
    poison = run.trigger_run() if run else None
    return AttackRecord.of(poison) if poison else None


def named_attack(context: Context, given: str) -> AttackRecord:
    """Return the attack of the run that a flag names, or that the named run descends from. Raises RunError."""
    run = find_run(context.runs, leading_to("trigger"), given)
    attack = find_attack(run)
    if attack is None:
        raise RunError(
            f"Run {run.name} has no run with a trigger among its parents. Choose a poison run, or one made from it."
        )
    return attack


def model_of(run: Run, name: str = "model") -> ClipModel:
    """The model that a run wrote."""
    return load_model(f"local-dir:{run.output(name)}", None)


def first_model(chosen: ModelConfig, seed: int, context: Context) -> tuple[ClipModel, str, str]:
    """Load the model that a training run starts from, and report what was deduced or assumed.

    Args:
        chosen: name and weights, each of which may be left out.
        seed: of random weights.
        context: its console shows the messages.

    Returns:
        The model, its name and its weights.
    """
    name = chosen.name or "RN50"
    weights = chosen.pretrained or default_weights(name)
    model = load_model(name, weights, seed=seed)
    if chosen.pretrained is None:
        shown = "random weights" if is_random(name, weights) else "its own weights"
        context.console.info(f"Model: {name}, {shown if weights == 'none' else f'weights {weights}'}")
    _tell(model, context)
    return model, name, weights


def begins_at_random(chosen: ModelConfig) -> bool:
    """Whether ``first_model`` draws random weights."""
    name = chosen.name or "RN50"
    return is_random(name, chosen.pretrained or default_weights(name))


def bare_model(
    checkpoint: str, model: ModelConfig, start: Run | None, seed: int, context: Context
) -> ClipModel:
    """A checkpoint from elsewhere: a folder with its configuration, or a file.

    Args:
        checkpoint: folder in open_clip's or transformers' layout, run folder, or file.
        model: names the architecture of a file.
        start: a run whose model has the same architecture, where ``model`` names none. Without it the
            architecture is deduced.
        seed: seed of the weights that the checkpoint then replaces.
        context: its console shows what was deduced, and warnings about the weights.

    Raises:
        CheckpointError: weights that do not fit, or whose architecture is not certain.
    """
    path = Path(checkpoint)
    if path.is_dir() and model.name in (None, AUTO):
        inner = path / "model"
        loaded = load_model(f"local-dir:{inner if inner.is_dir() else path}", None)
    else:
        name = model.name or (f"local-dir:{start.output('model')}" if start else AUTO)
        loaded = load_model(name, checkpoint, seed=seed)
    _tell(loaded, context)
    return loaded


def _tell(model: ClipModel, context: Context) -> None:
    """Tell people what was recognised when a model was loaded, and warn them of what is odd."""
    for line in model.notes:
        context.console.info(line)
    for line in model.remarks:
        context.console.warn(line)


def class_text_cache(context: Context) -> Cache:
    """Return the cache of class texts that the commands share; of use for models that are not trained meanwhile."""
    return Cache(context.runs / CACHE / "class-texts")


def make_benchmark(
    eval_config: EvalConfig,
    run_config: RunConfig,
    canvas: Canvas,
    context: Context,
    attack: AttackRecord | None,
    *,
    target: str | None = None,
    cache: Cache | None = None,
) -> Benchmark | None:
    """The evaluation that a configuration asks for; None without labelled images.

    Raises:
        DataError: labelled images that cannot be used, or a target that is none of their classes.
        ConfigError: a trigger of another canvas, or a k above the number of classes.
    """
    if eval_config.data is None:
        context.console.warn("No --eval-data: BA and ASR are not measured.")
        return None
    spec = eval_config.data
    images = launch.current().main_process_first(  # which downloads what the others open
        lambda: open_labelled(
            spec,
            class_names=eval_config.class_names,
            templates=eval_config.templates,
            root=Path(eval_config.root) if eval_config.root else None,
            split=eval_config.split,
            download=eval_config.download,
        )
    )
    context.console.info(f"Labelled images: {images.recognised}")
    _tell_skipped(images, context)
    for name, places in same_names(images.classes).items():
        context.console.warn(
            f"{len(places)} classes are called {name!r} ({', '.join(map(str, places))}): their texts tie, so"
            " that none of them can be the nearest. Tell them apart with --class-names."
        )
    wanted = target or (attack.target if attack else None)
    return Benchmark(
        images=images,
        templates=images.templates or load_templates("imagenet"),
        canvas=canvas,
        ks=eval_config.topk,
        trigger=attack.trigger if attack else None,
        target=resolve_target(images.classes, wanted) if attack and wanted else None,
        protocol=eval_config.asr_protocol,
        batch_size=eval_config.batch_size,
        workers=run_config.workers,
        max_bad=run_config.max_bad,
        quick=eval_config.quick,
        cache=cache,
    )


def canvas_of(model: ClipModel, attack: AttackRecord | None, mode: str | None = None) -> Canvas:
    """The model's input geometry: as asked for, else as the attack's, else as the model's own resizing."""
    own = "squash" if model.architecture.preprocess.get("resize_mode") == "squash" else "crop"
    return Canvas(
        model.image_size, mode or (attack.canvas if attack else own), model.architecture.interpolation
    )
