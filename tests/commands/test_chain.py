"""The five commands on small data: folders, manifests, parents, numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from clipdefend.attacks.trigger import Trigger
from clipdefend.canvas import Canvas, to_tensor
from command_lines import CLASSES, EVAL, PAIRS, TRAIN, Shell

METHODS = ("ft", "ssl", "cleanclip", "cleanerclip", "par")
RUNS = ("poison", "attack", "augment", *METHODS, "evaluate")
TOP = ("ba@1", "ba@3", "asr@1", "asr@3", "ra@1", "ra@3")


def test_every_command_ends_well_and_prints_its_manifest_alone(chain: Shell) -> None:
    for name in RUNS:
        made = chain.made[name]
        assert made.code == 0, made.err
        assert made.out.count("\n") == 1
        with chain.inside():
            assert Path(made.out.strip()).is_file()
    assert chain.runs() == [
        "001-poison-badnet",
        "002-finetune-attack-badnet",
        "003-augment-scene-graph",
        *(f"00{4 + i}-defend-{method}-badnet" for i, method in enumerate(METHODS)),
        "009-evaluate-defend-par-badnet",
    ]


@pytest.mark.parametrize("name", RUNS)
def test_manifests_say_what_was_done(chain: Shell, name: str) -> None:
    with chain.inside():
        made = chain.made[name]
        manifest, folder = made.manifest, made.folder
        assert manifest["schema"]
        assert folder.name[4:].startswith(manifest["command"])
        assert manifest["seed"] == 0
        assert {"python", "torch", "open_clip", "accelerate", "clipdefend"} <= set(manifest["versions"])
        assert manifest["device"] == "cpu"
        assert manifest["start"] < manifest["end"]
        assert manifest["seconds"] > 0
        for output in manifest["outputs"]:
            path = folder / output["path"]
            if path.is_file():
                assert output["bytes"] == path.stat().st_size
                assert output["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        for parent in manifest["parents"]:
            path = folder / parent["path"] / "manifest.yaml"
            assert parent["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert not (folder / "unfinished.yaml").exists()
        assert not (folder / "state").exists()
        assert not list(folder.rglob("*.tmp"))


def test_parents_form_the_chain(chain: Shell) -> None:
    with chain.inside():
        parents = {
            name: [Path(parent["path"]).name for parent in chain.made[name].manifest["parents"]]
            for name in RUNS
        }
    assert parents["poison"] == []
    assert parents["attack"] == parents["augment"] == ["001-poison-badnet"]
    for method in METHODS:
        augment = ["003-augment-scene-graph"] if method == "cleanerclip" else []
        assert parents[method] == ["002-finetune-attack-badnet", *augment]
    assert parents["evaluate"] == ["008-defend-par-badnet"]


def test_a_poison_run_holds_the_poisoned_images_alone(chain: Shell) -> None:
    with chain.inside():
        made = chain.made["poison"]
        table = pq.read_table(made.folder / "pairs.parquet").to_pydict()
        assert len(table["id"]) == PAIRS
        assert sum(table["is_poisoned"]) == len(list((made.folder / "images").iterdir())) == 20
        assert (made.folder / "preview.png").is_file()
        manifest = made.manifest
        assert manifest["details"]["target"] == "banana"
        assert manifest["details"]["rows"] == PAIRS
        assert manifest["details"]["canvas"] == {"size": 32, "mode": "crop", "interpolation": "bicubic"}
        assert manifest["metrics"]["psnr"] > 5
        assert any("Only 20 pairs" in line for line in manifest["warnings"])
        trigger = Trigger.load(made.folder, manifest["details"]["trigger"])
        for row in range(PAIRS):
            source = table["source_image"][row] or table["image"][row]
            assert source == f"photos/{row:03d}.jpg"
            if table["is_poisoned"][row]:
                clean = Canvas(32)(Image.open(source))[None].float() / 255
                stored = to_tensor(Image.open(made.folder / table["image"][row])).float() / 255
                assert torch.equal(trigger(clean, [row])[0], stored)


@pytest.mark.parametrize("name", ["attack", *METHODS])
def test_a_trained_run_holds_models_a_log_and_all_metrics(chain: Shell, name: str) -> None:
    with chain.inside():
        made = chain.made[name]
        manifest, folder = made.manifest, made.folder
        for model in ("model", "best"):
            theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{(folder / model).resolve()}")
            assert theirs.visual.image_size in (32, (32, 32))
        metrics = manifest["metrics"]
        for key in TOP:
            assert 0 <= metrics[f"{key}_low"] <= metrics[key] <= metrics[f"{key}_high"] <= 1
        assert (metrics["n_clean"], metrics["n_triggered"]) == (24, 18)
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        evaluated = [record for record in records if record["event"] == "epoch"]
        assert [record["epoch"] for record in evaluated] == [0, 1, 2]
        assert {key: evaluated[-1][key] for key in TOP} == {key: metrics[key] for key in TOP}
        details = manifest["details"]
        assert details["steps"] == records[-2]["step"] == 8
        assert details["best_epoch"] in (1, 2)
        assert details["bad"]["count"] == 0


def test_a_victim_is_marked_as_backdoored_in_its_folder_and_in_its_weights(chain: Shell) -> None:
    with chain.inside():
        folder = chain.made["attack"].folder
        for model in ("model", "best"):
            assert "BACKDOORED ON PURPOSE" in (folder / model / "WARNING.txt").read_text()
            with safe_open(folder / model / "open_clip_model.safetensors", framework="pt") as file:
                assert "BACKDOORED ON PURPOSE" in file.metadata()["warning"]
        assert chain.made["attack"].manifest["details"]["backdoored"] is True
        assert not (chain.made["ft"].folder / "model" / "WARNING.txt").exists()


def test_random_weights_are_not_a_floor_for_the_attack(chain: Shell) -> None:
    with chain.inside():
        assert not [key for key in chain.made["attack"].manifest["metrics"] if key.startswith("floor_")]


@pytest.mark.parametrize("method", METHODS)
def test_a_defence_begins_with_the_victim(chain: Shell, method: str) -> None:
    with chain.inside():
        victim, manifest = chain.made["attack"].manifest["metrics"], chain.made[method].manifest
        for key in TOP:
            assert manifest["metrics"][f"victim_{key}"] == victim[key]
        assert manifest["details"]["method"] == manifest["config"]["method"] == method
        assert manifest["details"]["attack"] == "badnet"
        assert (manifest["details"]["subcaption_steps"] > 0) is (method == "cleanerclip")


def test_an_evaluation_measures_what_the_training_measured(chain: Shell) -> None:
    with chain.inside():
        found = chain.made["evaluate"].manifest["metrics"]
        expected = chain.made["par"].manifest["metrics"]
        assert {key: found[key] for key in TOP} == pytest.approx({key: expected[key] for key in TOP})
    err = chain.made["evaluate"].err
    assert "24 clean images, 18 triggered (badnet for 'banana'); % with 95 % Wilson intervals" in err
    assert "ASR@1" in err
    assert "victim" in err


def test_an_augment_run_holds_a_row_for_each_sub_caption(chain: Shell) -> None:
    with chain.inside():
        made = chain.made["augment"]
        table = pq.read_table(made.folder / "subcaptions.parquet")
        assert table.column_names == [
            "id",
            "caption",
            "factual",
            "counterfactual",
            "operation",
            "replaced",
            "replacement",
        ]
        rows = table.to_pylist()
        assert len(rows) == made.manifest["metrics"]["subcaptions"] > PAIRS / 2
        assert made.manifest["metrics"]["captions"] == PAIRS
        for row in rows:
            assert row["factual"] != row["counterfactual"]
            assert row["caption"].endswith(f"number {row['id']}")


def test_a_run_can_be_repeated_from_its_manifest(chain: Shell, tmp_path: Path) -> None:
    with chain.inside():
        manifest = chain.made["poison"].folder / "manifest.yaml"
    again = chain("poison", "--config", manifest, "--out", tmp_path / "again")
    assert again.code == 0, again.err
    first = chain.folder / "runs" / "001-poison-badnet"
    for name in ("pairs.parquet", "trigger.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (first / name).read_bytes()
    for image in (first / "images").iterdir():
        assert (tmp_path / "again" / "images" / image.name).read_bytes() == image.read_bytes()


def test_a_defender_may_have_fewer_pairs(chain: Shell, tmp_path: Path) -> None:
    given = ("defend", "--method", "ft", *EVAL, *TRAIN, "--from", "002-finetune-attack-badnet")
    made = [
        chain(*given, "--train-num-samples", count, "--out", tmp_path / str(at), "--json")
        for at, count in enumerate((32, 32, 1000))
    ]
    few, again, all_of_them = (json.loads(outcome.out)["details"] for outcome in made)
    assert (few["steps"], all_of_them["steps"]) == (4, 8)
    assert few["fingerprint"] == again["fingerprint"] != all_of_them["fingerprint"]
    weights = [(tmp_path / at / "model" / "open_clip_model.safetensors").read_bytes() for at in "01"]
    assert weights[0] == weights[1]


def test_the_pipe(chain: Shell, tmp_path: Path) -> None:
    runs = ("--runs", tmp_path / "runs")
    steps = [
        ("poison", "--data", "pairs.csv", "--image-size", 32, "--count", 30, "--attack", "blended"),
        (
            "finetune-attack",
            "-",
            "--model",
            "small.json",
            "--pretrained",
            "none",
            *EVAL,
            *TRAIN,
            "--epochs",
            1,
        ),
        ("defend", "-", "--method", "cleanerclip", "--n-aug", 10, *EVAL, *TRAIN, "--epochs", 1),
        ("evaluate", "-", *EVAL, "--workers", 0),
    ]
    stdin = ""
    for command, *args in steps:
        made = chain(command, *args, *runs, stdin=stdin)
        assert made.code == 0, made.err
        stdin = made.out
    assert sorted(path.name for path in (tmp_path / "runs").iterdir() if path.name != ".cache") == [
        "001-poison-blended",
        "002-finetune-attack-blended",
        "003-defend-cleanerclip-blended",
        "004-evaluate-defend-cleanerclip-blended",
    ]
    details = json.loads(
        chain("evaluate", "-", *EVAL, *runs, "--json", stdin=stdin.replace("004-evaluate-", "003-")).out
    )["details"]
    assert (details["attack"], details["target"]) == ("blended", "banana")


@pytest.mark.parametrize(
    ("gate", "code", "message"),
    [
        (("--max-asr", 1.0), 0, ""),
        (("--min-ba", 0.0), 0, ""),
        (("--min-ba", 1.0), 3, "BA@1 is"),
        (("--max-asr", 1.0, "--min-ba", 1.0, "--topk", 3), 3, "BA@1 is"),
    ],
)
def test_gates_end_with_code_3_after_the_run_is_written(
    chain: Shell, tmp_path: Path, gate: tuple[object, ...], code: int, message: str
) -> None:
    made = chain("evaluate", *EVAL, *gate, "--workers", 0, "--out", tmp_path / "out")
    assert made.code == code
    assert Path(made.out.strip()) == tmp_path / "out" / "manifest.yaml"
    assert Path(made.out.strip()).is_file()
    assert [line for line in made.err.splitlines() if line.startswith("gate failed:")] == [
        line for line in made.err.splitlines() if message and line.startswith(f"gate failed: {message}")
    ]
    assert "error:" not in made.err


def test_a_gate_that_cannot_be_measured_is_not_passed(chain: Shell, tmp_path: Path) -> None:
    """Images of the target's class alone leave nothing to attack."""
    only = tmp_path / "only"
    only.mkdir()
    (only / "banana").symlink_to(chain.folder / "eval" / "banana")
    args = (
        "--eval-data",
        only,
        "--topk",
        1,
        "--templates",
        "simple",
        "--workers",
        0,
        "--out",
        tmp_path / "out",
        "--eval-root",
        chain.folder / "eval",
    )
    made = chain("evaluate", *args, "--max-asr", 0.5)
    assert made.code == 3, made.err
    assert "gate failed: ASR@1 has no value" in made.err
    assert "The victim's figures are not shown: they were measured with other images" in made.err
    assert next(line for line in made.err.splitlines() if line.split()[-1:] == ["par"]).split() == ["par"]


