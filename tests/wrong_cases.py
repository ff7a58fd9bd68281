"""Wrong surroundings and inputs, drawn at random: flags, files, streams, signals and environments.

``draw(number)`` gives the same case for the same number.
"""

from __future__ import annotations

import errno
import io
import os
import random
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipdefend.cli.invocation import DOCTOR, invocation_class, option_leaves
from clipdefend.config import COMMANDS, leaves
from clipdefend.config.coerce import members
from clipdefend.distributed.launch import LAUNCHED, VARIABLES
from clipdefend.interruption import SIGNALS

TRAIN = "--epochs 1 --batch-size 16 --lr 1e-3 --warmup 1 --workers 0 --device cpu"
MODEL = "--model small.json --pretrained none"
LINES = {
    "poison": "poison --data pairs.csv --count 4 --image-size 32 --templates simple --workers 0",
    "finetune-attack": f"finetune-attack {MODEL} {TRAIN} --eval-every 0",
    "augment": "augment --data pairs.csv --n 3",
    "defend": f"defend --method ft {TRAIN} --eval-every 0 --val-pairs 0",
    "evaluate": "evaluate --eval-data eval --templates simple --topk 1 --workers 0 --device cpu",
    "report": "report --embedding none",
}
"""Command lines that work in the prepared folder, in a second or so each."""

TEXTS = (
    *("", " ", "-", "--", "0", "-1", "1e-5", "nan", "inf", "1e999", "9" * 30, "0x10", "true", "none", "null"),
    *(
        "banana",
        "builtin",
        "builtin:",
        "latest",
        "/",
        "..",
        "/proc/self/mem",
        "/dev/null",
        "pairs.csv",
        "runs",
    ),
    *(
        "\u732b",
        "caf\u00e9",
        "\udcff",
        "a\nb",
        "\x1b[2J",
        "%s%n",
        "{0}",
        "a" * 5000,
        "x=y",
        "=",
        "train.lr=",
        "a.b.c=[",
        "*x",
    ),
    *(
        "runs/001-poison-badnet",
        "001-poison-badnet",
        "nowhere/manifest.yaml",
        "hf-hub:",
        "local-dir:",
        "torchvision:",
    ),
    *("{00..99}.tar", "s3://", "http://", "1,2,,3", "0.1@0", "0.1@1,0.2@1", "$HOME", "~"),
)
SPOILED = ("pairs.csv", "photos/000.jpg", "small.json", "runs/001-poison-badnet/manifest.yaml", "given.yaml")
VALUES = ("0", "1", "2", "-1", "", "x", "1 ", "99999", "localhost")


@dataclass
class Case:
    """One thing that somebody does.

    Attributes:
        args: the command line.
        real: whether the command is run; otherwise one that only makes a run takes its place.
        environment: variables to set.
        spoil: file of the prepared folder -> what is done to it.
        signals: sent while the (unreal) command is under way.
        state: whether it has a resume state by then.
        streams: stream -> what is wrong with it.
        stdin: what standard input holds.
    """

    args: list[str]
    real: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    spoil: dict[str, int] = field(default_factory=dict)
    signals: list[signal.Signals] = field(default_factory=list)
    state: bool = False
    streams: dict[str, str] = field(default_factory=dict)
    stdin: str = ""


def draw(number: int) -> Case:
    """The case of a number, of one or two kinds of trouble."""
    rng = random.Random(number)
    case = Case(args=_line(rng))
    for kind in rng.sample((_flags, _files, _streams, _signals, _environment), rng.choice((1, 1, 2))):
        kind(case, rng)
    if not case.real and rng.random() < 0.3:
        case.args.append("--dry-run")
    return case


def _line(rng: random.Random) -> list[str]:
    return LINES[rng.choice(list(LINES))].split()


