"""AUROC of each score of ``filter`` on poisoned pairs of the built-in world, six attacks at two rates of poison.

    clipdefend study run examples/studies/filter-victims.yaml
    python examples/filter_scores.py studies/filter-victims [--keep 0.97] [--retrain]

Each victim judges the pairs that it was trained on, with trusted pairs of the same world for lorex; clipscore is taken
by the clean model (``clipscore``) and by the victim itself (``own clipscore``). Runs that are there are not made again.
``--retrain`` also trains a model on what each filter kept, and prints its ASR beside the victim's. The tables are
Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from clipdefend.runs import Run

SCORES = ("clipscore", "lorex", "dao", "slof", "kdist", "lid", "loss")
OWN = "own clipscore"
CLEAN = ("--model", "tiny", "--reference", "builtin")


def make(folder: Path, name: str, *words: str) -> Run:
    """The run of a name; made by a command of clipdefend where it is missing."""
    place = folder / name
    if not (place / "manifest.yaml").is_file():
        command = [sys.executable, "-m", "clipdefend", *words, "--runs", str(folder), "--out", str(place)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Run.open(place)


def filtered(folder: Path, victim: Run, name: str, keep: str) -> dict[str, tuple[float, float, float]]:
    """Score -> AUROC with its interval."""
    source = ("--from", str(victim.path), "--keep", keep)
    trusted = ("--trusted", "builtin:pretrain", *CLEAN)
    whole = make(folder, f"filter-{name}", "filter", *source, "--scores", ",".join(SCORES), *trusted)
    own = make(folder, f"filter-{name}-own", "filter", *source, "--scores", "clipscore")
    found = {score: _auroc(whole, score) for score in SCORES}
    return {**found, OWN: _auroc(own, "clipscore")}


def _auroc(run: Run, score: str) -> tuple[float, float, float]:
    values = [run.metrics[f"{score}_auroc{end}"] for end in ("", "_low", "_high")]
    return values[0], values[1], values[2]


def show(lines: Iterable[Iterable[str]]) -> None:
    for number, line in enumerate(lines):
        cells = list(line)
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            print(f"|{'---|' * len(cells)}")


def show_scores(rate: str, found: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> None:
    print(f"\nAUROC at {rate} poison, with 95 % bootstrap intervals:\n")
    attacks = list(found)
    lines = [["score", *attacks]]
    for score in next(iter(found.values())):
        cells = [found[attack][score] for attack in attacks]
        lines.append([score, *(f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in cells)])
    show(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="folder of the study's runs")
    parser.add_argument("--keep", default="0.97", help="share of the pairs that each filter keeps")
    parser.add_argument("--retrain", action="store_true", help="train on what each filter kept")
    args = parser.parse_args()
    folder = args.study / "filters"
    tables: dict[str, dict[str, dict[str, tuple[float, float, float]]]] = {}
    asr: list[list[str]] = [["attack", "poison", "caught", "victim ASR@1", "ASR@1 after", "floor"]]
    for place in sorted(args.study.glob("finetune-attack-*/manifest.yaml")):
        victim = Run.open(place)
        poison = victim.ancestor("poison")
        attack, rate = poison.config["attack"]["name"], f"{100 * poison.config['rate']:g} %"
        name = f"{attack}-{poison.config['rate']}"
        tables.setdefault(rate, {})[attack] = filtered(folder, victim, name, args.keep)
        if args.retrain:
            flags = make(folder, f"filter-{name}", "filter")
            given = ("--from", str(poison.path), "--exclude-manifest", str(flags.path), "--seed", "1")
            after = make(folder, f"after-{name}", "finetune-attack", *given).metrics
            before = victim.metrics
            shares = (
                flags.metrics["clipscore_recall"],
                before["asr@1"],
                after["asr@1"],
                before["floor_asr@1"],
            )
            asr.append([attack, rate, *(f"{100 * share:.1f} %" for share in shares)])
    for rate, found in sorted(tables.items()):
        show_scores(rate, dict(sorted(found.items())))
    if args.retrain:
        print(f"\nTrained anew without the {100 * (1 - float(args.keep)):.0f} % that clipscore flagged:\n")
        show(asr)


if __name__ == "__main__":
    main()