def test_a_checkpoint_from_elsewhere_stands_in_for_a_run(chain: Shell, tmp_path: Path) -> None:
    weights = chain.folder / "runs" / "002-finetune-attack-badnet" / "model" / "open_clip_model.safetensors"
    runs = ("--runs", tmp_path / "runs")
    data = ("--data", "pairs.csv", "--model", "small.json")
    made = chain(
        "defend", "--method", "ft", "--checkpoint", weights, *data, *EVAL, *TRAIN, "--epochs", 1, *runs
    )
    assert made.code == 0, made.err
    assert made.folder.name == "001-defend-ft"
    assert made.manifest["parents"] == []
    assert not [key for key in made.manifest["metrics"] if "asr" in key]
    measured = chain("evaluate", "--from", made.folder, *EVAL, "--workers", 0, *runs)
    assert measured.code == 0, measured.err
    assert measured.manifest["metrics"]["ba@1"] == made.manifest["metrics"]["ba@1"]
    for checkpoint in (weights, weights.parent, weights.parent.parent):
        model = ("--model", "small.json") if checkpoint.is_file() else ()
        attack = ("--attack-from", chain.folder / "runs" / "001-poison-badnet", "--max-asr", 1.0)
        bare = chain("evaluate", "--checkpoint", checkpoint, *model, *attack, *EVAL, "--workers", 0, *runs)
        assert bare.code == 0, bare.err
        with chain.inside():
            victim = chain.made["attack"].manifest["metrics"]
        assert {k: bare.manifest["metrics"][k] for k in TOP} == pytest.approx({k: victim[k] for k in TOP})


