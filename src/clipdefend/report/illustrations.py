"""All pictures of a report, with their file names, captions and alternative texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from clipdefend.errors import RunError
from clipdefend.report import plots
from clipdefend.report.collect import Epoch, Fault, RunCollection, read_epochs
from clipdefend.report.escape import percent, slug, tidy
from clipdefend.report.maps import Method, ModelEmbeddings, draw_map
from clipdefend.report.measurements import Measurement
from clipdefend.report.plots import Region, Track
from clipdefend.report.recipe import attack_name, format_value
from clipdefend.report.rows import Row, Table, describe_condition
from clipdefend.report.style import Picture
from clipdefend.report.sweeps import find_sweeps
from clipdefend.runs import PoisonDetails, Run, TriggerDetails

MAX_PREVIEW_BYTES = 4 << 20
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Plot:
    """A plot with its texts.

    Attributes:
        name: of its files, without the ending.
        caption: for all readers.
        alt: for readers who cannot see it.
        picture: the plot.
        lead: what stands in bold above it.
        whole: whether it takes a whole row.
    """

    name: str
    caption: str
    alt: str
    picture: Picture
    lead: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Preview:
    """The picture of a trigger: attributes as for ``Plot``, but a single PNG file."""

    name: str
    caption: str
    alt: str
    png: bytes
    lead: str = ""
    whole: bool = False


@dataclass
class Histories:
    """What the defences recorded in each epoch.

    Attributes:
        tracks: attack -> tracks of its defences.
        runs: attack, defence, run and epochs of each defended run.
        faults: records that could not be read.
    """

    tracks: dict[str, list[Track]] = field(default_factory=dict)
    runs: list[tuple[str, str, Run, list[Epoch]]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_histories(tables: Sequence[Table]) -> Histories:
    """Read the epochs of the defences behind the rows of tables, each run once.

    Runs whose epochs were measured in another setting than a table's are left out, and those of each table are kept
    apart: figures of different settings must not share a plot.
    """
    found = Histories()
    done: set[str] = set()
    for table in tables:
        tracks: dict[str, list[Track]] = {}
        for row in table.rows:
            kept = []
            for one in row.members if row.is_defence else ():
                if one.model is None or one.model.command != "defend" or not one.own_epochs:
                    continue
                if one.model.sha256 in done:
                    continue
                done.add(one.model.sha256)
                records, faults = read_epochs(one.model)
                found.faults += faults
                if records:
                    kept.append(tuple(records))
                    found.runs.append((row.attack, row.defence, one.model, records))
            if kept:
                condition = describe_condition(row, table)
                tracks.setdefault(row.attack, []).append(Track(row.defence, row.base, tuple(kept), condition))
        for attack, each in tracks.items():
            found.tracks[f"{attack}, {table.setting.title}" if attack in found.tracks else attack] = each
    return found


def scatters(found: Histories, region: Region) -> Iterator[Plot]:
    """Plot BA against ASR for each attack, on equal axes so that the plots can be compared."""
    heights = plots.accuracy_limits([track for tracks in found.tracks.values() for track in tracks], 1)
    for attack, tracks in found.tracks.items():
        yield Plot(
            f"ba-asr-{slug(attack)}",
            f"{tidy(attack)}: BA@1 against ASR@1{_counts(tracks)}. A point is an epoch of a run, larger for later"
            " ones; the star is the victim. Good defences end top left, in the dashed region: at most"
            f" {100 * region.ba_budget:g} points of BA@1 lost, ASR@1 at most {100 * region.asr_limit:g} %.",
            f"Scatter plot for the attack {tidy(attack)}. {_ends(tracks)}",
            plots.plot_scatter(tracks, 1, region, heights),
        )


def curves(found: Histories) -> Iterator[Plot]:
    """Plot BA and ASR over the epochs for each attack."""
    for attack, tracks in found.tracks.items():
        yield Plot(
            f"epochs-{slug(attack)}",
            f"{tidy(attack)}: BA@1 and ASR@1 after each epoch{_counts(tracks)}; epoch 0 is the victim."
            f"{' Thin lines are single seeds.' if any(len(track.runs) > 1 for track in tracks) else ''}",
            f"Line plot over the epochs for the attack {tidy(attack)}. {_ends(tracks)}",
            plots.plot_epochs(tracks, {"ba@1": "BA@1 (%)", "asr@1": "ASR@1 (%)"}),
        )


def defender_views(found: Histories) -> Iterator[Plot]:
    """Plot, for each attack, the figures that a defender without the trigger can see; see ``training.validation``."""
    labels = {
        "val_loss": "loss",
        "val_agreement": "agreement (%)",
        "drift_image": "image drift",
        "drift_weights": "weight drift",
    }
    for attack, tracks in found.tracks.items():
        recorded = {key for track in tracks for run in track.runs for epoch in run for key in epoch.values}
        if {*labels} <= recorded:
            yield Plot(
                f"visible-{slug(attack)}",
                f"{tidy(attack)}: what a defender sees, on clean validation pairs: contrastive loss; share of images"
                " for which model and victim find the same caption nearest; 1 − cosine of image features with the"
                " victim's; distance of the weights, relative to their norm.",
                f"Line plots of what a defender sees over the epochs, for the attack {tidy(attack)}.",
                plots.plot_epochs(tracks, labels),
            )


def ablations(tables: Sequence[Table]) -> Iterator[Plot]:
    """Plot each sweep of a setting."""
    for number, table in enumerate(tables):
        for sweep in find_sweeps(table):
            name = f"ablation-{slug(sweep.attack)}-{slug(sweep.defence)}-{slug(sweep.key)}"
            values = "; ".join(f"{format_value(value)}: {_both(row)}" for value, row in sweep.points)
            what = f"{tidy(sweep.attack)}, {tidy(sweep.defence)}: {tidy(sweep.name)}"
            yield Plot(
                name if number == 0 else f"{name}-{number + 1}",
                f"{what}. Bars are 95 % Wilson intervals, or the standard deviation where there are several seeds.",
                f"Ablation of {what}. {tidy(values, 600)}",
                plots.plot_ablation(sweep, 1),
            )


def maps(embedded: Sequence[ModelEmbeddings], method: Method, seed: int) -> Iterator[Plot]:
    """Draw the embedding map of each model."""
    words = {"pca": "first two principal components", "tsne": "t-SNE"}[method]
    for each in embedded:
        model = "victim" if each.defence == "none" else each.defence
        target = each.texts[each.target]
        clean, triggered = (float((x @ target).mean()) for x in (each.clean, each.triggered))
        yield Plot(
            f"map-{slug(each.attack)}-{slug(each.defence)}",
            f"{tidy(each.attack)}, {tidy(model)}: {words} of {len(each.clean)} images, clean and triggered,"
            f" {len(each.target_images)} images of “{tidy(each.classes[each.target])}” and {len(each.classes)} class"
            f" texts; images and texts each about their own mean. Mean cosine with the target's text: clean"
            f" {clean:.2f}, triggered {triggered:.2f}.",
            f"Embedding map of {tidy(each.attack)}, {tidy(model)}. Mean cosine with the target's text: triggered"
            f" images {triggered:.2f}, clean images {clean:.2f}.",
            draw_map(each, method, seed),
        )


def previews(collection: RunCollection, tables: Sequence[Table]) -> tuple[list[Preview], list[Fault]]:
    """Return a picture of the trigger of each attack, from its first poison run, and faults for those without one."""
    chosen: dict[str, Run] = {}
    for table in tables:
        for row in table.rows:
            poison = row.members[0].trigger_run
            if poison is not None:
                chosen.setdefault(row.attack, poison)
    used = {run.sha256 for run in chosen.values()}
    shown = {attack_name(run) for run in chosen.values()}
    for run in collection.runs:
        if run.command == "poison" and run.sha256 not in used and attack_name(run) not in shown:
            chosen.setdefault(attack_name(run), run)
    found, faults = [], []
    for attack, run in sorted(chosen.items()):
        try:
            found.append(_preview(attack, run))
        except (RunError, OSError) as error:
            faults.append(Fault(run.name, f"no trigger preview: {tidy(str(error), 300)}"))
    return found, faults


def read_png(run: Run, name: str) -> bytes:
    """Return a picture that a run wrote. Raises RunError where it is large, or something else."""
    path = run.output(name)
    if path.stat().st_size > MAX_PREVIEW_BYTES:
        raise RunError(f"the file is larger than {MAX_PREVIEW_BYTES >> 20} MB")
    png = path.read_bytes()
    if not png.startswith(PNG):
        raise RunError("the file is not a PNG image")
    return png


def _preview(attack: str, run: Run) -> Preview:
    png = read_png(run, "preview.png")
    metrics = run.metrics
    numbers = [
        f"{name} {metrics[key]:.{digits}f}{unit}"
        for key, name, digits, unit in (("psnr", "PSNR", 1, " dB"), ("ssim", "SSIM", 3, ""))
        if isinstance(metrics.get(key), int | float)
    ]
    if run.command == "scan":
        facts = f"Found by a scan, which suspects “{tidy(TriggerDetails.of(run).target)}”"
    else:
        details = PoisonDetails.of(run)
        facts = f"{details.poisoned} of {details.rows} pairs poisoned for “{tidy(details.target)}”"
    words = "; ".join([facts, *numbers])
    return Preview(
        f"trigger-{slug(attack)}",
        f"{tidy(attack)}: clean, triggered, and their magnified difference. {words}.",
        f"Images without and with the trigger of {tidy(attack)}, and their difference.",
        png,
    )


def target_name(members: Sequence[Measurement]) -> str | None:
    """Return the target class of a row's attack; None without an attack."""
    poison = members[0].trigger_run
    return tidy(TriggerDetails.of(poison).target) if poison is not None else None


