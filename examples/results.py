"""Make the tables and plots of docs/results.md from the CSV that ablations.py writes.

    python examples/results.py docs/results.csv

The text between ``<!-- NAME -->`` and ``<!-- /NAME -->`` of docs/results.md is replaced; a page with all tables is
written where there is none. The plots go to docs/results/. Figures are percentages: mean ± standard deviation over the
seeds.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib.pyplot as plt

Row = dict[str, Any]
COLOURS = {
    "none": "#000000",
    "ft": "#E69F00",
    "cleanclip": "#56B4E9",
    "cleanerclip": "#009E73",
    "par": "#D55E00",
    "cleanerclip+par": "#CC79A7",
    "par-clean": "#0072B2",
}
"""Okabe and Ito's, which the colour-blind can tell apart; the methods in the order of the tables."""
METHODS = tuple(COLOURS)
KS = (1, 3, 5, 10)


def read(path: Path) -> list[Row]:
    """The CSV with numbers as numbers; a victim's own line for each of its defences is kept once."""
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[Row] = list(csv.DictReader(file))
    for row in rows:
        for name in row.keys() - {"stage", "setting", "attack", "method"}:
            row[name] = float(row[name])
    return rows


def last(rows: Iterable[Row]) -> list[Row]:
    """The last epoch's line of every run."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in ("stage", "setting", "attack", "method", "seed", "lr"))
        if key not in found or row["epoch"] > found[key]["epoch"]:
            found[key] = row
    return list(found.values())


def victims(rows: Iterable[Row]) -> list[Row]:
    """Epoch 0 of each attack and seed, as the method "none"."""
    found = {(row["attack"], row["seed"]): {**row, "method": "none"} for row in rows if row["epoch"] == 0}
    return list(found.values())


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation, in percent."""
    if not values:
        return "–"
    text = f"{100 * mean(values):.{digits}f}"
    return f"{text} ± {100 * stdev(values):.{digits}f}" if len(values) > 1 else text


