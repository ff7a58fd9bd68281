"""What the shells complete: each asks the program itself, with the words typed so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipdefend.__main__ import main
from clipdefend.attacks import ATTACKS
from clipdefend.config import COMMANDS
from clipdefend.defences import DEFENCES
from clipdefend.objectives import METHODS


@pytest.fixture
def complete(cli: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What bash gets for a line whose last word is being typed."""

    def words(line: str) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setenv("_CLIPDEFEND_COMPLETE", "complete_bash")
            patch.setenv("COMP_WORDS", f"clipdefend {line}")
            patch.setenv("COMP_CWORD", str(len(f"clipdefend {line}".split(" ")) - 1))
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main([])
        assert ended.value.code == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.split()

    return words


def test_commands_and_flags(complete: Any) -> None:
    assert complete("") == [*COMMANDS, "doctor"]
    assert complete("de") == ["defend"]
    assert complete("poison --att") == ["--attack"]
    assert "--weight-decay" in complete("defend --w")
    assert complete("doctor --comm") == ["--command"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("poison --attack ", ATTACKS.names()),
        ("poison --attack bad", ["badnet", "badclip"]),
        ("defend --method ", [*METHODS, *DEFENCES.names()]),
        ("doctor --method cleaner", ["cleanerclip"]),
        ("poison --preset ", ["paper", "quick", "pretrain"]),
        ("defend --lr-scheduler co", ["cosine", "const"]),
        ("evaluate --canvas ", ["crop", "squash"]),
        ("poison --data b", ["builtin"]),
        ("defend --pretrained o", ["openai"]),
        ("defend --set train.warm", ["train.warmup="]),
        ("doctor --command finetune-attack --set n_", []),
        ("doctor --set n_", ["n_aug="]),
    ],
)
def test_names_and_choices(complete: Any, line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_models_are_those_of_open_clip_and_ours(complete: Any) -> None:
    assert complete("finetune-attack --model ti") == ["tiny"]
    assert {"RN50", "RN50-quickgelu", "RN50x4"} <= set(complete("finetune-attack --model RN50"))
    assert "ViT-B-32" in complete("poison --surrogate ViT-B-")


def test_run_folders_of_the_kind_that_fits(cli: Any, complete: Any) -> None:
    for args in (["poison"], ["poison", "--runs", "others"], ["finetune-attack"]):
        assert cli(*args).code == 0
    half = cli.folder / "runs" / "003-half"
    half.mkdir()
    (half / "unfinished.yaml").write_text("schema: clipdefend/run/1\ncommand: defend\n")
    assert complete("finetune-attack --from ") == ["runs/001-poison-made"]
    assert complete("defend ") == ["runs/002-finetune-attack-made"]
    assert complete("doctor ") == ["runs/002-finetune-attack-made"]
    assert complete("evaluate --runs others --attack-from ") == ["others/001-poison-made"]
    assert complete("report ") == ["runs/001-poison-made", "runs/002-finetune-attack-made"]
    assert complete("defend --resume ") == ["latest", "runs/003-half"]
    assert complete("finetune-attack --resume ") == ["latest"]


def test_attacks_of_other_runs(cli: Any, complete: Any) -> None:
    """A run that records a trigger, each trigger that a scan found, or a run that was made from one of them."""
    for name, command in (
        ("1-p", "poison"),
        ("2-v", "finetune-attack"),
        ("3-s", "scan"),
        ("3-s/triggers/warp", "scan"),
    ):
        folder = cli.folder / "runs" / name
        folder.mkdir(parents=True)
        (folder / "manifest.yaml").write_text(f"schema: clipdefend/run/1\ncommand: {command}\n")
    runs = ["runs/1-p", "runs/2-v", "runs/3-s", "runs/3-s/triggers/warp"]
    assert complete("evaluate --attack-from ") == runs
    assert complete("evaluate --attack-from runs/3") == runs[2:]
    assert complete("poison --trigger-from ") == ["runs/1-p"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_names_the_program(
    shell: str, cli: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_CLIPDEFEND_COMPLETE", f"source_{shell}")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert "_CLIPDEFEND_COMPLETE=complete_" in capsys.readouterr().out


def test_a_folder_of_runs_that_cannot_be_read_completes_nothing(cli: Any, complete: Any) -> None:
    damaged = Path("runs", "001-poison", "manifest.yaml")
    damaged.mkdir(parents=True)
    assert complete("finetune-attack --from ") == []
