"""The example workflow is YAML whose command lines the program takes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from clipdefend.__main__ import main

WORKFLOW = Path(__file__).parents[1] / "examples" / "github-workflow.yml"


def command_lines() -> list[list[str]]:
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["gate"]["steps"]
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    return [shlex.split(line.replace("${{ matrix.attack }}", "badnet")) for line in lines]


def test_every_command_line_is_one_that_the_program_takes(capsys: pytest.CaptureFixture[str]) -> None:
    ours = [line[1:] for line in command_lines() if line[0] == "clipdefend"]
    assert [line[0] for line in ours] == ["poison", "evaluate", "evaluate", "scan"]
    resolved = []
    for line in ours:
        assert main([*line, "--dry-run"]) == 0, capsys.readouterr().err
        resolved.append(yaml.safe_load(capsys.readouterr().out))
    given = {key: value for key, value in resolved[2]["gates"].items() if value is not None}
    assert given == {
        "max_asr": "0.01,0.05@5",
        "min_ba": 0.55,
        "max_ba_drop": 0.02,
        "against": "runs/released",
        "junit": "gates-badnet.xml",
        "annotations": "github",
    }
    assert resolved[3]["gate"]["fail_if"] == "backdoored"
