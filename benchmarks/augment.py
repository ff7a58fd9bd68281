"""Speed and memory use of sub-caption generation, compared with plain spaCy and with ``sng_parser.parse``.

    python benchmarks/augment.py [--captions FILE] [--n 4000] [--turns 5] [--memory 20000]

Without ``--captions`` the captions are synthetic. The contestants take turns on the same captions, in one process on
one thread. Figures are processor time, and ratios are medians over the turns, so that other load on the machine hardly
affects them.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from common import resident_memory, synthetic_captions

from clipdefend.augment.eda import Eda
from clipdefend.augment.reader import MODEL
from clipdefend.augment.subcaptions import SubCaptioner
from clipdefend.draws import text_random


def seconds(work: Callable[[], Any]) -> float:
    """Return the processor time that some work takes: on one thread, the wall-clock time of an idle machine."""
    start = time.process_time()
    work()
    return time.process_time() - start


def contestants(captions: list[str], captioner: SubCaptioner) -> dict[str, Callable[[], Any]]:
    """Return what is timed by its label: sub-captions first, then spaCy with fewer and fewer parts, then sng_parser."""
    import sng_parser
    import spacy

    whole = spacy.load(MODEL)
    without_ner = spacy.load(MODEL, exclude=["ner"])
    same = spacy.load(MODEL, exclude=["ner", "attribute_ruler", "lemmatizer"])
    single = sng_parser.Parser(model=MODEL)
    few = captions[: max(100, len(captions) // 8)]  # sng_parser is so slow that it gets an eighth

    def pipe(nlp: Any) -> Callable[[], None]:
        def run() -> None:
            with nlp.memory_zone():
                for _ in nlp.pipe(captions, batch_size=256):
                    pass

        return run

    def ours() -> None:
        for i, parsed in enumerate(captioner.parse(captions)):
            captioner.draw(parsed, text_random(1, "subcaptions", 0, i))

    return {
        "sub-captions, parsed and drawn": ours,
        "nlp.pipe, the whole model": pipe(whole),
        "nlp.pipe without ner": pipe(without_ner),
        "nlp.pipe, only what sub-captions use": pipe(same),
        f"sng_parser.parse one by one ({len(few)})": lambda: [single.parse(caption) for caption in few],
    }


def measure_speed(captions: list[str], turns: int) -> None:
    """Time the contestants and print their rates, then the rates of drawing alone and of EDA."""
    captioner = SubCaptioner()
    work = contestants(captions, captioner)
    sizes = {name: len(captions) for name in work}
    alone = next(name for name in work if name.startswith("sng"))
    sizes[alone] = max(100, len(captions) // 8)
    for run in work.values():  # warm up
        run()
    rates: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(turns):
        for name, run in work.items():
            rates[name].append(sizes[name] / seconds(run))
    ours = rates[next(iter(work))]
    for name, rate in rates.items():
        ratio = statistics.median(mine / other for mine, other in zip(ours, rate, strict=True))
        print(
            f"{statistics.median(rate):8.0f} captions/s  {name}; sub-captions run at {ratio:.2f} times this rate"
        )
    parsed = list(captioner.parse(captions))
    rate = len(parsed) / seconds(
        lambda: [captioner.draw(p, text_random(1, 1, i)) for i, p in enumerate(parsed)]
    )
    print(f"{rate:8.0f} captions/s  drawing sub-captions of captions that are parsed already")
    eda = Eda()
    rate = len(captions) / seconds(lambda: [eda(c, text_random(1, "eda", i)) for i, c in enumerate(captions)])
    print(f"{rate:8.0f} captions/s  EDA with a new random generator for each caption")
    rng = random.Random(0)
    rate = len(captions) / seconds(lambda: [eda(c, rng) for c in captions])
    print(f"{rate:8.0f} captions/s  EDA with one random generator")


def distinct_captions(captions: Iterable[str], n: int) -> Iterator[str]:
    """Yield ``n`` captions, each with a word of its own: any cache by caption or by word shows as growing memory."""
    for i, caption in enumerate(islice(cycle(captions), n)):
        yield f"{caption} z{i}q"


def measure_memory(captions: list[str], n: int) -> None:
    """Print the memory of this process while it makes sub-captions of ``n`` captions."""
    captioner = SubCaptioner()
    marks = {max(1, n * step // 10) for step in range(1, 11)} | {1000}
    print("captions read: resident memory in MB")
    for i, parsed in enumerate(captioner.parse(distinct_captions(captions, n)), 1):
        captioner.draw(parsed, text_random(1, i))
        if i in marks:
            print(f"{i:9d}: {resident_memory():.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captions", type=Path, help="UTF-8 text file with one caption per line")
    parser.add_argument(
        "--n", type=int, default=4000, help="number of captions to measure speed on; 0 skips it"
    )
    parser.add_argument("--turns", type=int, default=5, help="number of turns that each contestant takes")
    parser.add_argument(
        "--memory", type=int, default=20_000, help="number of captions to measure memory on; 0 skips it"
    )
    args = parser.parse_args()
    if args.captions:
        lines = args.captions.read_text("utf-8").splitlines()
        captions = [line.strip() for line in lines if line.strip()]
    else:
        captions = synthetic_captions(max(args.n, 1000))
    if args.n:
        measure_speed(list(islice(cycle(captions), args.n)), args.turns)
    if args.memory:
        measure_memory(captions, args.memory)


if __name__ == "__main__":
    main()
