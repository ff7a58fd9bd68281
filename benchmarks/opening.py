"""Time to open a data set and to read from it, by number of rows.

    python benchmarks/opening.py [--rows 10000,1000000] [--format csv|parquet|tar] [--steps 200] [--batch-size 32]
                                 [--workers 1] [--json]
    python benchmarks/opening.py --rows 10000,12000000            # the size of CC12M: 1 GB of table and index
    python benchmarks/opening.py --rows 10000,100000 --format tar

The rows of a table share 64 small photos, each with a caption of its own; a tar holds an image for every row. The
index is built first ("index s"). Then a fresh process for each size makes all views of cleanclip in shuffled order:

- "first batch s" is the time from the start of the process, imports included, to its first batch;
- "step ms" is the median time between two batches, and "ratio" that divided by the first size's;
- "MB" is the peak memory of the process and its workers together, with shared pages counted once.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import multiprocessing
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path

PHOTOS = 64


def child(spec: str, cache: str, batch: int, workers: int, steps: int) -> None:
    """Open pairs, read some batches and print what that took, as JSON."""
    start = time.perf_counter()  # imports are part of the wait for the first batch
    import numpy as np
    from common import resident_memory
    from torch.utils.data import DataLoader

    from clipdefend.canvas import Canvas
    from clipdefend.data.pairs import open_pairs
    from clipdefend.models.load import load_model
    from clipdefend.objectives.objective import build_objective
    from clipdefend.training.plan import Plan
    from clipdefend.training.samples import Views, collate

    pairs = open_pairs(spec, cache=Path(cache))
    views = Views(
        pairs=pairs,
        canvas=Canvas(32),
        tokenize=load_model("tiny", "none").tokenizer,
        objective=build_objective("cleanclip"),
        seed=0,
    )

    class Steps:
        def __iter__(self):  # type: ignore[no-untyped-def]
            return Plan(rows=len(pairs), batch=batch, seed=0).epoch(0, np.empty(0, np.int64))

    loader = DataLoader(views, batch_sampler=Steps(), collate_fn=collate, num_workers=workers)  # type: ignore[arg-type]
    marks, largest = [], 0.0
    for step, made in enumerate(loader):
        if made.bad:
            raise RuntimeError(made.bad[0][1])
        marks.append(time.perf_counter())
        if step % 20 == 0 or step == steps:
            own = [process.pid for process in multiprocessing.active_children() if process.pid]
            largest = max(largest, resident_memory() + sum(map(resident_memory, own)))
        if step == steps:
            break
    gaps = [after - before for before, after in itertools.pairwise(marks)]
    first = marks[0] - start
    print(json.dumps({"first": first, "step": 1000 * statistics.median(gaps), "memory": largest}))


def make_table(folder: Path, rows: int, kind: str) -> Path:
    """Write a CSV or Parquet table of pairs, and the photos that its rows share."""
    from common import photo

    for number in range(PHOTOS):
        (folder / f"{number}.jpg").write_bytes(photo(number, 64))
    path = folder / f"{rows}.{kind}"
    if kind == "csv":
        with path.open("w", encoding="utf-8") as file:
            file.write("image,caption\n")
            file.writelines(f"{row % PHOTOS}.jpg,a photo of thing number {row}\n" for row in range(rows))
        return path
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("image", pa.string()), ("caption", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 100_000):
            part = range(start, min(start + 100_000, rows))
            columns = [[f"{r % PHOTOS}.jpg" for r in part], [f"a photo of thing number {r}" for r in part]]
            writer.write_table(pa.table(columns, schema=schema))
    return path


def make_tar(folder: Path, rows: int) -> Path:
    """Write a tar of pairs, an image and a text for each row."""
    from common import photo

    photos = [photo(number, 64) for number in range(PHOTOS)]
    path = folder / f"{rows}.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for row in range(rows):
            for ending, data in (("jpg", photos[row % PHOTOS]), ("txt", f"thing number {row}".encode())):
                member = tarfile.TarInfo(f"{row:09d}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Return a row for each size."""
    from clipdefend.data.pairs import open_pairs

    results: list[dict[str, object]] = []
    base = None
    for rows in [int(text) for text in args.rows.split(",")]:
        path = make_tar(folder, rows) if args.format == "tar" else make_table(folder, rows, args.format)
        start = time.perf_counter()
        open_pairs(str(path), cache=folder / "cache")
        index = time.perf_counter() - start
        options = [args.batch_size, args.workers, min(args.steps, rows // args.batch_size - 1)]
        command = [sys.executable, __file__, "--child", str(path), str(folder / "cache"), *map(str, options)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        base = base or found["step"]
        results.append(
            {
                "rows": rows,
                "format": args.format,
                "index s": index,
                "first batch s": found["first"],
                "step ms": found["step"],
                "ratio": found["step"] / base,
                "MB": found["memory"],
            }
        )
    return results


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], *map(int, sys.argv[4:]))
        return
    from common import arguments, carry_out

    parser = arguments(__doc__)
    parser.add_argument("--rows", default="10000,1000000", help="numbers of rows, separated by commas")
    parser.add_argument("--format", choices=("csv", "parquet", "tar"), default="csv")
    parser.add_argument("--steps", type=int, default=200, help="number of batches to read")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    carry_out(parser, measure)


if __name__ == "__main__":
    main()
