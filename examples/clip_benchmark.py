"""Check that CLIP_benchmark, which knows nothing about triggers, measures what clipdefend measures.

    python examples/clip_benchmark.py --from runs/004-defend-cleanerclip-blended --out interchange

It needs ``pip install clip_benchmark`` in the same environment (1.6.2 with ``"numpy<2.4"``) and a finished run.

The script exports the evaluation images, runs CLIP_benchmark's own evaluator on each exported set with the run's
``model/`` folder, merges all results by CLIP_benchmark's ``build``, compares the features of open_clip's model with
clipdefend's, and prints the figures of both programs side by side. The exit code is 1 where two figures differ in the
fourth decimal by more images than those whose two best classes are within 1e-6, where rounding in float32 decides.
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

from clipdefend.canvas import Canvas
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.evaluation.class_texts import class_embeddings
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model
from clipdefend.runs import Run

# Its loader leaves workers without samples where they outnumber the shards.
ONE = ("--num_workers", 1)
SETS = {"clean": "ba@1", "triggered-asr": "asr@1", "triggered-ra": "ra@1"}


def call(module: str, *args: object) -> None:
    """Run a Python module as a program, with its output on standard error."""
    command = [sys.executable, "-m", module, *map(str, args)]
    subprocess.run(command, check=True, stdout=sys.stderr)


@torch.no_grad()
def feature_difference(folder: Path, images: Path, n: int = 64) -> tuple[float, float]:
    """Return the largest differences between the features of open_clip and of clipdefend, of images and of texts.

    Args:
        folder: a model, read by both.
        images: an exported set.
        n: number of its images to compare.
    """
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


@torch.no_grad()
def near_ties(folder: Path, images: Path) -> int:
    """Return the number of images whose class and its best rival are less than 1e-6 apart, where rounding decides."""
    model, labelled = load_model(f"local-dir:{folder}", None).double().eval(), open_labelled(str(images))
    classes = class_embeddings(model, labelled.classes, labelled.templates or []).double()
    canvas, found = Canvas(model.image_size), 0
    for rows in torch.arange(len(labelled)).split(256):
        pixels = torch.stack([canvas(labelled.image(int(row))) for row in rows]).double() / 255
        vectors = F.normalize(model.clip.encode_image((pixels - model.mean) / model.std), dim=-1)
        cosines, own = vectors @ classes.T, torch.from_numpy(labelled.labels)[rows][:, None]
        gap = cosines.gather(1, own)[:, 0] - cosines.scatter(1, own, -2.0).max(dim=1).values
        found += int((gap.abs() < 1e-6).sum())
    return found


def compare(label: str, ours: float, theirs: float, n: int, ties: int) -> tuple[str, bool]:
    """Return a row of the table, and whether the figures agree to four decimals except for near ties."""
    other = round(abs(ours - theirs) * n)
    verdict = (
        "equal" if f"{ours:.4f}" == f"{theirs:.4f}" else f"{other} of {n} images differ, {ties} near a tie"
    )
    return f"| {label} | {ours:.4f} | {theirs:.4f} | {verdict} |", verdict == "equal" or other <= ties


def main() -> int:
    """Compare the two programs; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--from", dest="run", required=True, help="a defend or finetune-attack run")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("more", nargs="*", help="further flags of clipdefend evaluate, after --")
    args = parser.parse_args()
    out, run = args.out, Run.open(args.run)
    places = ("--out", out / "evaluate", "--export", out / "sets", "--clip-benchmark", out / "ours.json")
    if not (out / "evaluate" / "manifest.yaml").is_file():  # or an earlier call has done this
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
        if not result.is_file():
            call(
                "clip_benchmark.cli", "eval", *data, *weights, "--no_amp", *ONE, "--output", result, "--quiet"
            )
        theirs = json.loads(result.read_text())["metrics"]
        ties = near_ties(model, out / "sets" / name)
        for k in (1, 5):
            value, label = ours.get(metric.replace("@1", f"@{k}")), metric.replace("@1", f"@{k}").upper()
            if value is not None:
                n = int(ours["n_clean" if name == "clean" else "n_triggered"])
                row, same = compare(label, value, theirs[f"acc{k}"], n, ties if k == 1 else 0)
                rows.append(row)
                equal &= same
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