def _flags(case: Case, rng: random.Random) -> None:
    """Some flags with values that hardly fit, some misspelt, cut off or doubled."""
    command = rng.choice([*COMMANDS, DOCTOR])
    case.args = [command]
    known = (*option_leaves(command).values(), *leaves(invocation_class(command)).values())
    for leaf in rng.sample([leaf for leaf in known if leaf.spec.flags], rng.randint(1, 4)):
        flag = rng.choice(leaf.spec.flags)
        if rng.random() < 0.1:
            place = rng.randrange(2, len(flag) + 1)
            flag = flag[:place] + rng.choice("xz-=") + flag[place:]
        case.args.append(flag)
        if bool not in members(leaf.annotation) and rng.random() < 0.95:
            case.args.append(rng.choice(TEXTS))
    if rng.random() < 0.3:
        case.args.insert(rng.randint(1, len(case.args)), rng.choice(TEXTS))
    if command == DOCTOR:  # whose examination is no matter of the command line
        case.args.append("--dry-run")
    case.stdin = rng.choice(("", "runs/001-poison-badnet\n", "\udcff\n", "a\nb\nc\n", "x" * 5000))


def _files(case: Case, rng: random.Random) -> None:
    """A real command on a damaged file."""
    case.args = _line(rng)
    case.real = True
    case.spoil = {name: rng.randrange(2**31) for name in rng.sample(SPOILED, rng.choice((1, 1, 2)))}
    if "given.yaml" in case.spoil:
        case.args += ["--config", "given.yaml"]


def _streams(case: Case, rng: random.Random) -> None:
    for name in rng.sample(("stdin", "stdout", "stderr"), rng.choice((1, 1, 2))):
        case.streams[name] = rng.choice(("none", "closed", "ascii", "EPIPE", "ENOSPC", "EBADF", "EIO"))
    if rng.random() < 0.3:
        case.args = [case.args[0], "-"]


def _signals(case: Case, rng: random.Random) -> None:
    case.args = LINES[rng.choice(list(LINES))].split() if case.real else case.args
    case.real, case.spoil = False, {}
    case.signals = [rng.choice(SIGNALS) for _ in range(rng.choice((1, 2, 3)))]
    case.state = rng.random() < 0.5


def _environment(case: Case, rng: random.Random) -> None:
    names = [*LAUNCHED, *VARIABLES]
    for name in rng.sample(names, rng.randint(1, 4)):
        case.environment[name] = rng.choice(VALUES)
    if len(set(VARIABLES) & {name for name, value in case.environment.items() if value}) == len(VARIABLES):
        del case.environment["LOCAL_RANK"]  # or it would wait for the other processes
    for name in ("COLUMNS", "TERM", "NO_COLOR", "CI", "CLIPDEFEND_RUNS", "TMPDIR", "LANG", "HOME"):
        if rng.random() < 0.3:
            case.environment[name] = rng.choice((*VALUES, "dumb", "pairs.csv", "nowhere/at/all", "/proc"))


def spoil(file: Path, seed: int) -> None:
    """Damage a file: cut it, empty it, change bytes, repeat it, remove it or put a folder or a link in its place."""
    rng = random.Random(seed)
    data = bytearray(file.read_bytes()) if file.is_file() else bytearray(b"seed: 1\ntrain: {lr: 1e-3}\n")
    way = rng.randrange(8)
    file.unlink(missing_ok=True)
    if way == 0:
        file.write_bytes(data[: rng.randrange(len(data) + 1)])
    elif way == 1:
        file.write_bytes(rng.randbytes(rng.randrange(2000)))
    elif way in (2, 3):
        for _ in range(rng.choice((1, 5, 50))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        file.write_bytes(data)
    elif way == 4:
        lines = bytes(data).split(b"\n")
        rng.shuffle(lines)
        file.write_bytes(b"\n".join(lines))
    elif way == 5:
        file.mkdir()
    elif way == 6:
        file.symlink_to(file.name)
    else:
        file.write_bytes(data * 2)


class Broken(io.StringIO):
    """A stream that fails as the system's do."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def _fail(self, *_: Any) -> Any:
        raise OSError(self.number, os.strerror(self.number))

    read = readline = write = flush = _fail


def stream(trouble: str, text: str) -> Any:
    """A standard stream with a trouble of its own."""
    if trouble == "none":
        return None
    if trouble == "ascii":
        return io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogateescape")), encoding="ascii")
    if trouble == "closed":
        closed = io.StringIO()
        closed.close()
        return closed
    return Broken(getattr(errno, trouble))


def copy(folder: Path, target: Path) -> None:
    """The prepared folder once more, for a case to spoil."""
    shutil.copytree(folder, target, symlinks=True)
