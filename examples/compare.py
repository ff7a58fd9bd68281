"""Compare defences against attacks on the built-in world, and print the table as Markdown.

    python examples/compare.py --runs compare --attacks badnet,blended --methods ft,cleanclip,cleanerclip

Finished runs under ``--runs`` are reused, so that an interrupted comparison continues where it stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

KS = (1, 3, 5, 10)


def clipdefend(out: Path, *arguments: str) -> Path:
    """Run a command into ``out``, unless that run is finished already."""
    if not (out / "manifest.yaml").is_file():
        command = [
            sys.executable,
            "-m",
            "clipdefend",
            *arguments,
            "--out",
            str(out),
            "--runs",
            str(out.parent),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def manifest(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((run / "manifest.yaml").read_text())
    return loaded


def compare(
    runs: Path, attacks: list[str], methods: list[str], seed: str, n_aug: str
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield attack, method and metrics of every combination, for each attack the undefended victim first.

    The metrics include ``seconds``: those of poisoning and training the victim, or of the defence.
    """
    for attack in attacks:
        poison = clipdefend(runs / f"poison-{attack}", "poison", "--attack", attack, "--seed", seed)
        victim = clipdefend(
            runs / f"victim-{attack}", "finetune-attack", "--from", str(poison), "--seed", seed
        )
        if "cleanerclip" in methods:
            clipdefend(runs / "augment", "augment", "--from", str(poison), "--seed", seed)
        measured = {"none": victim}
        for method in methods:
            arguments = ["--method", method, "--n-aug", n_aug, "--seed", seed, "--from", str(victim)]
            measured[method] = clipdefend(runs / f"{method}-{attack}", "defend", *arguments)
        for method, run in measured.items():
            given = ["--from", str(run), "--topk", ",".join(map(str, KS))]
            figures = manifest(clipdefend(runs / f"eval-{run.name}", "evaluate", *given))["metrics"]
            made = [poison, victim] if run == victim else [run]
            seconds = sum(manifest(one)["seconds"] for one in made)
            yield attack, method, {**figures, "seconds": seconds}


def markdown(rows: list[tuple[str, str, dict[str, Any]]]) -> str:
    """Return a Markdown table: a row for each attack and method, with BA and ASR in percent for each k."""
    heads = [f"{name}@{k}" for k in KS for name in ("BA", "ASR")]
    heads.append("seconds")
    lines = ["| attack | defence | " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(heads)]
    for attack, method, values in rows:
        cells = [f"{100 * values[f'{name}@{k}']:.1f}" for k in KS for name in ("ba", "asr")]
        cells.append(f"{values['seconds']:.0f}")
        lines.append(f"| {attack} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("compare"))
    parser.add_argument("--attacks", default="badnet,blended")
    parser.add_argument("--methods", default="ft,cleanclip,cleanerclip")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--n-aug", default="3000")
    args = parser.parse_args()
    rows = list(compare(args.runs, args.attacks.split(","), args.methods.split(","), args.seed, args.n_aug))
    counts = rows[0][2]
    print(
        f"Built-in world, {counts['n_clean']} clean and {counts['n_triggered']} triggered images, in percent.\n"
    )
    print(markdown(rows))


if __name__ == "__main__":
    main()
