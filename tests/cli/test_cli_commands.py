"""Command lines that work: results on standard output, runs found, presets, dry runs, exit codes."""

from __future__ import annotations

import errno
import io
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipdefend.__main__ import main
from clipdefend.cli import execute
from clipdefend.config import EvaluateConfig, RunConfig
from clipdefend.distributed import launch
from clipdefend.errors import ConfigError, DataError, GateFailed
from clipdefend.runs import Context, Run, RunDir
from clipdefend.runs.manifest import UNFINISHED


def test_the_five_lines_each_print_their_manifest_and_nothing_else(cli: Any) -> None:
    lines = [
        (["poison", "--attack", "blended"], "001-poison-made"),
        (["finetune-attack"], "002-finetune-attack-made"),
        (["augment"], "003-augment-made"),
        (["defend", "--method", "cleanerclip", "--n-aug", "3000"], "004-defend-made"),
        (["evaluate", "--topk", "1,3,5,10"], "005-evaluate-made"),
    ]
    for args, name in lines:
        done = cli(*args)
        assert (done.code, done.out) == (0, f"runs/{name}/manifest.yaml\n")
        assert Path(done.out.strip()).is_file()
    configs = [config for config, _ in cli.calls]
    assert configs[0].attack == {"name": "blended"}
    assert configs[1].model.name == "tiny"
    assert (configs[3].n_aug, configs[3].preset) == (3000, "quick")
    assert configs[4].eval.data == "builtin"
    assert Run.open(cli.folder / "runs" / "005-evaluate-made").ancestor("poison").name == "001-poison-made"


def test_the_preset_is_said_when_it_applies(cli: Any) -> None:
    assert (
        "Preset quick: count 500, image_size 64, templates builtin, eval_data builtin." in cli("poison").err
    )
    assert "Preset" not in cli("poison", "--data", "pairs.csv").err
    assert "Preset" not in cli("poison", "--preset", "paper").err
    assert "Preset" not in cli("poison", "--quiet").err


def test_a_run_made_from_other_data_gets_the_papers_numbers_downstream(cli: Any) -> None:
    cli("poison", "--data", "pairs.csv")
    cli("finetune-attack", "--eval-data", "imagenet")
    assert cli.calls[-1][0].train.warmup == 10_000
    assert cli.calls[-1][0].model.name == "RN50"


