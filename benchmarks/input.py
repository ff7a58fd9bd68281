"""Speed of the input pipeline, compared with plain decoding by the same number of workers.

    python benchmarks/input.py [--images 1000] [--width 500] [--height 375] [--workers 1] [--turns 5]
                               [--clock wall|processor] [--json]

JPEGs of COCO's size lie on disk. The floors are PyTorch's own loader over the same files with nothing but Pillow: they
open, resize, crop and stack to the same uint8 tensors that training needs; for cleanclip torchvision's AutoAugment
makes the second view. clipdefend reads the same images through its index, from a CSV file and from a tar, checks them,
makes the same views, draws the augmented captions, tokenises and collates.

"ratio" is the rate divided by that of the floor with the same image views in the same turn. ``--clock processor``
counts the time of this process and its workers only, and so ignores other load on the machine.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tarfile
from collections.abc import Callable
from pathlib import Path

from common import CLOCKS, arguments, carry_out, median_ratio, photo, synthetic_captions, take_turns
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import AutoAugment
from torchvision.transforms.functional import pil_to_tensor

from clipdefend.canvas import Canvas
from clipdefend.data.pairs import Pairs, open_pairs
from clipdefend.models.load import load_model
from clipdefend.objectives.objective import build_objective
from clipdefend.training.plan import PlannedRow
from clipdefend.training.samples import Views, collate


class Bare(Dataset[tuple[Tensor, ...]]):
    """The same files read with Pillow alone, and with torchvision for a second view.

    Args:
        files: JPEG files.
        size: side of the model's input, in pixels.
        method: "ft" for one view of an image, "cleanclip" for two.
    """

    def __init__(self, files: list[Path], size: int, method: str) -> None:
        self.files, self.size = files, size
        self.augment = AutoAugment() if method == "cleanclip" else None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, ...]:
        with Image.open(self.files[row]) as file:
            image = file.convert("RGB")
        scale = self.size / min(image.size)
        width, height = (round(side * scale) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        image = image.crop((left, top, left + self.size, top + self.size))
        views = [image] if self.augment is None else [image, self.augment(image)]
        return tuple(pil_to_tensor(view) for view in views)


def make_files(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """Write photos, and beside them a CSV file and a tar of the same pairs; return the photos."""
    files = []
    with (
        open(folder / "pairs.csv", "w", encoding="utf-8") as table,
        tarfile.open(folder / "pairs.tar", "w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        table.write("image,caption\n")
        for row, caption in enumerate(synthetic_captions(count)):
            content = photo(row, width, height)
            files.append(folder / f"{row:06d}.jpg")
            files[-1].write_bytes(content)
            table.write(f"{row:06d}.jpg,{caption}\n")
            for name, data in ((f"{row:06d}.jpg", content), (f"{row:06d}.txt", caption.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return files


def our_reader(pairs: Pairs, method: str, size: int, batch: int, workers: int) -> Callable[[], None]:
    """Return a call that reads all pairs as training by a method would."""
    views = Views(
        pairs=pairs,
        canvas=Canvas(size),
        tokenize=load_model("tiny", "none").tokenizer,
        objective=build_objective(method),
        seed=0,
    )
    items = [PlannedRow(row, subset=False) for row in range(len(pairs))]
    batches = [items[first : first + batch] for first in range(0, len(items), batch)]
    return reader(DataLoader(views, batch_sampler=batches, collate_fn=collate, num_workers=workers))


def reader(loader: DataLoader[Tensor]) -> Callable[[], None]:
    """Return a call that reads everything that a loader yields."""

    def read() -> None:
        for _ in loader:
            pass

    return read


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Return a row for each floor, and for clipdefend with each method and format."""
    files = make_files(folder, args.images, args.width, args.height)
    work: dict[str, Callable[[], None]] = {}
    floors = {}
    for method in ("ft", "cleanclip"):
        floor = f"Pillow, views of {method}"
        bare = Bare(files, args.size, method)
        work[floor] = reader(DataLoader(bare, batch_size=args.batch_size, num_workers=args.workers))
        floors[floor] = floor
        for kind in ("csv", "tar"):
            pairs = open_pairs(str(folder / f"pairs.{kind}"), cache=folder / "cache")
            name = f"clipdefend, {method}, {kind}"
            work[name] = our_reader(pairs, method, args.size, args.batch_size, args.workers)
            floors[name] = floor
    times = take_turns(work, args.turns, CLOCKS[args.clock])
    return [
        {
            "pipeline": name,
            "workers": args.workers,
            "images/s": args.images / statistics.median(seconds),
            "ratio": median_ratio(times[floors[name]], seconds),
        }
        for name, seconds in times.items()
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--size", type=int, default=224, help="side of the model's input, in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    carry_out(parser, measure)


if __name__ == "__main__":
    main()
