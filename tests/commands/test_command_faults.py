"""Wrong input at the level of the commands: exit code 2, one line that says what to do, no half-written run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, load_file, save

from command_lines import EVAL, MODEL, POISON, TRAIN, Outcome, Shell, write_pairs
from memory_pairs import noise
from small_clip import SMALL

POISON_LINE = ("poison", *POISON)
ATTACK = ("finetune-attack", *MODEL, *EVAL, *TRAIN, "--epochs", 1)
DEFEND = ("defend", *EVAL, *TRAIN, "--epochs", 1, "--n-aug", 10)
EVALUATE = ("evaluate", *EVAL, "--workers", 0)
WEIGHTS = "runs/002-finetune-attack-badnet/model/open_clip_model.safetensors"
AUGMENT = "003-augment-scene-graph"
VICTIM = ("--from", "002-finetune-attack-badnet")

# Everything that a command line can say wrong about data and runs that are right.
CASES: list[tuple[tuple[object, ...], str]] = [
    # poison
    ((*POISON_LINE, "--count", 65), "65 pairs are to be poisoned, and there are 64"),
    ((*POISON_LINE[:5], "--rate", 0.001), "0 pairs are to be poisoned"),
    ((*POISON_LINE, "--target", " "), "target"),
    (("poison", "--target", "bananna", "--count", 20), "Did you mean 'banana'?"),
    ((*POISON_LINE, "--label-consistent"), "20 pairs are to be changed, but only 16 name 'banana'"),
    ((*POISON_LINE, "--label-consistent", "--target", "unicorn"), "'unicorn'"),
    ((*POISON_LINE, "--captions", "natural", "--target", "unicorn"), "No caption names 'unicorn'"),
    ((*POISON_LINE, "--attack", "blendd"), "Did you mean 'blended'?"),
    ((*POISON_LINE, "--set", "attack.pixel=3"), "attack 'badnet' has no parameter 'pixel'"),
    ((*POISON_LINE, "--set", "attack.pixels=many"), "attack 'badnet': pixels"),
    ((*POISON_LINE, "--attack", "blended", "--set", "attack.alpha=7"), "attack 'blended': alpha"),
    ((*POISON_LINE, "--templates", "nowhere.txt"), "nowhere.txt"),
    ((*POISON_LINE, "--templates", "small.json"), "small.json"),
    ((*POISON_LINE, "--data", "nowhere.csv"), "nowhere.csv"),
    ((*POISON_LINE, "--data", "small.json"), "small.json"),
    ((*POISON_LINE, "--data", "empty.csv"), "empty.csv"),
    ((*POISON_LINE, "--data", "noimages.csv"), "noimages.csv"),
    ((*POISON_LINE, "--data", "escape.csv"), "escape.csv"),
    ((*POISON_LINE, "--data", "bad.csv"), "--max-bad 0.01"),
    ((*POISON_LINE, "--csv-caption-key", "words"), "words"),
    ((*POISON_LINE, "--data", "builtin:evil"), "Built in are: builtin:train"),
    # finetune-attack
    ((*ATTACK, "--from", AUGMENT), "is of kind 'augment'; 'poison' is needed here"),
    ((*ATTACK, "--model", "larger.json"), "poison again with --for larger.json or --image-size 48"),
    ((*ATTACK, "--model", "RN5O"), "Did you mean 'RN50'?"),
    ((*ATTACK, "--model", "nowhere.json"), "nowhere.json not found"),
    ((*ATTACK, "--model", "broken.json"), "broken.json is not a model configuration"),
    ((*ATTACK, "--model", "local-dir:photos"), "has neither open_clip_config.json nor config.json"),
    ((*ATTACK, "--pretrained", "nowhere.pt"), "'nowhere.pt' not found"),
    ((*ATTACK, "--pretrained", "photos"), "'photos' not found"),
    ((*ATTACK, "--pretrained", "wrong shape.pt"), "of another shape"),
    ((*ATTACK, "--pretrained", "evil.pt"), "was not opened"),
    ((*ATTACK, "--pretrained", "small.json"), "is a JSON file"),
    ((*ATTACK, "--method", "cleanerclip"), "use --method ft, ssl, cleanclip or par"),
    ((*ATTACK, "--method", "cleanclp"), "Did you mean 'cleanclip'?"),
    ((*ATTACK, "--set", "terms.slsl.weight=1"), "Unknown term 'slsl'"),
    ((*ATTACK, "--set", "terms.mmcl.wieght=1"), "Did you mean 'weight'?"),
    ((*ATTACK, "--set", "terms.mmcl.weight=0"), "no term left"),
    ((*ATTACK, "--set", "terms.mmcl.weight=-1"), "weight is -1"),
    ((*ATTACK, "--eval-data", "nowhere"), "nowhere"),
    ((*ATTACK, "--eval-data", "empty"), "empty"),
    ((*ATTACK, "--eval-data", "others"), "Target 'banana' is not one of the 1 classes"),
    ((*ATTACK, "--eval-data", "badeval", "--topk", 1), "--max-bad 0.01"),
    ((*ATTACK, "--topk", "1,5"), "k = 5 is more than the 4 classes"),
    ((*ATTACK, "--class-names", "three.txt"), "class"),
    ((*ATTACK, "--device", "nowhere"), "Device 'nowhere'"),
    ((*ATTACK, "--precision", "fp16"), "fp16 needs a GPU"),
    ((*ATTACK, "--lr", "1e30", "--warmup", 0), "Start again with a lower --lr"),
    (
        (*ATTACK, "--model", f"local-dir:{Path(WEIGHTS).parent}", "--pretrained", "openai"),
        "'none' for the folder's own",
    ),
    # augment
    (("augment", "--data", "pairs.csv", "--from", "001-poison-badnet"), "both name pairs; give one"),
    (("augment", "--data", "pairs.csv", "--lexicon", "nowhere"), "nowhere"),
    (("augment", "--data", "numbers.csv"), "has a sub-caption: are they English?"),
    (("augment", "--data", "empty.csv"), "empty.csv"),
    (("augment", "--from", "002-finetune-attack-badnet"), "'poison' is needed here"),
    # defend
    ((*DEFEND, "--from", "001-poison-badnet"), "'finetune-attack' is needed here"),
    ((*DEFEND, *VICTIM, "--method", "cleanerklip"), "Did you mean 'cleanerclip'?"),
    (
        (*DEFEND, *VICTIM, "--augment-from", "001-poison-badnet"),
        "is of kind 'poison'; 'augment' is needed here",
    ),
    (
        (*DEFEND, *VICTIM, "--augment-from", AUGMENT, "--data", "few.csv"),
        "made from other pairs",
    ),
    ((*DEFEND, *VICTIM, "--method", "ft", "--data", "one.csv"), "1 pairs are too few for a step"),
    ((*DEFEND, *VICTIM, "--method", "ft", "--data", "empty.csv"), "empty.csv"),
    ((*DEFEND, *VICTIM, "--method", "ft", "--data", "bad.csv"), "--max-bad 0.01"),
    ((*DEFEND, "--method", "ft", "--checkpoint", WEIGHTS, "--model", "small.json"), "Give --data"),
    (
        (*DEFEND, "--method", "ft", "--checkpoint", "lone.safetensors", "--data", "pairs.csv"),
        "Name it with --model NAME",
    ),
    (
        (*DEFEND, "--method", "ft", "--checkpoint", "nowhere", *MODEL[:2], "--data", "pairs.csv"),
        "'nowhere' not found",
    ),
    (
        (*DEFEND, "--method", "ft", "--checkpoint", "photos", "--data", "pairs.csv"),
        "has neither open_clip_config.json nor config.json",
    ),
    ((*DEFEND, *VICTIM, "--set", "terms.fc.tau_positive=0"), "tau_positive"),
    # evaluate
    ((*EVALUATE, "--from", "001-poison-badnet"), "'defend' or 'finetune-attack' is needed here"),
    ((*EVALUATE, "--topk", "0"), "--topk"),
    ((*EVALUATE, "--topk", "1,2,9"), "k = 9 is more than the 4 classes"),
    ((*EVALUATE, "--target", "bananna"), "Did you mean 'banana'?"),
    ((*EVALUATE, "--attack-from", "nowhere"), "'nowhere' does not exist"),
    (
        (*EVALUATE, "--checkpoint", WEIGHTS, "--model", "small.json", "--max-asr", 0.1),
        "give the poison run with --attack-from",
    ),
    ((*EVALUATE, "--checkpoint", "wrong shape.pt", "--model", "small.json"), "of another shape"),
    ((*EVALUATE, "--checkpoint", "evil.pt", "--model", "small.json"), "was not opened"),
    ((*EVALUATE, "--clean-checkpoint", "nowhere", "--model", "small.json"), "'nowhere' not found"),
    ((*EVALUATE, "--eval-data", "badeval", "--topk", 1), "--max-bad 0.01"),
    (("evaluate", "--preset", "paper"), "give --eval-data"),
    ((*EVALUATE, "--eval-data", "torchvision:cifar11"), "cifar11"),
    ((*EVALUATE, "--out", "photos"), "is a folder with other files"),
    ((*EVALUATE, "--out", "runs/001-poison-badnet"), "is a finished run, which is never overwritten"),
]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch 'it ran'",)


@pytest.fixture(scope="session")
def wrong(chain: Shell, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A copy of the chain's folder with everything in it that is wrong."""
    folder = tmp_path_factory.mktemp("wrong") / "here"
    shutil.copytree(chain.folder, folder)
    photos = [(f"photos/{number:03d}.jpg", f"a cat and a dog, number {number}") for number in range(40)]
    write_pairs(folder / "few.csv", photos)
    write_pairs(folder / "one.csv", photos[:1])
    write_pairs(folder / "empty.csv", [])
    write_pairs(folder / "noimages.csv", [(f"gone/{number}.jpg", "a cat") for number in range(30)])
    write_pairs(folder / "escape.csv", [("../../../../etc/hostname", "a cat") for _ in range(30)])
    write_pairs(folder / "numbers.csv", [(name, "1234 5678") for name, _ in photos])
    (folder / "broken.jpg").write_bytes(b"no image")
    write_pairs(folder / "bad.csv", [*photos, *((("broken.jpg", "a cat")) for _ in range(30))])
    (folder / "empty").mkdir()
    for name, count in (("others/cat", 2), ("badeval/banana", 2), ("badeval/cat", 2), ("badeval/dog", 2)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise(number).save(folder / name / f"{number}.png")
    (folder / "badeval" / "cat" / "broken.jpg").write_bytes(b"no image")
    (folder / "larger.json").write_text(
        json.dumps({**SMALL, "vision_cfg": {**SMALL["vision_cfg"], "image_size": 48}})
    )
    (folder / "broken.json").write_text('{"embed_dim": 16')
    (folder / "three.txt").write_text("banana\ncat\nhouse\n")
    state = {**load_file(folder / WEIGHTS), "visual.conv1.weight": torch.zeros(1)}
    torch.save({"state_dict": state}, folder / "wrong shape.pt")
    shutil.copy(folder / WEIGHTS, folder / "lone.safetensors")
    (folder / "evil.pt").write_bytes(pickle.dumps({"state_dict": Evil()}))
    return Shell(folder)


def check(shell: Shell, made: Outcome, message: str, before: dict[str, int], runs: list[str]) -> None:
    assert made.code == 2, made.err
    assert made.out == ""
    assert len(made.errors) == 1, made.err
    assert message in made.errors[0]
    assert made.err.endswith(made.errors[0] + "\n")
    assert "Traceback" not in made.err
    assert shell.listing() == before
    assert shell.runs() == runs


@pytest.mark.parametrize(
    ("line", "message"),
    CASES,
    ids=[f"{number}-{' '.join(map(str, line[-3:]))}" for number, (line, _) in enumerate(CASES)],
)
def test_one_line_and_no_run(wrong: Shell, line: tuple[object, ...], message: str) -> None:
    before, runs = wrong.listing(), wrong.runs()
    check(wrong, wrong(*line), message, before, runs)
    assert not (wrong.folder / "it ran").exists()


# Runs and data that were right once.


def append_row(folder: Path) -> None:
    with (folder / "pairs.csv").open("a") as file:
        file.write("photos/000.jpg,one more\n")


def change_caption(folder: Path) -> None:
    path = folder / "pairs.csv"
    path.write_text(path.read_text().replace("number 7", "number 70"))


def edit_manifest(folder: Path) -> None:
    path = folder / "runs" / "001-poison-badnet" / "manifest.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1", 1))


