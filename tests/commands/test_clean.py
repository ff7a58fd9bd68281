"""``clean`` from the command line, on noise and a model of random weights: its rounds, its folder, and wrong input."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdefend.commands.clean import final_round
from clipdefend.models.builder import build_model
from clipdefend.models.save import save_model
from clipdefend.study import carry_out
from command_lines import Outcome, Shell, write_data
from in_process import InProcess
from small_clip import small_architecture

# One canary and cheap candidates; random weights learn nothing, so that every canary has to count.
CANARY = ("--canaries", "badnet", "--canary-share", 0.4, "--canary-rate", 0.3, "--canary-epochs", 1)
COUNTED = ("--canary-learned", 0)
TRAIN = ("--batch-size", 16, "--epochs", 1, "--lr", 1e-3, "--warmup", 1, "--workers", 0, "--device", "cpu")
MERGE = ("--merge-shares", 0.5)
COMMON = (*CANARY, *COUNTED, *TRAIN, *MERGE, "--topk", 1, "--templates", "simple", "--no-scan")
SUSPECT = ("--checkpoint", "clip", "--data", "pairs.csv")
EVAL = ("--eval-data", "eval")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CLIPDEFEND_RUNS", "RANK", "COLUMNS", "NO_COLOR"):
            patch.delenv(name, raising=False)
        patch.setattr(carry_out, "_servers", InProcess())
        shell = Shell(tmp_path_factory.mktemp("clean"))
        write_data(shell.folder)
        save_model(build_model(small_architecture(), seed=1), shell.folder / "clip")
        shell.made["clean"] = clean(
            shell, *EVAL, "--candidates", "ft:1e-3,par-clean:2e-3", "--out", "cleaned"
        )
        yield shell


def clean(shell: Shell, *more: object) -> Outcome:
    return shell("clean", *SUSPECT, *COMMON, *more)


def record(shell: Shell, run: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((shell.folder / run / "manifest.yaml").read_text())
    return found


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model" / "open_clip_model.safetensors").read_bytes()).hexdigest()


def test_the_result_is_the_chosen_candidate_on_the_suspect(shell: Shell) -> None:
    assert shell.made["clean"].code == 0, shell.made["clean"].err
    manifest = record(shell, "cleaned")
    details = manifest["details"]
    assert [each["name"] for each in details["candidates"]] == ["ft at 0.001", "par-clean at 0.002"]
    (chosen,) = [each for each in details["candidates"] if each["chosen"]]
    assert (details["method"], details["lr"]) == (chosen["method"], chosen["lr"])
    steps = shell.folder / "cleaned" / "steps"
    (config,) = [
        found
        for path in steps.glob("defend-*/manifest.yaml")
        for found in [record(shell, path.parent)["config"]]
        if found["checkpoint"] is not None
    ]
    assert (config["method"], config["train"]["lr"]) == (chosen["method"], chosen["lr"])
    assert Path(config["checkpoint"]).name == "suspect"
    (parent,) = manifest["parents"]
    assert parent["command"] == ("defend" if details["share"] == 1 else "merge")
    result = shell.folder / "cleaned"
    assert weights(result / parent["path"]) == weights(result) != weights(steps / "suspect")
    assert {"ba@1", "victim_ba@1", "canary_asr", "planted_canary_asr", "canary_recovery"} <= set(
        manifest["metrics"]
    )
    assert details["shares"] == {"plant": 26, "check": 0, "train": 38, "copy": 64}
    assert [each["name"] for each in details["merges"]] == ["share 1", "share 0.5"]
    assert not [entry for entry in manifest["outputs"] if entry["path"].startswith("steps")]


def test_a_milder_share_has_canary_figures_of_its_own(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a scan had called the suspect clean, and cleaning cost accuracy."""
    monkeypatch.setattr(final_round, "_verdict", lambda scan: "clean")
    monkeypatch.setattr(final_round, "MOST_LOST", -1.0)
    done = clean(shell, *EVAL, "--candidates", "ft:1e-3", "--out", "milder")
    assert done.code == 0, done.err
    manifest = record(shell, "milder")
    assert manifest["details"]["share"] == 0.1
    (kept,) = [each for each in manifest["details"]["merges"] if each["name"] == "share 0.1"]
    assert manifest["metrics"]["canary_asr"] == kept["asr"]
    assert manifest["parents"][0]["command"] == "merge"


def test_no_candidate_sees_a_pair_that_a_canary_poisoned(shell: Shell) -> None:
    import pyarrow.parquet as pq

    steps = shell.folder / "cleaned" / "steps"
    flagged = {
        name: pq.read_table(steps / f"rows-{name}" / "rows.parquet").column("flagged").to_pylist()
        for name in ("plant", "train")
    }
    assert all(a or b for a, b in zip(flagged["plant"], flagged["train"], strict=True))
    for path in steps.glob("*/manifest.yaml"):
        config = record(shell, path.parent)["config"]
        wanted = {"defend": "rows-train", "finetune-attack": "rows-copy", "poison": "rows-plant"}
        command = path.parent.name.rpartition("-")[0]
        if command in wanted:
            assert Path(config["exclude_manifest"]).name == wanted[command]
        if command == "poison":
            rows = pq.read_table(path.parent / "pairs.parquet", columns=["id", "role"]).to_pydict()
            poisoned = [row for row, role in zip(rows["id"], rows["role"], strict=True) if role]
            assert poisoned
            assert not any(flagged["plant"][row] for row in poisoned)


