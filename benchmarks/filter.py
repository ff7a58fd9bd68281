"""Cost of ``filter`` beside encoding the same images and captions from memory, and its memory by the number of pairs.

    python benchmarks/filter.py [--model RN50] [--images 256] [--batch-size 32] [--turns 3]
                                [--clock wall|processor] [--json]
    python benchmarks/filter.py --rows 10000,1000000 [--dimension 64] [--pool 2048] [--json]

The first form: JPEGs of COCO's size lie on disk. The floor holds their pixels and tokens in memory and does nothing but
encode both. Ours reads and decodes the files once, encodes images and captions, keeps the embeddings on disk, and
computes all scores that need no other model. "of floor" is its images/s over those of the floor in the same turn, the
median over the turns.

The second form: pairs whose embeddings are made up, all else as in the command: the draw, the
files of embeddings, all scores, the selection, AUROC with intervals, and the table of rows. Each size has a process of
its own; "MB" is its largest resident memory, "ratio" that over the first size's, "rows/s" what it does in a second of
processor time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import (
    CLOCKS,
    arguments,
    carry_out,
    median_turn,
    photo,
    synthetic_captions,
    take_turns,
)
from PIL import Image

from clipdefend.canvas import Canvas
from clipdefend.commands.filter.judged_pairs import Truth, draw_rows
from clipdefend.commands.filter.judging import Judging, Spool, build_scores
from clipdefend.commands.filter.outcome import conclude
from clipdefend.config import FilterConfig
from clipdefend.data.bad import BadRows
from clipdefend.data.pairs import Pairs, open_pairs
from clipdefend.draws import generator
from clipdefend.evaluation import pair_embeddings
from clipdefend.evaluation.cache import Cache
from clipdefend.evaluation.encoding import Encoded, Reading
from clipdefend.evaluation.pair_embeddings import PairEmbeddings
from clipdefend.models.clip import ClipModel
from clipdefend.models.load import load_model

FLOOR = "encoding from memory"
SCORES = ("dao", "slof", "kdist", "lid", "clipscore", "loss")
POISONED = 100


def judge(pairs: Pairs, model: ClipModel, folder: Path, batch: int, pool: int) -> None:
    """What the command does with open pairs and a loaded model."""
    config = FilterConfig(scores=SCORES, workers=0, pool=pool)
    embeddings = PairEmbeddings(
        model=model,
        pairs=pairs,
        rows=range(len(pairs)),
        reading=Reading(canvas=Canvas(model.image_size), batch_size=batch),
        cache=Cache(folder / "embeddings"),
        texts=True,
        bad=BadRows(),
    )
    neighbours = min(config.neighbours, len(pairs) // 4)
    judging = Judging(
        scores=build_scores(config.scores, neighbours),
        suspect=embeddings,
        clean=None,
        trusted=None,
        drawn=draw_rows(pairs, 0, config.pool),
        references=config.pool,
        scale=100.0,
    )
    embeddings.make()
    spool = Spool(folder / "scores", embeddings.count)
    judging.judge(spool)
    poisoned = np.arange(0, len(pairs), max(1, len(pairs) // POISONED))
    truth = Truth(None, poisoned, np.empty(0, np.int64))  # type: ignore[arg-type]  # which run says so is not asked
    conclude(config, SCORES, spool, truth, folder)


class MadeUp(Pairs):
    """Pairs without images: their captions are made when they are asked for."""

    spec = recognised = fingerprint = "made up"

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def caption(self, row: int) -> str:
        return f"thing number {row}"

    def image(self, row: int) -> Image.Image:
        raise AssertionError("the embeddings are made up: no image is read")

    def image_ref(self, row: int) -> str:
        return f"{row}.jpg"


def child(count: int, dimension: int, pool: int) -> None:
    """Judge made-up embeddings and print memory and speed."""
    torch.set_num_threads(1)
    model = load_model("tiny", "none")

    def made_up(_model, _pairs, rows, reading, _bad, _report=None):  # type: ignore[no-untyped-def]
        for start in range(0, len(rows), reading.batch_size):
            part = rows[start : start + reading.batch_size]
            vectors = generator(0, "image", int(part[0])).normal(size=(len(part), dimension))
            yield Encoded(part, torch.from_numpy(vectors).float(), None)

    def made_up_texts(tokens: torch.Tensor) -> torch.Tensor:
        vectors = generator(0, "text", int(tokens.sum())).normal(size=(len(tokens), dimension))
        return torch.nn.functional.normalize(torch.from_numpy(vectors).float(), dim=1)

    pair_embeddings.encode = made_up
    model.encode_text = made_up_texts  # type: ignore[method-assign]
    model._tokenize = lambda texts: torch.tensor([[len(text)] for text in texts])
    start = CLOCKS["processor"]()
    with tempfile.TemporaryDirectory() as folder:
        judge(MadeUp(count), model, Path(folder), 256, pool)
    seconds = CLOCKS["processor"]() - start
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << 20 if sys.platform == "darwin" else 1 << 10
    )
    print(json.dumps({"MB": megabytes, "rows/s": count / seconds}))


def by_size(args: argparse.Namespace) -> list[dict[str, object]]:
    found = []
    for count in [int(text) for text in args.rows.split(",")]:
        command = [sys.executable, __file__, "--child", str(count), str(args.dimension), str(args.pool)]
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append({"rows": count, "dimension": args.dimension, **json.loads(line)})
    return [{**row, "ratio": row["MB"] / found[0]["MB"]} for row in found]


def beside_encoding(args: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    lines = ["image,caption"]
    for number, caption in enumerate(synthetic_captions(args.images)):
        (folder / f"{number}.jpg").write_bytes(photo(number, 500, 375))
        lines.append(f"{number}.jpg,{caption}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    pairs = open_pairs(str(folder / "pairs.csv"), cache=folder / "cache")
    model = load_model(args.model, "none").eval()
    canvas, step = Canvas(model.image_size), args.batch_size
    starts = range(0, len(pairs), step)
    rows = [range(start, min(start + step, len(pairs))) for start in starts]
    pixels = [torch.stack([canvas(pairs.image(row)) for row in part]) for part in rows]
    tokens = [model.tokenize(pairs.captions(part)) for part in rows]
    turn = itertools.count()

    @torch.no_grad()
    def encode() -> None:
        for images, captions in zip(pixels, tokens, strict=True):
            model.encode_image(images)
            model.encode_text(captions)

    def ours() -> None:
        place = folder / f"turn-{next(turn)}"
        place.mkdir()
        judge(pairs, model, place, step, args.pool)

    work: dict[str, Callable[[], None]] = {FLOOR: encode, "clipdefend filter": ours}
    times = take_turns(work, args.turns, CLOCKS[args.clock])
    floor, own = times.values()
    middle = median_turn(own, floor)
    return [
        {
            "what": name,
            "model": args.model,
            "images/s": args.images / seconds[middle],
            "of floor": floor[middle] / seconds[middle],
        }
        for name, seconds in times.items()
    ]


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    return by_size(args) if args.rows else beside_encoding(args, folder)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*map(int, sys.argv[2:5]))
        return
    parser = arguments(__doc__)
    parser.add_argument("--model", default="RN50")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--rows", help="numbers of made-up pairs, with commas")
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--pool", type=int, default=FilterConfig().pool)
    carry_out(parser, measure)


if __name__ == "__main__":
    main()