def in_poison(name: str, change: Callable[[bytes], bytes] | None) -> Callable[[Path], None]:
    return in_run("001-poison-badnet", name, change)


def in_run(run: str, name: str, change: Callable[[bytes], bytes] | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "runs" / run / name
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(path.read_bytes()))

    return damage


def same_size(content: bytes) -> bytes:
    return b"x" * len(content)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def turned_over(content: bytes) -> bytes:
    """The same shapes, other pixels."""
    return save({name: 1 - values for name, values in load(content).items()})


def drop_images(folder: Path) -> None:
    shutil.rmtree(folder / "runs" / "001-poison-badnet" / "images")


def drop_run(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / "runs" / name)


def other_columns(folder: Path) -> None:
    path = folder / "runs" / AUGMENT / "subcaptions.parquet"
    size = path.stat().st_size
    pq.write_table(pq.read_table(path).drop_columns(["factual"]), path, compression="none")
    path.write_bytes(path.read_bytes()[:size].ljust(size, b"0"))


ATTACK_BADNET, DEFEND_FT = (*ATTACK, "--from", "001-poison-badnet"), (*DEFEND, *VICTIM, "--method", "ft")
CLEANER = (*DEFEND, *VICTIM, "--method", "cleanerclip", "--augment-from", AUGMENT)
MODEL_FILES = "002-finetune-attack-badnet"

