"""How well a defender can choose among defences without the trigger: proxies against the true attack success rate.

    python examples/proxy_study.py make runs/cleaned-*     # each candidate on the suspect itself, by the true trigger
    python examples/proxy_study.py table runs/cleaned-*    # rank correlation and regret of each proxy

Takes finished runs of ``clipdefend clean --from VICTIM``, whose true trigger is known. ``make`` applies every candidate
that such a run tried on its planted copy to the suspect itself, by the same settings, and measures the true ASR and the
proxy that inverts perturbations (``clipdefend merge``); it writes ``truth/`` into the run's folder and goes on where it
was interrupted. ``table`` takes what there is.

Of each proxy a smaller value is meant to say that less of the backdoor is left:

- ``canary``: mean ASR@1 of the canaries, on the planted copy.
- ``inverted``: ASR of perturbations that are made to fool the cleaned model.
- ``loss``: loss on clean validation pairs, the stopping rule "loss".
- ``drift``: minus the drift of image features from the suspect's, the stopping rule "drift".
- ``accuracy``: minus the accuracy on the planted copy, by which one chooses who looks at nothing else.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

PROXIES = ("canary", "inverted", "loss", "drift", "accuracy")
RESAMPLES = 2000


@dataclass(frozen=True)
class Victim:
    """The candidates of one run of ``clean``.

    Attributes:
        name: of the run.
        proxies: proxy -> its value for each candidate.
        truth: true ASR@1 of each candidate on the suspect, fractions.
    """

    name: str
    proxies: Mapping[str, Sequence[float]]
    truth: Sequence[float]


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal values share the mean of their ranks."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def rank_correlation(proxy: Sequence[float], truth: Sequence[float]) -> float:
    """Return Spearman's rank correlation, -1 to 1; NaN where all values of one are equal."""
    a, b = (np.array(ranks(values)) for values in (proxy, truth))
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else math.nan


def regret(proxy: Sequence[float], truth: Sequence[float]) -> float:
    """Return what choosing the smallest proxy costs: true ASR there minus the smallest true ASR; equals count alike."""
    least = min(proxy)
    chosen = [true for value, true in zip(proxy, truth, strict=True) if value == least]
    return math.fsum(chosen) / len(chosen) - min(truth)


def mean_known(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def bootstrap(values: Sequence[float], seed: int = 0, count: int = RESAMPLES) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of one value for each victim, by resampling victims."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).integers(0, len(known), (count, len(known)))
    low, high = np.percentile(known[drawn].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def table(victims: Sequence[Victim]) -> str:
    """Return a Markdown table: for each proxy the mean over victims of both figures, with intervals."""
    lines = ["| proxy | victims | rank correlation | regret, points of ASR@1 |", "|---|---:|---:|---:|"]
    for proxy in PROXIES:
        measured = [(each.proxies[proxy], each.truth) for each in victims if proxy in each.proxies]
        if measured:
            correlations = [rank_correlation(*each) for each in measured]
            regrets = [100 * regret(*each) for each in measured]
            lines.append(f"| {proxy} | {len(measured)} | {_shown(correlations, 2)} | {_shown(regrets, 1)} |")
    return "\n".join(lines)


def _shown(values: Sequence[float], digits: int) -> str:
    low, high = bootstrap(values)
    return f"{mean_known(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def record(run: Path) -> dict[str, Any]:
    """The manifest of a run."""
    found: dict[str, Any] = yaml.safe_load((run / "manifest.yaml").read_text(encoding="utf-8"))
    return found


def tried(run: Path) -> dict[str, Path]:
    """Name of each candidate -> its training run on the planted copy."""
    found = {}
    names = {(each["method"], each["lr"]): each["name"] for each in record(run)["details"]["candidates"]}
    for manifest in sorted((run / "steps").glob("defend-*/manifest.yaml")):
        config = record(manifest.parent)["config"]
        name = names.get((config["method"], config["train"]["lr"]))
        if config["checkpoint"] is None and name is not None:
            found[name] = manifest.parent
    return found


def make(run: Path) -> None:
    """Apply every candidate of a run to its suspect, and measure."""
    source = (run / record(run)["parents"][0]["path"]).resolve()
    suspect, place = (run / "steps" / "suspect").resolve(), run / "truth"
    place.mkdir(exist_ok=True)
    for step in tried(run).values():
        config = {**record(step)["config"], "checkpoint": str(suspect)}
        settings = place / f"{step.name}.yaml"
        settings.write_text(yaml.safe_dump(config), encoding="utf-8")
        cleaned = place / step.name
        once(cleaned, "defend", "--config", settings)
        evaluation = record(run)["config"]["eval"]
        images = ("--eval-data", evaluation["data"], "--topk", 1)
        once(place / f"{step.name}-asr", "evaluate", "--from", cleaned, "--attack-from", source, *images)
        once(place / f"{step.name}-proxy", "merge", "--from", cleaned, "--with", suspect, "--share", 1)


def once(out: Path, *args: object) -> None:
    """Make a run unless it is there; what is left of an interrupted one is made again."""
    if (out / "manifest.yaml").is_file():
        return
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "clipdefend", *map(str, args), "--quiet", "--out", str(out)]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
        print("failed:", *map(str, args), file=sys.stderr)


def read(run: Path) -> Victim | None:
    """The proxies and the truth of a run; None unless all of at least two candidates is there."""
    entries = {each["name"]: each for each in record(run)["details"]["candidates"]}
    rows: list[dict[str, float]] = []
    for name, step in tried(run).items():
        parts = [run / "truth" / f"{step.name}{end}" for end in ("", "-asr", "-proxy")]
        if not all((part / "manifest.yaml").is_file() for part in parts):
            continue
        cleaned, truth, proxy = (record(part)["metrics"] for part in parts)
        rows.append(
            {
                "truth": truth["asr@1"],
                "canary": entries[name]["asr"],
                "inverted": proxy["proxy_asr"],
                "accuracy": -entries[name]["accuracy"],
                **({"loss": cleaned["val_loss"]} if "val_loss" in cleaned else {}),
                **({"drift": -cleaned["drift_image"]} if "drift_image" in cleaned else {}),
            }
        )
    if len(rows) < 2:
        return None
    known = set.intersection(*(set(row) for row in rows)) - {"truth"}
    proxies = {key: [row[key] for row in rows] for key in PROXIES if key in known}
    return Victim(run.name, proxies, [row["truth"] for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("make", "table"))
    parser.add_argument("runs", nargs="+", type=Path, help="finished runs of clean")
    given = parser.parse_args()
    if given.action == "make":
        for run in given.runs:
            make(run)
        return
    found = [victim for victim in map(read, given.runs) if victim is not None]
    if not found:
        sys.exit("No run has two candidates with a known truth: make them first.")
    print(table(found))


if __name__ == "__main__":
    main()