def group_rows(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in names)].append(row)
    return groups


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns but the first are numbers."""
    rule = "|---|" + "---:|" * (len(heads) - 1)
    return "\n".join(["| " + " | ".join(heads) + " |", rule, *("| " + " | ".join(x) + " |" for x in lines)])


def main_table(rows: list[Row], metric: str) -> str:
    """Methods down, attacks across, and the mean over attacks, of one metric."""
    stage = [row for row in rows if row["stage"] == "table"]
    groups = group_rows(victims(stage) + last(stage), "method", "attack")
    attacks = list(dict.fromkeys(row["attack"] for row in stage))
    lines = []
    for method in METHODS:
        cells = [[row[metric] for row in groups[method, attack]] for attack in attacks]
        if not any(cells):
            continue
        seeds = group_rows((row for attack in attacks for row in groups[method, attack]), "seed").values()
        means = [mean(row[metric] for row in seed) for seed in seeds if len(seed) == len(attacks)]
        lines.append([method, *map(spread, cells), spread(means)])
    return table([metric.upper(), *attacks, "mean"], lines)


def every_k(rows: list[Row]) -> str:
    """Methods down, k across: means over attacks and seeds."""
    stage = [row for row in rows if row["stage"] == "table"]
    groups = group_rows(victims(stage) + last(stage), "method")
    names = [f"{name}@{k}" for k in KS for name in ("ba", "asr")]
    lines = [
        [method, *(f"{100 * mean(row[name] for row in groups[(method,)]):.1f}" for name in names)]
        for method in METHODS
        if (method,) in groups
    ]
    return table(["mean", *(name.upper() for name in names)], lines)


def difference(rows: list[Row]) -> str:
    """CleanerCLIP less CleanCLIP of the same victim, in points: mean ± standard error over attacks and seeds."""
    stage = last(row for row in rows if row["stage"] == "table")
    ends = {(row["method"], row["attack"], row["seed"]): row for row in stage}
    pairs = [
        (row, ends["cleanclip", attack, seed])
        for (method, attack, seed), row in ends.items()
        if method == "cleanerclip" and ("cleanclip", attack, seed) in ends
    ]
    lines = []
    for metric in ("ba", "asr"):
        cells = []
        for k in KS:
            values = [100 * (one[f"{metric}@{k}"] - other[f"{metric}@{k}"]) for one, other in pairs]
            cells.append(f"{mean(values):+.2f} ± {stdev(values) / len(values) ** 0.5:.2f}")
        lines.append([metric.upper(), *cells])
    return table([f"cleanerclip - cleanclip, {len(pairs)} victims", *(f"k = {k}" for k in KS)], lines)


def rates(rows: list[Row]) -> str:
    """BA@1 / ASR@1 of every method at every learning rate on the held-out seed, mean over attacks."""
    groups = group_rows(last(row for row in rows if row["stage"] == "rates"), "method", "lr")
    values = sorted({rate for _, rate in groups})
    lines = []
    for method in dict.fromkeys(method for method, _ in groups):
        found = [groups[method, rate] for rate in values]
        worths = [mean(row["ba@1"] - row["asr@1"] for row in part) for part in found]
        cells = []
        for part, worth in zip(found, worths, strict=True):
            text = " / ".join(f"{100 * mean(row[name] for row in part):.1f}" for name in ("ba@1", "asr@1"))
            cells.append(f"**{text}**" if worth == max(worths) else text)
        lines.append([method, *cells])
    return table(["BA@1 / ASR@1", *(f"{rate:g}" for rate in values)], lines)


def sweep(name: str) -> Callable[[list[Row]], str]:
    """A table of one sweep: settings down, BA@1 and ASR@1 of each attack across."""

    def make(rows: list[Row]) -> str:
        stage = [row for row in rows if row["stage"] == name]
        groups = group_rows(last(stage), "setting", "attack")
        attacks = list(dict.fromkeys(row["attack"] for row in stage))
        heads = [f"{metric.upper()} {attack}" for attack in attacks for metric in ("ba@1", "asr@1")]
        lines = [
            [setting]
            + [
                spread([row[metric] for row in groups[setting, attack]])
                for attack in attacks
                for metric in ("ba@1", "asr@1")
            ]
            for setting in dict.fromkeys(row["setting"] for row in stage)
        ]
        return table([name, *heads], lines)

    return make


TABLES: dict[str, Callable[[list[Row]], str]] = {
    "rates": rates,
    "asr": lambda rows: main_table(rows, "asr@1"),
    "ba": lambda rows: main_table(rows, "ba@1"),
    "every-k": every_k,
    "difference": difference,
    **{name: sweep(name) for name in ("lambda2", "temperatures", "n-aug", "parts", "source")},
}


def plot_epochs(rows: list[Row], path: Path) -> None:
    """BA@1 and ASR@1 after every epoch, mean over attacks and seeds."""
    groups = group_rows((row for row in rows if row["stage"] == "table"), "method", "epoch")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, metric in zip(axes, ("ba@1", "asr@1"), strict=True):
        for method in dict.fromkeys(method for method, _ in groups):
            epochs = sorted(epoch for name, epoch in groups if name == method)
            values = [100 * mean(row[metric] for row in groups[method, epoch]) for epoch in epochs]
            axis.plot(epochs, values, marker="o", label=method, color=COLOURS[method])
        axis.set(xlabel="epoch of the defence (0: victim)", ylabel=f"{metric.upper()}, %")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_plane(rows: list[Row], path: Path) -> None:
    """BA@1 against ASR@1: a point for each attack and seed after the last epoch, stars for the victims."""
    stage = [row for row in rows if row["stage"] == "table"]
    groups = group_rows(victims(stage) + last(stage), "method")
    figure, axis = plt.subplots(figsize=(5.4, 4), layout="constrained")
    for method in METHODS:
        if not (part := groups[(method,)]):
            continue
        marker, size = ("*", 90) if method == "none" else ("o", 22)
        places = [[100 * row[name] for row in part] for name in ("asr@1", "ba@1")]
        axis.scatter(*places, label=method, color=COLOURS[method], marker=marker, s=size, alpha=0.8)
    axis.set(xlabel="ASR@1, % (left is better)", ylabel="BA@1, % (up is better)")
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_sweeps(rows: list[Row], path: Path) -> None:
    """ASR@1 and BA@1 of cleanerclip over its settings, mean and standard deviation over attacks and seeds."""
    names = [name for name in ("lambda2", "temperatures", "n-aug") if any(r["stage"] == name for r in rows)]
    if not names:
        return
    figure, axes = plt.subplots(
        1, len(names), figsize=(4 * len(names), 3.2), layout="constrained", squeeze=False
    )
    for axis, name in zip(axes[0], names, strict=True):
        groups = group_rows(last(row for row in rows if row["stage"] == name), "setting")
        settings = [setting for (setting,) in groups]
        for metric, colour in (("ba@1", COLOURS["cleanclip"]), ("asr@1", COLOURS["par"])):
            values = [[100 * row[metric] for row in groups[(setting,)]] for setting in settings]
            axis.errorbar(
                settings,
                list(map(mean, values)),
                [stdev(v) if len(v) > 1 else 0 for v in values],
                marker="o",
                capsize=3,
                color=colour,
                label=metric.upper(),
            )
        axis.set(xlabel=name, ylabel="%", ylim=(0, 100))
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results.csv")
    page, plots = source.with_suffix(".md"), source.with_suffix("")
    rows = read(source)
    empty = "\n\n".join(["# Results", *(f"<!-- {name} -->\n<!-- /{name} -->" for name in TABLES)])
    text = page.read_text(encoding="utf-8") if page.exists() else f"{empty}\n"
    for name, make in TABLES.items():
        block = f"<!-- {name} -->\n{make(rows)}\n<!-- /{name} -->"
        text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _, b=block: b, text, flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")
    plots.mkdir(exist_ok=True)
    plot_epochs(rows, plots / "epochs.png")
    plot_plane(rows, plots / "plane.png")
    plot_sweeps(rows, plots / "sweeps.png")


if __name__ == "__main__":
    main()
