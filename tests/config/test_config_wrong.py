"""What does not fit is refused in one line that names what was given, where, and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipdefend.config import COMMANDS, load_config
from clipdefend.errors import ConfigError

FLAGS: list[tuple[str, dict[str, Any], str]] = [
    ("defend", {"train.batch_size": "0"}, "--batch-size is 0; it must be at least 1."),
    ("defend", {"train.batch_size": "2.5"}, "--batch-size is '2.5'; it takes a whole number."),
    ("defend", {"train.batch_size": "many"}, "--batch-size is 'many'; it takes a whole number."),
    ("defend", {"train.lr": "-1"}, "--lr is -1.0; it must be above 0."),
    ("defend", {"train.lr": "0"}, "--lr is 0.0; it must be above 0."),
    ("defend", {"train.lr": "nan"}, "--lr is 'nan'; it takes a number."),
    ("defend", {"train.lr": "1e999"}, "--lr is '1e999'; it takes a number."),
    ("defend", {"train.lr": "1e-5x"}, "--lr is '1e-5x'; it takes a number."),
    ("defend", {"train.beta2": "1"}, "--beta2 is 1.0; it must be at least 0 and below 1."),
    ("defend", {"train.epochs": ""}, "--epochs is ''; it takes a whole number."),
    (
        "defend",
        {"train.precision": "fp61"},
        "--precision is 'fp61'; it takes 'fp32' or 'bf16' or 'fp16' or 'auto'. Did you mean 'fp16'?",
    ),
    ("defend", {"train.grad_clip": "0"}, "--grad-clip-norm is 0.0; it must be above 0."),
    ("defend", {"fc_schedule": "later"}, "--fc-schedule is 'later'; it takes 'interleave' or 'epoch-end' or"),
    ("poison", {"rate": "0"}, "--rate is 0.0; it must be above 0 and at most 1."),
    ("poison", {"rate": "1.5"}, "--rate is 1.5; it must be above 0 and at most 1."),
    ("poison", {"rate": "0.3%"}, "--rate is '0.3%'; it takes a number."),
    ("poison", {"count": "0"}, "--count is 0; it must be at least 1."),
    (
        "poison",
        {"count": "5", "rate": "0.1"},
        "--count 5 and --rate 0.1 cannot be combined; give one of them.",
    ),
    ("poison", {"target": ""}, "--target is ''; it takes text."),
    ("poison", {"data": "a\0b"}, "--data is 'a\\x00b'; it takes text."),
    ("poison", {"image_size": "10"}, "--image-size is 10; it must be at least 11 and at most 4096."),
    ("poison", {"seed": "-1"}, "--seed is -1; it must be at least 0"),
    ("poison", {"max_bad": "2"}, "--max-bad is 2.0; it must be at least 0 and at most 1."),
    ("poison", {"workers": "-2"}, "--workers is -2; it must be at least 0"),
    ("poison", {"preset": "fast"}, "--preset is 'fast'; it takes 'paper' or 'quick' or 'pretrain'."),
    ("evaluate", {"eval.topk": "0"}, "--topk is 0; it must be at least 1."),
    ("evaluate", {"eval.topk": "1,a"}, "--topk is '1,a'; it takes whole numbers, as in 1,3,5."),
    ("evaluate", {"eval.topk": ","}, "--topk is ','; it takes whole numbers, as in 1,3,5."),
    ("evaluate", {"gates.max_asr": "5"}, "--max-asr is 5.0; it must be at least 0 and at most 1."),
    ("evaluate", {"eval.asr_protocol": "exclude"}, "Did you mean 'exclude-target'?"),
    ("augment", {"n": "some"}, "--n is 'some'; it takes a whole number or 'all'."),
    ("augment", {"n": "0"}, "--n is 0; it must be at least 1."),
]

SETS: list[tuple[str, str, str]] = [
    ("defend", "train.lr", "--set 'train.lr' is not KEY=VALUE, as in --set train.lr=1e-4."),
    ("defend", "=3", "--set '=3' is not KEY=VALUE"),
    ("defend", "lr=3", "--set lr is not a key of defend. Did you mean 'train.lr'?"),
    ("defend", "train.lrr=3", "--set train.lrr is not a key of defend. Did you mean 'train.lr'?"),
    ("defend", "zzz=3", "--set zzz is not a key of defend. Its keys: preset, seed"),
    ("defend", "train.zzz=3", "--set train.zzz is not a key of defend. Its keys: batch_size, epochs, lr"),
    ("defend", "batchsize=3", "--set batchsize is not a key of defend. Did you mean 'train.batch_size'?"),
    ("defend", "train=3", "--set train is a group; set one of its keys: batch_size, epochs, lr"),
    ("defend", "train.lr.x=3", "--set train.lr.x is not a key of defend."),
    ("defend", "train.keep_state=maybe", "--set train.keep_state is 'maybe'; it takes true or false."),
    ("defend", "terms=3", "--set terms is 3; it takes a mapping."),
    ("defend", "terms..weight=3", "--set terms..weight has an empty part"),
    ("defend", "terms.ssl={weight: 1", "--set terms.ssl: '{weight: 1' is not valid YAML"),
    ("poison", "attack.alpha=*x", "--set attack.alpha: '*x' uses a YAML alias, which is not allowed here."),
    ("poison", "eval.data=x", "--set eval.data is not a key of poison. Did you mean 'data'?"),
]

FILES: list[tuple[str, bytes, str]] = [
    ("defend", b"trian: {lr: 1}", "{file}: trian is not a key of defend. Did you mean 'train'?"),
    ("defend", b"train: {lr: [1]}", "{file}: train.lr is [1]; it takes a number."),
    ("defend", b"train: {batch_size: true}", "{file}: train.batch_size is True; it takes a whole number."),
    ("defend", b"train: 5", "{file}: train is a group; set one of its keys: batch_size"),
    (
        "defend",
        b"train: {lr: 1, lr: 2}",
        "--config {file} is not valid YAML: line 1: key 'lr' appears twice.",
    ),
    ("defend", b"- a\n- b\n", "--config {file} contains no keys; write lines such as 'seed: 1'."),
    ("defend", b"just text", "--config {file} contains no keys"),
    ("defend", b"1: 2", "{file}: key 1 is not a string; keys are names such as seed."),
    ("defend", b"a: [", "--config {file} is not valid YAML: line 2"),
    ("defend", b"a: \xff\xfe", "--config {file} is not UTF-8 text."),
    ("defend", b"a: \x00", "--config {file} is not valid YAML"),
    ("defend", b"a: &x 1\nb: *x\n", "--config {file} uses a YAML alias, which is not allowed here."),
    ("defend", b"[" * 200 + b"]" * 200, "--config {file} is nested deeper than 32 levels."),
    ("defend", b"a: !!python/object/apply:os.system ['true']", "--config {file} is not valid YAML"),
    ("defend", b"#" * 1_000_001, "--config {file} is larger than 1000 kB."),
    ("defend", b"terms: {ssl: 1, 2: 3}", "{file}: terms is {{'ssl': 1, 2: 3}}; it takes a mapping."),
    ("poison", b"target: 12", "{file}: target is 12; it takes text. Put it in quotes."),
    ("poison", b"{count: 5, rate: 0.5}", "{file}: count 5 and {file}: rate 0.5 cannot be combined"),
    ("poison", b"{count: null}", "count is None and rate is None; give one and set the other to null."),
    ("poison", b"attack: [badnet]", "{file}: attack is ['badnet']; it takes a mapping."),
    ("poison", b"data: ''", "{file}: data is ''; it takes text."),
]


def refused(command: str, **given: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(COMMANDS[command], **given)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(("command", "flags", "message"), FLAGS, ids=[str(case[1]) for case in FLAGS])
def test_flags(command: str, flags: dict[str, Any], message: str) -> None:
    assert message in refused(command, flags=flags)


@pytest.mark.parametrize(("command", "text", "message"), SETS, ids=[case[1] for case in SETS])
def test_sets(command: str, text: str, message: str) -> None:
    assert message in refused(command, sets=[text])


@pytest.mark.parametrize(("command", "content", "message"), FILES, ids=[str(case[1][:30]) for case in FILES])
def test_files(command: str, content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a file.yaml"
    file.write_bytes(content)
    assert message.format(file=file) in refused(command, file=file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read: No such file or directory." in refused("poison", file=tmp_path / "no.yaml")


def test_a_folder_as_a_file(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory." in refused("poison", file=tmp_path)


def test_a_recorded_configuration_of_another_version() -> None:
    assert "the recorded configuration: sead is not a key of poison." in refused(
        "poison", recorded={"sead": 1}
    )
