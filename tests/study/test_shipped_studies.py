"""Every study in examples/studies can be planned: its keys, components and conditions fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clipdefend.study.grid import check_changes, held_out_nodes, reported_nodes
from clipdefend.study.study_file import read_study

FOLDER = Path(__file__).parents[2] / "examples" / "studies"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_plans(path: Path) -> None:
    study = read_study(path)
    study = replace(study, seeds=study.seeds[:1])
    check_changes(study)
    nodes = [*held_out_nodes(study), *reported_nodes(study, None)]
    assert {node.command for node in nodes} == set(study.steps)
    if path.stem.endswith("-paper"):
        presets = {node.config.preset for node in nodes}
        assert presets <= {"paper", "pretrain"}
        assert (FOLDER / f"{path.stem.removesuffix('-paper')}.yaml").is_file()
