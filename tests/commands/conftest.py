"""The whole chain once, for all tests of the commands; small pairs and runs of ``poison`` on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipdefend.commands.poison import run_poison
from clipdefend.config import PoisonConfig, load_config
from clipdefend.runs import Context, Run
from command_lines import EVAL, MODEL, POISON, TRAIN, Shell, write_data
from memory_pairs import noise

METHODS = ("ft", "ssl", "cleanclip", "cleanerclip", "par")
WORDS = ("cat", "dog", "banana", "tree")


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """``poison``, ``finetune-attack``, ``augment``, ``defend`` by every method, and an evaluation of each."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CLIPDEFEND_RUNS", "RANK", "COLUMNS", "NO_COLOR"):
            patch.delenv(name, raising=False)
        shell = Shell(tmp_path_factory.mktemp("chain dir"))
        write_data(shell.folder)
        made = shell.made
        made["poison"] = shell("poison", *POISON)
        made["attack"] = shell("finetune-attack", *MODEL, *EVAL, *TRAIN)
        made["augment"] = shell("augment")
        for method in METHODS:
            made[method] = shell(
                "defend",
                "--method",
                method,
                "--n-aug",
                20,
                *EVAL,
                *TRAIN,
                "--from",
                "002-finetune-attack-badnet",
            )
        made["evaluate"] = shell("evaluate", *EVAL, "--workers", 0)
    return shell


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """40 small images with captions, a quarter of them of bananas."""
    (tmp_path / "images").mkdir()
    lines = ["image,caption"]
    for row in range(40):
        noise(row, 40, 40).save(tmp_path / "images" / f"{row}.png")
        lines.append(f"images/{row}.png,a {WORDS[row % 4]} number {row}")
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def make(tmp_path: Path, table: Path) -> Any:
    """Runs ``poison`` on the table, as with flags and ``--set``."""

    def run(*sets: str, **flags: Any) -> Run:
        values = {
            "data": str(table),
            "image_size": "32",
            "count": "10",
            "workers": "0",
            "device": "cpu",
            **flags,
        }
        config = load_config(PoisonConfig, flags=values, sets=sets)
        return run_poison.run(config, Context(runs=tmp_path / "runs"))

    return run
