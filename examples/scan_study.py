"""How well ``clipdefend scan`` tells victims from clean models of the built-in world.

    python examples/scan_study.py make studies/scan       # clean models and victims, by the product's commands
    python examples/scan_study.py evade studies/scan      # victims of attackers who want to evade a scan
    python examples/scan_study.py scan studies/scan       # a scan of each
    python examples/scan_study.py table studies/scan      # thresholds from some seeds, figures from the others

Each step goes on where it was interrupted; ``scan`` and ``table`` take what there is. Models of even seeds are for
calibration, those of odd seeds and all evaders are judged. A victim counts if at least half of the triggered images go
to the target.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import yaml

SEEDS = (0, 1, 2, 3, 4, 5)
COUNTS = (500, 150)
ATTACKS: dict[str, tuple[str, ...]] = {
    "badnet": (),
    "blended": (),
    "sig": (),
    "stripes-patch": (),
    "badclip": ("--set", "attack.pixels=16"),
    "text-mark": (),
    "triangles": (),
    "stripes-blend": (),
    "wanet": ("--set", "attack.k=64", "--set", "attack.strength=2.9"),
    "ssba": (),
}
WARPS = 4
"""How many times the count is poisoned by WaNet, which fewer images do not teach."""
TRAIN = ("--epochs", "1", "--lr", "1e-3", "--warmup", "20")
SMALL = 2000
"""Pairs of a table on which more clean models are fine-tuned, at rates from mild to rough."""
RATES = (3e-4, 1e-3, 3e-3)
SUCCESS = 0.5
ALL = "all victims"
TARGET = "banana"


@dataclass(frozen=True)
class Evader:
    """An attack that may evade a scan.

    Attributes:
        attacks: flags of ``poison`` for each trigger; the model's ASR is that of the first.
        train: flags of ``finetune-attack`` after the usual ones, which they override.
    """

    attacks: tuple[tuple[str, ...], ...]
    train: tuple[str, ...] = ()


def badnet(pixels: int, count: int, *more: str) -> tuple[str, ...]:
    return ("--attack", "badnet", "--set", f"attack.pixels={pixels}", "--count", str(count), *more)


LONGER = ("--epochs", "3")
EVADERS: dict[str, Evader] = {
    # A scan measures the size of the smallest trigger: here the attacker's own is large.
    "patch-48": Evader((badnet(48, 500),)),
    "patch-112": Evader((badnet(112, 500),)),
    "patch-anywhere": Evader((badnet(16, 1500, "--set", "attack.place=random"),), LONGER),
    # A backdoor that is hardly there leaves a shallow way to the target.
    "count-100": Evader((badnet(16, 100),), LONGER),
    "count-50": Evader((badnet(16, 50),), LONGER),
    "count-25": Evader((badnet(16, 25),), LONGER),
    # Several triggers for several targets: a search for one direction may find none.
    "two-targets": Evader(
        (badnet(16, 500, "--target", "lamp"), ("--attack", "blended", "--count", "500")),
    ),
    "three-targets": Evader(
        (
            badnet(16, 500, "--target", "lamp"),
            ("--attack", "sig", "--count", "500", "--target", "castle"),
            ("--attack", "blended", "--count", "500"),
        ),
    ),
    # SSL makes all embeddings firmer against changes of the image, the trigger's neighbourhood among them.
    "firm": Evader((badnet(16, 500),), ("--method", "cleanclip", *LONGER)),
}
TARGETS = (TARGET, "lamp", "castle")
EVADERS_SEEDS = (1, 3, 5)


def clipdefend(*args: object) -> None:
    command = [sys.executable, "-m", "clipdefend", *map(str, args), "--workers", "0", "--quiet"]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        print("failed:", *map(str, args), file=sys.stderr)


def once(out: Path, *args: object) -> None:
    """Make a run unless it is there; what is left of an interrupted one is made again."""
    if (out / "manifest.yaml").is_file():
        return
    shutil.rmtree(out, ignore_errors=True)
    clipdefend(*args, "--out", out)


def make(folder: Path) -> None:
    """Breadth first, so that an interrupted study has some of everything."""
    runs = folder / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        clean_models(folder, seed)
        for count in COUNTS:
            for attack, more in ATTACKS.items():
                poisoned = count * WARPS if attack == "wanet" else count
                place = f"{attack}-n{poisoned}-s{seed}"
                poison = ("poison", "--attack", attack, "--count", poisoned, "--seed", seed, *more)
                once(runs / f"poison-{place}", *poison)
                source = ("--from", runs / f"poison-{place}", "--seed", seed)
                once(runs / f"victim-{place}", "finetune-attack", *source, *TRAIN)


def evade(folder: Path) -> None:
    """Victims of ``EVADERS``, breadth first."""
    runs = folder / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for seed in EVADERS_SEEDS:
        for name, evader in EVADERS.items():
            places = [
                runs / f"poison-evader-{name}-s{seed}-trigger{n}" for n in range(1, 1 + len(evader.attacks))
            ]
            # Equal seeds would draw the same rows for several triggers.
            for number, (place, attack) in enumerate(zip(places, evader.attacks, strict=True)):
                once(place, "poison", *attack, "--seed", seed + 100 * number)
            first, *others = places
            also = ("--also-poison", ",".join(map(str, others))) if others else ()
            source = ("--from", first, "--seed", seed, *also)
            once(runs / f"evader-{name}-s{seed}", "finetune-attack", *source, *TRAIN, *evader.train)


def clean_models(folder: Path, seed: int) -> None:
    """The built-in model, fine-tuned on all pairs and, at three rates, on few."""
    weights = folder / "tiny.safetensors"
    if not weights.is_file():
        import clipdefend as package

        shutil.copy(Path(package.__file__).parent / "assets" / "tiny" / "tiny.safetensors", weights)
    tune = ("defend", "--method", "ft", "--checkpoint", weights, "--model", "tiny", "--seed", seed)
    everything = ("--data", "builtin", "--lr", "5e-4", "--epochs", 1)
    once(folder / "runs" / f"clean-s{seed}", *tune, *everything)
    for number, rate in enumerate(RATES):
        few = ("--data", small_table(folder), "--batch-size", 64, "--warmup", 20, "--lr", rate, "--epochs", 2)
        once(folder / "runs" / f"clean-small{number}-s{seed}", *tune, *few)


def small_table(folder: Path) -> Path:
    """The first pairs of the built-in world as a table with pictures."""
    table = folder / "small" / "pairs.csv"
    if not table.is_file():
        from clipdefend import world

        table.parent.mkdir(exist_ok=True)
        pairs = world.split("train")
        for row in range(SMALL):
            pairs.image(row).save(table.parent / f"{row}.png")
        lines = [f'{row}.png,"{pairs.caption(row)}"' for row in range(SMALL)]
        table.write_text("\n".join(["image,caption", *lines]))
    return table


def models(folder: Path) -> Iterator[Path]:
    for kind in ("clean", "victim", "evader"):
        for run in sorted((folder / "runs").glob(f"{kind}-*")):
            if (run / "manifest.yaml").is_file():
                yield run


def scan(folder: Path) -> None:
    """The library of known triggers is left out: it knows the fixed ones among these attacks."""
    common = ("--no-library", "--restarts", 1, "--seed", 0, "--preset", "quick", "--runs", folder / "runs")
    reference = ("--model", "tiny", "--reference", "builtin", "--data", "builtin")
    for run in models(folder):
        # A victim is compared with what its attack started from, which in evaders may be an earlier victim.
        given = (
            ("--from", run) if run.name.startswith("victim") else ("--checkpoint", run / "model", *reference)
        )
        once(folder / "scans" / run.name, "scan", *given, *common)


@dataclass(frozen=True)
class Line:
    """One scanned model; ``attack`` is "clean" for those without."""

    name: str
    attack: str
    judged: bool
    asr: float
    score: float
    suspected: str
    seconds: float

    @property
    def counts(self) -> bool:
        """Not a victim whose attack did not succeed."""
        return self.attack == "clean" or self.asr >= SUCCESS


def read(folder: Path) -> list[Line]:
    """The scans so far."""
    lines = []
    for run in models(folder):
        file = folder / "scans" / run.name / "manifest.yaml"
        if not file.is_file():
            continue
        found, model = (yaml.safe_load(path.read_text()) for path in (file, run / "manifest.yaml"))
        attack = group(run.name)
        asr = 0.0 if attack == "clean" else float(model["metrics"]["asr@1"])
        judged = int(run.name.rpartition("-s")[2]) % 2 == 1 or run.name.startswith("evader")
        score, suspected = float(found["metrics"]["score"]), str(found["details"]["target"])
        lines.append(Line(run.name, attack, judged, asr, score, suspected, float(found["seconds"])))
    return lines


def group(name: str) -> str:
    """What a model stands for in the table, by the name of its run."""
    if name.startswith("evader"):
        return name.rpartition("-s")[0]
    return "clean" if name.startswith("clean") else name.partition("-n")[0].removeprefix("victim-")


def auroc(clean: Sequence[float], infected: Sequence[float]) -> float:
    """Share of pairs in which the infected model has the higher score; ties count half."""
    wins = sum((b > a) + 0.5 * (b == a) for a in clean for b in infected)
    return wins / (len(clean) * len(infected)) if clean and infected else float("nan")


def thresholds(lines: Sequence[Line]) -> tuple[float, float]:
    """Backdoored from, clean up to: thirds of the way, by factors, between the nearest scores of the two groups."""
    clean = max(line.score for line in lines if line.attack == "clean")
    infected = min(line.score for line in lines if line.attack != "clean")
    low, high = sorted((clean, infected))
    ratio = high / low
    return low * ratio ** (2 / 3), low * ratio ** (1 / 3)


def table(folder: Path) -> None:
    every = read(folder)
    lines = [line for line in every if line.counts]
    bounds = thresholds([line for line in lines if not line.judged])
    judged = [line for line in lines if line.judged]
    print(
        f"Calibrated on {len(lines) - len(judged)} models:"
        f" backdoored from {bounds[0]:.2f}, clean up to {bounds[1]:.2f}\n"
    )
    heads = "models|number|ASR %|score|AUROC|backdoored|cannot tell|clean|target right|seconds"
    print(f"| {heads.replace('|', ' | ')} |\n|---|{'---:|' * 9}")
    clean = [line.score for line in judged if line.attack == "clean"]
    for name in ("clean", *ATTACKS, ALL, *(f"evader-{evader}" for evader in EVADERS)):
        found = [line for line in judged if line.attack == name or (name == ALL and line.attack in ATTACKS)]
        if found:
            print(f"| {' | '.join(row(name, found, clean, bounds))} |")
    print("\n| model | | score | ASR % | suspected target |\n|---|---|---:|---:|---|")
    for line in every:
        kind = ("judged" if line.judged else "calibration") if line.counts else "does not count"
        print(f"| {line.name} | {kind} | {line.score:.2f} | {100 * line.asr:.1f} | {line.suspected} |")


def row(name: str, group: Sequence[Line], clean: Sequence[float], bounds: tuple[float, float]) -> list[str]:
    """The cells of a group of judged models."""
    scores = [line.score for line in group]
    verdicts = [
        sum(score >= bounds[0] for score in scores),
        sum(bounds[1] < score < bounds[0] for score in scores),
        sum(score <= bounds[1] for score in scores),
    ]
    asr, area, right = "", "", ""
    if name != "clean":
        asr = f"{100 * min(line.asr for line in group):.0f} to {100 * max(line.asr for line in group):.0f}"
        area = f"{auroc(clean, scores):.3f}"
        right = str(sum(line.suspected in TARGETS for line in group))
    spread = f"{min(scores):.2f} to {max(scores):.2f}"
    seconds = f"{median(line.seconds for line in group):.0f}"
    return [name, str(len(group)), asr, spread, area, *map(str, verdicts), right, seconds]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = {"make": make, "evade": evade, "scan": scan, "table": table}
    parser.add_argument("step", choices=steps)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    steps[given.step](given.folder)