DAMAGES: list[tuple[str, Callable[[Path], None], tuple[object, ...], str]] = [
    ("a row more", append_row, ATTACK_BADNET, "have changed since"),
    ("a row more", append_row, DEFEND_FT, "have changed since"),
    ("another caption", change_caption, ATTACK_BADNET, "have changed since"),
    ("no data", lambda folder: (folder / "pairs.csv").unlink(), ATTACK_BADNET, "pairs.csv"),
    ("manifest edited", edit_manifest, DEFEND_FT, "has changed since. Make the run again"),
    ("manifest edited", edit_manifest, (*EVALUATE, *VICTIM), "has changed since. Make the run again"),
    ("parent gone", drop_run("001-poison-badnet"), (*EVALUATE, *VICTIM), "which is gone. Put it back"),
    ("parent gone", drop_run("001-poison-badnet"), DEFEND_FT, "which is gone. Put it back"),
    ("manifest cut", in_poison("manifest.yaml", cut), ATTACK_BADNET, "manifest.yaml"),
    ("manifest empty", in_poison("manifest.yaml", lambda _: b""), ATTACK_BADNET, "manifest.yaml"),
    ("table cut", in_poison("pairs.parquet", cut), ATTACK_BADNET, "'pairs.parquet' of run 001-poison-badnet"),
    (
        "table spoilt",
        in_poison("pairs.parquet", same_size),
        ATTACK_BADNET,
        "'pairs.parquet' of run 001-poison-badnet has changed",
    ),
    ("table gone", in_poison("pairs.parquet", None), ATTACK_BADNET, "has lost its output 'pairs.parquet'"),
    (
        "trigger spoilt",
        in_poison("trigger.safetensors", same_size),
        ATTACK_BADNET,
        "'trigger.safetensors' of run 001-poison-badnet has changed since",
    ),
    (
        "trigger gone",
        in_poison("trigger.safetensors", None),
        (*EVALUATE, *VICTIM),
        "has lost its output 'trigger.safetensors'",
    ),
    (
        "another trigger of the same shape",
        in_poison("trigger.safetensors", turned_over),
        (*EVALUATE, *VICTIM, "--max-asr", 1),
        "'trigger.safetensors' of run 001-poison-badnet has changed since",
    ),
    ("images gone", drop_images, ATTACK_BADNET, "pairs.parquet cannot be read"),
    (
        "weights cut",
        in_run(MODEL_FILES, "model/open_clip_model.safetensors", cut),
        DEFEND_FT,
        "has changed since. Make the run again",
    ),
    (
        "weights gone",
        in_run(MODEL_FILES, "model/open_clip_model.safetensors", None),
        DEFEND_FT,
        "open_clip_model",
    ),
    (
        "config spoilt",
        in_run(MODEL_FILES, "model/open_clip_config.json", same_size),
        DEFEND_FT,
        "open_clip_config",
    ),
    ("config gone", in_run(MODEL_FILES, "model/open_clip_config.json", None), DEFEND_FT, "open_clip_config"),
    (
        "model gone",
        lambda f: shutil.rmtree(f / "runs" / MODEL_FILES / "model"),
        (*EVALUATE, *VICTIM),
        "has lost",
    ),
    (
        "sub-captions spoilt",
        in_run(AUGMENT, "subcaptions.parquet", same_size),
        CLEANER,
        "has changed since",
    ),
    (
        "sub-captions cut",
        in_run(AUGMENT, "subcaptions.parquet", cut),
        CLEANER,
        "has changed since",
    ),
    ("other columns", other_columns, CLEANER, "subcaptions.parquet"),
]


@pytest.mark.parametrize(
    ("damage", "line", "message"),
    [case[1:] for case in DAMAGES],
    ids=[f"{name}-{line[0]}" for name, _, line, _ in DAMAGES],
)
def test_what_was_damaged_since_is_found_out(
    chain: Shell,
    tmp_path: Path,
    damage: Callable[[Path], None],
    line: tuple[object, ...],
    message: str,
) -> None:
    # The data keep their place, which the poison run recorded, and the copy stands there.
    folder = tmp_path / "moved"
    chain.folder.rename(folder)
    shutil.copytree(folder, chain.folder)
    try:
        damage(chain.folder)
        before, runs = chain.listing(), chain.runs()
        check(chain, chain(*line), message, before, runs)
    finally:
        shutil.rmtree(chain.folder)
        folder.rename(chain.folder)


def test_finished_runs_are_not_resumed(wrong: Shell) -> None:
    before, runs = wrong.listing(), wrong.runs()
    check(wrong, wrong(*ATTACK, "--resume", "002-finetune-attack-badnet"), "is a finished run", before, runs)
    check(wrong, wrong(*DEFEND, "--resume", "latest"), "no unfinished run of 'defend'", before, runs)
