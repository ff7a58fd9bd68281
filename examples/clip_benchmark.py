"""Checks that CLIP_benchmark, which knows nothing of triggers, measures what clipdefend measures.

Needs ``pip install clip_benchmark`` in the same environment (1.6.2 with ``"numpy<2.4"``), and a finished run:

    python examples/clip_benchmark.py --from runs/004-defend-cleanerclip-blended --out interchange

It exports the evaluation images, lets CLIP_benchmark's own evaluator run on each exported set with the run's
``model/`` folder, merges all results with CLIP_benchmark's ``build``, compares the features of open_clip's model with
clipdefend's, and prints both programs' figures side by side. The exit code is 1 when two differ in the fourth decimal.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import open_clip
import torch
from torch.nn import functional as F

from clipdefend.checkpoint import load_model
from clipdefend.data.labelled import open_labelled
from clipdefend.model import ClipModel
from clipdefend.runs import Run

# Its loader has no samples for workers that are more than the shards.
ONE = ("--num_workers", 1)
SETS = {"clean": "ba@1", "triggered-asr": "asr@1", "triggered-ra": "ra@1"}


def call(module: str, *args: object) -> None:
    """Run a program; its own lines go to standard error."""
    command = [sys.executable, "-m", module, *map(str, args)]
    subprocess.run(command, check=True, stdout=sys.stderr)


@torch.no_grad()
def feature_difference(folder: Path, images: Path, n: int = 64) -> tuple[float, float]:
    """Largest differences of image and text features between open_clip's model of a folder and clipdefend's."""
    ours: ClipModel = load_model(f"local-dir:{folder}", None)
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    ours.eval()
    theirs.eval()
    labelled = open_labelled(str(images))
    pictures = [labelled.image(row) for row in range(min(n, len(labelled)))]
    pixels = torch.stack([preprocess(picture) for picture in pictures])
    raw = pixels * ours.std[0] + ours.mean[0]  # clipdefend's model normalises by itself
    image = F.normalize(theirs.encode_image(pixels), dim=-1) - ours.encode_image(raw)
    texts = [f"a photo of a {name}." for name in labelled.classes]
    text = F.normalize(theirs.encode_text(tokenizer(texts)), dim=-1) - ours.encode_text(ours.tokenize(texts))
    return float(image.abs().max()), float(text.abs().max())


def main() -> int:
    """Compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--from", dest="run", required=True, help="a defend or finetune-attack run")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("more", nargs="*", help="further flags of clipdefend evaluate, behind --")
    args = parser.parse_args()
    out, run = args.out, Run.open(args.run)
    places = ("--out", out / "evaluate", "--export", out / "sets", "--clip-benchmark", out / "ours.json")
    if not (out / "evaluate" / "manifest.yaml").is_file():  # else it goes on where it was stopped
        call("clipdefend", "evaluate", "--from", args.run, *places, *args.more)
    ours = Run.open(out / "evaluate").metrics
    model = run.output("model")
    rows, equal = [], True
    for name, metric in SETS.items():
        if metric not in ours:
            continue
        data = ("--dataset", f"wds/{name}", "--dataset_root", out / "sets" / "{dataset}")
        weights = ("--model", f"local-dir:{model}", "--pretrained", "none")
        result = out / f"clip_benchmark-{name}.json"
        call("clip_benchmark.cli", "eval", *data, *weights, "--no_amp", *ONE, "--output", result, "--quiet")
        theirs = json.loads(result.read_text())["metrics"]
        for k in (1, 5):
            pair = ours.get(metric.replace("@1", f"@{k}")), theirs[f"acc{k}"]
            if pair[0] is not None:
                same = f"{pair[0]:.4f}" == f"{pair[1]:.4f}"
                equal &= same
                label = metric.replace("@1", f"@{k}").upper()
                rows.append(
                    f"| {label} | {pair[0]:.4f} | {pair[1]:.4f} | {'equal' if same else 'DIFFERENT'} |"
                )
    call("clip_benchmark.cli", "build", *sorted(out.glob("*.json")), "--output", out / "table.csv")
    with (out / "table.csv").open(newline="") as file:
        merged = list(csv.DictReader(file))
    print("| | clipdefend | CLIP_benchmark | |\n|---|---:|---:|---|", *rows, sep="\n")
    print(f"\nCLIP_benchmark's build merged {len(merged)} results into {len(merged[0])} columns.")
    image, text = feature_difference(model, out / "sets" / "clean")
    print(
        f"Features of open_clip's model and clipdefend's differ by at most {image:.1e} (images), {text:.1e} (texts)."
    )
    return 0 if equal and max(image, text) < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
