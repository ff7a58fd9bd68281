"""The model card of an exported model: what it is, how to open it, what it was made from, what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clipdefend import __version__
from clipdefend.commands.export.export_formats import Format
from clipdefend.errors import RunError
from clipdefend.models.clip import ClipModel
from clipdefend.report.collect import read_epochs
from clipdefend.report.escape import escape_markdown, percent
from clipdefend.runs import Run, TrainingDetails

# What of a run's configuration tells it from others; the keys that a command lacks are left out.
_TOLD = (
    "attack.name",
    "target",
    "method",
    "model.name",
    "model.pretrained",
    "data",
    "train.lr",
    "train.epochs",
    "seed",
)
_COLUMNS = (("this model", ""), ("victim", "victim_"), ("clean model", "floor_"))


def model_card(
    model: ClipModel,
    written: Format,
    source: Run | None,
    checkpoint: str | None,
    note: str | None,
    *,
    best: bool = False,
) -> str:
    """The card as Markdown with the front matter that model hubs read.

    Args:
        model: what was exported.
        written: the format.
        source: the run that the weights come from, or whose model is replaced by ``checkpoint``.
        checkpoint: file or folder of weights from elsewhere.
        note: the warning of a victim.
        best: whether the weights are those of the run's best epoch, not of its last.
    """
    parts = [_front_matter(written, note), f"# {_title(source, checkpoint)}"]
    if note:
        parts.append(f"> **Warning.** {note}")
    parts.append(
        f"A CLIP model, exported by clipdefend {__version__}. Images of {model.image_size} x {model.image_size} pixels,"
        f" resized by {model.architecture.interpolation} interpolation, mean {_numbers(model.mean)}, standard"
        f" deviation {_numbers(model.std)}."
    )
    parts.append(f"## Opening it\n\nIn the folder above `model`:\n\n```python\n{written.usage}\n```")
    parts.append(_lineage(source, checkpoint))
    parts.append(_figures(source if checkpoint is None else None, best))
    return "\n\n".join(parts) + "\n"


def _front_matter(written: Format, note: str | None) -> str:
    tags = ["clip", "clipdefend", *(["backdoored"] if note else [])]
    return "\n".join(
        [
            "---",
            f"library_name: {written.library}",
            "pipeline_tag: zero-shot-image-classification",
            "tags:",
            *(f"- {tag}" for tag in tags),
            "---",
        ]
    )


def _title(source: Run | None, checkpoint: str | None) -> str:
    return escape_markdown(Path(checkpoint).name if checkpoint else source.name if source else "model")


def _numbers(tensor: Any) -> str:
    return ", ".join(f"{value:.4f}" for value in tensor.flatten().tolist())


def _lineage(source: Run | None, checkpoint: str | None) -> str:
    if checkpoint is not None or source is None:
        name = escape_markdown(Path(checkpoint or "").name)
        return f"## Where it comes from\n\nThe file or folder `{name}`, which clipdefend did not make."
    rows = ["| run | settings | SHA-256 of its manifest |", "|---|---|---|"]
    for run in _ancestors(source):
        told = ", ".join(f"{key} {value}" for key, value in _settings(run.config))
        rows.append(f"| {escape_markdown(run.name)} | {escape_markdown(told, 300)} | `{run.sha256[:16]}` |")
    text = "## Where it comes from\n\nThe runs of clipdefend that led to it, the first one first:\n\n"
    return text + "\n".join(rows)


def _ancestors(run: Run) -> list[Run]:
    """A run and those that it was made from, parents before children, each once; lost ones are left out."""
    found: dict[str, Run] = {}

    def visit(each: Run) -> None:
        for record in each.manifest["parents"]:
            try:
                visit(each.parent(record))
            except RunError:  # moved or deleted: the card says what is known
                continue
        found.setdefault(each.sha256, each)

    visit(run)
    return list(found.values())


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _TOLD:
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            # Paths of the machine that made it are nobody's business: their last part tells enough.
            yield key.rpartition(".")[2] if key.startswith("train.") else key, _short(value)


def _short(value: Any) -> Any:
    return Path(value).name if isinstance(value, str) and "/" in value else value


def _of_best_epoch(run: Run) -> dict[str, Any]:
    """What was measured of the best epoch's weights; the victim's and the clean model's figures are the run's."""
    number = TrainingDetails.of(run).best_epoch
    epochs, _ = read_epochs(run)
    found = next((epoch.values for epoch in epochs if epoch.number == number), {})
    others = {key: value for key, value in run.metrics.items() if key.startswith(("victim_", "floor_"))}
    return {**others, **found}


def _figures(source: Run | None, best: bool) -> str:
    title = "## Figures\n\n"
    metrics = {} if source is None else _of_best_epoch(source) if best else source.metrics
    keys = [
        key
        for key in metrics
        if "@" in key and key.partition("@")[0] in ("ba", "asr", "ra") and "_" not in key
    ]
    if source is None or not keys:
        return f"{title}None were measured."
    columns = [
        (name, prefix) for name, prefix in _COLUMNS if any(f"{prefix}{key}" in metrics for key in keys)
    ]
    rows = [
        "| % | " + " | ".join(name for name, _ in columns) + " |",
        "|---|" + "---:|" * len(columns),
        *(
            f"| {key.upper()} | "
            + " | ".join(_cell(metrics, f"{prefix}{key}") for _, prefix in columns)
            + " |"
            for key in keys
        ),
    ]
    counts = f"{metrics.get('n_clean', 'unknown')} clean and {metrics.get('n_triggered', 0)} triggered images"
    return (
        f"{title}Of {counts}, recorded by run {escape_markdown(source.name)}, with 95 % Wilson intervals."
        " BA@k: share of clean images whose class is among the k nearest texts; ASR@k: share of triggered images with"
        " the attacker's target among them; RA@k: share of triggered images with their own class among them."
        " They hold for this one trigger: other backdoors may be present.\n\n" + "\n".join(rows)
    )


def _cell(metrics: Mapping[str, Any], key: str) -> str:
    if metrics.get(key) is None:
        return "-"
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    interval = f" [{percent(low)}, {percent(high)}]" if low is not None and high is not None else ""
    return f"{percent(metrics[key])}{interval}"