def test_the_pipe(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cli("poison").out
    cli("poison", "--out", "newer")
    for args in (["finetune-attack", "-"], ["defend", "--from", "-"], ["evaluate", "-", "--topk", "1"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO(path))
        done = cli(*args)
        assert done.code == 0, done.err
        made = Run.open(done.out.strip())
        assert made.parents()[0].file == Path(path.strip()).resolve()
        path = done.out
    assert made.ancestor("poison").name == "001-poison-made"


def test_json_prints_the_whole_manifest(cli: Any) -> None:
    done = cli("poison", "--json", "--out", "here")
    assert json.loads(done.out) == yaml.safe_load((cli.folder / "here" / "manifest.yaml").read_text())
    assert done.out.count("\n") == 1


def test_out_and_runs_and_the_variable(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("poison", "--out", "my run").out == "my run/manifest.yaml\n"
    assert cli("poison", "--runs", "all runs").out == "all runs/001-poison-made/manifest.yaml\n"
    monkeypatch.setenv("CLIPDEFEND_RUNS", str(cli.folder / "elsewhere"))
    assert cli("poison").out == "elsewhere/001-poison-made/manifest.yaml\n"
    monkeypatch.chdir(cli.folder / "elsewhere")
    outside = cli.folder / "all runs" / "002-poison-made" / "manifest.yaml"
    assert cli("poison", "--runs", "../all runs").out == f"{outside}\n"


def test_a_run_can_be_named_first_or_by_from_or_by_its_name(cli: Any) -> None:
    cli("poison")
    cli("poison")
    for args in (
        ["runs/001-poison-made"],
        ["--from", "runs/001-poison-made/manifest.yaml"],
        ["001-poison-made"],
    ):
        done = cli("finetune-attack", *args)
        assert Run.open(done.out.strip()).parents()[0].name == "001-poison-made"
    assert "Input: " in cli("finetune-attack").err


def test_a_dry_run_prints_what_can_be_given_back_and_makes_nothing(cli: Any) -> None:
    done = cli("defend", "--dry-run", "--lr", "1e-3", "--set", "terms.ssl.weight=2", "--keep-state")
    document = yaml.safe_load(done.out)
    assert document["train"]["lr"] == 1e-3
    assert document["train"]["keep_state"] is True
    assert document["terms"] == {"ssl": {"weight": 2}}
    assert not (cli.folder / "runs").exists()
    assert not cli.calls
    (cli.folder / "my config.yaml").write_text(done.out)
    assert cli("defend", "--dry-run", "--config", "my config.yaml").out == done.out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("poison --set attack.pixls=3", "Did you mean 'pixels'?"),
        ("poison --attack blended --set attack.alpha=7", "alpha is 7"),
        ("poison --attack badnt", "Did you mean 'badnet'?"),
        ("poison --ssba-images there", "attack 'badnet' has no parameter 'precomputed'"),
        ("defend --method cleanclp", "Did you mean 'cleanclip'?"),
        ("defend --set terms.ssl.wieght=2", "Did you mean 'weight'?"),
        ("defend --set terms.sl.weight=2", "Did you mean 'ssl'?"),
        ("defend --method shrink-perturb --set defence.shrnk=0.5", "Did you mean 'shrink'?"),
        ("defend --method shrink-perturb --set defence.shrink=x", "shrink is 'x'"),
        ("filter --scores dao,slif", "Did you mean 'slof'?"),
        ("finetune-attack --method ft --set defence.size=8", "has no parameters of its own"),
    ],
)
@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry", "run"])
def test_a_wrong_component_ends_the_command_before_it_starts(
    cli: Any, line: str, message: str, dry: list[str]
) -> None:
    done = cli(*line.split(), *dry)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert message in done.err
    assert not cli.calls


def test_a_flag_for_one_attack_sets_its_parameter(cli: Any) -> None:
    document = yaml.safe_load(cli("poison", "--attack", "ssba", "--ssba-images", "there", "--dry-run").out)
    assert document["attack"]["precomputed"] == "there"
    assert "ssba_images" not in document
    (cli.folder / "old.yaml").write_text("attack: ssba\nssba_images: here\n")
    document = yaml.safe_load(cli("poison", "--config", "old.yaml", "--dry-run").out)
    assert document["attack"]["precomputed"] == "here"
    (cli.folder / "old.yaml").write_text("attack: badnet\nssba_images: null\n")
    assert cli("poison", "--config", "old.yaml", "--dry-run").code == 0


def test_flags_reach_their_fields_by_every_alias(cli: Any) -> None:
    args = ["--train-data", "x.tsv", "--image-key", "file", "--caption-key", "words", "--delimiter", "tab"]
    document = yaml.safe_load(cli("poison", "--dry-run", *args, "--label-consistent").out)
    assert document["data"] == "x.tsv"
    assert document["columns"] == {
        "image_key": "file",
        "caption_key": "words",
        "delimiter": "\t",
        "image_root": None,
    }
    assert document["label_consistent"] is True
    args = ["--num-warmup-steps", "7", "--weight-decay", "0.5", "--eval-batch-size", "3", "--no-keep-state"]
    document = yaml.safe_load(cli("defend", "--dry-run", *args).out)
    assert (document["train"]["warmup"], document["train"]["wd"]) == (7, 0.5)
    assert document["eval"]["batch_size"] == 3
    assert yaml.safe_load(cli("evaluate", "--dry-run", "--batch-size", "9").out)["eval"]["batch_size"] == 9


def test_a_failed_gate_prints_the_result_and_exits_3(cli: Any) -> None:
    def gated(config: RunConfig, context: Context) -> Run:
        assert isinstance(config, EvaluateConfig)
        run = cli.make_run(config, context)
        raise GateFailed(run.file, ["ASR@1 0.90 is above --max-asr 0.05", "BA@1 0.10 is below --min-ba 0.50"])

    cli("poison")
    cli("finetune-attack")
    cli.replace("evaluate", gated)
    done = cli("evaluate", "--max-asr", "0.05")
    assert (done.code, done.out) == (3, "runs/003-evaluate-made/manifest.yaml\n")
    last = done.err.splitlines()[-1]
    assert last == "gate failed: ASR@1 0.90 is above --max-asr 0.05; BA@1 0.10 is below --min-ba 0.50"
    assert json.loads(cli("evaluate", "--json").out)["command"] == "evaluate"


def test_a_reader_that_left_makes_no_failed_gate_pass(
    cli: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gated(config: RunConfig, context: Context) -> Run:
        raise GateFailed(cli.make_run(config, context).file, ["BA@1 is too low"])

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    cli("poison")
    cli("finetune-attack")
    cli.replace("evaluate", gated)
    monkeypatch.setattr(sys, "stdout", Closed())
    assert main(["evaluate", "--min-ba", "0.5"]) == 3
    assert capsys.readouterr().err.endswith("gate failed: BA@1 is too low\n")


def stopped(config: RunConfig, context: Context) -> Run:
    """A command that is interrupted with something to resume."""
    with context.begin(config, "made", source=context.input(config)) as run:
        run.state.mkdir(exist_ok=True)
        (run.state / "state.pt").touch()
        raise KeyboardInterrupt


def test_the_resuming_line_can_be_pasted(cli: Any) -> None:
    cli("poison")
    cli.replace("finetune-attack", stopped)
    done = cli("finetune-attack", "--out", "my victim")
    assert done.err.splitlines()[-1] == (
        "interrupted: resume it with 'clipdefend finetune-attack --resume \"my victim\"'."
    )


def test_an_interruption_exits_130_and_says_how_to_go_on(cli: Any) -> None:
    cli("poison")
    normal = cli.make_run
    cli.replace("finetune-attack", stopped)
    done = cli("finetune-attack", "--lr", "0.5", "--set", "terms.ssl.weight=2")
    resume = "clipdefend finetune-attack --resume runs/002-finetune-attack-made"
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == f"interrupted: resume it with '{resume}'."
    # The newer poison run is not taken: a resumed run keeps its configuration and its input.
    cli("poison", "--data", "other.csv")
    cli.replace("finetune-attack", normal)
    done = cli(*resume.split()[1:])
    assert done.code == 0, done.err
    assert done.out == "runs/002-finetune-attack-made/manifest.yaml\n"
    config = cli.calls[-1][0]
    assert (config.train.lr, config.terms, config.preset) == (0.5, {"ssl": {"weight": 2}}, "quick")
    assert Run.open(done.out.strip()).parents()[0].name == "001-poison-made"


def test_an_interruption_with_nothing_to_keep(cli: Any) -> None:
    def stopped(config: RunConfig, context: Context) -> Run:
        with context.begin(config, "made"):
            raise KeyboardInterrupt

    cli.replace("poison", stopped)
    done = cli("poison")
    assert done.code == 130
    assert done.err.splitlines()[-1] == "interrupted: no run was kept; run the command again."
    assert list((cli.folder / "runs").iterdir()) == []


@pytest.mark.parametrize("early", [False, True])
def test_an_interruption_behind_the_manifest_says_that_the_run_is_finished(
    cli: Any, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    """Early: before ``finish`` has noted that the manifest is there."""
    remove = RunDir._remove_leftovers

    def interrupt(run: RunDir) -> None:
        monkeypatch.setattr(RunDir, "_remove_leftovers", remove)
        raise KeyboardInterrupt

    def stopped(config: RunConfig, context: Context) -> Run:
        with context.begin(config, "made") as run:
            if early:
                monkeypatch.setattr(RunDir, "_remove_leftovers", interrupt)
            run.finish()
            raise KeyboardInterrupt

    cli.replace("poison", stopped)
    done = cli("poison")
    assert done.code == 130
    assert done.err.splitlines()[-1] == "interrupted: the run is finished, see runs/001-poison-made."
    assert Run.open(cli.folder / "runs" / "001-poison-made").command == "poison"
    assert not (cli.folder / "runs" / "001-poison-made" / UNFINISHED).exists()


@pytest.mark.parametrize("moment", ["result", "table", "gate"])
def test_an_interruption_of_a_result_that_is_printed_says_that_the_run_is_finished(
    cli: Any, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """In place of the path, of a table behind the run, and of the path of a run that missed a gate."""

    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    def table(config: RunConfig, context: Context) -> Run:
        run: Run = cli.make_run(config, context)
        if moment == "gate":
            raise GateFailed(run.file, ["ASR@1 is too high"])
        raise KeyboardInterrupt

    if moment != "table":
        monkeypatch.setattr(execute, "write_result", interrupt)
    if moment != "result":
        cli.replace("poison", table)
    done = cli("poison")
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == "interrupted: the run is finished, see runs/001-poison-made."
    assert Run.open(cli.folder / "runs" / "001-poison-made").command == "poison"


def test_an_interruption_while_the_folder_is_made_leaves_no_folder(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits until the folder is known, and then removes it; outside of every context of the command."""
    record = RunDir._record
    reached = []

    def interrupted(run: RunDir) -> None:
        signal.raise_signal(signal.SIGINT)
        record(run)
        reached.append(run.path.name)

    monkeypatch.setattr(RunDir, "_record", interrupted)
    done = cli("poison")
    assert reached == ["001-poison-made"]
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == "interrupted: no run was kept; run the command again."
    assert list((cli.folder / "runs").iterdir()) == []


def test_an_interruption_inside_of_a_destructor_is_not_lost(cli: Any) -> None:
    class Loader:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def body(config: RunConfig, context: Context) -> Run:
        with context.begin(config, "made"):
            loader = Loader()
            del loader
            time.sleep(5)
            raise AssertionError("the interruption was lost")

    cli.replace("poison", body)
    done = cli("poison")
    assert done.code == 130
    assert "ignored" not in done.err
    assert done.err.splitlines()[-1] == "interrupted: no run was kept; run the command again."


def test_a_resumed_run_that_is_interrupted_early_is_as_it_was(cli: Any) -> None:
    def begun(config: RunConfig, context: Context) -> Run:
        with context.begin(config, "made", source=context.input(config)) as run:
            run.state.mkdir(exist_ok=True)
            (run.state / "state.pt").touch()
            raise KeyboardInterrupt

    def stopped(config: RunConfig, context: Context) -> Run:
        raise KeyboardInterrupt

    cli("poison")
    cli.replace("finetune-attack", begun)
    cli("finetune-attack")
    cli.replace("finetune-attack", stopped)
    for given in (["--resume", "latest"], ["--resume=latest"]):
        done = cli("finetune-attack", *given)
        line = "interrupted: the run is unchanged; resume it with 'clipdefend finetune-attack --resume latest'.\n"
        assert (done.code, done.err.splitlines(keepends=True)[-1]) == (130, line)


def test_a_termination_cleans_up_as_an_interruption_does(cli: Any) -> None:
    def terminated(config: RunConfig, context: Context) -> Run:
        with context.begin(config, "made"):
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("it went on")

    before = signal.getsignal(signal.SIGTERM)
    cli.replace("poison", terminated)
    done = cli("poison")
    assert (done.code, done.out) == (130, "")
    assert list((cli.folder / "runs").iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "x"),
            "error: 'x': No space left on device. Free some",
        ),
        (OSError(errno.EFBIG, "File too large"), "error: File too large. Raise the limit of file sizes"),
        (DataError("3 of 4 rows cannot be used."), "error: 3 of 4 rows cannot be used. Resume the run"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_in_a_run_with_a_state_says_how_to_go_on(cli: Any, fault: Exception, line: str) -> None:
    def broken(config: RunConfig, context: Context) -> Run:
        with context.begin(config, "made", source=context.input(config)) as run:
            run.state.mkdir(exist_ok=True)
            (run.state / "state.pt").touch()
            raise fault

    cli("poison")
    cli.replace("finetune-attack", broken)
    done = cli("finetune-attack", "--quiet")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    resume = "clipdefend finetune-attack --resume runs/002-finetune-attack-made"
    assert done.err.endswith(f"Resume the run from its last state with '{resume}'.\n")
    assert done.err.count("\n") == 1


def test_what_resuming_does_not_fix_does_not_suggest_it(cli: Any) -> None:
    def broken(config: RunConfig, context: Context) -> Run:
        with context.begin(config, "made", source=context.input(config)) as run:
            run.state.mkdir(exist_ok=True)
            (run.state / "state.pt").touch()
            raise ConfigError("Wrong flag.")

    cli("poison")
    cli.replace("finetune-attack", broken)
    assert cli("finetune-attack", "--quiet").err == "error: Wrong flag.\n"


def test_a_bug_shows_its_traceback_and_exits_1(cli: Any) -> None:
    def broken(config: RunConfig, context: Context) -> Run:
        raise ZeroDivisionError("a bug")

    cli.replace("poison", broken)
    done = cli("poison")
    assert (done.code, done.out) == (1, "")
    assert "Traceback" in done.err
    assert "ZeroDivisionError: a bug" in done.err


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOSPC, "error: 'x.bin': No space left on device. Free some space"),
        (errno.EACCES, "error: 'x.bin': Permission denied. Choose another place"),
        (errno.EROFS, "error: 'x.bin': Read-only file system. Choose a place that can be written"),
    ],
)
def test_what_the_machine_refuses_is_one_line(cli: Any, number: int, line: str) -> None:
    def refused(config: RunConfig, context: Context) -> Run:
        with context.begin(config, "made"):
            raise OSError(
                number,
                {28: "No space left on device", 13: "Permission denied"}.get(number, "Read-only file system"),
                "x.bin",
            )

    cli.replace("poison", refused)
    done = cli("poison", "--quiet")
    assert done.code == 2
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1
    assert list((cli.folder / "runs").iterdir()) == []


def test_an_unforeseen_system_error_is_a_bug(cli: Any) -> None:
    def broken(config: RunConfig, context: Context) -> Run:
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")

    cli.replace("poison", broken)
    assert cli("poison").code == 1


def test_processes_but_the_first_are_silent(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "connect", lambda: None)
    monkeypatch.setattr(launch, "_current", launch.Processes(rank=1))
    done = cli("poison")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_what_libraries_print_does_not_reach_standard_output(cli: Any) -> None:
    def chatty(config: RunConfig, context: Context) -> Run:
        print("downloading")
        made: Run = cli.make_run(config, context)
        return made

    cli.replace("poison", chatty)
    done = cli("poison")
    assert done.out == "runs/001-poison-made/manifest.yaml\n"
    assert "downloading" in done.err


def test_the_command_line_is_handed_on(cli: Any) -> None:
    cli("poison", "--seed", "3")
    assert cli.calls[-1][1].cli_args == ["poison", "--seed", "3"]


def test_the_list_shows_triggers_variants_and_methods(cli: Any) -> None:
    done = cli("poison", "--list")
    assert done.code == 0
    for text in ("badnet", "blended", "cleanclip", "github.com", "--set attack.", "cleanerclip"):
        assert text in done.out
    document = json.loads(cli("poison", "--list", "--json").out)
    assert document["attacks"]["blended"]["parameters"]["alpha"] == 0.2
    assert set(document) == {"attacks", "variants", "methods", "defences"}
    assert not (cli.folder / "runs").exists()
