"""AUROC of each score of ``filter`` on the poisoned pairs of a study's victims.

    clipdefend study run examples/studies/filter-victims.yaml
    python examples/filter_scores.py studies/filter-victims [--keep 0.97] [--at-most 0.02] [--retrain badnet,sig]

    clipdefend study run photo-victims.yaml        # in a folder with the photo CLIP
    python examples/filter_scores.py studies/photo-victims --at-most 0.02 -- --trusted photo-clip/clean.csv \
        --image-root flickr8k --reference local-dir:photo-clip/model

Each victim judges the pairs that it was trained on, with trusted pairs of the same world for lorex; clipscore is taken
by the clean model (``clipscore``) and by the victim itself (``own clipscore``). Runs that are there are not made again.
``--retrain`` also trains models on what the filter kept of these attacks, with the victim's settings, and prints their
ASR beside the victim's; victims that learned no backdoor are left out. The tables are Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from clipdefend.runs import Run

SCORES = ("clipscore", "lorex", "dao", "slof", "kdist", "lid", "loss")
OWN = "own clipscore"
LEARNED = 0.1
"""ASR@1 from which a victim has a backdoor that training anew can be without."""
BUILTIN = ("--trusted", "builtin:pretrain", "--model", "tiny", "--reference", "builtin")
HEADS = ("attack", "poison", "caught", "left", "BA@1", "ASR@1", "BA@1 after", "ASR@1 after", "floor")


def make(folder: Path, name: str, *words: str) -> Run:
    """The run of a name; made by a command of clipdefend where it is missing."""
    place = folder / name
    if not (place / "manifest.yaml").is_file():
        command = [sys.executable, "-m", "clipdefend", *words, "--runs", str(folder), "--out", str(place)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Run.open(place)


def filtered(
    folder: Path, victim: Run, name: str, keep: str, flags: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    """Score -> AUROC with its interval."""
    source = ("--from", str(victim.path), "--keep", keep)
    whole = make(folder, f"filter-{name}", "filter", *source, "--scores", ",".join(SCORES), *flags)
    own = make(folder, f"filter-{name}-own", "filter", *source, "--scores", "clipscore")
    found = {score: _auroc(whole, score) for score in SCORES}
    return {**found, OWN: _auroc(own, "clipscore")}


def retrained(folder: Path, victim: Run, name: str) -> list[str]:
    """A line of the table of models that were trained without what was flagged."""
    poison, flags = victim.ancestor("poison"), Run.open(folder / f"filter-{name}")
    settings = ("--config", str(victim.path / "manifest.yaml"), "--from", str(poison.path))
    run = make(folder, f"after-{name}", "finetune-attack", *settings, "--exclude-manifest", str(flags.path))
    before, after, caught = victim.metrics, run.metrics, flags.metrics["clipscore_recall"]
    shares = (
        before["ba@1"],
        before["asr@1"],
        after["ba@1"],
        after["asr@1"],
        before["floor_asr@1"],
    )
    left = round((1 - caught) * poison.manifest["details"]["poisoned"])
    return [_percent(caught), str(left), *map(_percent, shares)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


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
    print(f"\nAUROC at {rate}, with 95 % bootstrap intervals:\n")
    attacks = list(found)
    lines = [["score", *attacks]]
    for score in next(iter(found.values())):
        cells = [found[attack][score] for attack in attacks]
        lines.append([score, *(f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in cells)])
    show(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Flags of filter follow after --.",
    )
    parser.add_argument("study", type=Path, help="folder of the study's runs")
    parser.add_argument("--keep", default="0.97", help="share of the pairs that each filter keeps")
    parser.add_argument("--at-most", type=float, default=1.0, help="largest share of poison that is filtered")
    parser.add_argument("--retrain", default="", help="attacks whose victims are trained anew")
    # argparse takes no flags of another command after --, once a flag of its own has come.
    words = sys.argv[1:]
    place = words.index("--") if "--" in words else len(words)
    args, flags = parser.parse_args(words[:place]), words[place + 1 :] or BUILTIN
    folder = args.study / "filters"
    tables: dict[str, dict[str, dict[str, tuple[float, float, float]]]] = {}
    victims: dict[str, list[str]] = {}
    after: list[list[str]] = []
    runs = [Run.open(place) for place in sorted(args.study.glob("finetune-attack-*/manifest.yaml"))]
    several = len({run.config["seed"] for run in runs}) > 1
    for victim in runs:
        poison = victim.ancestor("poison")
        details, attack = poison.manifest["details"], poison.config["attack"]["name"]
        share = details["poisoned"] / details["rows"]
        if share > args.at_most:
            continue
        rate, name = f"{100 * share:g} %", victim.name.removeprefix("finetune-attack-")
        label = f"{attack}, seed {victim.config['seed']}" if several else attack
        tables.setdefault(rate, {})[label] = filtered(folder, victim, name, args.keep, flags)
        victims.setdefault(rate, []).append(f"{label} {_percent(victim.metrics['asr@1'])}")
        if attack in args.retrain.split(",") and victim.metrics["asr@1"] >= LEARNED:
            after.append([label, rate, *retrained(folder, victim, name)])
    for rate, found in sorted(tables.items()):
        show_scores(f"{rate} poison (ASR@1: {', '.join(sorted(victims[rate]))})", dict(sorted(found.items())))
    if after:
        print(f"\nTrained anew without the {100 * (1 - float(args.keep)):.0f} % that clipscore flagged:\n")
        show([HEADS, *sorted(after)])


if __name__ == "__main__":
    main()