def test_a_checkpoint_beside_a_run_replaces_its_weights_only(chain: Shell, tmp_path: Path) -> None:
    """The run's data, evaluation, trigger and parents stay."""
    weights = chain.folder / "runs" / "004-defend-ft-badnet" / "model"
    victim = chain.folder / "runs" / "002-finetune-attack-badnet"
    runs = ("--runs", tmp_path / "runs", "--workers", 0)
    made = chain("evaluate", "--from", victim, "--checkpoint", weights, *EVAL, *runs)
    assert made.code == 0, made.err
    with chain.inside():
        expected = chain.made["ft"].manifest["metrics"]
    assert {key: made.manifest["metrics"][key] for key in TOP} == pytest.approx(
        {key: expected[key] for key in TOP}
    )
    assert [parent["command"] for parent in made.manifest["parents"]] == ["finetune-attack"]
    defended = chain(
        "defend",
        "--from",
        victim,
        "--checkpoint",
        weights,
        "--method",
        "ft",
        *EVAL,
        *TRAIN,
        "--epochs",
        1,
        *runs,
    )
    assert defended.code == 0, defended.err
    assert defended.manifest["parents"][0]["path"].endswith(victim.name)
    start = json.loads((defended.folder / "metrics.jsonl").read_text().splitlines()[0])
    assert start["epoch"] == 0
    assert {key: start[key] for key in TOP} == pytest.approx({key: expected[key] for key in TOP})


