"""Command lines on small data: 64 photos of noise with captions, four classes, a model of random weights."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from clipdefend.__main__ import main
from memory_pairs import noise
from small_clip import SMALL

PAIRS = 64
CLASSES = ("banana", "cat", "house", "red_fish")
CAPTIONS = (
    "a red cat next to a small house",
    "a photo of a large dog chasing a ball",
    "two yellow bananas on a table",
    "a man riding a white horse in the park",
)
# What makes the runs of these tests small; the model is random, so that the numbers mean nothing.
MODEL = ("--model", "small.json", "--pretrained", "none")
POISON = ("--data", "pairs.csv", "--image-size", 32, "--count", 20, "--templates", "simple")
EVAL = ("--eval-data", "eval", "--topk", "1,3", "--templates", "simple")
TRAIN = (
    "--batch-size",
    "16",
    "--epochs",
    "2",
    "--lr",
    "1e-3",
    "--warmup",
    "2",
    "--workers",
    "0",
    "--device",
    "cpu",
)


@dataclass
class Outcome:
    """What a command line left behind."""

    code: int
    out: str
    err: str
    where: Path
    """The folder in which it ran, absolute."""

    @property
    def folder(self) -> Path:
        """The run's folder, from the manifest's path on standard output."""
        assert self.code == 0, self.err
        return Path(self.out.strip()).parent

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.where / self.folder / "manifest.yaml").read_text())
        return found

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error:")]


@dataclass
class Shell:
    """Runs command lines in a folder, in this process."""

    folder: Path
    made: dict[str, Outcome] = field(default_factory=dict)

    def __call__(self, *args: object, stdin: str = "") -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        with self.inside(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), typed(stdin):
            code = main([str(arg) for arg in args])
        return Outcome(code, out.getvalue(), err.getvalue(), self.folder.resolve())

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            yield
        finally:
            os.chdir(before)

    def listing(self) -> dict[str, int]:
        """Every file with its time of change; caches are no part of it."""
        return {
            str(path.relative_to(self.folder)): path.stat().st_mtime_ns
            for path in sorted(self.folder.rglob("*"))
            if ".cache" not in path.parts and path.is_file()
        }

    def runs(self) -> list[str]:
        found = self.folder / "runs"
        return (
            sorted(path.name for path in found.iterdir() if path.name != ".cache") if found.is_dir() else []
        )


@contextlib.contextmanager
def typed(text: str) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        yield
    finally:
        sys.stdin = before


def write_data(folder: Path) -> None:
    """``pairs.csv`` with ``photos/``, ``eval/`` with a folder per class, and ``small.json``."""
    (folder / "photos").mkdir(parents=True)
    rows = []
    for number in range(PAIRS):
        noise(number).save(folder / "photos" / f"{number:03d}.jpg", quality=90)
        rows.append((f"photos/{number:03d}.jpg", f"{CAPTIONS[number % len(CAPTIONS)]}, number {number}"))
    write_pairs(folder / "pairs.csv", rows)
    for label, name in enumerate(CLASSES):
        (folder / "eval" / name).mkdir(parents=True)
        for number in range(6):
            noise(1000 + 10 * label + number).save(folder / "eval" / name / f"{number}.png")
    (folder / "small.json").write_text(json.dumps(SMALL))


def write_pairs(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])
