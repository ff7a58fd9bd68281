"""What the study pretraining-objective measured, as Markdown tables: python examples/pretraining_tables.py STUDY.

``STUDY`` is the folder of the runs. The tables have the victims; for each way of cleaning them the largest BA@1 of
any epoch of any run under bounds on ASR@1; the lowest ASR@1 at little loss of accuracy; and how both differ between
the victims of the two objectives. All figures are made for each seed by itself first: what stands in the tables are
means over seeds, with the sample standard deviation or a 95 % t interval, and "2 of 3" where not all seeds have a
figure. Runs that are left out are named on standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t

from clipdefend.config import TrainConfig
from clipdefend.errors import RunError
from clipdefend.report.collect import Epoch, Fault, collect, read_epochs
from clipdefend.report.frontier import LIMITS, frontier
from clipdefend.runs import Run

LOSSES = (0.0, 0.05, 0.10, 0.20)
"""Losses of BA@1 at which the lowest ASR@1 is sought, as fractions."""
FIGURES = ("ba@1", "asr@1", "ra@1")
NAMES = {"ft": "MMCL", "ssl": "SSL", "cleanclip": "MMCL+SSL", "mmcl+ssl": "MMCL+SSL"}

Runs = Sequence[Sequence[Epoch]]
Seeds = Mapping[int, Runs]
"""Seed -> the epochs of each run."""


@dataclass(frozen=True)
class Victim:
    """A model that was trained on poisoned pairs from random weights."""

    objective: str
    seed: int
    epochs: float | None
    metrics: Mapping[str, float]


def cleaning_of(run: Run) -> str:
    """What a run was cleaned by, without its learning rate."""
    config = run.config
    name = NAMES.get(config["method"], config["method"])
    weight, decay = config["terms"].get("ssl", {}).get("weight"), config["train"]["wd"]
    parts = [
        f"SSL x {weight:g}" if weight is not None else "",
        f"weight decay {decay:g}" if decay != TrainConfig().wd else "",
        f"{config['keep_poison']} poisoned pairs" if config["keep_poison"] else "",
    ]
    return ", ".join([name, *filter(None, parts)])


def read(
    folder: Path,
) -> tuple[list[Victim], dict[tuple[str, str], dict[int, list[list[Epoch]]]], list[Fault]]:
    """Read the runs of the study.

    Returns:
        The victims that were cleaned; (victim's objective, cleaning) -> seed -> epochs of each run; what was left out.

    Raises:
        RunError: there is no finished run, or none that cleaned a victim and measured both.
    """
    found = collect([folder])
    faults = list(found.faults)
    victims: dict[str, Victim] = {}
    cleaned: dict[tuple[str, str], dict[int, list[list[Epoch]]]] = {}
    for run in (each for each in found.runs if each.command == "defend"):
        origin = found.ancestor(run, "finetune-attack")
        epochs, wrong = read_epochs(run)
        faults += wrong
        epochs = [epoch for epoch in epochs if {"ba@1", "asr@1"} <= epoch.values.keys()]
        if origin is None or not epochs or epochs[0].number > 0:
            faults.append(Fault(run.name, "has no victim, or did not measure it."))
            continue
        method, seed = origin.config["method"], run.config["seed"]
        objective = NAMES.get(method, method)
        trained = read_epochs(origin)[0]
        victims[origin.sha256] = Victim(
            objective, seed, trained[-1].number if trained else None, origin.metrics
        )
        cleaned.setdefault((objective, cleaning_of(run)), {}).setdefault(seed, []).append(epochs)
    if not cleaned:
        raise RunError(
            f"{str(folder)!r} holds no run of defend that measured its victim: give the study's folder."
        )
    ordered = sorted(victims.values(), key=lambda victim: (victim.objective, victim.seed))
    return ordered, dict(sorted(cleaned.items())), faults


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


def interval(values: Sequence[float | None]) -> str:
    """Mean and 95 % t interval; with the number of seeds where some have none."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return "-"
    half = t.ppf(0.975, len(known) - 1) * stdev(known) / len(known) ** 0.5
    text = f"{mean(known):+.1f} [{mean(known) - half:.1f}, {mean(known) + half:.1f}]"
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> None:
    """Print a table, of which the first columns are names."""
    print(f"\n| {' | '.join(heads)} |")
    print(f"|{'---|' * names}{'---:|' * (len(heads) - names)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def show_victims(victims: Sequence[Victim]) -> None:
    """Each victim, with the epochs that it was trained for."""
    rows = []
    for victim in victims:
        trained = "-" if victim.epochs is None else f"{victim.epochs:g}"
        figures = [spread([100 * victim.metrics[name]] if name in victim.metrics else []) for name in FIGURES]
        rows.append([victim.objective, str(victim.seed), trained, *figures])
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
) -> dict[str, list[float | None]]:
    """For each cleaning, the figure of the MMCL+SSL victim less that of the MMCL victim: one for each seed of both."""
    found = {}
    for cleaning in dict.fromkeys(name for _, name in cleaned):
        one, other = (cleaned.get((victim, cleaning), {}) for victim in ("MMCL", "MMCL+SSL"))
        pairs = [(figure(one[seed]), figure(other[seed])) for seed in sorted(one.keys() & other.keys())]
        found[cleaning] = [None if a is None or b is None else b - a for a, b in pairs]
    return found


def loss_at(limit: float) -> Callable[[Runs], float | None]:
    """The loss of BA@1 under a bound, as a figure of runs."""

    def loss(runs: Runs) -> float | None:
        best = best_at(runs, limit)
        return best and best[1]

    return loss


def show_lowest(cleaned: Mapping[tuple[str, str], Seeds]) -> None:
    """The lowest ASR@1 at each loss."""
    rows = [
        [*key, *(spread([lowest_asr(runs, loss) for runs in seeds.values()]) for loss in LOSSES)]
        for key, seeds in cleaned.items()
    ]
    heads = [f"lowest ASR@1, {100 * loss:g} points lost" for loss in LOSSES]
    table(["victim by", "cleaned by", *heads], rows, 2)


def show_differences(cleaned: Mapping[tuple[str, str], Seeds]) -> None:
    """How much more the MMCL+SSL victim loses under each bound."""
    columns = [compare(cleaned, loss_at(limit)) for limit in LIMITS]
    rows = [[name, *(interval(column[name]) for column in columns)] for name in columns[0]]
    bounds = [f"further loss at ASR@1 ≤ {100 * limit:g} %" for limit in LIMITS]
    table(["cleaned by", *bounds], rows, 1)


def main(folder: Path) -> None:
    victims, cleaned, faults = read(folder)
    for fault in faults:
        print(f"left out: {fault.name}: {fault.reason}", file=sys.stderr)
    show_victims(victims)
    show_frontier(cleaned)
    show_lowest(cleaned)
    show_differences(cleaned)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    try:
        main(parser.parse_args().study)
    except RunError as error:
        parser.error(str(error))