def first_row(rows: Sequence[Row], wanted: Callable[[Row], bool]) -> Row | None:
    """Return the first row that meets a condition, or None."""
    return next((row for row in rows if wanted(row)), None)


def _both(row: Row) -> str:
    """Describe BA@1 and ASR@1 of a row."""
    found = {key: row.figures[key] for key in ("ba@1", "asr@1") if key in row.figures}
    return ", ".join(f"{key.upper()} {figure.text()}" for key, figure in found.items())


def _counts(tracks: Sequence[Track]) -> str:
    """Describe how many images the epochs were measured on; empty where the records do not say."""
    parts = []
    for key, kind in (("n_clean", "clean"), ("n_triggered", "triggered")):
        found = sorted(
            {int(e.values[key]) for track in tracks for run in track.runs for e in run if key in e.values}
        )
        if found:
            parts.append(f"{' to '.join(f'{n:,}' for n in dict.fromkeys((found[0], found[-1])))} {kind}")
    return f", on {' and '.join(parts)} images" if parts else ""


def _ends(tracks: Sequence[Track]) -> str:
    """Describe the victim, and the mean figures that the runs of each track end with."""
    words = []
    for track in tracks:
        ends = [run[-1].values for run in track.runs if {"ba@1", "asr@1"} <= run[-1].values.keys()]
        if ends:
            ba, asr = (percent(sum(end[key] for end in ends) / len(ends)) for key in ("ba@1", "asr@1"))
            words.append(f"{tidy(track.name)} ends at BA@1 {ba} %, ASR@1 {asr} %")
    start = tracks[0].runs[0][0].values
    if {"ba@1", "asr@1"} <= start.keys():
        words.insert(0, f"the victim has BA@1 {percent(start['ba@1'])} %, ASR@1 {percent(start['asr@1'])} %")
    text = "; ".join(words)
    return f"{text[:1].upper()}{text[1:]}."
