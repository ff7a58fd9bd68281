"""The gates of ``evaluate`` from the command line: exit codes, reports, and what is refused at once."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from command_lines import EVAL, Shell

EVALUATE = ("evaluate", "--from", "002-finetune-attack-badnet", *EVAL, "--workers", 0)
VICTIM = ("--against", "002-finetune-attack-badnet")


@pytest.fixture(autouse=True)
def no_github(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


def test_gates_that_hold_are_shown_written_and_recorded(chain: Shell, tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "gates.xml"
    gates = ("--max-asr", "1,1@3", "--min-ba", 0, "--max-ba-drop", "0@3", *VICTIM)
    done = chain(*EVALUATE, *gates, "--junit", file, "--annotations", "github", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert done.err.count("gate passed: ") == 4
    assert "::error" not in done.err
    with chain.inside():
        recorded = done.manifest["details"]["gates"]
    assert [entry["gate"] for entry in recorded] == [
        "asr@1 <= 1",
        "asr@3 <= 1",
        "ba@1 >= 0",
        "ba@3 drop <= 0",
    ]
    assert all(entry["passed"] for entry in recorded)
    (suite,) = ElementTree.parse(file).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("4", "0")


@pytest.mark.parametrize("github", [True, False])
def test_gates_that_fail_are_named_and_the_result_stands(
    chain: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, github: bool
) -> None:
    if github:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
    file = tmp_path / "gates.xml"
    done = chain(*EVALUATE, "--min-ba", "1,1@3", "--junit", file, "--quiet", "--out", tmp_path / "out")
    assert done.code == 3
    manifest = yaml.safe_load((chain.folder / done.out.strip()).read_text())
    failed = [entry for entry in manifest["details"]["gates"] if not entry["passed"]]
    assert [entry["gate"] for entry in failed] == ["ba@1 >= 1", "ba@3 >= 1"]
    last = done.err.splitlines()[-1]
    assert last.startswith("gate failed: BA@1 is ")
    assert "(n = 24), below --min-ba 100.00 %; BA@3 is " in last
    assert done.err.count("::error title=clipdefend gate ba@") == (2 if github else 0)
    (suite,) = ElementTree.parse(file).getroot()
    assert suite.get("failures") == "2"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--max-asr", "0.1@5"),
            "--max-asr names k = 5, and --topk 1,3 does not measure it: add it to --topk.",
        ),
        (("--min-recovery", "0.9@5"), "--min-recovery names k = 5, and --topk 1,3 does not measure it"),
        (("--max-ba-drop", "0.1"), "--max-ba-drop and --against need each other"),
        (("--max-ba-drop", "0.1", "--against", "001-poison-badnet"), "is of kind 'poison'"),
        (("--max-ba-drop", "0.1", "--against", "nowhere"), "Run 'nowhere' does not exist."),
        (
            ("--max-ba-drop", "0.1@4", "--topk", "1,4", *VICTIM),
            "has no BA@4 for --max-ba-drop: evaluate it with --topk 1,4, and give that run.",
        ),
        (
            ("--max-ba-drop", "0.1", "--templates", "imagenet", *VICTIM),
            "was measured with --templates simple and this one is with --templates imagenet: --max-ba-drop compares",
        ),
        (
            ("--max-ba-drop", "0.1", "--canvas", "squash", *VICTIM),
            "was measured with --canvas crop and this one is with --canvas squash: --max-ba-drop compares",
        ),
        (
            ("--max-ba-drop", "0.1", "--quick", "5", *VICTIM),
            "was measured with no --quick and this one is with --quick 5: --max-ba-drop compares",
        ),
        (("--min-ba", "0.1", "--junit", "."), "--junit '.' is a folder: give the name of a file."),
        (("--min-ba", "0.1", "--junit", "pairs.csv/x.xml"), "--junit 'pairs.csv/x.xml' cannot be written"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_is_computed(
    chain: Shell, flags: tuple[str, ...], said: str
) -> None:
    before = chain.runs()
    done = chain(*EVALUATE, *flags)
    assert done.code == 2
    (error,) = done.errors
    assert said in error
    assert chain.runs() == before


@pytest.mark.parametrize("flag", ["--max-asr", "--min-ra", "--min-recovery"])
def test_a_gate_of_an_attack_needs_one(chain: Shell, flag: str) -> None:
    weights = chain.folder / "runs" / "002-finetune-attack-badnet" / "model"
    done = chain("evaluate", "--checkpoint", weights, *EVAL, flag, 0.5, "--runs", "elsewhere")
    assert done.code == 2
    assert done.errors == [f"error: {flag} needs a trigger: give the poison run with --attack-from."]


def test_gates_of_ra_and_recovery(chain: Shell, tmp_path: Path) -> None:
    start = chain.folder / "runs" / "004-defend-ft-badnet" / "model"
    gates = ("--min-ra", "0@3", "--min-recovery", "0.9@3", "--clean-checkpoint", start)
    done = chain(
        "evaluate", "--from", "004-defend-ft-badnet", *EVAL, "--workers", 0, *gates, "--out", tmp_path / "a"
    )
    assert done.code == 0, done.err  # the model is its own clean model
    assert "gate passed: RECOVERY@3 is 100.00 % (n = 18), not below --min-recovery 90.00 %" in done.err
    bare = chain(
        *EVALUATE, "--min-recovery", 0, "--out", tmp_path / "b"
    )  # the attack began at random weights
    assert bare.code == 3
    assert "RECOVERY@1 has no value for --min-recovery 0.00 %, since no RA of the clean model" in bare.err
