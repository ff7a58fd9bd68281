"""Cost of putting triggers onto images, and of the rows of a table that are not poisoned.

    python benchmarks/poison.py [--images 64] [--size 224] [--rounds 5] [--json]
    python benchmarks/poison.py --rows 10000,1000000 [--count 1500] [--size 224] [--rounds 3] [--json]

The first form compares each trigger with decoding and encoding the same images without one. Synthetic photos are held
in memory as JPEG. A round decodes, resizes and encodes them as PNG, once without a trigger and once with each; the
best round of each counts, so that other load on the machine matters little. "ratio" is the rate divided by that
without a trigger: 1 means that the trigger is free, and it is above 1 where PNG encodes the triggered images faster.

With ``--rows`` the poison command poisons the same number of pairs of tables of different lengths; "ratio" is the time
divided by the first table's. The rows share 64 photos, and the tables are indexed beforehand.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import photo
from PIL import Image
from torch import Tensor

from clipdefend.attacks import ATTACKS
from clipdefend.attacks.trigger import Trigger
from clipdefend.commands.poison import run_poison
from clipdefend.commands.shared.inputs import CACHE
from clipdefend.config import PoisonConfig, load_config
from clipdefend.console import Console
from clipdefend.data.pairs import open_pairs
from clipdefend.runs import Context

VARIANTS = {
    "badnet": {"sampling": "per-image", "place": "random"},
    "blended": {"sampling": "per-image"},
    "stripes-patch": {"sampling": "per-image", "place": "random"},
    "stripes-blend": {"sampling": "per-image"},
    "wanet": {"k": 224, "strength": 1.0},
}
"""Settings that cost more than a trigger's defaults, measured beside them."""

BATCH = 32
PHOTOS = 64


def decode(file: bytes, size: int) -> Tensor:
    """Decode an image and resize it: float in [0, 1], shape (3, size, size)."""
    picture = Image.open(io.BytesIO(file)).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).to(torch.float32).div(255)


def encode(image: Tensor) -> int:
    """Encode a float image as PNG; return its size in bytes."""
    file = io.BytesIO()
    pixels = image.mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(file, "PNG")
    return file.tell()


def run(files: list[bytes], size: int, trigger: Trigger | None) -> tuple[float, float]:
    """Return the time to decode, trigger and encode all images, and the part of it inside the trigger, in seconds."""
    start, inside = time.perf_counter(), 0.0
    for first in range(0, len(files), BATCH):
        images = torch.stack([decode(file, size) for file in files[first : first + BATCH]])
        if trigger is not None:
            before = time.perf_counter()
            images = trigger(images, range(first, first + len(images)))
            inside += time.perf_counter() - before
        for image in images:
            encode(image)
    return time.perf_counter() - start, inside


def measure_triggers(count: int, size: int, rounds: int) -> list[dict[str, object]]:
    """Return a row for no trigger and one for each trigger."""
    files = [photo(number, size + size // 8) for number in range(count)]
    entries: list[tuple[str, Trigger | None]] = [("none", None)]
    for name in ATTACKS.names():
        entries.append((name, Trigger.create(name, size=size, seed=0)))
        if name in VARIANTS:
            label = ", ".join(f"{key} {value}" for key, value in VARIANTS[name].items())
            entries.append((f"{name}: {label}", Trigger.create(name, VARIANTS[name], size=size, seed=0)))
    best = [(float("inf"), float("inf"))] * len(entries)
    for _ in range(rounds):
        for index, (_, trigger) in enumerate(entries):
            best[index] = min(best[index], run(files, size, trigger))
    plain = best[0][0]
    return [
        {
            "trigger": label,
            "images_per_second": round(count / seconds, 1),
            "ratio": round(plain / seconds, 3),
            "trigger_ms_per_image": round(1000 * inside / count, 3),
        }
        for (label, _), (seconds, inside) in zip(entries, best, strict=True)
    ]


def table(folder: Path, rows: int) -> Path:
    """Write a CSV table whose rows share the folder's photos."""
    path = folder / f"{rows}.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("image,caption\n")
        file.writelines(f"{row % PHOTOS}.jpg,a photo of thing number {row}\n" for row in range(rows))
    return path


def poison_rows(folder: Path, path: Path, count: int, size: int) -> float:
    """Run the poison command once; return the seconds that it took."""
    flags = {"data": str(path), "count": str(count), "image_size": str(size), "workers": "0"}
    config = load_config(PoisonConfig, flags=flags)
    out = folder / "out"
    start = time.perf_counter()
    run_poison.run(config, Context(runs=folder / "runs", out=out, console=Console(silent=True)))
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return seconds


def measure_rows(rows: list[int], count: int, size: int, rounds: int) -> list[dict[str, object]]:
    """Return a row for each length of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(PHOTOS):
            (folder / f"{number}.jpg").write_bytes(photo(number, size + size // 8))
        paths = [table(folder, length) for length in rows]
        for path in paths:
            open_pairs(str(path), cache=folder / "runs" / CACHE)
        best = [float("inf")] * len(rows)
        for _ in range(rounds):
            for index, path in enumerate(paths):
                best[index] = min(best[index], poison_rows(folder, path, count, size))
    return [
        {
            "rows": length,
            "poisoned": count,
            "seconds": round(seconds, 2),
            "ratio": round(seconds / best[0], 3),
        }
        for length, seconds in zip(rows, best, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=64, help="number of images to measure triggers on")
    parser.add_argument("--size", type=int, default=224, help="side of the images, in pixels")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds, of which the best counts")
    parser.add_argument(
        "--rows", help="numbers of rows, separated by commas: measure the poison command instead"
    )
    parser.add_argument("--count", type=int, default=1500, help="number of pairs to poison with --rows")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    if args.rows:
        lengths = [int(length) for length in args.rows.split(",")]
        rows = measure_rows(lengths, args.count, args.size, args.rounds)
    else:
        rows = measure_triggers(args.images, args.size, args.rounds)
    if args.json:
        json.dump(rows, sys.stdout, indent=2)
        return
    if args.rows:
        for row in rows:
            print("{rows:>12,} rows, {poisoned} poisoned: {seconds:>8} s, ratio {ratio}".format(**row))
        return
    print(f"{'trigger':55}{'images/s':>10}{'ratio':>8}{'trigger ms':>12}")
    for row in rows:
        print(
            f"{row['trigger']:55}{row['images_per_second']:>10}{row['ratio']:>8}{row['trigger_ms_per_image']:>12}"
        )


if __name__ == "__main__":
    main()
