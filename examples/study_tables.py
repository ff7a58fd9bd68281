"""What a study of defences measured, as Markdown tables: python examples/study_tables.py STUDY [--by-attack].

``STUDY`` is the folder of the runs, after ``clipdefend study report FILE --out STUDY/report``. The tables have the
rates that were tried on the held-out seeds, the means of the reported runs, each of these, and the frontier. With
``--by-attack`` the means stand in one table for each figure, with a column for each attack and the mean over all.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from clipdefend.runs import Run

FIGURES = ("ba", "asr", "ra", "recovery")
HEADS = ("attack", "defence", *(f"{name.upper()}@1" for name in FIGURES), "lift", "gradient", "s")


def figure(row: Mapping[str, str], name: str) -> str:
    """A percentage with its deviation over seeds."""
    if not row[name]:
        return ""
    deviation = row[f"{name}_sd"]
    spread = f" ± {100 * float(deviation):.1f}" if deviation else ""
    return f"{100 * float(row[name]):.1f}{spread}"


def gradient(runs: Sequence[Run]) -> str:
    """Each term's share of the gradient, mean over runs and epochs."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for line in (run.path / "metrics.jsonl").read_text("utf-8").splitlines():
            event = json.loads(line)
            if event["event"] == "terms-epoch":
                for name in (key for key in event if key.startswith("share_")):
                    found.setdefault(name.removeprefix("share_"), []).append(event[name])
    return ", ".join(f"{name} {100 * mean(values):.1f}" for name, values in found.items())


def cells(row: Mapping[str, str], folder: Path) -> list[str]:
    """One line of the table."""
    own = row["defence"] != "clean model"  # whose row stands on the victims' runs
    runs = [Run.open(folder / name) for name in row["runs"].split()] if own else []
    lift = [run.metrics["lift"] for run in runs]
    cleaned = [run for run in runs if run.command == "defend"]
    return [
        row["attack"],
        row["defence"],
        *(figure(row, name) for name in FIGURES),
        f"{mean(lift):.3f}" if lift else "",
        gradient(cleaned),
        f"{mean(run.manifest['seconds'] for run in cleaned):.0f}" if cleaned else "",
    ]


def show_choices(folder: Path) -> None:
    """Each method's rates with BA@1 / ASR@1 / recovery@1 on the held-out seed, the chosen one in bold."""
    choices = json.loads((folder / "choice.json").read_text("utf-8"))["choices"]
    rates = sorted({tried["train.lr"] for each in choices for tried in each["tried"]})
    print(f"| defence | {' | '.join(f'{rate:g}' for rate in rates)} |")
    print(f"|---|{'---:|' * len(rates)}")
    for each in choices:
        found = {}
        for tried in each["tried"]:
            rate = tried["train.lr"]
            text = triple(tried)
            found[rate] = f"**{text}**" if each["chosen"] == {"train.lr": rate} else text
        terms = each["for"].get("terms")
        name = each["for"]["method"] + (f" ({json.dumps(terms)})" if terms else "")
        print(f"| {name} | {' | '.join(found.get(rate, '') for rate in rates)} |")


def triple(metrics: Mapping[str, float]) -> str:
    """BA@1 / ASR@1 / recovery@1 in percent."""
    return " / ".join(f"{100 * metrics[name]:.1f}" for name in ("ba@1", "asr@1", "recovery@1"))


def show_runs(rows: Sequence[Mapping[str, str]], folder: Path) -> None:
    """Each reported run, a column for each seed."""
    lines = {}
    for row in rows:
        runs = [Run.open(folder / name) for name in row["runs"].split()]
        cleaned = {run.config["seed"]: triple(run.metrics) for run in runs if run.command == "defend"}
        if cleaned:
            lines[row["attack"], row["defence"]] = cleaned
    seeds = sorted({seed for cleaned in lines.values() for seed in cleaned})
    print(f"\n| attack | defence | {' | '.join(f'seed {seed}' for seed in seeds)} |")
    print(f"|---|---|{'---:|' * len(seeds)}")
    for (attack, defence), cleaned in lines.items():
        print(f"| {attack} | {defence} | {' | '.join(cleaned.get(seed, '') for seed in seeds)} |")


def show_by_attack(rows: Sequence[Mapping[str, str]], folder: Path) -> None:
    """A table for each figure: mean and deviation over seeds; under "mean" that of the seeds' means over attacks."""
    attacks = [*dict.fromkeys(row["attack"] for row in rows)]
    of = {(row["defence"], row["attack"]): row for row in rows}
    for name in FIGURES:
        print(f"\n| {name.upper()}@1 | {' | '.join(attacks)} | mean |")
        print(f"|---|{'---:|' * (len(attacks) + 1)}")
        for defence in dict.fromkeys(row["defence"] for row in rows):
            found = [of.get((defence, attack)) for attack in attacks]
            values = [figure(row, name) if row else "" for row in found]
            print(f"| {defence} | {' | '.join([*values, over_attacks(found, name, folder)])} |")


def over_attacks(rows: Sequence[Mapping[str, str] | None], name: str, folder: Path) -> str:
    """Mean over attacks, with the deviation of the seeds' means; empty unless each attack has every seed."""
    key = f"floor_{name}@1" if any(row and row["defence"] == "clean model" for row in rows) else f"{name}@1"
    seeds: dict[int, list[float]] = {}
    for row in rows:
        for run in (Run.open(folder / each) for each in row["runs"].split()) if row else ():
            if key in run.metrics:
                seeds.setdefault(run.config["seed"], []).append(100 * run.metrics[key])
    if not seeds or {len(values) for values in seeds.values()} != {len(rows)}:
        return ""
    means = [mean(values) for values in seeds.values()]
    return f"{mean(means):.1f}" + (f" ± {stdev(means):.1f}" if len(means) > 1 else "")


def main(folder: Path, by_attack: bool) -> None:
    if (folder / "choice.json").is_file():  # a study that chooses nothing has none
        show_choices(folder)
    with (folder / "report" / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["k"] == "1"]
    if by_attack:
        show_by_attack(rows, folder)
    else:
        print(f"\n| {' | '.join(HEADS)} |")
        print(f"|---|---|{'---:|' * len(FIGURES)}---:|---|---:|")
        for row in rows:
            print(f"| {' | '.join(cells(row, folder))} |")
    show_runs(rows, folder)
    print()
    print((folder / "report" / "frontier.md").read_text("utf-8"), end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--by-attack", action="store_true")
    given = parser.parse_args()
    if not (given.study / "report" / "table.csv").is_file():
        parser.error(
            f"{given.study}/report/table.csv is missing: run clipdefend study report FILE --out {given.study}/report."
        )
    main(given.study, given.by_attack)