def test_the_page_and_the_summary_say_the_same(shell: Shell) -> None:
    page = (shell.folder / "cleaned" / "index.html").read_text()
    told = shell.made["clean"].err
    details = record(shell, "cleaned")["details"]
    assert f"cleaned by <b>{details['method']} at {details['lr']:g}" in page
    places = [page.index(name) for name in ("suspect, without canaries", "planted copy, not cleaned")]
    assert places == sorted(places)
    for text in (
        details["reason"],
        "What a scan would find: none was made.",
        "canaries in a copy, mean ASR@1",
    ):
        assert text in page
        assert text in told
    assert "<script" not in page


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_other_commands_take_the_result(shell: Shell, tmp_path: Path, command: str) -> None:
    more = (*EVAL, "--topk", 1, "--templates", "simple", "--workers", 0, "--device", "cpu")
    done = shell(
        command, "--from", "cleaned", *(more if command == "evaluate" else ()), "--out", tmp_path / "out"
    )
    assert done.code == 0, done.err
    if command == "evaluate":
        own, again = (record(shell, run)["metrics"]["ba@1"] for run in ("cleaned", tmp_path / "out"))
        assert own == again
        assert shell("report", tmp_path / "out", "--out", tmp_path / "page", "--embedding", "none").code == 0
        assert "clean (" in (tmp_path / "page" / "table.md").read_text()


def test_without_labelled_images_retrieval_takes_their_place_and_a_budget_leaves_out(shell: Shell) -> None:
    (shell.folder / "names.txt").write_text("zebra\ncat\ncow\ndog\n")  # captions name two of them
    words = ("--class-names", "names.txt", "--check-pairs", 16, "--candidates", "ft:1e-3,unlearn:1e-3")
    done = clean(shell, *words, "--merge-shares", "null", "--budget", "1s", "--out", "unlabelled")
    assert done.code == 0, done.err
    manifest = record(shell, "unlabelled")
    assert manifest["details"]["accuracy"] == "R@1 of retrieval"
    assert manifest["details"]["shares"]["check"] == 16
    assert manifest["metrics"]["n_retrieval_images"] == 16
    assert manifest["details"]["canaries"][0]["target"] in ("cat", "dog")
    assert 0 <= manifest["metrics"]["canary_asr"] <= 1
    (kept,), (dropped,) = manifest["details"]["candidates"], manifest["details"]["dropped"]
    assert {kept["name"], dropped} == {"ft at 0.001", "unlearn at 0.001"}
    assert f"Left out, since --budget 1s is too short: {dropped}." in done.err
    assert "R@1 of retrieval" in (shell.folder / "unlabelled" / "index.html").read_text()


def test_a_plan_makes_nothing(shell: Shell) -> None:
    before = shell.listing()
    done = clean(shell, *EVAL, "--candidates", "ft:1e-3", "--budget", "1s", "--plan", "--out", "planned")
    assert done.code == 0, done.err
    assert "try ft at 0.001, and measure 1 times" in done.out
    assert "Within --budget 1s: ft at 0.001." in done.out
    assert shell.listing() == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--data", "nowhere.csv"), "nowhere.csv"),
        (("--train-num-samples", 20), "20 pairs are too few"),
        (("--checkpoint", "pairs.csv", "--model", "small.json"), "pairs.csv"),
        (("--canary-targets", "zebra"), "Target 'zebra' is not one of the 4 classes."),
        (("--canaries", "badnet,sig,blended"), "--canary-rate 0.3 is too much for 3 canaries"),
        (("--canary-targets", "cat,house"), "--canary-targets names 2 classes for 1 canaries"),
        (("--canaries", "badnat"), "Unknown attack 'badnat'. Did you mean 'badnet'?"),
        (("--candidates", "unlern"), "Did you mean 'unlearn'"),
        (("--budget", "soon"), "--budget is 'soon'"),
        (("--stop-at", "ba@1=0.5"), "--stop-at does not apply to clean"),
    ],
)
def test_wrong_input_is_one_line_before_anything_starts(
    shell: Shell, flags: tuple[object, ...], said: str
) -> None:
    done = clean(shell, *EVAL, *flags, "--out", "wrong")
    assert done.code == 2, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not (shell.folder / "wrong").exists()


def test_a_checkpoint_alone_names_no_pairs(shell: Shell) -> None:
    done = shell("clean", "--checkpoint", "clip", *COMMON)
    assert done.code == 2
    assert "Clean pairs are needed: a checkpoint alone does not name them. Give --data." in done.err


def test_method_auto_points_to_the_command(shell: Shell) -> None:
    done = shell("defend", "--method", "auto", *SUSPECT)
    assert done.code == 2
    assert len(done.errors) == 1
    assert "clipdefend clean" in done.errors[0]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_to_the_same_weights(shell: Shell, tmp_path: Path) -> None:
    """By kill -9 once the copy is planted; the same command, and --resume, then make the rest."""
    candidates = ("--candidates", "ft:1e-3,par-clean:2e-3")
    words = ["clean", *SUSPECT, *COMMON, *EVAL, *candidates, "--out", str(tmp_path / "out")]
    program = (
        "import sys; from clipdefend.study import carry_out; from in_process import InProcess;"
        "carry_out._servers = InProcess();"
        "from clipdefend.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=shell.folder,
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while not list(tmp_path.glob("out/steps/finetune-attack-*/manifest.yaml")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/steps/*/manifest.yaml")}
    assert len(made) >= 2
    assert not (tmp_path / "out" / "manifest.yaml").exists()
    done = shell("clean", "--resume", tmp_path / "out")
    assert done.code == 0, done.err
    assert weights(tmp_path / "out") == weights(shell.folder / "cleaned")
    assert all(path.stat().st_mtime_ns == when for path, when in made.items())
    assert not (tmp_path / "out" / "state").exists()