def test_the_clean_models_figures_are_the_floor(chain: Shell, tmp_path: Path) -> None:
    start = chain.folder / "runs" / "004-defend-ft-badnet" / "model"
    runs = ("--runs", tmp_path / "runs")
    poison = ("--from", "runs/001-poison-badnet")
    args = ("--model", f"local-dir:{start}", *EVAL, *TRAIN, "--epochs", 1)
    attack = chain("finetune-attack", *poison, *args, *runs)
    assert attack.code == 0, attack.err
    assert f"Model: local-dir:{start}, its own weights" in attack.err
    with chain.inside():
        expected = chain.made["ft"].manifest["metrics"]
    metrics = attack.manifest["metrics"]
    assert {key: metrics[f"floor_{key}"] for key in TOP} == pytest.approx({key: expected[key] for key in TOP})
    measured = chain("evaluate", "--from", attack.folder, *EVAL, "--workers", 0, *runs)
    assert {k: measured.manifest["metrics"][f"floor_{k}"] for k in TOP} == {
        k: metrics[f"floor_{k}"] for k in TOP
    }
    recorded = measured.manifest["metrics"]
    assert recorded["recovery@3"] == recorded["ra@3"] / recorded["floor_ra@3"]
    (shown,) = (line.split() for line in measured.err.splitlines() if line.startswith("RECOVERY@3"))
    assert shown == ["RECOVERY@3", "100.0", f"{100 * recorded['recovery@3']:.1f}"]
    other = chain("evaluate", "--from", attack.folder, *EVAL, "--topk", 2, "--workers", 0, *runs)
    assert other.manifest["metrics"]["floor_ba@1"] == metrics["floor_ba@1"]  # k = 2 was not measured then
    assert {"floor_ba@2", "floor_ba@3"}.isdisjoint(other.manifest["metrics"])
    assert next(line for line in other.err.splitlines() if line.startswith("BA@2")).split()[1] == "-"
    given = chain(
        "evaluate", "--from", attack.folder, "--clean-checkpoint", start, *EVAL, "--workers", 0, *runs
    )
    assert {k: given.manifest["metrics"][f"floor_{k}"] for k in TOP} == pytest.approx(
        {key: metrics[f"floor_{key}"] for key in TOP}
    )


def test_json_is_the_manifest(chain: Shell, tmp_path: Path) -> None:
    made = chain("evaluate", *EVAL, "--workers", 0, "--json", "--out", tmp_path / "out")
    document = json.loads(made.out)
    assert document["command"] == "evaluate"
    assert document["details"]["classes"] == len(CLASSES)


def test_augment_takes_the_data_that_is_named(chain: Shell, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text(
        "image,caption\n" + "".join(f"{chain.folder}/photos/00{i}.jpg,a cat and a dog\n" for i in range(5))
    )
    made = chain(
        "augment", "--data", tmp_path / "few.csv", "--image-root", chain.folder, "--runs", tmp_path / "runs"
    )
    assert made.code == 0, made.err
    assert made.manifest["metrics"]["captions"] == 5
    few = chain(
        "augment",
        "--n",
        10,
        "--runs",
        tmp_path / "runs",
        "--from",
        chain.folder / "runs" / "001-poison-badnet",
    )
    assert few.code == 0, few.err
    assert few.manifest["metrics"]["captions"] == 10
