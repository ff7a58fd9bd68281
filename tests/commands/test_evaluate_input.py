"""What ``evaluate`` measures where no run is given, and what it says of a run that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_lines import EVAL, Shell


@pytest.fixture
def empty(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_mistyped_run_is_reported_as_such(empty: Shell) -> None:
    done = empty("evaluate", "--from", "003-nope")
    assert (done.code, done.errors[0]) == (
        2,
        "error: Run '003-nope' does not exist. Give a run folder or its manifest.yaml.",
    )


def test_a_model_by_name_is_measured_on_the_built_in_set_in_an_empty_folder(empty: Shell) -> None:
    done = empty("evaluate", "--model", "tiny", "--quick", 20, "--workers", 0, "--device", "cpu")
    assert done.code == 0, done.err
    with empty.inside():
        assert done.manifest["config"]["eval"]["data"] == "builtin"
        assert done.manifest["metrics"]["n_clean"] == 20
    assert done.folder.name == "001-evaluate-model-tiny"


def test_a_model_beside_a_run_is_refused(chain: Shell) -> None:
    done = chain("evaluate", "--from", "002-finetune-attack-badnet", "--model", "small.json", *EVAL)
    assert done.code == 2
    assert "--model small.json names the architecture of a --checkpoint" in done.errors[0]
