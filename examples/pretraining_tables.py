"""What the study pretraining-objective measured, as Markdown tables: python examples/pretraining_tables.py STUDY.

``STUDY`` is the folder of the runs. The tables have the victims; for each way of cleaning them the largest BA@1 of
any epoch of any run under bounds on ASR@1; the lowest ASR@1 at little loss of accuracy; and how both differ between
the victims of the two objectives. All figures are made for each seed by itself first: what stands in the tables are
means over seeds, with the sample standard deviation or a t interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t

from clipdefend.report.collect import Epoch, collect, read_epochs
from clipdefend.report.frontier import frontier
from clipdefend.runs import Run

LIMITS = (0.01, 0.05, 0.10, 0.20, 0.50)
LOSS = 0.10
"""Loss of BA@1 that the last table allows, as a fraction."""
NAMES = {"ft": "MMCL", "ssl": "SSL", "cleanclip": "MMCL+SSL", "mmcl+ssl": "MMCL+SSL"}

Runs = Sequence[Sequence[Epoch]]
Seeds = Mapping[int, Runs]
"""Seed -> the epochs of each run."""


@dataclass(frozen=True)
class Victim:
    """A model that was trained on poisoned pairs from random weights."""

    objective: str
    seed: int
    epochs: float
    metrics: Mapping[str, float]


def cleaning_of(run: Run) -> str:
    """What a run was cleaned by, without its learning rate."""
    config = run.config
    name = NAMES.get(config["method"], config["method"])
    weight = config["terms"].get("ssl", {}).get("weight")
    parts = [
        f"SSL x {weight:g}" if weight else "",
        f"weight decay {config['train']['wd']:g}" if config["train"]["wd"] > 1 else "",
        f"{config['keep_poison']} poisoned pairs" if config["keep_poison"] else "",
    ]
    return ", ".join([name, *filter(None, parts)])


def read(folder: Path) -> tuple[list[Victim], dict[tuple[str, str], dict[int, list[list[Epoch]]]]]:
    """Return the victims that were cleaned, and (victim's objective, cleaning) -> seed -> epochs of each run."""
    found = collect([folder])
    victims: dict[str, Victim] = {}
    cleaned: dict[tuple[str, str], dict[int, list[list[Epoch]]]] = {}
    for run in found.runs:
        origin = found.ancestor(run, "finetune-attack") if run.command == "defend" else None
        if origin is None:
            continue
        objective, seed = NAMES[origin.config["method"]], run.config["seed"]
        victims[origin.sha256] = Victim(objective, seed, read_epochs(origin)[0][-1].number, origin.metrics)
        cleaned.setdefault((objective, cleaning_of(run)), {}).setdefault(seed, []).append(read_epochs(run)[0])
    return sorted(victims.values(), key=lambda v: (v.objective, v.seed)), dict(sorted(cleaned.items()))


def best_at(runs: Runs, limit: float) -> tuple[float, float] | None:
    """The largest BA@1 of any epoch with ASR@1 of at most ``limit``, and its loss, in percent."""
    (point,) = frontier(runs, [limit])
    return None if point is None or point.drop is None else (100 * point.ba, 100 * point.drop)


def lowest_asr(runs: Runs, loss: float) -> float | None:
    """The lowest ASR@1 in percent of any epoch that loses at most ``loss`` of the victim's BA@1."""
    allowed = [
        100 * epoch.values["asr@1"]
        for victim, *epochs in runs
        for epoch in epochs
        if epoch.values["ba@1"] >= victim.values["ba@1"] - loss - 1e-9
    ]
    return min(allowed, default=None)


def spread(values: Sequence[float | None]) -> str:
    """Mean ± standard deviation; with the number of seeds where some have none."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{mean(known):.1f}" + (f" ± {stdev(known):.1f}" if len(known) > 1 else "")
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)})"


def interval(differences: Sequence[float]) -> str:
    """Mean and 95 % t interval."""
    if len(differences) < 2:
        return "-"
    half = t.ppf(0.975, len(differences) - 1) * stdev(differences) / len(differences) ** 0.5
    return f"{mean(differences):+.1f} [{mean(differences) - half:.1f}, {mean(differences) + half:.1f}]"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> None:
    """Print a table, of which the first columns are names."""
    print(f"\n| {' | '.join(heads)} |")
    print(f"|{'---|' * names}{'---:|' * (len(heads) - names)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def show_victims(victims: Sequence[Victim]) -> None:
    figures = ("ba@1", "asr@1", "ra@1")
    rows = [
        [v.objective, str(v.seed), f"{v.epochs:g}", *(f"{100 * v.metrics[name]:.1f}" for name in figures)]
        for v in victims
    ]
    table(["victim by", "seed", "epochs", "BA@1", "ASR@1", "RA@1"], rows, 1)


def show_frontier(cleaned: Mapping[tuple[str, str], Seeds]) -> None:
    """The largest BA@1 under each bound, and its loss against the victim."""
    rows = []
    for (objective, cleaning), seeds in cleaned.items():
        cells = []
        for limit in LIMITS:
            best = [best_at(runs, limit) for runs in seeds.values()]
            text = spread([point and point[0] for point in best])
            losses = [point[1] for point in best if point]
            cells.append(f"{text} ({-mean(losses) + 0.0:+.1f})" if losses else text)
        each = {len(runs) for runs in seeds.values()}
        rows.append([objective, cleaning, " or ".join(map(str, sorted(each))), str(len(seeds)), *cells])
    bounds = [f"ASR@1 ≤ {100 * limit:g} %" for limit in LIMITS]
    table(["victim by", "cleaned by", "runs a seed", "seeds", *bounds], rows, 2)


def compare(
    cleaned: Mapping[tuple[str, str], Seeds], figure: Callable[[Runs], float | None]
) -> dict[str, list[float]]:
    """For each cleaning the figure of the MMCL+SSL victim less that of the MMCL victim, for each seed that has both."""
    found = {}
    for cleaning in dict.fromkeys(name for _, name in cleaned):
        one, other = (cleaned.get((victim, cleaning), {}) for victim in ("MMCL", "MMCL+SSL"))
        pairs = [(figure(one[seed]), figure(other[seed])) for seed in sorted(one.keys() & other.keys())]
        found[cleaning] = [b - a for a, b in pairs if a is not None and b is not None]
    return found


def show_differences(cleaned: Mapping[tuple[str, str], Seeds]) -> None:
    columns = []
    for limit in LIMITS:

        def loss(runs: Runs, limit: float = limit) -> float | None:
            point = best_at(runs, limit)
            return point and point[1]

        columns.append(compare(cleaned, loss))
    columns.append(compare(cleaned, lambda runs: lowest_asr(runs, LOSS)))
    rows = [[name, *(interval(column[name]) for column in columns)] for name in columns[0]]
    bounds = [f"loss at ASR@1 ≤ {100 * limit:g} %" for limit in LIMITS]
    table(["cleaned by", *bounds, f"lowest ASR@1, {100 * LOSS:g} points lost"], rows, 1)


def show_lowest(cleaned: Mapping[tuple[str, str], Seeds]) -> None:
    losses = (0.0, 0.05, LOSS, 0.2)
    rows = [
        [*key, *(spread([lowest_asr(runs, loss) for runs in seeds.values()]) for loss in losses)]
        for key, seeds in cleaned.items()
    ]
    table(["victim by", "cleaned by", *(f"{100 * loss:g} points" for loss in losses)], rows, 2)


def main(folder: Path) -> None:
    victims, cleaned = read(folder)
    show_victims(victims)
    show_frontier(cleaned)
    show_lowest(cleaned)
    show_differences(cleaned)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    main(parser.parse_args().study)
