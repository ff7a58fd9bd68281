"""``merge`` from the command line: its model, its figures, the commands after it, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from clipdefend.models.builder import build_model
from clipdefend.models.save import save_model
from clipdefend.runs import Run
from command_lines import EVAL, MODEL, POISON, TRAIN, Outcome, Shell, write_data
from small_clip import small_architecture

QUICK = ("--proxy-steps", 1, "--set", "proxy.members=1", "--set", "proxy.images=16", "--set", "proxy.held_out=16",
         "--norm-images", 32, "--workers", 0, "--device", "cpu")  # fmt: skip
CLEANED = ("--from", "003-defend-ft-badnet")
VICTIM = ("--from", "002-finetune-attack-badnet")
WEIGHTS = "model/open_clip_model.safetensors"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A victim, a cleaned model, and their merge by four shares."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CLIPDEFEND_RUNS", raising=False)
        shell = Shell(tmp_path_factory.mktemp("merges"))
        write_data(shell.folder)
        shell.made["poison"] = shell("poison", *POISON)
        shell.made["attack"] = shell("finetune-attack", *MODEL, *EVAL, *TRAIN, "--epochs", 1)
        shell.made["cleaned"] = shell("defend", "--method", "ft", *EVAL, *TRAIN, "--epochs", 1)
        shell.made["merge"] = merge(shell, *CLEANED, *EVAL, "--share", "0,0.5,0.8,1")
    return shell


def merge(shell: Shell, *more: object) -> Outcome:
    return shell("merge", *QUICK, *more)


def weights(shell: Shell, name: str) -> dict[str, torch.Tensor]:
    return load_file(shell.folder / shell.made[name].folder / WEIGHTS)


def test_the_model_is_the_mean_of_both_at_the_chosen_share(shell: Shell, tmp_path: Path) -> None:
    done = merge(shell, *CLEANED, *EVAL, "--share", 0.25, "--out", tmp_path / "quarter")
    assert done.code == 0, done.err
    merged = load_file(tmp_path / "quarter" / WEIGHTS)
    first, other = weights(shell, "cleaned"), weights(shell, "attack")
    assert merged.keys() == first.keys()
    for name, found in merged.items():
        if "running" in name or "tracked" in name:
            continue
        expected = 0.25 * first[name].double() + 0.75 * other[name].double()
        assert torch.allclose(found.double(), expected, atol=1e-7), name
    norm = "visual.bn1.running_mean"
    assert not torch.allclose(merged[norm], 0.25 * first[norm] + 0.75 * other[norm], atol=1e-7)
    assert int(merged["visual.bn1.num_batches_tracked"]) == 1  # 32 images of a batch of 64


def test_it_records_every_share_both_parents_and_the_choice(shell: Shell) -> None:
    with shell.inside():
        done = shell.made["merge"]
        manifest = done.manifest
        lines = [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text().splitlines()]
    details, metrics = manifest["details"], manifest["metrics"]
    assert [each["share"] for each in details["shares"]] == [0, 0.5, 0.8, 1]
    for each in details["shares"]:
        assert {"ba@1", "asr@1", "ra@1", "proxy_asr", "proxy_asr_patch"} <= each.keys()
    assert [{k: v for k, v in line.items() if k != "event"} for line in lines] == details["shares"]
    chosen = next(each for each in details["shares"] if each["share"] == metrics["share"])
    assert chosen.items() <= metrics.items()
    within = [each for each in details["shares"] if each["proxy_asr"] <= details["bound"]]
    assert chosen["ba@1"] == max(each["ba@1"] for each in within)
    assert [(each["command"], each.get("use")) for each in manifest["parents"]] == [
        ("defend", None),
        ("finetune-attack", "merged weights"),
    ]
    assert "victim_ba@1" in metrics
    assert "Shares of the input model, %" in done.err
    assert f"Chosen: {metrics['share']:g}, the largest BA@1" in done.err


def test_at_the_ends_it_is_one_of_the_two_models(shell: Shell, tmp_path: Path) -> None:
    for share, name in ((1, "cleaned"), (0, "attack")):
        done = merge(shell, *CLEANED, *EVAL, "--share", share, "--out", tmp_path / name)
        assert done.code == 0, done.err
        found, expected = load_file(tmp_path / name / WEIGHTS), weights(shell, name)
        for key, value in expected.items():
            if value.is_floating_point():
                assert torch.equal(found[key], value), key
        # The victim keeps its warning.
        assert (tmp_path / name / "model" / "WARNING.txt").is_file() == (name == "attack")
        card = shell("export", "--from", tmp_path / name, "--out", tmp_path / f"export-{name}")
        assert card.code == 0, card.err
        assert (tmp_path / f"export-{name}" / "model" / "WARNING.txt").is_file() == (name == "attack")
        assert card.manifest["details"]["backdoored"] == (name == "attack")


def test_the_same_seed_gives_the_same_bytes(shell: Shell, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        done = merge(shell, *CLEANED, *EVAL, "--share", "0.3,0.6", "--out", tmp_path / name)
        assert done.code == 0, done.err
        made.append([(tmp_path / name / file).read_bytes() for file in (WEIGHTS, "metrics.jsonl")])
    assert made[0] == made[1]


def test_the_commands_after_it_take_a_merge_run(shell: Shell, tmp_path: Path) -> None:
    with shell.inside():
        folder = shell.made["merge"].folder
    given = ("--from", folder)
    evaluated = shell("evaluate", *given, *EVAL, "--workers", 0, "--out", tmp_path / "evaluated")
    assert evaluated.code == 0, evaluated.err
    heading = next(line for line in evaluated.err.splitlines() if line.endswith(" merge"))
    assert heading.split()[-2:] == ["victim", "merge"]
    exported = shell("export", *given, "--out", tmp_path / "exported")
    assert exported.code == 0, exported.err
    done = shell("report", tmp_path / "evaluated", "--out", tmp_path / "report", "--embedding", "none")
    assert done.code == 0, done.err
    assert "ft, merged" in (tmp_path / "report" / "table.md").read_text()


def test_a_clean_relative_stands_in_for_the_suspect(shell: Shell, tmp_path: Path) -> None:
    save_model(build_model(small_architecture(), seed=1), tmp_path / "relative")
    given = ("--with", tmp_path / "relative", "--share", "0.4,0.7", "--proxy-at-most", 0)
    done = merge(shell, *VICTIM, *EVAL, *given, "--out", tmp_path / "merged")
    assert done.code == 0, done.err
    assert "Merging with: " in done.err
    with shell.inside():
        manifest = done.manifest
    assert [each["command"] for each in manifest["parents"]] == ["finetune-attack"]
    assert manifest["details"]["attack"] == "badnet"
    if min(each["proxy_asr"] for each in manifest["details"]["shares"]) > 0:
        assert any("No share has a proxy ASR of at most 0" in each for each in manifest["warnings"])


def test_without_a_run_or_labelled_images_captions_decide(shell: Shell, tmp_path: Path) -> None:
    (shell.folder / "names.txt").write_text("banana\ncat\nhouse\nfish\n")
    bare = (
        "--checkpoint",
        shell.made["attack"].folder / WEIGHTS,
        "--model",
        "small.json",
        "--data",
        "pairs.csv",
    )
    relative = ("--with", "runs/003-defend-ft-badnet", "--class-names", "names.txt", "--share", "0.5,1")
    done = merge(shell, *bare, *relative, "--out", tmp_path / "merged")
    assert done.code == 0, done.err
    with shell.inside():
        manifest = done.manifest
    assert manifest["details"]["accuracy"] == "val_r@1"
    assert "ba@1" not in manifest["metrics"]
    assert [each.get("use") for each in manifest["parents"]] == ["merged weights"]
    assert (
        Run.open(tmp_path / "merged").trigger_run() is None
    )  # the relative's attack is not the checkpoint's
    assert "the largest R@1" in done.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((*CLEANED, "--share", "1.2"), "--share is 1.2; it takes a number from 0 to 1"),
        ((*CLEANED, "--share", "0:1"), "--share is '0:1'"),
        (VICTIM, "which was not cleaned: give --with MODEL"),
        ((*CLEANED, "--with", "nowhere"), "Pretrained weights 'nowhere' not found"),
        ((*CLEANED, "--with", "wide"), "Model wide has another architecture than the suspect"),
        ((*CLEANED, "--with", "lacking.safetensors"), "lacking.safetensors"),
        (
            ("--checkpoint", "wide"),
            "A checkpoint alone does not say what it is mixed with: give --with MODEL.",
        ),
        (("--checkpoint", "wide", "--with", "wide"), "Clean pairs are needed"),
        ((*CLEANED, "--data", "few.csv"), "10 usable images are too few to merge on"),
        ((*CLEANED, "--proxy-at-most", 2), "--proxy-at-most is 2.0; it must be"),
    ],
)
def test_wrong_input_is_one_line(shell: Shell, flags: tuple[object, ...], said: str) -> None:
    lines = (shell.folder / "pairs.csv").read_text().splitlines()
    (shell.folder / "few.csv").write_text("\n".join(lines[:11]))
    if not (shell.folder / "wide").exists():
        save_model(build_model(small_architecture(vision={"width": 12}), seed=0), shell.folder / "wide")
    lacking = {k: v for k, v in weights(shell, "attack").items() if k != "text_projection"}
    save_file(lacking, shell.folder / "lacking.safetensors")
    before = shell.runs()
    done = merge(shell, *EVAL, *flags)
    assert done.code == 2, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert shell.runs() == before
